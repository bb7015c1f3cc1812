"""Which layouts nothing beats, and the three that people ask for."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from core.answers.compare.field import Bools, Field, Floats


@dataclass(frozen=True, slots=True)
class Picks:
    """Rows of a field; None where no layout qualifies."""

    cheapest: int | None       # fewest dollars an hour; None without a price
    fastest: int | None        # most tokens/s for each user
    smallest: int | None       # fewest GPUs, then least memory


class Against(StrEnum):
    """What speed for users is weighed against."""

    DOLLARS = "dollars"
    ENERGY = "energy"


def worth(field: Field, against: Against) -> Floats:
    """Tokens for what they take: tokens/s per dollar an hour, or tokens per joule; NaN where that is not known."""
    return field.tokens_per_joule if against is Against.ENERGY else field.tokens_per_usd


def front(field: Field, among: Bools, against: Against = Against.DOLLARS) -> Bools:
    """The Pareto front of tokens/s per user against tokens per dollar or joule: no other of `among` has more of both.

    Layouts without a price, or a power limit, are not ranked.
    """
    user, good = field.tokens_per_s_per_user, worth(field, against)
    on_front = np.zeros(len(field), bool)
    ranked = np.flatnonzero(among & ~np.isnan(good))
    best = -np.inf
    for row in ranked[np.lexsort((-good[ranked], -user[ranked]))]:
        if good[row] > best:
            on_front[row], best = True, good[row]
    return on_front


def picks(field: Field, among: Bools) -> Picks:
    """Cheapest, fastest and smallest of `among`; equals are told apart by price, then by speed."""
    price = np.where(np.isnan(field.usd_per_hour), np.inf, field.usd_per_hour)
    user, gpus = field.tokens_per_s_per_user, field.gpus
    return Picks(
        cheapest=_first(among & np.isfinite(price), (-user, gpus, price)),
        fastest=_first(among, (price, -user)),
        smallest=_first(among, (-user, price, field.memory_bytes, gpus)),
    )


def shortlist(field: Field, among: Bools) -> NDArray[np.intp]:
    """For each accelerator and number of GPUs the fastest layout for users and the one with most tokens in all.

    Those that keep the targets go before those that do not. Rows of `among`, in the field's order.
    """
    rows = np.flatnonzero(among)
    names = {gpu: n for n, gpu in enumerate(dict.fromkeys(field.deployments[row].gpu.name for row in rows))}
    group = np.array([names[field.deployments[row].gpu.name] * 1024 + field.gpus[row] for row in rows], np.intp)
    kept: set[int] = set()
    for speed in (field.tokens_per_s_per_user, field.tokens_per_s):
        order = np.lexsort((-speed[rows], ~field.meets_slo[rows], group))
        _, first = np.unique(group[order], return_index=True)
        kept.update(int(row) for row in rows[order[first]])
    return np.array(sorted(kept), np.intp)


def _first(among: Bools, keys: tuple[NDArray[np.generic], ...]) -> int | None:
    """The first row of `among` by the keys, the last of which counts most."""
    if not among.any():
        return None
    return int(np.lexsort((*keys, ~among))[0])
