"""Augmented synthetic control: simplex weights, then as much extrapolation as the time before shows to be worth it.

Where no mix of donors fits well, the simplex weights leave an imbalance r before the campaign. A ridge regression of later on
earlier outcomes says what this imbalance does to the estimate, and the donors' weights are shifted to take it out:

    w = w_simplex + X (X'X + λ I)⁻¹ r,

X being the donors' outcomes before, centred over donors. The weights still sum to 1 but may be negative. λ is the largest whose
error in predicting left-out periods is within one standard error of the least; a large λ leaves the simplex weights alone.

Covariates stand beside the outcomes in X, each scaled to the outcomes' standard deviation, so that both are balanced. The choice of λ
then depends much on which columns are left out in turn. The published software leaves out all but the last one, covariates too, and so
does this: without covariates it makes little difference, with them another rule can give another estimate. Look at `explain`.

Leaving out period i, the ridge error is (M r)ᵢ / Mᵢᵢ with M = λ (X'X + λ I)⁻¹ and r the imbalance that the simplex weights learned
without i leave: one singular value decomposition serves all periods and all λ.

References
----------
Ben-Michael, Feller and Rothstein (2021), JASA 116(536): ridge weights, choice of λ, covariates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numba import njit

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats
from liftwise.models.causal.covariates import Predictor, as_predictor, covariate_means
from liftwise.models.causal.donors import DonorDesign, View
from liftwise.models.causal.panel import Panel
from liftwise.models.causal.question import Question, ask
from liftwise.models.causal.simplex import solve_gram
from liftwise.models.causal.words import amount

if TYPE_CHECKING:
    import plotly.graph_objects as go

PENALTIES = 21  # tried, evenly spaced in logs
SMALLEST = 1e-8  # of them, as a share of the largest: the square of the largest singular value


@dataclass(frozen=True, eq=False)
class RidgeFit:
    """Weights (n,) with and without augmentation; penalties tried (k,), their mean squared error and its standard error (k,)."""

    weights: Floats
    simplex: Floats
    penalty: float
    penalties: Floats
    errors: Floats
    standard_errors: Floats


@dataclass(frozen=True, eq=False)
class Augmentation:
    """What the augmentation changed.

    Parameters
    ----------
    penalty : chosen λ, in the outcome's unit squared.
    imbalance, simplex_imbalance : root of the summed squared gaps before, of the treated units' mean, with and without augmentation.
    bias : estimated bias of the simplex weights, per unit and period: their mean effect minus the augmented one.
    path : penalty, error (mean squared, of left-out columns), standard_error; no rows when the penalty was given.
    weights : by donor: simplex and augmented.
    """

    penalty: float
    imbalance: float
    simplex_imbalance: float
    bias: float
    path: pd.DataFrame = field(repr=False)
    weights: pd.DataFrame = field(repr=False)

    def to_frame(self) -> pd.DataFrame:
        """The penalties tried."""
        return self.path.copy()

    def summary(self) -> str:
        """One sentence."""
        less = 1 - self.imbalance / self.simplex_imbalance if self.simplex_imbalance > 0 else 0.0
        return (
            f"Augmentation took out {less:.0%} of the gap left before the start, "
            f"and moved the effect per unit and period by {amount(-self.bias)}."
        )

    def plot(self) -> go.Figure:
        """Error of left-out columns by penalty."""
        import plotly.graph_objects as go

        bars = {"type": "data", "array": self.path["standard_error"]}
        figure = go.Figure(go.Scatter(x=self.path["penalty"], y=self.path["error"], error_y=bars, mode="lines+markers"))
        figure.add_vline(x=self.penalty, line_dash="dot")
        figure.update_layout(xaxis_title="penalty", yaxis_title="squared error of left-out periods", showlegend=False)
        return figure.update_xaxes(type="log")


class AugmentedSyntheticControl(DonorDesign):
    """Simplex weights plus a ridge correction of the imbalance that they leave before the campaign.

    Parameters
    ----------
    penalty : λ > 0, in the outcome's unit squared; default: chosen by leaving out one period at a time.
    covariates : names or `Predictor` of covariates to balance as well.
    fixed_effects : compare changes from each unit's own mean before the start.
    seed : for the draw of placebo groups when several units are treated.

    Examples
    --------
    >>> weeks = pd.date_range("2025-01-06", periods=30, freq="W-MON")
    >>> wave = np.random.default_rng(1).normal(size=(12, 30)).cumsum(axis=1) + 100
    >>> panel = Panel(wave, tuple(f"r{k:02d}" for k in range(12)), weeks)
    >>> design = AugmentedSyntheticControl()
    >>> found = design.explain(panel, treated="r00", start="2025-06-23")
    >>> found.imbalance < found.simplex_imbalance
    True
    """

    def __init__(
        self,
        *,
        penalty: float | None = None,
        covariates: Sequence[Predictor | str] = (),
        fixed_effects: bool = True,
        seed: int = 7,
    ) -> None:
        if penalty is not None and not 0 < penalty < np.inf:
            raise InputError(f"penalty {penalty} is not a positive number", fix="leave it out to have it chosen")
        super().__init__(seed=seed)
        self.penalty, self.fixed_effects = penalty, fixed_effects
        self.balanced = tuple(as_predictor(given) for given in covariates)
        self.demean = fixed_effects

    @property
    def method(self) -> str:
        """Name in tables."""
        return f"augmented_synthetic_control/{'fixed_effects' if self.fixed_effects else 'outcome'}"

    def covariates(self, panel: Panel, question: Question) -> Floats:
        """Means before the start, (units, q)."""
        return covariate_means(panel, question, self.balanced)

    def predict(self, view: View) -> tuple[Floats, Floats]:
        """The target in periods `view.judge`, and the augmented weights."""
        donors, _, level = self._levelled(view)
        weights = self.fit(view).weights
        return level + weights @ donors[:, view.judge], weights

    def fit(self, view: View) -> RidgeFit:
        """Weights learned on the periods `view.train`, which may be any.

        Raises
        ------
        CannotTell
            With fewer than 3 periods to learn on, when the penalty is to be chosen.
        """
        donors, target, _ = self._levelled(view)
        stacked, aim = _stacked(donors[:, view.train], target[view.train], view.covariates)
        if self.penalty is None and stacked.shape[1] < 3:
            raise CannotTell(
                f"{stacked.shape[1]} periods are too few to choose a penalty", fix="give the penalty, or more periods"
            )
        return _ridge(stacked, aim, self.penalty)

    def explain(
        self, panel: Panel, *, treated: Sequence[str] | str, start: Any, end: Any = None, exclude: Sequence[str] = ()
    ) -> Augmentation:
        """What the augmentation changes in an `estimate` with the same arguments."""
        question = ask(panel, treated, start, end, exclude)
        known = self.covariates(panel, question)
        mean, donors = panel.matrix[question.treated].mean(axis=0), panel.matrix[question.donors]
        before, after = np.arange(question.first), np.arange(question.first, question.last + 1)
        view = View(donors, mean, before, after, np.vstack([known[question.donors], known[question.treated].mean(axis=0)]))
        fit = self.fit(view)
        levelled, aim, _ = self._levelled(view)
        gaps = {name: aim - w @ levelled for name, w in (("simplex", fit.simplex), ("augmented", fit.weights))}
        return Augmentation(
            fit.penalty, float(np.linalg.norm(gaps["augmented"][before])), float(np.linalg.norm(gaps["simplex"][before])),
            float(gaps["simplex"][after].mean() - gaps["augmented"][after].mean()),
            pd.DataFrame({"penalty": fit.penalties, "error": fit.errors, "standard_error": fit.standard_errors}),
            pd.DataFrame({"donor": [panel.units[row] for row in question.donors], "simplex": fit.simplex, "augmented": fit.weights}),
        )  # fmt: skip

    def _levelled(self, view: View) -> tuple[Floats, Floats, float]:
        """Donors and target without their own means over the training periods, and the target's mean."""
        if not self.fixed_effects:
            return view.donors, view.target, 0.0
        level = float(view.target[view.train].mean())
        return view.donors - view.donors[:, view.train].mean(axis=1, keepdims=True), view.target - level, level


