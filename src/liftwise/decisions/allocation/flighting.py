"""Which channel gets how much in which week: response curves and carry-over → a schedule, with a bound.

A week's media work on with what earlier weeks left behind: carried_t = Σ_l w_l · spend_{t−l}, revenue_t = f(carried_t), where f is the
channel's response to a steady spend. What ran before the plan still works in its first weeks, and its last weeks work on after it, while
spending is supposed to go on as today. Holiday weeks multiply what media bring, not what they cost; the least money of a cell, a locked
channel and the money of a quarter are rules like floors and ceilings.

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

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell, Infeasible, InputError
from liftwise.core.uncertainty import Estimate, Floats
from liftwise.decisions.allocation.curves import curves_of
from liftwise.decisions.allocation.envelopes import envelope
from liftwise.decisions.allocation.limits import Unit, check_limits, check_money, to_cents_within

if TYPE_CHECKING:
    import plotly.graph_objects as go


WORST = 0.1  # share of draws that count as the bad case
FEWEST = 8  # draws
ROUNDS = 200  # of the optimiser
CELLS = 100  # weeks × channels up to which plans are climbed by quadratic programs
YEAR = 52  # weeks whose mean is today's plan
TANGENTS = 10  # of the bound
MIXED = 60  # rounds of it for the averse
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
    start: str | date | None = None,
    floors: Mapping[str, float] | None = None,
    ceilings: Mapping[str, float] | None = None,
    locked: Collection[str] = (),
    limits_in: Unit = "share",
    seasons: Mapping[str | date, float] | None = None,
    least: Mapping[tuple[str | date, str], float] | None = None,
    quarters_apart: bool = False,
    risk_aversion: float = 0.0,
    scenario: str = "same budget",
) -> Flight:
    """Schedule `total` over the channels of `history` and the `weeks` from `start`.

    Parameters
    ----------
    responses, carryover : tables of these names, of one model.
    history : week × channel, money spent; its last year's mean is today's plan, its last weeks still work.
    total : money for all weeks; default: as much as today's plan.
    start : first day of the first week; default: the week after `history`. In weeks between, spending goes on as today.
    floors, ceilings : channel → share of `total`, or money of all weeks with ``limits_in="money"``.
    locked : channels that get today's money in each week.
    seasons : week → what media bring in it, as a multiple of what they bring else (a holiday week: 1.4).
    least : (week, channel) → money that must at least be spent in it. A week is meant by any of its days.
    quarters_apart : the money of each calendar quarter, in proportion to its weeks, stays in it (a week is its first day's).
    risk_aversion : 0, the mean counts alone, to 1, the worst tenth counts alone.

    Raises
    ------
    Infeasible
        When floors exceed the total or ceilings, or the reach of the curves, cannot hold it.
    CannotTell
        With fewer than 8 draws.
    InputError
        For channels without curves, a week outside the plan, money that is negative or missing, or a risk aversion that is no share.
    """
    if not 0 <= risk_aversion <= 1:
        raise InputError(f"a risk aversion of {risk_aversion} is no share", fix="give one from 0 (mean) to 1 (worst cases)")
    channels = sorted(map(str, history.columns))
    told = {*map(str, responses["channel"].unique())} & {*map(str, carryover["channel"].unique())}
    if unknown := ({*channels} - told) | (({*(floors or {})} | {*(ceilings or {})}) - {*channels}):
        raise InputError(f"no response curve, carry-over or spend for {', '.join(sorted(unknown))}")
    past = history[channels].to_numpy(dtype=float)
    if not np.isfinite(past).all() or (past < 0).any():
        raise InputError("the history of spend has missing or negative money", fix="give 0 where nothing was spent")
    when, waiting = _weeks(history, weeks, start)
    usual = past[-YEAR:].mean(axis=0)
    past = np.vstack([past, np.tile(usual, (waiting, 1))])
    media = Media.of(responses, carryover, channels, past, usual=usual)
    media = replace(media, seasons=_seasons(when, weeks, media.seasons_needed(weeks), seasons or {}))
    today = np.tile(media.usual, (weeks, 1))
    money = float(today.sum()) if total is None else float(total)
    check_money(pd.Series(usual, channels), money, "recent spend")
    rules = Rules.of(
        channels, media.reach, weeks, money, floors or {}, ceilings or {}, usual=usual, locked=locked, limits_in=limits_in,
        cells=_cells(when[:weeks], channels, least or {}), quarter=_quarters(when[:weeks]) if quarters_apart else None,
    )  # fmt: skip
    choosing, judging = media.some(slice(0, None, 2)), media.some(slice(1, None, 2))
    best, bound = _search(choosing, rules, today, risk_aversion)
    schedule = rules.rounded(best)
    gains = judging.gains(schedule, today)
    when = when[:weeks]
    made, now = (pd.DataFrame(each, index=when, columns=pd.Index(channels, name="channel")) for each in (schedule, today))
    value = _worth(choosing.gains(schedule, today), risk_aversion)
    return Flight(
        scenario, made, now, Estimate.of(gains, "currency"), _worth(gains, 1.0), value, max(bound, value),
        float(choosing.revenue(today).mean()),
    )  # fmt: skip


def _weeks(history: pd.DataFrame, weeks: int, start: str | date | None) -> tuple[pd.DatetimeIndex, int]:
    """First days of the plan's weeks (and of as many after it), and how many weeks lie between history and plan."""
    if len(history) < 2 or weeks < 1:
        raise InputError("a schedule needs two weeks of history and a week to plan", fix="give more weeks")
    ends = pd.DatetimeIndex(history.index)
    step = ends[-1] - ends[-2]
    first = ends[-1] + step if start is None else pd.Timestamp(start)
    waiting, odd = divmod(first - ends[-1] - step, step)
    if waiting < 0 or odd:
        raise InputError(
            f"no week begins on {first.date()} after the history of spend",
            fix=f"start on {(ends[-1] + step).date()} or later weeks",
        )
    return pd.date_range(first, periods=2 * weeks + YEAR, freq=step, name="week"), int(waiting)


def _which(when: pd.DatetimeIndex, day: str | date) -> int:
    """The week that holds a day; refused where none does."""
    at = int(when.searchsorted(pd.Timestamp(day), side="right")) - 1
    if at < 0 or pd.Timestamp(day) >= when[-1] + (when[-1] - when[-2] if len(when) > 1 else pd.Timedelta(weeks=1)):
        raise InputError(
            f"{pd.Timestamp(day).date()} lies in no week of the plan", fix=f"plan from {when[0].date()} to {when[-1].date()}"
        )
    return at


def _seasons(when: pd.DatetimeIndex, weeks: int, needed: int, told: Mapping[str | date, float]) -> Floats:
    """(weeks and those after, while carry-over lasts,) multiples of what media bring."""
    out = np.ones(max(needed, weeks))
    for day, times in told.items():
        if not np.isfinite(times) or times < 0:
            raise InputError(f"the season of {day} is {times}", fix="give a multiple from 0")
        out[_which(when[: len(out)], day)] = times
    return out


def _cells(when: pd.DatetimeIndex, channels: list[str], told: Mapping[tuple[str | date, str], float]) -> Floats:
    """(weeks, channels) least money."""
    out = np.zeros((len(when), len(channels)))
    for (day, name), money in told.items():
        if name not in channels:
            raise InputError(f"no response curve, carry-over or spend for {name}")
        if not np.isfinite(money) or money < 0:
            raise InputError(f"the least money of {name} in the week of {day} is {money}", fix="give an amount from 0")
        out[_which(when, day), channels.index(name)] = money
    return out


def _quarters(when: pd.DatetimeIndex) -> NDArray[np.int64]:
    return np.unique(when.year * 4 + when.quarter, return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True, eq=False)
class Rules:
    """What a plan (weeks, channels) must keep.

    Parameters
    ----------
    money : of all weeks. least, most : (channels,) of each channel in all weeks. reach : (channels,) most of a channel in a week.
    low, high : (weeks, channels) of each cell. quarter : (weeks,) numbers of the parts of the plan whose money stays in them.
    """

    money: float
    least: Floats
    most: Floats
    reach: Floats
    low: Floats
    high: Floats
    quarter: NDArray[np.int64]

    @classmethod
    def of(
        cls, channels: list[str], reach: Floats, weeks: int, money: float, floors: Mapping[str, float], ceilings: Mapping[str, float], *,
        usual: Floats, locked: Collection[str] = (), limits_in: Unit = "share", cells: Floats | None = None,
        quarter: NDArray[np.int64] | None = None,
    ) -> Rules:  # fmt: skip
        """From limits of channels in all weeks, locks and least money of cells; no week of a channel beyond what its curve knows."""
        check_limits(channels, floors, ceilings, locked, limits_in)
        times = money if limits_in == "share" else 1.0
        low = np.zeros((weeks, len(channels))) if cells is None else cells.copy()
        high = np.tile(reach, (weeks, 1))
        still = np.array([name in locked for name in channels])
        low[:, still] = high[:, still] = usual[still].round(2)
        least = np.maximum([floors.get(name, 0.0) * times for name in channels], low.sum(axis=0))
        most = np.minimum([ceilings[name] * times if name in ceilings else money for name in channels], high.sum(axis=0))
        rules = cls(money, least, most, reach, low, high, np.zeros(weeks, dtype=np.int64) if quarter is None else quarter)
        rules._refuse(channels, floors, ceilings, locked)
        return rules

    def _refuse(
        self, channels: list[str], floors: Mapping[str, float], ceilings: Mapping[str, float], locked: Collection[str]
    ) -> None:  # fmt: skip
        money, least, most = self.money, self.least, self.most
        if beyond := [name for k, name in enumerate(channels) if (self.low[:, k] > self.reach[k] + 0.005).any()]:
            raise Infeasible(
                "a week's least or locked money lies beyond what the curve knows", rules=tuple(beyond), fix="lower it"
            )
        if least.sum() > money * (1 + 1e-9):
            told = {*floors} | {*locked} | {name for k, name in enumerate(channels) if self.low[:, k].any()}
            raise Infeasible(
                f"floors ask for {least.sum() / money:.0%} of the total", rules=tuple(sorted(told)), fix="lower a floor"
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
                rules=tuple(sorted({*ceilings} | {*locked})),
                fix="raise a ceiling or plan less",
            )
        if self.apart:
            self.best(np.zeros_like(self.low))

    @property
    def apart(self) -> bool:
        """Whether money of some weeks must stay in them."""
        return bool(self.quarter.max() > 0)

    def shares(self) -> Floats:
        """(quarters,) money of each."""
        return self.money * np.bincount(self.quarter) / len(self.quarter)

    def rounded(self, plan: Floats) -> Floats:
        """To the cent, exactly the total."""
        out, owed = np.zeros_like(plan), self.money
        ends = self.shares().round(2)
        for q in range(len(ends)):
            mine = self.quarter == q
            money = ends[q] if q < len(ends) - 1 else round(owed, 2)
            owed -= money
            out[mine] = to_cents_within(plan[mine].ravel(), money, self.low[mine].ravel(), self.high[mine].ravel()).reshape(
                -1, plan.shape[1]
            )
        return out

    def near(self, plan: Floats) -> Floats:
        """A plan within the rules that differs from this one by as little money as can be."""
        return plan if self.hold(plan) else self._program(np.zeros_like(plan), plan)

    def _program(self, worth: Floats, to: Floats | None = None) -> Floats:
        """The plan with the most Σ worth · money, less the money by which it differs from `to`."""
        from scipy.optimize import linprog
        from scipy.sparse import csr_array, eye_array, hstack, kron, vstack

        weeks, channels = worth.shape
        cells = weeks * channels
        of_quarter = csr_array(
            np.repeat(self.quarter[None] == np.arange(self.quarter.max() + 1)[:, None], channels, axis=1).astype(float)
        )
        of_channel = kron(np.ones((1, weeks)), eye_array(channels), format="csr")
        equal, right = of_quarter, self.shares()
        above, top = vstack([of_channel, -of_channel]), np.concatenate([self.most, -self.least])
        cost, bounds = (
            -worth.ravel() / max(float(np.abs(worth).max()), 1e-12),
            [*zip(self.low.ravel(), self.high.ravel(), strict=True)],
        )
        if to is not None:
            one, none = eye_array(cells), csr_array((len(right), 2 * cells))
            equal, right = vstack([hstack([equal, none]), hstack([one, -one, one])]), np.concatenate([right, to.ravel()])
            above = hstack([above, csr_array((2 * channels, 2 * cells))])
            cost, bounds = np.concatenate([cost, np.ones(2 * cells)]), bounds + [(0.0, np.inf)] * (2 * cells)
        done = linprog(cost, A_ub=above, b_ub=top, A_eq=equal, b_eq=right, bounds=bounds, method="highs")
        if done.x is None:
            raise Infeasible(
                "the money of a quarter cannot be spent in it within the limits", fix="plan quarters together, or widen a limit"
            )
        return np.clip(done.x[:cells].reshape(worth.shape), self.low, self.high)

    def best(self, worth: Floats) -> Floats:
        """The plan with the largest Σ worth · money: floors first, then the worthiest cells while there is room."""
        if self.apart:
            return self._program(worth)
        plan = self.low.copy()
        order = np.argsort(-worth, axis=0)
        for c, least in enumerate(self.least):
            need = least - plan[:, c].sum()
            for t in order[:, c]:
                step = min(max(need, 0.0), self.high[t, c] - plan[t, c])
                plan[t, c] += step
                need -= step
        rest, left = self.money - plan.sum(), self.most - plan.sum(axis=0)
        for cell in np.argsort(-worth, axis=None):
            t, c = divmod(int(cell), worth.shape[1])
            step = min(rest, left[c], self.high[t, c] - plan[t, c])
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
            and (plan >= self.low - 0.005).all() and (plan <= self.high + 0.01).all()
            and (np.abs(np.bincount(self.quarter, plan.sum(axis=1)) - self.shares()) < slack).all()
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Media:
    """Curves and carry-over of all channels and draws, and what is spent besides the plan.

    Parameters
    ----------
    grid : (channels, points) spend. heights, slopes : (draws, channels, points) of revenue.
    weights : (draws, channels, lags). before : (lags − 1, channels) money of the weeks before the plan, oldest first.
    usual : (channels,) today's money a week.
    seasons : (weeks,) multiples of what media bring in the plan's first weeks; 1 in all weeks after these.
    """

    grid: Floats
    heights: Floats
    slopes: Floats
    weights: Floats
    before: Floats
    usual: Floats
    seasons: Floats = field(default_factory=lambda: np.ones(0))

    @classmethod
    def of(
        cls, responses: pd.DataFrame, carryover: pd.DataFrame, channels: list[str], past: Floats, usual: Floats | None = None
    ) -> Media:  # fmt: skip
        """From the tables; `past` (weeks, channels) is the money spent before, `usual` its mean over the last year unless told."""
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
        known = past[-YEAR:].mean(axis=0) if usual is None else usual
        before = np.vstack([np.tile(known, (max(lags - 1 - len(past), 0), 1)), past[len(past) - min(lags - 1, len(past)) :]])
        return cls(grid, revenue, _gentle_slopes(grid, revenue), weight, before, known)

    @property
    def reach(self) -> Floats:
        """(channels,) the most money a week that the curves know."""
        return self.grid[:, -1]

    def seasons_needed(self, weeks: int) -> int:
        """Weeks in which a plan of so many works."""
        return weeks + self.weights.shape[2] - 1

    def some(self, draws: slice) -> Media:
        """The same with some of the draws."""
        return replace(self, heights=self.heights[draws], slopes=self.slopes[draws], weights=self.weights[draws])

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
        return replace(self, grid=grid, heights=heights, slopes=np.zeros_like(heights))

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
        times = np.ones(self.seasons_needed(len(plan)))
        times[: len(self.seasons)] = self.seasons[: len(times)]
        return _run(self.grid, self.heights, self.slopes, self.weights, np.ascontiguousarray(spent), len(plan), straight, times)


@njit(cache=True)
def _run(grid, heights, slopes, weights, spent, weeks, straight, times):
    """Sum over draws' channels and weeks of season · f(Σ w·spend), and its gradient by the plan's cells."""
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
                    total[d] += times[t] * (heights[d, c, k] + at * wide * rise)
                    steep = rise
                else:
                    one, two = slopes[d, c, k], slopes[d, c, k + 1]
                    cubic = one + at * (3 * rise - 2 * one - two + at * (one + two - 2 * rise))
                    total[d] += times[t] * (heights[d, c, k] + wide * at * cubic)
                    steep = one + at * (2 * (3 * rise - 2 * one - two) + 3 * at * (one + two - 2 * rise))
                if carried >= grid[c, points - 1]:
                    steep = 0.0
                for lag in range(lags):
                    week = t - lag
                    if 0 <= week < weeks:
                        slope[d, week, c] += times[t] * weights[d, c, lag] * steep
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
    even = rules.near(np.tile(_within(rules, media.usual / media.usual.sum() * rules.money) / weeks, (weeks, 1)))
    starts = [even, (even + rules.best(sloped(even)[1])) / 2]
    climb = _climb if even.size <= CELLS and not rules.apart else _walk
    found = [*starts, *(climb(sloped, rules, start) for start in starts)]
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
    done = minimize(
        loss, start.ravel() / unit, jac=True, method="SLSQP",
        bounds=list(zip(rules.low.ravel() / unit, rules.high.ravel() / unit, strict=True)),
        constraints=bounded, options={"maxiter": ROUNDS, "ftol": 1e-8},
    )  # fmt: skip
    plan = np.clip(done.x.reshape(start.shape) * unit, rules.low, rules.high)
    rest, room = rules.money - plan.sum(), rules.high - plan if rules.money > plan.sum() else plan - rules.low
    plan = plan + rest * room / max(float(room.sum()), 1e-9)
    return plan if rules.hold(plan) else start


def _walk(worth, rules: Rules, start: Floats) -> Floats:
    """Frank and Wolfe's steps, where cells are too many for quadratic programs: towards the best plan at the slopes, as far as that helps."""
    plan, (value, slope) = start, worth(start)
    for _ in range(ROUNDS):
        ahead = rules.best(slope) - plan
        if float(np.sum(slope * ahead)) <= 1e-6 * abs(value):
            break
        far = max((2.0**-power for power in range(12)), key=lambda far: worth(plan + far * ahead)[0])
        after, turned = worth(plan + far * ahead)
        if after <= value:
            break
        plan, value, slope = plan + far * ahead, after, turned
    return plan


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
    return min(best, _mixed(media, rules, plan, still, risk_aversion)) if risk_aversion > 0 else best


def _mixed(media: Media, rules: Rules, plan: Floats, still: Floats, risk_aversion: float) -> float:
    """A bound for the averse: which draws are worst changes near the plan, so that several answers to that are averaged (Brown, 1951).

    Any weights of the draws that the worst tenth allows, and so their mean, value a plan no less than its worth.
    """
    revenue, slope = media.slope(plan, straight=True)
    gains = revenue - still
    share, moved, best = _shares(gains, risk_aversion), np.zeros_like(plan), np.inf
    for step in range(MIXED):
        steep = np.tensordot(share, slope, axes=1)
        ahead = rules.best(steep) - plan
        best = min(best, float(share @ gains) + float(np.sum(steep * ahead)))
        moved += (ahead - moved) / (step + 1)
        share = share + (_shares(gains + np.tensordot(slope, moved, axes=2), risk_aversion) - share) / (step + 2)
    return best


def _gentle_slopes(grid: Floats, heights: Floats) -> Floats:
    """Slopes at the points such that cubics between them rise and fall only where the points do."""
    from scipy.interpolate import PchipInterpolator

    return np.stack([PchipInterpolator(grid[c], heights[:, c], axis=1).derivative()(grid[c]) for c in range(len(grid))], axis=1)
