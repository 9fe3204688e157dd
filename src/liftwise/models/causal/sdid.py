"""Synthetic difference in differences: donors that moved alike, and periods that resemble those to be judged.

effect = (treated − Σ ωᵢ donorᵢ) after − the same before, the latter averaged with time weights λ. ω and λ lie on the simplex:

- ω with an intercept and a ridge ζ² T₀ ‖ω‖² that spreads it, ζ = (treated units · periods judged)^¼ · σ,
  σ the standard deviation of the donors' period-to-period changes before the start;
- λ with an intercept and a ridge so small (10⁻⁶ σ) that it only makes λ unique: the mix of earlier periods that best resembles, over
  donors, the mean of the periods judged.

Both are solved exactly (`simplex`): the ridge is added to the diagonal of the Gram matrix. One period's counterfactual is the mix of
donors plus the λ-weighted gap before. All placebos share one Gram matrix for ω and one for λ, from which a placebo takes its units
out. Time weights are learned from units that were never treated, so that no effect leaks into them.

References
----------
Arkhangelsky, Athey, Hirshberg, Imbens and Wager (2021), AER 111(12), Algorithm 1 and equations (4) to (7). As there, ζ is
set once and serves all placebos.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import Floats
from liftwise.models.causal.at_once import AtOnce, Periods, Roles, placebos_at_once
from liftwise.models.causal.donors import DonorDesign, View
from liftwise.models.causal.panel import Panel
from liftwise.models.causal.placebo import Placebos
from liftwise.models.causal.question import ask
from liftwise.models.causal.simplex import fit_targets

TINY = 1e-6  # the ridge of the time weights, in units of σ
NOBODY = np.full((1, 1), -1, dtype=np.int64)


class SyntheticDiD(DonorDesign):
    """The effect of a campaign by donor weights and time weights.

    Parameters
    ----------
    ridge : ζ, in the outcome's unit; None takes the paper's.
    seed : for the draw of placebo groups when several units are treated.

    Examples
    --------
    >>> import pandas as pd
    >>> from liftwise.core.uncertainty import spawn
    >>> values = spawn(7, "example").normal(size=(14, 40)) + np.add.outer(np.arange(14.0), 3 * np.sin(np.arange(40.0)))
    >>> values[0, 34:] += 5
    >>> panel = Panel(values, tuple(f"r{k:02d}" for k in range(14)), pd.RangeIndex(40))
    >>> lift = SyntheticDiD().estimate(panel, treated="r00", start=34)
    >>> bool(20 < lift.effect < 40), bool(lift.p_value < 0.10)
    (True, True)
    """

    demean = True

    def __init__(self, *, ridge: float | None = None, seed: int = 7) -> None:
        if ridge is not None and not 0 <= ridge < np.inf:
            raise InputError(f"a ridge of {ridge} means nothing", fix="give a number from 0 up, or leave it out")
        super().__init__(seed=seed)
        self.ridge = ridge

    @property
    def method(self) -> str:
        """Name in tables."""
        return "synthetic_did"

    def settle(self, values: Floats, size: int, pre: int) -> SyntheticDiD:
        """The same design with ζ set for this question; the first `size` rows of `values` (units, t) are treated."""
        if self.ridge is not None:
            return self
        return SyntheticDiD(ridge=_ridge(values[size:, :pre], size, values.shape[1] - pre), seed=self.seed)

    def predict(self, view: View) -> tuple[Floats, Floats]:
        """The donors' mix plus the λ-weighted gap before; without a set ridge, that of one treated unit."""
        ridge = self.ridge
        if ridge is None:
            ridge = _ridge(view.donors[:, view.train], 1, len(np.setdiff1d(view.judge, view.train)))
        values, last = np.vstack([view.donors, view.target]), np.array([[len(view.donors)]])
        found = weighted_gaps(values, Roles(last, last, np.zeros(len(values)), last[0]), ridge, view.train, view.judge)[0]
        return view.target[view.judge] - found.gaps[0], found.weights[:-1]

    def time_weights(self, panel: Panel, *, treated: Sequence[str] | str, start: Any, end: Any = None, exclude: Sequence[str] = ()) -> Floats:  # fmt: skip
        """(periods before,) λ, learned from the donors."""
        question = ask(panel, treated, start, end, exclude)
        values = panel.matrix[question.donors, : question.last + 1]
        pre = np.arange(question.first)
        nobody = Roles(NOBODY, NOBODY, np.zeros(len(values)), np.empty(0, np.int64))
        return _time_weights(values, nobody, pre, np.arange(question.first, question.last + 1))[0][0]

    def placebos(self, values: Floats, treated: list[int], pre: int, covariates: Floats) -> Placebos:
        """All placebos from two Gram matrices."""
        order = [*sorted(treated), *np.setdiff1d(np.arange(len(values)), treated)]
        ridge = self.settle(values[order], len(treated), pre).ridge or 0.0
        roles = Roles.of(values, treated, pre, self.seed, self.groups)
        warm = np.empty((0, len(values)))  # weights for the whole time before are near those without a block of it

        def gaps(train: Periods, judge: Periods) -> AtOnce:
            nonlocal warm
            found, warm = weighted_gaps(values, roles, ridge, train, judge, warm)
            return found

        return placebos_at_once(gaps, roles, values, pre)