def _stacked(donors: Floats, target: Floats, covariates: Floats) -> tuple[Floats, Floats]:
    """Outcomes and, scaled to their standard deviation, covariates; all centred over donors. One that never differs is left out."""
    centred = donors - donors.mean(axis=0)
    spread = covariates[:-1].std(axis=0, ddof=1)
    some = spread > 1e-12 * np.abs(covariates).max(axis=0, initial=0.0)
    beside = (covariates - covariates[:-1].mean(axis=0))[:, some] / spread[some] * centred.std(ddof=1)
    return np.hstack([centred, beside[:-1]]), np.append(target - donors.mean(axis=0), beside[-1])


def _ridge(donors: Floats, aim: Floats, penalty: float | None) -> RidgeFit:
    """Simplex and augmented weights for centred `donors` (n, q) and `aim` (q,)."""
    n, q = donors.shape
    apart = np.ascontiguousarray(donors - aim)
    simplex, left = np.zeros(n), np.empty((q - 1, q))
    solve_gram(apart @ apart.T, np.zeros(n), 0.0, q + 2, simplex)
    u, s, v = np.linalg.svd(donors, full_matrices=False)
    tried = s[0] ** 2 * SMALLEST ** (np.arange(PENALTIES) / (PENALTIES - 1))
    errors, deviations = np.empty(0), np.empty(0)
    if penalty is None and s[0] == 0:
        penalty = 1.0  # donors that are all alike: no penalty makes a difference
    if penalty is None:
        _leave_out(apart, simplex, left)
        squared = _left_out_errors(left, s, v.T, tried) ** 2
        errors, deviations = squared.mean(axis=0), squared.std(axis=0, ddof=1) / np.sqrt(len(squared))
        best = int(np.argmin(errors))
        penalty = float(tried[errors <= errors[best] + deviations[best]].max())
    shift = u @ (s / (s**2 + penalty) * (v @ (aim - simplex @ donors)))
    tried = tried[: len(errors)]
    return RidgeFit(simplex + shift, simplex, penalty, tried, errors, deviations)


