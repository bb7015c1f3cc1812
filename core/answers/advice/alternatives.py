"""Answers beside each other: best quality, fastest, cheapest and fewest GPUs, all within the targets."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.answers.advice.plan import Choice, Plan, Standing
from core.answers.advice.select import TIE, Selection, choice_on, fine_grid, largest_batch

TITLES: Final = {
    "quality": "Best quality", "fastest": "Fastest", "cheapest": "Cheapest", "fewest_gpus": "Fewest GPUs",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One way to deploy, and all that it is best at."""

    titles: tuple[str, ...]            # "Fastest"; none where it is the recommended compromise and best at nothing
    choice: Choice
    recommended: bool


def side_by_side(plan: Plan) -> tuple[Answer, ...]:
    """The recommendation and its alternatives, the same ones merged; none where nothing meets the targets."""
    if plan.best is None or plan.standing not in (Standing.MET, Standing.FEWER):
        return ()
    found = {plan.best.deployment: Answer((), plan.best, recommended=True)}
    for name, choice in plan.alternatives.items():
        if choice is not None:
            same = found.get(choice.deployment, Answer((), choice, recommended=False))
            found[choice.deployment] = replace(same, titles=(*same.titles, TITLES[name]))
    return tuple(found.values())


def alternatives(selection: Selection) -> Mapping[str, Choice | None]:
    """The best layout in each respect, of those that meet as much as the pick; None where none meets the targets.

    Equals are told apart by every other respect, so that no answer is beaten in everything. Of one GPU the cheapest
    an hour is the fewest; of these the cheapest answer makes most tokens, the fewest GPUs lose least quality. What is
    as fast, or makes as many tokens, within the error of either, is told apart by GPUs and quality.
    """
    met = _meeting(selection)
    if not met.any():
        return dict.fromkeys(TITLES)
    grid, at = selection.grid, selection.grid.batches.index(selection.batch)

    def there(column: NDArray[np.generic]) -> NDArray[np.float64]:
        return np.asarray(grid.cube(column)[:, 0, at], np.float64)

    loss = selection.lost
    gpus = np.array([d.gpus for d in grid.deployments], float)
    tpot = np.nan_to_num(there(grid.prediction.tpot_s.value))       # of a single token there is none
    ttft, tokens = there(grid.prediction.ttft_s.value), there(grid.output_tokens_per_s.value)
    slower = tpot > (1 + TIE) * tpot[met].min()
    few = met & (gpus == gpus[met].min())
    fewer_tokens = tokens < (1 - TIE) * tokens[few].max()
    orders = {
        "quality": (loss, gpus, tpot, ttft, -tokens),
        "fastest": (slower, gpus, loss, tpot, ttft, -tokens),
        "cheapest": (gpus, fewer_tokens, loss, -tokens, tpot, ttft),
        "fewest_gpus": (gpus, loss, tpot, ttft, -tokens),
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
