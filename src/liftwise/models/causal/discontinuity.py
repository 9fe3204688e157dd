"""Regression discontinuity: what changes at once where a rule begins to hold.

Units just below and just above a cutoff of a running variable are alike but for the treatment that begins there (a discount from 50 euros on, a
campaign for creators above 10,000 followers). Straight lines, weighted towards the cutoff, are fitted on either side; the jump between
them is the effect at the cutoff. A line misses what bends: the bias is estimated with a wider bandwidth and taken off, and the standard error
grows by what that costs (robust bias correction). Where the running variable is time, use `LaunchDiscontinuity`: errors that follow one
another make this one reject 11–36 % of true nulls.

References
----------
Calonico, Cattaneo and Titiunik (2014), Econometrica 82(6), Theorem 1 and §4; Calonico, Cattaneo, Farrell and Titiunik (2019), REStat 101(3),
for covariates; Cattaneo, Frandsen and Titiunik (2015), Journal of Causal Inference 3(1), for the example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats
from liftwise.models.causal.bandwidth import (
    VARIANCES,
    Bandwidth,
    Errors,
    Side,
    adjustment,
    local_weights,
    mse_bandwidth,
    triangular,
)
from liftwise.models.causal.inference import StudentTest, bounded
from liftwise.models.causal.words import amount, chance

if TYPE_CHECKING:
    import plotly.graph_objects as go

BINS = 20  # points of the figure on each side


@dataclass(frozen=True, eq=False)
class Jump:
    """The effect at the cutoff, in the outcome's unit.

    Parameters
    ----------
    conventional : the jump between the lines; its standard error takes them to be straight.
    robust : the jump less its estimated bias, with a standard error that counts that estimate in. Judge by this one.
    bandwidth : h within which lines are fitted, b for the bias.
    points, effective : on the left and on the right; effective: those within h.
    slopes : of the covariates.
    """

    outcome: str
    running: str
    cutoff: float
    conventional: StudentTest
    robust: StudentTest
    bandwidth: Bandwidth
    points: tuple[int, int]
    effective: tuple[int, int]
    slopes: pd.Series = field(repr=False)
    bins: pd.DataFrame = field(repr=False)

    @property
    def effect(self) -> float:
        """The bias-corrected jump."""
        return self.robust.effect

    @property
    def p_value(self) -> float:
        """Of no jump, by the robust test."""
        return self.robust.p_value

    def interval(self, level: float = 0.90) -> tuple[float, float]:
        """Of the jump, by the robust test: p < 1 − level exactly when it excludes 0."""
        return bounded(self.robust, level)

    def to_frame(self, level: float = 0.90) -> pd.DataFrame:
        """One row for each of the two tests."""
        rows = []
        for name, test in (("conventional", self.conventional), ("robust", self.robust)):
            low, high = test.interval(level) or (np.nan, np.nan)
            rows.append(
                {
                    "test": name,
                    "effect": test.effect,
                    "standard_error": test.error,
                    "low": low,
                    "high": high,
                    "p_value": test.p_value,
                }
            )
        return pd.DataFrame(rows)

    def summary(self, level: float = 0.90) -> str:
        """One sentence for a manager."""
        low, high = self.interval(level)
        more = "more" if self.effect >= 0 else "less"
        nothing = ", so it may as well be nothing" if low <= 0 <= high else ""
        return (
            f"Where {self.running} reaches {amount(self.cutoff)}, {self.outcome} is {amount(abs(self.effect))} {more} at once, {level:.0%} interval "
            f"{amount(low)} to {amount(high)}; chance alone would show as much {chance(self.p_value)}{nothing}. It holds near the cutoff only "
            f"({sum(self.effective)} of {sum(self.points)} units lie within {amount(self.bandwidth.main)} of it)."
        )

    def plot(self) -> go.Figure:
        """Averages of the outcome in bins on either side."""
        import plotly.graph_objects as go

        figure = go.Figure()
        for side, rows in self.bins.groupby("side", sort=False):
            figure.add_scatter(x=rows["x"], y=rows["y"], mode="markers", name=str(side))
            figure.add_scatter(x=rows["x"], y=rows["line"], mode="lines", name=f"line, {side}")
        figure.add_vline(x=self.cutoff, line={"dash": "dot", "width": 1})
        figure.update_layout(
            template="plotly_white", xaxis_title=self.running, yaxis_title=self.outcome, title="The jump at the cutoff"
        )
        return figure


class Discontinuity:
    """Sharp regression discontinuity: local linear, triangular kernel.

    Parameters
    ----------
    cutoff : treatment holds from here on.
    bandwidth, bias_bandwidth : h and b in the running variable's unit; by default those with the smallest mean squared error. With h
        alone given, b = h.
    errors : ``"nn"`` (three nearest neighbours) or ``"hc1"`` (the fit's residuals).

    Examples
    --------
    >>> from liftwise.core.uncertainty import spawn
    >>> random = spawn(7, "jump")
    >>> x = random.uniform(-1, 1, 800)
    >>> frame = pd.DataFrame({"followers": x, "sales": np.sin(x) + 2 * (x >= 0) + 0.3 * random.normal(size=800)})
    >>> jump = Discontinuity().estimate(frame, outcome="sales", running="followers")
    >>> bool(abs(jump.effect - 2) < 0.2), jump.p_value < 0.001
    (True, True)
    """

    def __init__(
        self, *, cutoff: float = 0.0, bandwidth: float | None = None, bias_bandwidth: float | None = None, errors: Errors = "nn",
    ) -> None:  # fmt: skip
        if errors not in VARIANCES:
            raise InputError(f"errors {errors!r} are unknown", fix="choose nn or hc1")
        for width in (bandwidth, bias_bandwidth):
            if width is not None and not width > 0:
                raise InputError(f"a bandwidth of {width} holds nothing", fix="give one above 0, or none")
        if bias_bandwidth is not None and bandwidth is None:
            raise InputError("a bias bandwidth is given without a bandwidth", fix="give both, or none")
        self.cutoff, self.bandwidth, self.bias_bandwidth, self.errors = cutoff, bandwidth, bias_bandwidth, errors

    def estimate(self, frame: pd.DataFrame, *, outcome: str, running: str, covariates: Sequence[str] = ()) -> Jump:
        """Estimate the jump of `outcome` where `running` reaches the cutoff; rows with a hole are left out.

        Raises
        ------
        InputError
            For a column that does not exist or holds no numbers.
        CannotTell
            With fewer than 10 different points on a side, or none on one of them near the cutoff, or an outcome that never moves.
        """
        used = _numbers(frame, [outcome, running, *covariates])
        x = used[running].to_numpy() - self.cutoff
        y, z = used[outcome].to_numpy(), used[list(covariates)].to_numpy().reshape(len(used), len(covariates))
        if len(y) and np.ptp(y) == 0:
            raise CannotTell(f"{outcome} never moves", fix="check the data")
        left, right = (Side(x[part], y[part], z[part]) for part in (x < 0, x >= 0))
        for side, where in ((left, "below"), (right, "at or above")):
            if not len(side.x):
                raise CannotTell(f"no row has {running} {where} {self.cutoff:g}", fix="check the cutoff")
        width = self._bandwidth(left, right)
        kernels = triangular(left.x, width.main), triangular(right.x, width.main)
        slopes = adjustment((left, right), kernels, 1)
        parts = [_boundary(Side(side.x, side.y - side.z @ slopes, side.z), width, self.errors) for side in (left, right)]
        tests = [
            StudentTest(parts[1][k] - parts[0][k], float(np.sqrt(parts[0][k + 1] + parts[1][k + 1]))) for k in (0, 2)
        ]  # fmt: skip
        bins = pd.concat([_bins(side, kernel, slopes, self.cutoff) for side, kernel in zip((left, right), kernels, strict=True)])
        return Jump(
            outcome, running, self.cutoff, *tests, width, (len(left.x), len(right.x)), tuple(int(np.sum(k > 0)) for k in kernels),
            pd.Series(slopes, index=list(covariates), name="slope", dtype=float), bins.reset_index(drop=True),
        )  # fmt: skip

    def _bandwidth(self, left: Side, right: Side) -> Bandwidth:
        if self.bandwidth is None:
            return mse_bandwidth(left, right, VARIANCES[self.errors])
        return Bandwidth(self.bandwidth, self.bias_bandwidth or self.bandwidth, float("nan"))


def _numbers(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    absent = [name for name in names if name not in frame.columns]
    if absent:
        raise InputError(f"missing column {', '.join(absent)}", fix=f"there are {', '.join(map(str, frame.columns))}")
    try:
        used = frame[names].astype("float64").dropna()
    except (ValueError, TypeError):
        raise InputError(f"{', '.join(names)} are not all numbers", fix="give plain numbers") from None
    if np.isinf(used.to_numpy()).any():
        raise InputError("there are infinite numbers", fix="remove or correct them")
    return used


def _boundary(side: Side, width: Bandwidth, errors: Errors) -> tuple[float, float, float, float]:
    """Height of the line at the cutoff and its variance; then both again, less the bias."""
    near = side.within(max(width.main, width.bias))
    narrow, wide = triangular(near.x, width.main), triangular(near.x, width.bias)
    line = local_weights(near.x, narrow, 1)[0]
    curve = local_weights(near.x, wide, 2)[2]
    corrected = line - float(line @ near.x**2) * curve
    variance = VARIANCES[errors]
    plain = variance(line, near.y, near.x, narrow, 1)
    robust = variance(corrected, near.y, near.x, wide, 2)
    return float(line @ near.y), plain, float(corrected @ near.y), robust


def _bins(side: Side, kernel: Floats, slopes: Floats, cutoff: float) -> pd.DataFrame:
    """Averages by distance, and the line where it was fitted."""
    clean = side.y - (side.z - side.z.mean(axis=0)) @ slopes
    level, slope = local_weights(side.x, kernel, 1) @ clean
    edges = np.linspace(side.x.min(), side.x.max(), BINS + 1)
    bin_of = np.clip(np.searchsorted(edges, side.x, side="right") - 1, 0, BINS - 1)
    means = pd.DataFrame({"x": side.x, "y": clean}).groupby(bin_of).mean()
    line = level + slope * means["x"]
    fitted: Any = line.where(means["x"].abs() <= np.abs(side.x[kernel > 0]).max())
    return pd.DataFrame({"side": "left" if side.x[0] < 0 else "right", "x": cutoff + means["x"], "y": means["y"], "line": fitted})