def _ridge(donors: Floats, size: int, judged: int) -> float:
    """ζ from the donors (n, periods before)."""
    return float((size * judged) ** 0.25 * np.std(np.diff(donors, axis=1), ddof=1))


def weighted_gaps(
    values: Floats, roles: Roles, ridge: float, train: Periods, judge: Periods, start: Floats | None = None
) -> tuple[AtOnce, Floats]:
    """Learn ω and λ on `train` for every row of `roles`; gaps in `judge` beside the λ-weighted gap on `train`, and all ω (m + 1, n).

    start : ω of a similar fit, which save time and change nothing.
    """
    past = values[:, train] - values[:, train].mean(axis=1, keepdims=True)
    past = past - past.mean(axis=0)  # weights sum to 1: a shift of all leaves them as they are, and spares digits
    targets = past[roles.groups].mean(axis=1)
    gram = past @ past.T + np.eye(len(past)) * (ridge**2 * len(train))
    seen = np.column_stack([values[:, train], values[:, judge], roles.split])
    rank = len(past) if ridge else len(train)
    aims = np.ascontiguousarray(seen[roles.groups].mean(axis=1))
    start = np.empty((0, len(past))) if start is None else start
    gaps, weights, duality = fit_targets(
        gram, targets @ past.T, np.sum(targets**2, axis=1), roles.barred, rank, seen, aims, start
    )  # fmt: skip
    times, worst = _time_weights(values, roles, train, np.setdiff1d(judge, train))
    before = np.sum(gaps[:, : len(train)] * times, axis=1, keepdims=True)
    return AtOnce(gaps[:, len(train) : -1] - before, gaps[:, -1], weights[0], max(duality, worst)), weights


def _time_weights(values: Floats, roles: Roles, train: Periods, post: Periods) -> tuple[Floats, float]:
    """(m + 1, len(train)) λ of every row of `roles`, from the units that were never treated and play no part; duality gap."""
    level = values[:, train].mean(axis=1, keepdims=True)  # λ sums to 1: again a shift that spares digits
    told = np.column_stack([values[:, train] - level, values[:, post].mean(axis=1) - level[:, 0]])
    free = np.delete(np.arange(len(values)), roles.own)
    counted = np.zeros(len(values) + 1, np.bool_)  # the last for −1, which is nobody
    counted[free] = True
    tiny = (TINY * float(np.std(np.diff(values[np.ix_(free, train)], axis=1)))) ** 2
    told -= told[free].mean(axis=0)
    whole = told[free].T @ told[free]
    found, worst = np.empty((len(roles.groups), len(train))), 0.0
    for row, barred in enumerate(roles.barred):
        out = told[barred[counted[barred]]]
        found[row], gap = _solve_times(whole, out, len(free), tiny, found[: min(row, 1)])
        worst = max(worst, gap)
    return found, worst


def _solve_times(whole: Floats, out: Floats, units: int, tiny: float, start: Floats) -> tuple[Floats, float]:
    """λ when the units `out` (k, periods + 1) leave the centred second moments `whole` of `units` units; `start`: λ to begin from."""
    total, left = out.sum(axis=0), units - len(out)
    moments = whole - out.T @ out - np.outer(total, total) / left  # the rest sums to −total
    gram = np.ascontiguousarray(moments[:-1, :-1]) + np.eye(len(moments) - 1) * (tiny * left)
    cross, square = moments[-1:, :-1].copy(), np.array([moments[-1, -1]])
    nothing = np.zeros((len(gram), 1))
    _, weights, gap = fit_targets(gram, cross, square, NOBODY, len(gram), nothing, nothing[:1], start)
    return weights[0], gap
