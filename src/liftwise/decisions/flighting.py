"""Which channel gets how much in which week: response curves and carry-over → a schedule, with a bound.

A week's media work on with what earlier weeks left behind: carried_t = Σ_l w_l · spend_{t−l}, revenue_t = f(carried_t), where f is the
channel's response to a steady spend. What ran before the plan still works in its first weeks, and its last weeks work on after it, while
spending is supposed to go on as today.

A plan is worth what it brings beyond today's plan (recent mean spend, every week): mean over the draws of curves and carry-over, less
`risk_aversion` times the distance to the mean of the worst tenth (CVaR). Half of the draws choose; the other half say what it will bring,
so that the gain is not flattered by having been chosen. Curves are cubic between their points and keep their shape (no new humps).

The bound: on concave envelopes of the curves the worth is concave, so that its tangent at the plan, maximised over all plans that the
rules allow, is worth at least as much as the best of them (the Frank–Wolfe gap).

References
----------
Fritsch and Carlson (1980), SIAM J. Numerical Analysis 17(2), for the curves; Rockafellar and Uryasev (2000), Journal of Risk 2(3), for CVaR;
Jaggi (2013), ICML, for the gap.
"""

# pyright: basic
# (numba, scipy and plotly have no types)
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numba import njit

from liftwise.core.errors import CannotTell, Infeasible, InputError
from liftwise.core.uncertainty import Estimate, Floats
from liftwise.decisions.allocation import curves_of, envelope, to_cents

if TYPE_CHECKING:
    import plotly.graph_objects as go


WORST = 0.1  # share of draws that count as the bad case
FEWEST = 8  # draws
ROUNDS = 200  # of the optimiser
TANGENTS = 10  # of the bound
FINE = 8  # parts of a curve's interval in the bound: a kink makes a tangent steeper than need be


@dataclass(frozen=True, eq=False)
class Flight:
    """A schedule and its proof.

    Parameters
    ----------
    recommended, current : week × channel, money.
    gain : revenue beyond today's plan, on draws that did not choose; `worst` its mean over the worst tenth of them.
    value, bound : of the choosing worth, beyond today's plan; no plan within the rules is worth more than `bound`.
    revenue : what today's plan brings, mean of the choosing draws.
    """

    scenario: str
    recommended: pd.DataFrame = field(repr=False)
    current: pd.DataFrame = field(repr=False)
    gain: Estimate
    worst: float
    value: float
    bound: float
    revenue: float

    @property
    def gap(self) -> float:
        """How much better another plan might be, as a share of what media bring."""
        return max(0.0, self.bound - self.value) / max(abs(self.revenue + self.bound), 1e-9)

    def to_frame(self) -> pd.DataFrame:
        """Table `allocations` but for plan_id: one row per week and channel; the gain is that of the whole plan."""
        low, high = self.gain.interval(0.90)
        weeks, channels = self.recommended.shape
        return pd.DataFrame({
            "scenario": self.scenario, "week": np.repeat(self.recommended.index, channels), "region": "all",
            "channel": np.tile(self.recommended.columns, weeks), "current": self.current.to_numpy().ravel(),
            "recommended": self.recommended.to_numpy().ravel(), "gain": self.gain.mean, "low": low, "high": high,
        })  # fmt: skip

    def summary(self) -> str:
        """For a manager."""
        moved = (self.recommended - self.current).sum()
        if moved.abs().max() < 0.01 and (self.recommended - self.current).abs().max().max() < 0.01:
            return "The schedule stays as it is: no other within the limits is expected to earn more."
        low, high = self.gain.interval(0.90)
        return (
            f"Over {len(self.recommended)} weeks {moved.idxmax()} gets {moved.max():+,.0f} and {moved.idxmin()} {moved.min():+,.0f}; "
            f"expected revenue {self.gain.mean:+,.0f} (90 %: {low:+,.0f} to {high:+,.0f}), {self.worst:+,.0f} in the worst tenth of cases."
        )

    def plot(self) -> go.Figure:
        """Money by week and channel, stacked; today's total as a line."""
        import plotly.graph_objects as go

        figure = go.Figure()
        for name in self.recommended.columns:
            figure.add_bar(x=self.recommended.index, y=self.recommended[name], name=str(name))
        figure.add_scatter(
            x=self.current.index, y=self.current.sum(axis=1), name="today", mode="lines", line={"dash": "dot", "color": "black"}
        )
        return figure.update_layout(template="plotly_white", barmode="stack", yaxis_title="money a week")


