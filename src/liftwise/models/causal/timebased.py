"""Time-based regression: the treated group's total follows the control group's as it did before.

y_t = α + β x_t + ε_t is fitted over the pre-period, y and x the totals of treated and control units. What the treated total has
above α + β x afterwards is the effect; its posterior (flat prior) is Student's t with n − 2 degrees of freedom, and errs by the noise of
the m periods judged and by what is not known of α and β: s²·(m + m² v'(X'X)⁻¹v), v = (1, mean of x while judged).

It takes the noise of one period to say nothing of the next. Where it does (the check "what is left"), the interval is too narrow;
`SyntheticControl` with placebos keeps its word there.

References
----------
Kerman, Wang and Vaver (2017), Estimating ad effectiveness using geo experiments in a time-based regression framework, Google.
Fieller (1954), JRSS B 16(2), for the ratio of two uncertain effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats
from liftwise.models.causal.checks import Check
from liftwise.models.causal.inference import StudentTest, bounded
from liftwise.models.causal.lift import Lift
from liftwise.models.causal.panel import Panel
from liftwise.models.causal.question import ask, data_check
from liftwise.models.causal.structural import whiteness
from liftwise.models.causal.words import amount

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from liftwise.models.causal.inference import Test

TOO_SURE = "the interval is too narrow: prefer a design with placebos"


class TimeBasedRegression:
    """The effect in a group of units from the total of those in which the campaign did not run.

    Examples
    --------
    >>> random = np.random.default_rng(1)
    >>> days = pd.date_range("2025-01-06", periods=60)
    >>> sales = 100 + 10 * random.normal(size=60) + random.normal(size=(8, 60))
    >>> sales[:2, 45:] += 5
    >>> panel = Panel(sales, tuple("abcdefgh"), days)
    >>> design = TimeBasedRegression()
    >>> lift = design.estimate(panel, treated=["a", "b"], start="2025-02-20")
    >>> low, high = lift.interval(0.90)
    >>> bool(low < 150 < high), round(IncrementalReturn.of(lift, cost=50.0).effect)
    (True, 3)
    """

    method = "time_based_regression"

    def estimate(
        self, panel: Panel, *, treated: Sequence[str] | str, start: Any, end: Any = None, exclude: Sequence[str] = ()
    ) -> Lift:
        """Estimate the effect in `treated` from the period holding `start` to the one holding `end` (default: the last).

        `weights` of the result are the slope β of every control unit, as each counts alike.

        Raises
        ------
        InputError
            For a unit that does not exist, or dates outside the panel.
        CannotTell
            With fewer than 8 periods before, fewer than 3 control units, or a total that never moves before the start.
        """
        question = ask(panel, treated, start, end, exclude)
        pre, last = question.first, question.last + 1
        y, x = panel.matrix[question.treated, :last].sum(axis=0), panel.matrix[question.donors, :last].sum(axis=0)
        if np.ptp(x[:pre]) <= 1e-12 * np.abs(x[:pre]).max():
            raise CannotTell("the control units' total never moves before the start", fix="check the data")
        fit = _Line.of(x[:pre], y[:pre])
        would = fit.intercept + fit.slope * x
        when = panel.periods[:last]
        names = pd.Index([panel.units[row] for row in question.donors], name="donor")
        return Lift(
            effect=float((y - would)[pre:].sum()), treated=tuple(panel.units[row] for row in question.treated), outcome=panel.outcome,
            method=self.method, weights=pd.Series(fit.slope, index=names, name="weight"),
            actual=pd.Series(y, index=when, name="actual"), counterfactual=pd.Series(would, index=when, name="counterfactual"),
            pre_periods=pre, pre_rmspe=float(np.sqrt(np.mean((y - would)[:pre] ** 2)) / len(question.treated)),
            checks=(_fit(fit, y[:pre]), _range(x, pre), whiteness((y - would)[:pre], TOO_SURE), data_check(panel, question)),
            test=fit.test(x[pre:], y[pre:]), period_test=lambda k: fit.test(x[k : k + 1], y[k : k + 1]) if k >= pre else None,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Line:
    """y on x by least squares, with what is needed for the error of a sum of predictions."""

    intercept: float
    slope: float
    noise: float
    n: int
    centre: float
    spread: float

    @classmethod
    def of(cls, x: Floats, y: Floats) -> _Line:
        centre, spread = float(x.mean()), float(np.sum((x - x.mean()) ** 2))
        slope = float((x - centre) @ (y - y.mean())) / spread
        intercept = float(y.mean()) - slope * centre
        noise = float(np.sqrt(np.sum((y - intercept - slope * x) ** 2) / (len(x) - 2)))
        return cls(intercept, slope, noise, len(x), centre, spread)

    def test(self, x: Floats, y: Floats) -> StudentTest:
        """Test the sum of y above the line at x."""
        m = len(x)
        unknown = 1 / self.n + (x.mean() - self.centre) ** 2 / self.spread
        effect = float(np.sum(y - self.intercept - self.slope * x))
        return StudentTest(effect, float(self.noise * np.sqrt(m + m**2 * unknown)), self.n - 2)


def _fit(fit: _Line, y: Floats) -> Check:
    """How much of the treated total's movement the control total follows."""
    ratio = fit.noise / float(y.std(ddof=1))
    verdict = "fail" if ratio > 0.95 else "warn" if ratio > 0.75 else "ok"
    sentence = f"Before the start, the error is {ratio:.0%} of the outcome's own movement; a control unit counts {fit.slope:.3g}."
    if fit.slope <= 0:
        verdict, sentence = "fail", sentence + " The groups move against each other: they are not alike."
    table = pd.DataFrame({"intercept": [fit.intercept], "slope": [fit.slope], "error": [fit.noise], "ratio": [ratio]})
    return Check("pre-period fit", verdict, sentence, table)


