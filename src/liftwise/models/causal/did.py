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

import numpy as np

from liftwise.core.uncertainty import Floats
from liftwise.models.causal.at_once import AtOnce, Roles, placebos_at_once
from liftwise.models.causal.donors import DonorDesign, View
from liftwise.models.causal.placebo import Periods, Placebos


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