def _left_out_errors(left: Floats, s: Floats, v: Floats, penalties: Floats) -> Floats:
    """(M r)ᵢ / Mᵢᵢ for each left-out column i (rows of `left`: its r) and each penalty, (len(left), len(penalties))."""
    held = np.arange(len(left))
    shrunk = penalties / (s[:, None] ** 2 + penalties)
    along = v[held] * (left @ v)
    above, below = along @ shrunk, v[held] ** 2 @ shrunk
    if v.shape[1] < len(v):  # columns that no direction of the donors spans: λ / (0 + λ) = 1
        above += (left[held, held] - along.sum(axis=1))[:, None]
        below += np.maximum(1 - (v[held] ** 2).sum(axis=1), 0.0)[:, None]
    return above / np.maximum(below, 1e-300)


@njit(cache=True)
def _leave_out(apart, whole, left):
    """Row i: what simplex weights learned without column i leave in all columns.

    apart : (n, q) donors minus target. whole : (n,) weights learned with all columns, where each search begins.
    """
    n, q = apart.shape
    gram, zeros = apart @ apart.T, np.zeros(n)
    less = np.empty((n, n))
    for i in range(left.shape[0]):
        for a in range(n):
            for b in range(n):
                less[a, b] = gram[a, b] - apart[a, i] * apart[b, i]
        weights = whole.copy()
        solve_gram(less, zeros, 0.0, q + 1, weights)
        left[i] = 0.0
        for a in range(n):
            if weights[a] > 0.0:
                left[i] -= weights[a] * apart[a]
