"""Difference in differences: the treated units' change beside the plain average change of all others.

Every donor counts alike and levels do not matter: counterfactual = the treated mean's own level before the start + how far the
donors' average has moved since. What that costs is measured like any other design's: by studentised placebos, so units that drift
apart make a wide interval instead of a wrong one (see the references for how wrong the usual standard error is).

Designs that find all placebos at once, this one first, keep the same books here: `Roles` and `placebos_at_once`.

References
----------
Card and Krueger (1994), AER 84(4); Bertrand, Duflo and Mullainathan (2004), QJE 119(1), for serial correlation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liftwise.core.uncertainty import Floats
from liftwise.models.causal.donors import DonorDesign, View
from liftwise.models.causal.placebo import BLOCKS, Placebos, placebo_groups

Periods = NDArray[np.intp]


class DifferenceInDifferences(DonorDesign):
    """The effect of a campaign as a difference of changes; every other unit counts alike.

    Parameters
    ----------
    seed : for the draw of placebo groups when several units are treated.

    Examples
    --------
    >>> import pandas as pd
    >>> from liftwise.models.causal import Panel
    >>> values = np.add.outer(np.arange(12.0), np.sin(np.arange(30.0)))
    >>> values[0, 24:] += 5
    >>> panel = Panel(values, tuple(f"r{k:02d}" for k in range(12)), pd.RangeIndex(30))
    >>> round(DifferenceInDifferences().estimate(panel, treated="r00", start=24).effect, 6)
    30.0
    """

    demean = True

    @property
    def method(self) -> str:
        """Name in tables."""
        return "difference_in_differences"

    def predict(self, view: View) -> tuple[Floats, Floats]:
        """The target's own level on the training periods, moved as the donors' average moves."""
        average = view.donors.mean(axis=0)
        level = view.target[view.train].mean() - average[view.train].mean()
        return level + average[view.judge], np.full(len(view.donors), 1 / len(view.donors))

    def placebos(self, values: Floats, treated: list[int], pre: int, covariates: Floats) -> Placebos:
        """All placebos from one sum of all units."""
        roles = Roles.of(values, treated, pre, self.seed, self.groups)
        told = np.column_stack([values, roles.split])
        left = len(values) - roles.barred.shape[1] + np.sum(roles.barred < 0, axis=1)
        gap = told[roles.groups].mean(axis=1) - (told.sum(axis=0) - roles.sums(told)) / left[:, None]
        weights = np.full(len(values), 1 / (len(values) - len(treated)))

        def gaps(train: Periods, judge: Periods) -> AtOnce:
            return AtOnce(gap[:, judge] - gap[:, train].mean(axis=1, keepdims=True), gap[:, -1], weights, 0.0)

        return placebos_at_once(gaps, roles, values, pre)


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
        own, split = np.array(sorted(treated), dtype=np.int64), np.zeros(len(values))
        if len(own) == 1:
            others = np.delete(np.arange(len(values), dtype=np.int64), own)
            groups = np.concatenate([own, others])[:, None]
            return cls(groups, np.column_stack([groups, np.where(groups == own, -1, own)]), split, own)
        groups = np.vstack([own, placebo_groups(len(values), own.tolist(), seed, most)])
        level = values[own, :pre].mean(axis=1)
        split[own] = level / level.sum() if (level > 0).all() else 1 / len(own)
        return cls(groups, groups, split, own)

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
    blocks = np.array_split(np.arange(pre), BLOCKS)
    held = np.concatenate([gaps(np.delete(np.arange(pre), block), block).gaps for block in blocks], axis=1)
    least = 1e-9 * float(np.abs(values[:, :pre]).mean()) + 1e-300  # an exact copy among the donors leaves no error at all
    scales = np.maximum(np.sqrt(np.mean(held**2, axis=1)), least)
    size = len(roles.own)
    weights = np.delete(whole.weights, roles.own) if len(whole.weights) else whole.weights
    return Placebos(
        whole.gaps[0], whole.gaps[1:], float(scales[0]), scales[1:], size * whole.shares[1:], size, weights, whole.duality,
    )  # fmt: skip
