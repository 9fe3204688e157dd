"""What a campaign caused: the estimate with its uncertainty and its falsification."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell
from liftwise.core.uncertainty import normal_quantile
from liftwise.models.causal.checks import Check
from liftwise.models.causal.inference import Test, bounded
from liftwise.models.causal.placebo import Placebos
from liftwise.models.causal.words import amount, chance, one_line

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False)
class Lift:
    """The effect of a campaign in the units and periods it ran in.

    Parameters
    ----------
    effect : total over the periods from `start` to `end` and over all `treated` units, in the outcome's unit.
    weights : by donor, largest first; donors of weight 0 are left out; empty where the design has no donors.
    actual, counterfactual : by period, from the panel's beginning to `end`: sums over the treated units.
    pre_rmspe : root mean squared gap before the start, of the treated units' mean.
    checks : what could make it wrong, looked at.

    test : gives p-value and intervals: p < 1 − level exactly when the interval of that level excludes 0.
    period_test : the same for the effect of one period (its number), where the design can tell.
    placebos : what was found where nothing happened, when that was looked at.
    duality_gap : largest duality gap of all fits, as a share of the donors' mean squared distance: 0 means solved exactly.
    """

    effect: float
    treated: tuple[str, ...]
    outcome: str
    method: str
    weights: pd.Series
    actual: pd.Series = field(repr=False)
    counterfactual: pd.Series = field(repr=False)
    pre_periods: int
    pre_rmspe: float
    checks: tuple[Check, ...]
    test: Test = field(repr=False)
    period_test: Callable[[int], Test | None] = field(repr=False, default=lambda _: None)
    placebos: Placebos | None = field(repr=False, default=None)
    duality_gap: float = 0.0

    @property
    def gap(self) -> pd.Series:
        """Actual minus counterfactual: a fit's error before the start, the effect from then on."""
        return self.actual - self.counterfactual

    @property
    def start(self) -> Any:
        """First period with the campaign."""
        return self.actual.index[self.pre_periods]

    @property
    def end(self) -> Any:
        """Last period counted."""
        return self.actual.index[-1]

    @property
    def p_value(self) -> float:
        """How often chance alone would show as much."""
        return self.test.p_value

    @property
    def relative(self) -> float:
        """The effect as a share of what would have been; not a number where that is nothing or less."""
        base = float(self.counterfactual.iloc[self.pre_periods :].sum())
        return self.effect / base if base > 0 else float("nan")

    def interval(self, level: float = 0.90) -> tuple[float, float]:
        """All effects that the test does not reject at 1 − `level`.

        Raises
        ------
        CannotTell
            When the test cannot bound the effect at that level, such as with too few placebos.
        """
        return bounded(self.test, level)

    def to_frame(self, test_id: str = "", level: float = 0.90) -> pd.DataFrame:
        """Table `lift`: one row per period; `low` and `high` are the interval of that period, from the start on."""
        low, high = self.band(level)
        return pd.DataFrame({
            "test_id": test_id, "unit": ";".join(self.treated), "week": self.actual.index, "actual": self.actual.to_numpy(),
            "counterfactual": self.counterfactual.to_numpy(), "effect": self.gap.to_numpy(), "low": low, "high": high,
        })  # fmt: skip

    def band(self, level: float = 0.90) -> tuple[np.ndarray, np.ndarray]:
        """Interval of each period's effect; not a number before the start and where it has no bound."""
        ends = np.full((2, len(self.actual)), np.nan)
        for k in range(self.pre_periods, len(self.actual)):
            test = self.period_test(k)
            found = None if test is None else test.interval(level)
            if found is not None:
                ends[:, k] = np.where(np.isfinite(found), found, np.nan)
        return ends[0], ends[1]

    def result_row(self, test_id: str = "", level: float = 0.90) -> dict[str, Any]:
        """Table `lift_results`. The standard error is that of the normal whose interval of `level` is as wide."""
        try:
            low, high = self.interval(level)
        except CannotTell:
            low = high = float("nan")
        return {
            "test_id": test_id, "method": self.method, "effect": self.effect,
            "standard_error": (high - low) / 2 / normal_quantile(level), "low": low, "high": high, "p_value": self.p_value,
            "checks": json.dumps([check.to_dict() for check in self.checks], ensure_ascii=False),
        }  # fmt: skip

    def summary(self, level: float = 0.90) -> str:
        """One sentence for a manager."""
        who = self.treated[0] if len(self.treated) == 1 else f"{len(self.treated)} units together"
        more = "more" if self.effect >= 0 else "less"
        share = "" if np.isnan(self.relative) else f" ({abs(self.relative):.1%})"
        says = f"{who} had {amount(abs(self.effect))}{share} {more} {self.outcome} than without the campaign"
        try:
            low, high = self.interval(level)
        except CannotTell as reason:
            return f"{says}, but how sure that is cannot be told: {one_line(reason)}."
        says += f", {level:.0%} interval {amount(low)} to {amount(high)}; chance alone would show as much {chance(self.p_value)}"
        return says + ("." if not low <= 0 <= high else ", so it may as well be nothing.") + self._doubts()

    def _doubts(self) -> str:
        failed = [check.name for check in self.checks if check.verdict == "fail"]
        return f" In doubt: {', '.join(failed)} (see the checks)." if failed else ""

    def plot(self, level: float = 0.90) -> go.Figure:
        """Actual beside counterfactual, and the gap among its placebos."""
        from liftwise.models.causal.plots import lift_figure

        return lift_figure(self, level)
