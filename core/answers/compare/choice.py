"""One row of a comparison as the choice that pages and exports know."""

from core.answers.advice import Choice
from core.answers.advice.row import choice_at
from core.answers.compare.field import Field


def choice_of(field: Field, row: int) -> Choice:
    """The figures of a layout at the workload's concurrency."""
    asked, met = field.workload.concurrency, bool(field.meets_slo[row])
    return choice_at(
        field.prediction, row, field.deployments[row], asked, field.footprints[row], field.losses[row],
        fits=bool(field.fits[row]), met=met, held=float(field.capacity[row]), served=asked if met else 0,
    )
