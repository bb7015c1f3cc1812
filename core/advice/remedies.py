"""The smallest change of each kind that would help, tried and not guessed."""

from core.advice.plan import Choice, Remedy
from core.advice.select import Question, Selection


def remedies(question: Question, selection: Selection, shown: Choice | None) -> tuple[Remedy, ...]:
    """Changes that bring the plan nearer to what was asked, smallest first."""
    return ()
