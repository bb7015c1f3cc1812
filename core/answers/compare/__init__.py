"""One workload over many accelerators: every layout that runs, the Pareto front, and the picks one asks for."""

from core.answers.compare.candidates import SPLITS, Candidates, Split, candidates
from core.answers.compare.choice import choice_of
from core.answers.compare.field import Board, Field, board, compare
from core.answers.compare.picks import Against, Picks, front, picks, shortlist, worth
from core.answers.compare.prices import PRICE_KINDS, priced

__all__ = [
    "PRICE_KINDS",
    "SPLITS",
    "Against",
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
    "worth",
]