def _range(x: Floats, pre: int) -> Check:
    """Whether the control total stays where the line was learned."""
    outside = (x[pre:] < x[:pre].min()) | (x[pre:] > x[:pre].max())
    sentence = f"In {outside.sum()} of {len(outside)} periods judged the control total lies outside what was seen before."
    return Check("range", "warn" if outside.mean() > 0.2 else "ok", sentence, pd.DataFrame({"outside": outside}))


def relative_interval(lift: Lift, level: float = 0.90) -> tuple[float, float]:
    """Interval of the effect as a share of what would have been: that is the actual total less the effect.

    Raises
    ------
    CannotTell
        Where the interval allows that nothing, or less, would have been.
    """
    low, high = lift.interval(level)
    actual = float(lift.actual.iloc[lift.pre_periods :].sum())
    if actual - high <= 0:
        raise CannotTell(
            "what would have been may be nothing at all, so a share of it cannot be told", fix="read the effect itself"
        )
    return low / (actual - low), high / (actual - high)


# --- return on the money


@dataclass(frozen=True, eq=False)
class FiellerTest:
    """A ratio of two independent effects, each Student's t with `df` degrees of freedom (Fieller).

    A ratio r is rejected where |effect − r·cost| is large beside √(error² + r²·cost_error²).

    >>> test = FiellerTest(30.0, 3.0, 10.0, 0.0, 40)
    >>> test.effect, [round(end, 3) for end in test.interval(0.90)]
    (3.0, [2.495, 3.505])
    """

    above: float
    error: float
    below: float
    below_error: float
    df: float

    @property
    def effect(self) -> float:
        """The ratio itself."""
        return self.above / self.below

    @property
    def p_value(self) -> float:
        """Of a ratio of 0: that of no effect above."""
        return StudentTest(self.above, self.error, self.df).p_value

    def interval(self, level: float) -> tuple[float, float] | None:
        """All ratios that are not rejected; None where the cost itself is not told from 0 at that level."""
        from scipy.stats import t

        q = float(t.ppf(0.5 + level / 2, self.df)) ** 2
        a = self.below**2 - q * self.below_error**2
        if a <= 0:
            return None
        b, c = self.above * self.below, self.above**2 - q * self.error**2
        root = np.sqrt(max(b * b - a * c, 0.0))
        return float((b - root) / a), float((b + root) / a)

    def refusal(self, level: float) -> CannotTell:
        """The cost may be nothing."""
        return CannotTell(
            f"at {level:.0%} the campaign's cost is not told from 0, so no return on it is", fix="give what was spent as a number"
        )


