"""Four answers beside each other: best quality, fastest, cheapest and fewest GPUs, all within the targets."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from core.answers.advice.plan import Choice, Standing
from core.answers.advice.select import Selection, choice_on, fine_grid, largest_batch, lost

NAMES = ("quality", "fastest", "cheapest", "fewest_gpus")


def alternatives(selection: Selection) -> Mapping[str, Choice | None]:
    """The best layout in each respect, of those that meet as much as the pick; None where none meets the targets.

    Equals are told apart by every other respect, so that no answer is beaten in everything. Of one GPU the cheapest
    an hour is the fewest; of these the cheapest answer makes most tokens, the fewest GPUs lose least quality.
    """
    met = _meeting(selection)
    if not met.any():
        return dict.fromkeys(NAMES)
    grid, at = selection.grid, selection.grid.batches.index(selection.batch)

    def there(column: NDArray[np.generic]) -> NDArray[np.float64]:
        return np.asarray(grid.cube(column)[:, 0, at], np.float64)

    loss = lost(selection.losses)
    gpus = np.array([d.gpus for d in grid.deployments], float)
    tpot = np.nan_to_num(there(grid.prediction.tpot_s.value))       # of a single token there is none
    ttft, tokens = there(grid.prediction.ttft_s.value), -there(grid.output_tokens_per_s.value)
    orders = {
        "quality": (loss, gpus, tpot, ttft, tokens),
        "fastest": (tpot, ttft, gpus, loss, tokens),
        "cheapest": (gpus, tokens, loss, tpot, ttft),
        "fewest_gpus": (gpus, loss, tpot, ttft, tokens),
    }
    best = {name: int(np.lexsort((*reversed(keys), ~met))[0]) for name, keys in orders.items()}
    made = {layout: _exact(selection, layout) for layout in set(best.values())}
    return {
        name: None if name == "cheapest" and made[layout].usd_per_hour is None else made[layout]
        for name, layout in best.items()
    }


def _meeting(selection: Selection) -> NDArray[np.bool_]:
    """Layouts [layouts] within the accepted loss that keep the targets at the pick's batch."""
    if selection.standing not in (Standing.MET, Standing.FEWER):
        return np.zeros(len(selection.grid.deployments), bool)
    return np.asarray(selection.allowed & (selection.served >= selection.batch))


def _exact(selection: Selection, layout: int) -> Choice:
    """A layout at the pick's batch, with its exact largest batch within the targets."""
    fine = fine_grid(selection.grid, selection.grid.deployments[layout])
    return choice_on(fine, fine.batches.index(selection.batch), selection.losses[layout], largest_batch(fine))