def flight(
    responses: pd.DataFrame,
    carryover: pd.DataFrame,
    history: pd.DataFrame,
    *,
    weeks: int = 13,
    total: float | None = None,
    floors: Mapping[str, float] | None = None,
    ceilings: Mapping[str, float] | None = None,
    risk_aversion: float = 0.0,
    scenario: str = "same budget",
) -> Flight:
    """Schedule `total` over the channels of `history` and the `weeks` after it.

    Parameters
    ----------
    responses, carryover : tables of these names, of one model.
    history : week × channel, money spent; its last year's mean is today's plan, its last weeks still work.
    total : money for all weeks; default: as much as today's plan.
    floors, ceilings : channel → share of `total`.
    risk_aversion : 0, the mean counts alone, to 1, the worst tenth counts alone.

    Raises
    ------
    Infeasible
        When floors exceed the total or ceilings, or the reach of the curves, cannot hold it.
    CannotTell
        With fewer than 8 draws.
    InputError
        For channels without curves, or a risk aversion that is no share.
    """
    if not 0 <= risk_aversion <= 1:
        raise InputError(f"a risk aversion of {risk_aversion} is no share", fix="give one from 0 (mean) to 1 (worst cases)")
    channels = sorted(map(str, history.columns))
    told = {*map(str, responses["channel"].unique())} & {*map(str, carryover["channel"].unique())}
    if unknown := ({*channels} - told) | (({*(floors or {})} | {*(ceilings or {})}) - {*channels}):
        raise InputError(f"no response curve, carry-over or spend for {', '.join(sorted(unknown))}")
    past = history[channels].to_numpy(dtype=float)
    media = Media.of(responses, carryover, channels, past)
    today = np.tile(media.usual, (weeks, 1))
    money = float(today.sum()) if total is None else float(total)
    rules = Rules.of(channels, media.reach, weeks, money, floors or {}, ceilings or {})
    choosing, judging = media.some(slice(0, None, 2)), media.some(slice(1, None, 2))
    best, bound = _search(choosing, rules, today, risk_aversion)
    schedule = to_cents(best.ravel(), money).reshape(best.shape)
    gains = judging.gains(schedule, today)
    ends = pd.DatetimeIndex(history.index)
    when = pd.date_range(ends[-1] + (ends[-1] - ends[-2]), periods=weeks, freq=ends[-1] - ends[-2], name="week")
    made, usual = (pd.DataFrame(each, index=when, columns=pd.Index(channels, name="channel")) for each in (schedule, today))
    value = _worth(choosing.gains(schedule, today), risk_aversion)
    return Flight(
        scenario, made, usual, Estimate.of(gains, "currency"), _worth(gains, 1.0), value, max(bound, value),
        float(choosing.revenue(today).mean()),
    )  # fmt: skip


