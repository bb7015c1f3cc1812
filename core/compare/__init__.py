"""One workload over many accelerators: every layout that runs, the Pareto front, and the picks one asks for."""

from core.compare.candidates import SPLITS, Candidates, Split, candidates
from core.compare.choice import choice_of
from core.compare.field import Board, Field, board, compare
from core.compare.picks import Picks, front, picks, shortlist
from core.compare.prices import PRICE_KINDS, priced

__all__ = [
    "PRICE_KINDS",
    "SPLITS",
    "Board",
    "Candidates",
    "Field",
    "Picks",
    "Split",
    "board",
    "candidates",
    "choice_of",
    "compare",
    "front",
    "picks",
    "priced",
    "shortlist",
]
