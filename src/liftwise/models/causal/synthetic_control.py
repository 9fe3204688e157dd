"""Synthetic control: a mix of untreated units that moved like the treated ones before the campaign.

The treated units' mean is matched by donors with weights w ≥ 0, Σ w = 1 that minimise the squared gap over the
pre-period; what it has above that mix afterwards is the effect. Several treated units are averaged before fitting and the
effect multiplied by their number (one fit of a smoother series errs less than a fit of each). With
``level="fixed_effects"`` each unit's own pre-period mean is taken out first: donors must then move alike, not be alike.

References
----------
Abadie, Diamond and Hainmueller (2010), JASA 105(490); Doudchenko and Imbens (2016) and Ferman and Pinto (2021),
Quantitative Economics 12(4), for the version with fixed effects.
"""

from __future__ import annotations

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import Floats
from liftwise.models.causal.donors import DonorDesign, View
from liftwise.models.causal.placebo import Placebos, run_placebos
from liftwise.models.causal.simplex import simplex_least_squares


class SyntheticControl(DonorDesign):
    """The effect of a campaign from the units in which it did not run.

    Parameters
    ----------
    level : ``"fixed_effects"`` compares changes from each unit's pre-period mean, ``"outcome"`` the outcome as it is.
    inference : ``"placebo"``: studentised placebo in space (see `liftwise.models.causal.placebo`).
    seed : for the draw of placebo groups when several units are treated.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from liftwise.models.causal import Panel
    >>> weeks = pd.date_range("2025-01-06", periods=30, freq="W-MON")
    >>> wave = np.random.default_rng(1).normal(size=(12, 30)).cumsum(axis=1) + 100
    >>> wave[0, 24:] += 40
    >>> panel = Panel(wave, tuple(f"r{k:02d}" for k in range(12)), weeks)
    >>> lift = SyntheticControl().estimate(panel, treated=["r00"], start="2025-06-23")
    >>> lift.p_value, lift.interval(0.90)[0] > 0
    (0.08333333333333333, True)
    """

    def __init__(self, *, level: str = "fixed_effects", inference: str = "placebo", seed: int = 7) -> None:
        if level not in ("outcome", "fixed_effects"):
            raise InputError(f"level {level!r} is unknown", fix="choose outcome or fixed_effects")
        if inference != "placebo":
            raise InputError(f"inference {inference!r} is unknown", fix="choose placebo")
        super().__init__(seed=seed)
        self.level, self.inference = level, inference
        self.demean = level == "fixed_effects"

    @property
    def method(self) -> str:
        """Name in tables."""
        return f"synthetic_control/{self.level}"

    def predict(self, view: View) -> tuple[Floats, Floats]:
        """The simplex mix of the donors that is nearest to the target on the training periods."""
        donors, target, level = view.donors, view.target, 0.0
        if self.demean:
            donors = donors - donors[:, view.train].mean(axis=1, keepdims=True)
            level = target[view.train].mean()
        weights = simplex_least_squares(donors[:, view.train], target[view.train] - level).weights
        return level + weights @ donors[:, view.judge], weights

    def placebos(self, values: Floats, treated: list[int], pre: int, covariates: Floats) -> Placebos:
        """All placebos from one Gram matrix."""
        return run_placebos(values, treated, pre, demean=self.demean, seed=self.seed)