@dataclass(frozen=True)
class Rules:
    """What a plan (weeks, channels) must keep: money of all, least and most of each channel, most of a channel in a week."""

    money: float
    least: Floats
    most: Floats
    reach: Floats

    @classmethod
    def of(
        cls, channels: list[str], reach: Floats, weeks: int, money: float, floors: Mapping[str, float], ceilings: Mapping[str, float]
    ) -> Rules:  # fmt: skip
        """From shares of the money; no week of a channel beyond what its curve knows."""
        least = np.array([floors.get(name, 0.0) * money for name in channels])
        most = np.minimum([ceilings.get(name, 1.0) * money for name in channels], reach * weeks)
        if least.sum() > money * (1 + 1e-9):
            raise Infeasible(
                f"floors ask for {least.sum() / money:.0%} of the total", rules=tuple(sorted(floors)), fix="lower a floor"
            )
        if crossed := [name for name, low, high in zip(channels, least, most, strict=True) if low > high + 1e-6]:
            raise Infeasible(
                "a floor lies above its ceiling or what the curves know",
                rules=tuple(crossed),
                fix="lower the floor or raise the ceiling",
            )
        if most.sum() < money * (1 - 1e-9):
            raise Infeasible(
                f"ceilings and curves hold only {most.sum():,.0f} of {money:,.0f}",
                rules=tuple(sorted(ceilings)),
                fix="raise a ceiling or plan less",
            )
        return cls(money, least, most, reach)

    def best(self, worth: Floats) -> Floats:
        """The plan with the largest Σ worth · money: floors first, then the worthiest cells while there is room."""
        weeks, _ = worth.shape
        plan, left = np.zeros_like(worth), np.minimum(self.most, self.reach * weeks)
        order = np.argsort(-worth, axis=0)
        for c, least in enumerate(self.least):
            need = least
            for t in order[:, c]:
                plan[t, c] = min(need, self.reach[c])
                need -= plan[t, c]
        rest, left = self.money - plan.sum(), left - plan.sum(axis=0)
        for cell in np.argsort(-worth, axis=None):
            t, c = divmod(int(cell), worth.shape[1])
            step = min(rest, left[c], self.reach[c] - plan[t, c])
            if step > 0:
                plan[t, c] += step
                left[c] -= step
                rest -= step
        return plan

    def hold(self, plan: Floats) -> bool:
        """Whether a plan keeps them, to the cent."""
        sums, slack = plan.sum(axis=0), 0.005 * plan.size
        return bool(
            abs(plan.sum() - self.money) < slack and (sums >= self.least - slack).all() and (sums <= self.most + slack).all()
            and (plan >= -1e-9).all() and (plan <= self.reach + 0.01).all()
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Media:
    """Curves and carry-over of all channels and draws, and what is spent besides the plan.

    Parameters
    ----------
    grid : (channels, points) spend. heights, slopes : (draws, channels, points) of revenue.
    weights : (draws, channels, lags). before : (lags − 1, channels) money of the weeks before the plan, oldest first.
    usual : (channels,) today's money a week.
    """

    grid: Floats
    heights: Floats
    slopes: Floats
    weights: Floats
    before: Floats
    usual: Floats

    @classmethod
    def of(cls, responses: pd.DataFrame, carryover: pd.DataFrame, channels: list[str], past: Floats) -> Media:
        """From the tables; `past` (weeks, channels) is the money spent before."""
        grid, revenue = curves_of(responses, channels)
        wide = [
            carryover[carryover["channel"] == name].pivot_table(index="draw", columns="lag", values="weight") for name in channels
        ]
        if len({each.shape for each in wide}) > 1 or len(wide[0]) != revenue.shape[1] or len(wide[0]) < FEWEST:
            raise CannotTell(f"a schedule needs {FEWEST} draws, the same of curves and carry-over in each channel")
        revenue, weight = (
            np.ascontiguousarray(revenue.swapaxes(0, 1)),
            np.stack([each.to_numpy(dtype=float) for each in wide], axis=1),
        )
        weight = weight / weight.sum(axis=2, keepdims=True)  # beyond the last lag little is left; a steady spend keeps its level
        lags = weight.shape[2]
        usual = past[-52:].mean(axis=0)
        before = np.vstack([np.tile(usual, (max(lags - 1 - len(past), 0), 1)), past[len(past) - min(lags - 1, len(past)) :]])
        return cls(grid, revenue, _gentle_slopes(grid, revenue), weight, before, usual)

    @property
    def reach(self) -> Floats:
        """(channels,) the most money a week that the curves know."""
        return self.grid[:, -1]

    def some(self, draws: slice) -> Media:
        """The same with some of the draws."""
        return Media(self.grid, self.heights[draws], self.slopes[draws], self.weights[draws], self.before, self.usual)

    def concave(self) -> Media:
        """The same with concave curves that lie nowhere below these, straight between `FINE` times as many points."""
        from scipy.interpolate import CubicHermiteSpline

        grid = np.array([np.interp(np.arange((len(x) - 1) * FINE + 1) / FINE, np.arange(len(x)), x) for x in self.grid])
        smooth = [CubicHermiteSpline(x, self.heights[:, c], self.slopes[:, c], axis=1) for c, x in enumerate(self.grid)]
        heights = np.stack([curve(x) for curve, x in zip(smooth, grid, strict=True)], axis=1)
        between = np.stack([curve((x[1:] + x[:-1]) / 2) for curve, x in zip(smooth, grid, strict=True)], axis=1)
        for curves in heights:
            for curve, x in zip(curves, grid, strict=True):
                at = envelope(x, curve)
                curve[:] = np.interp(x, x[at], curve[at])
        over = (
            between - (heights[:, :, 1:] + heights[:, :, :-1]) / 2
        )  # a cubic may rise above the straight line between two points
        heights += 1.1 * np.maximum(over.max(axis=2), 0.0)[:, :, None]
        return Media(grid, heights, np.zeros_like(heights), self.weights, self.before, self.usual)

    def gains(self, plan: Floats, today: Floats) -> Floats:
        """(draws,) revenue of a plan (weeks, channels) beyond today's."""
        return self.revenue(plan) - self.revenue(today)

    def revenue(self, plan: Floats) -> Floats:
        """(draws,) revenue of a plan (weeks, channels), and of the lags after it."""
        return self.slope(plan)[0]

    def slope(self, plan: Floats, *, straight: bool = False) -> tuple[Floats, Floats]:
        """`revenue` and its slope by money (draws, weeks, channels)."""
        lags = self.weights.shape[2]
        spent = np.vstack([self.before, plan, np.tile(self.usual, (lags - 1, 1))])
        return _run(self.grid, self.heights, self.slopes, self.weights, np.ascontiguousarray(spent), len(plan), straight)


@njit(cache=True)
def _run(grid, heights, slopes, weights, spent, weeks, straight):
    """Sum over draws' channels and weeks of f(Σ w·spend), and its gradient by the plan's cells."""
    draws, channels, points = heights.shape
    lags = weights.shape[2]
    steps = weeks + lags - 1
    total, slope = np.zeros(draws), np.zeros((draws, weeks, channels))
    for d in range(draws):
        for c in range(channels):
            for t in range(steps):
                carried = 0.0
                for lag in range(lags):
                    carried += weights[d, c, lag] * spent[t + lags - 1 - lag, c]
                k = min(max(np.searchsorted(grid[c], carried) - 1, 0), points - 2)
                wide = grid[c, k + 1] - grid[c, k]
                at = min(max((carried - grid[c, k]) / wide, 0.0), 1.0)
                rise = (heights[d, c, k + 1] - heights[d, c, k]) / wide
                if straight:
                    total[d] += heights[d, c, k] + at * wide * rise
                    steep = rise
                else:
                    one, two = slopes[d, c, k], slopes[d, c, k + 1]
                    total[d] += heights[d, c, k] + wide * at * (
                        one + at * (3 * rise - 2 * one - two + at * (one + two - 2 * rise))
                    )
                    steep = one + at * (2 * (3 * rise - 2 * one - two) + 3 * at * (one + two - 2 * rise))
                if carried >= grid[c, points - 1]:
                    steep = 0.0
                for lag in range(lags):
                    week = t - lag
                    if 0 <= week < weeks:
                        slope[d, week, c] += weights[d, c, lag] * steep
    return total, slope


def _worth(gains: Floats, risk_aversion: float) -> float:
    """Mean, drawn towards the mean of the worst tenth."""
    bad = np.sort(gains)[: max(1, round(WORST * len(gains)))]
    return float((1 - risk_aversion) * gains.mean() + risk_aversion * bad.mean())


def _shares(gains: Floats, risk_aversion: float) -> Floats:
    """How much each draw counts in `_worth`."""
    bad = np.argsort(gains, kind="stable")[: max(1, round(WORST * len(gains)))]
    share = np.full(len(gains), (1 - risk_aversion) / len(gains))
    share[bad] += risk_aversion / len(bad)
    return share


def _search(media: Media, rules: Rules, today: Floats, risk_aversion: float) -> tuple[Floats, float]:
    """The best plan found, and a bound on all."""
    still = media.revenue(today)

    def worth(plan: Floats) -> float:
        return _worth(media.revenue(plan) - still, risk_aversion)

    def sloped(plan: Floats) -> tuple[float, Floats]:
        revenue, slope = media.slope(plan)
        gains = revenue - still
        return _worth(gains, risk_aversion), np.tensordot(_shares(gains, risk_aversion), slope, axes=1)

    weeks = len(today)
    even = np.tile(_within(rules, media.usual / media.usual.sum() * rules.money) / weeks, (weeks, 1))
    starts = [even, (even + rules.best(sloped(even)[1])) / 2]
    found = [*starts, *(_climb(sloped, rules, start) for start in starts)]
    if rules.hold(today):
        found.append(today)
    best = max(found, key=lambda plan: worth(plan) + (1e-9 * rules.money if plan is today else 0.0))
    return best, _bound(media.concave(), rules, today, best, still, risk_aversion)


def _within(rules: Rules, sums: Floats) -> Floats:
    """Channel sums within their limits that add up to the money, near `sums`."""
    low, high = rules.least, rules.most
    below, above = -float(sums.max()) - rules.money, float(rules.money)
    for _ in range(100):  # the one shift that makes them add up
        shift = (below + above) / 2
        below, above = (shift, above) if np.clip(sums + shift, low, high).sum() < rules.money else (below, shift)
    return np.clip(sums + above, low, high)


def _climb(worth, rules: Rules, start: Floats) -> Floats:
    """Sequential quadratic programming in units of the mean cell, from a plan within the rules."""
    from scipy.optimize import minimize

    weeks, channels = start.shape
    unit = rules.money / start.size
    scale = max(abs(worth(start)[0]), rules.money * 0.01)

    def loss(flat: Floats) -> tuple[float, Floats]:
        value, slope = worth(flat.reshape(start.shape) * unit)
        return -value / scale, -slope.ravel() * unit / scale

    of_channel = np.tile(np.eye(channels), weeks)
    bounded = [
        {"type": "eq", "fun": lambda flat: np.array([flat.sum() - start.size]), "jac": lambda flat: np.ones((1, start.size))},
        {"type": "ineq", "fun": lambda flat: of_channel @ flat - rules.least / unit, "jac": lambda flat: of_channel},
        {"type": "ineq", "fun": lambda flat: rules.most / unit - of_channel @ flat, "jac": lambda flat: -of_channel},
    ]
    reach = np.tile(rules.reach / unit, weeks)
    done = minimize(
        loss, start.ravel() / unit, jac=True, method="SLSQP", bounds=list(zip(np.zeros(start.size), reach, strict=True)),
        constraints=bounded, options={"maxiter": ROUNDS, "ftol": 1e-8},
    )  # fmt: skip
    plan = np.clip(done.x.reshape(start.shape), 0, reach[:channels]) * unit
    plan = plan * (rules.money / plan.sum())
    return plan if rules.hold(plan) else start


def _bound(media: Media, rules: Rules, today: Floats, plan: Floats, still: Floats, risk_aversion: float) -> float:
    """No plan is worth more: the least of several tangents' maxima, on concave envelopes."""
    best, at = np.inf, plan
    for step in range(TANGENTS):
        revenue, slope = media.slope(at, straight=True)
        gains = revenue - still
        steep = np.tensordot(_shares(gains, risk_aversion), slope, axes=1)
        ahead = rules.best(steep)
        best = min(best, _worth(gains, risk_aversion) + float(np.sum(steep * (ahead - at))))
        at = at + (ahead - at) * 0.02 / (step + 1)
    return best


def _gentle_slopes(grid: Floats, heights: Floats) -> Floats:
    """Slopes at the points such that cubics between them rise and fall only where the points do."""
    from scipy.interpolate import PchipInterpolator

    return np.stack([PchipInterpolator(grid[c], heights[:, c], axis=1).derivative()(grid[c]) for c in range(len(grid))], axis=1)