@dataclass(frozen=True, eq=False)
class IncrementalReturn:
    """Incremental outcome per unit of incremental cost (iROAS), with its test."""

    effect: float
    cost: float
    lift: Lift = field(repr=False)
    test: Test = field(repr=False)

    @classmethod
    def of(cls, lift: Lift, cost: float | Lift) -> IncrementalReturn:
        """From a lift with a Student test and what was spent.

        Parameters
        ----------
        cost : the money spent because of the campaign, or its estimate: the lift of the cost by the same design (where money was spent
            before as well). The two are then taken to err independently.

        Raises
        ------
        InputError
            For a cost that is not positive, or a lift of another design.
        """
        if not isinstance(lift.test, StudentTest) or (isinstance(cost, Lift) and not isinstance(cost.test, StudentTest)):
            raise InputError("a return needs a Student test of outcome and cost", fix="estimate both by TimeBasedRegression")
        spent = cost.effect if isinstance(cost, Lift) else float(cost)
        if not spent > 0:
            raise InputError(f"a cost of {spent:g} has no return", fix="give what was spent, above 0")
        of = lift.test
        test: Test = StudentTest(of.effect / spent, of.error / spent, of.df)
        if isinstance(cost, Lift) and isinstance(cost.test, StudentTest):
            test = FiellerTest(of.effect, of.error, spent, cost.test.error, of.df)
        return cls(test.effect, spent, lift, test)

    @property
    def p_value(self) -> float:
        """How often chance alone would show as much."""
        return self.test.p_value

    def interval(self, level: float = 0.90) -> tuple[float, float]:
        """All returns not rejected at 1 − `level`; CannotTell where the cost is not told from 0."""
        return bounded(self.test, level)

    def lower(self, level: float = 0.90) -> float:
        """One-sided: the return is at least this, at `level` (above one half)."""
        return self.interval(2 * level - 1)[0]

    def to_frame(self, level: float = 0.90) -> pd.DataFrame:
        """One row."""
        low, high = self.interval(level)
        return pd.DataFrame({
            "iroas": [self.effect], "low": [low], "high": [high], "p_value": [self.p_value], "effect": [self.lift.effect], "cost": [self.cost],
        })  # fmt: skip

    def summary(self, level: float = 0.90) -> str:
        """One sentence for a manager."""
        low, high = self.interval(level)
        return (
            f"Each unit of money brought {amount(self.effect)} of {self.lift.outcome}, {level:.0%} interval {amount(low)} to {amount(high)}"
            f" ({amount(self.cost)} spent)."
        )

    def plot(self) -> go.Figure:
        """The interval at every level: how sure, how wide."""
        import plotly.graph_objects as go

        levels = np.linspace(0.05, 0.99, 48)
        ends = np.array([self.test.interval(level) or (np.nan, np.nan) for level in levels])
        figure = go.Figure()
        for side, name in ((0, "low"), (1, "high")):
            figure.add_scatter(x=ends[:, side], y=levels, name=name, line={"color": "#2f6f9f"}, showlegend=False)
        figure.add_vline(x=self.effect, line={"color": "#1f2933"})
        figure.add_vline(x=1, line={"color": "#1f2933", "dash": "dot"}, annotation_text="money back")
        return figure.update_layout(
            template="plotly_white", xaxis_title="return on each unit of money", yaxis_title="level of the interval"
        )
