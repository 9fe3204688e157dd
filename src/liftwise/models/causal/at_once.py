"""Placebos of a design that finds the gaps of all of them together, from shared sums or Gram matrices: the roles, and the books."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liftwise.core.uncertainty import Floats
from liftwise.models.causal.placebo import Periods, Placebos, held_out_blocks, least_error, placebo_groups, rms, split_of_effect


@dataclass(frozen=True, eq=False)
class Roles:
    """Who plays the treated and who may not be a donor then, by unit number; the first row is what really happened.

    groups (m + 1, k): targets. barred (m + 1, b): no donors for them, −1 where there are fewer. split (n,): share of each unit in the
    true effect, which a placebo that holds or uses treated units shows in part. own: the units really treated.
    """

    groups: NDArray[np.int64]
    barred: NDArray[np.int64]
    split: Floats
    own: NDArray[np.int64]

    @classmethod
    def of(cls, values: Floats, treated: list[int], pre: int, seed: int, most: int) -> Roles:
        """As in `placebo`: each donor when one unit is treated (never fitted by it), else groups among all units."""
        own = np.array(sorted(treated), dtype=np.int64)
        if len(own) == 1:
            others = np.delete(np.arange(len(values), dtype=np.int64), own)
            groups = np.concatenate([own, others])[:, None]
            return cls(groups, np.column_stack([groups, np.where(groups == own, -1, own)]), np.zeros(len(values)), own)
        groups = np.vstack([own, placebo_groups(len(values), own.tolist(), seed, most)])
        return cls(groups, groups, split_of_effect(values, own.tolist(), pre), own)

    def sums(self, values: Floats) -> Floats:
        """(m + 1, …) sums of `values` (n, …) over the barred units."""
        taken = values[self.barred]
        taken[self.barred < 0] = 0.0
        return taken.sum(axis=1)


@dataclass(frozen=True, eq=False)
class AtOnce:
    """Gaps (m + 1, periods) of every row of `Roles`, what part of the true effect each shows, the first one's weights (n,)."""

    gaps: Floats
    shares: Floats
    weights: Floats
    duality: float


def placebos_at_once(gaps: Callable[[Periods, Periods], AtOnce], roles: Roles, values: Floats, pre: int) -> Placebos:
    """The books of a design that finds the gaps of all `roles` together, given (train, judge); errors by cross-fitting."""
    whole = gaps(np.arange(pre), np.arange(values.shape[1]))
    held = np.concatenate([gaps(*block).gaps for block in held_out_blocks(pre)], axis=1)
    scales = np.maximum(rms(held), least_error(values, pre))
    size = len(roles.own)
    weights = np.delete(whole.weights, roles.own) if len(whole.weights) else whole.weights
    return Placebos(
        whole.gaps[0], whole.gaps[1:], float(scales[0]), scales[1:], size * whole.shares[1:], size, weights, whole.duality,
    )  # fmt: skip
