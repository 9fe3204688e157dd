"""Which channel gets how much in which week: response curves and carry-over → a schedule, with a bound.

A week's media work on with what earlier weeks left behind (`carried_media`). What ran before the plan still works in its first weeks, and its
last weeks work on after it, while spending is supposed to go on as today. Holiday weeks multiply what media bring, not what they cost; the least
money of a cell, a locked channel and the money of a quarter are rules like floors and ceilings (`calendar_rules`).

A plan is worth what it brings beyond today's plan (recent mean spend, every week): the mean over the draws of curves and carry-over, less what a
person averse to risk takes off (`aversion`). It is climbed (`climbing`), and a tangent bounds all plans (`tangents`).

Half of the draws choose and the other half judge: what is promised is shrunk, and money moves towards the best plan only as far as that is
sure enough to gain (`winners_curse`). With another total than today's, what a plan is held against, and what is kept, is today's mix at that total.
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

from liftwise.core.colours import PALETTE, QUIET
from liftwise.core.errors import InputError
from liftwise.core.uncertainty import Estimate, Floats
from liftwise.decisions.allocation.aversion import Aversion, worst_mean
from liftwise.decisions.allocation.calendar_rules import Rules
from liftwise.decisions.allocation.carried_media import Media
from liftwise.decisions.allocation.climbing import search
from liftwise.decisions.allocation.limits import Unit, check_money
from liftwise.decisions.allocation.reasons import held_back, part_way, unsure
from liftwise.decisions.allocation.weeks import YEAR, cells_of, quarters_of, seasons_of, weeks_of
from liftwise.decisions.allocation.winners_curse import settled

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False)
class Flight:
    """A schedule and its proof.

    Parameters
    ----------
    recommended, current : week × channel, money.
    gain : revenue beyond today's plan, on draws that did not choose; what it is beyond today's mix at this total is shrunk for having been
        chosen. worst : its mean over the worst tenth of them.
    value, bound : of the choosing worth, beyond today's plan; no plan within the rules is worth more than `bound` (where today's mix is kept
        because a gain is not sure, the gap is what an unsure gain would have been).
    revenue : what today's plan brings, mean of the choosing draws.
    sure : share of the judging draws in which the best schedule found beats today's mix. step : how far money goes from today's mix to that
        schedule: 0, none, to 1.
    reasons : why money does not move, or not further, a sentence each.
    """

    scenario: str
    recommended: pd.DataFrame = field(repr=False)
    current: pd.DataFrame = field(repr=False)
    gain: Estimate
    worst: float
    value: float
    bound: float
    revenue: float
    sure: float
    step: float
    reasons: tuple[str, ...]

    @property
    def stays(self) -> bool:
        """Whether today's mix is kept."""
        return self.step == 0

    @property
    def moved(self) -> bool:
        """Whether any week of any channel gets other money than today."""
        return bool(np.abs(self.recommended.to_numpy() - self.current.to_numpy()).max() > 0.0101)

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
        why = " ".join(self.reasons)
        if not self.moved:
            return f"The schedule stays as it is. {why}"
        moved = (self.recommended - self.current).sum()
        low, high = self.gain.interval(0.90)
        told = (
            f"Over {len(self.recommended)} weeks {_most_moved(moved)}; expected revenue {self.gain.mean:+,.0f} "
            f"(90 %: {low:+,.0f} to {high:+,.0f}), {self.worst:+,.0f} in the worst tenth of cases."
        )
        if self.stays:
            return f"{told} Today's mix is kept at this total. {why}"
        return told if self.step == 1 else f"{told} {self.reasons[-1]}"  # how far

    def plot(self) -> go.Figure:
        """Money by week and channel, stacked, today's week beside them."""
        import plotly.graph_objects as go

        figure = go.Figure()
        days = list(pd.DatetimeIndex(self.recommended.index))
        turns = [k == 0 or day.year != days[k - 1].year for k, day in enumerate(days)]
        weeks = [f"{day.day} {day:%b}" + (f"<br>{day.year}" if turn else "") for day, turn in zip(days, turns, strict=True)]
        both = np.vstack([self.current.to_numpy()[:1], self.recommended.to_numpy()])
        for k, name in enumerate(self.recommended.columns):
            figure.add_bar(x=["today", *weeks], y=both[:, k], name=str(name), marker_color=PALETTE[k % len(PALETTE)])
        figure.add_hline(y=float(both[0].sum()), line={"dash": "dot", "color": QUIET})
        figure.add_vline(x=0.5, line={"color": QUIET, "width": 1})
        return figure.update_layout(
            template="plotly_white", barmode="stack", bargap=0.25, title=f"Money by week: {self.scenario}", yaxis_title="money a week",
            yaxis_tickformat=",.0f", xaxis_title="week from", legend={"traceorder": "reversed"},
        )  # fmt: skip


def _most_moved(change: pd.Series) -> str:
    """Which channels get or lose most in all weeks; −0 is none."""
    up, down = str(change.idxmax()), str(change.idxmin())
    if change.abs().max() < 1:
        return "money moves between weeks, not between channels"
    return f"{up} gets {change[up]:+,.0f} and {down} {round(change[down]) + 0:+,.0f}"


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
    tail_aversion: float = 0.0,
    scenario: str = "same budget",
) -> Flight:
    """Schedule `total` over the channels of `history` and the `weeks` from `start`.

    Where no other schedule is sure enough to gain, today's mix is kept as far as the rules allow.

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
    risk_aversion : as in `allocate`: standard deviations of the total revenue taken off its mean; 0, the mean counts alone.
    tail_aversion : weight of the worst tenth of gains on today's plan, from 0, the mean counts alone, to 1, the worst tenth counts alone.

    Raises
    ------
    Infeasible
        When floors exceed the total or ceilings, or the reach of the curves, cannot hold it.
    CannotTell
        With fewer than 8 draws.
    InputError
        For channels without curves, a week outside the plan, money that is negative or missing, or an aversion that is not known.
    """
    aversion = Aversion(risk_aversion, tail_aversion)
    channels = sorted(map(str, history.columns))
    told = {*map(str, responses["channel"].unique())} & {*map(str, carryover["channel"].unique())}
    if unknown := ({*channels} - told) | (({*(floors or {})} | {*(ceilings or {})}) - {*channels}):
        raise InputError(f"no response curve, carry-over or spend for {', '.join(sorted(unknown))}")
    when, waiting = weeks_of(history, weeks, start)
    past = _spent(history[channels])
    usual = past[-YEAR:].mean(axis=0)
    media = Media.of(responses, carryover, channels, np.vstack([past, np.tile(usual, (waiting, 1))]), usual=usual)
    media = replace(media, seasons=seasons_of(when, weeks, media.seasons_needed(weeks), seasons or {}))
    today, when = np.tile(usual, (weeks, 1)), when[:weeks]
    money = float(today.sum()) if total is None else float(total)
    check_money(pd.Series(usual, channels), money, "recent spend")
    rules = Rules.of(
        channels, media.reach, weeks, money, floors or {}, ceilings or {}, usual=usual, locked=locked, limits_in=limits_in,
        cells=cells_of(when, channels, least or {}), quarter=quarters_of(when) if quarters_apart else None,
    )  # fmt: skip
    choosing, judging = media.some(slice(0, None, 2)), media.some(slice(1, None, 2))
    kept = rules.as_today(usual)
    best, bound = search(choosing, rules, today, kept, aversion)
    best = kept if best is kept else rules.rounded(best)
    step, sure, gains = settled(lambda step: judging.gains(kept + step * (best - kept), kept), judging.gains(kept, today))
    schedule = rules.rounded(kept + step * (best - kept))
    now, then = (choosing.revenue(plan) for plan in (today, schedule))
    value = aversion.worth(then, now)
    made, usually = (pd.DataFrame(plan, when, pd.Index(channels, name="channel")) for plan in (schedule, today))
    return Flight(
        scenario, made, usually, Estimate.of(gains, "currency"), worst_mean(gains), value, max(bound, value), float(now.mean()), sure,
        step, _why(rules, channels, schedule, best - kept, sure, step),
    )  # fmt: skip


def _spent(history: pd.DataFrame) -> Floats:
    """(weeks, channels) money, refused where some is missing or negative."""
    past = history.to_numpy(dtype=float)
    if not np.isfinite(past).all() or (past < 0).any():
        raise InputError("the history of spend has missing or negative money", fix="give 0 where nothing was spent")
    return past


def _why(rules: Rules, channels: list[str], schedule: Floats, change: Floats, sure: float, step: float) -> tuple[str, ...]:
    """What holds the schedule where it is, a sentence each; `change` is what the best other one found would move."""
    told = held_back({
        kind: tuple(name for name, is_held in zip(channels, which, strict=True) if is_held) for kind, which in rules.held(schedule).items()
    })  # fmt: skip
    if step > 0:
        return (*told, *part_way("schedule", step))
    if np.abs(change).max() >= 0.0101:
        return (*told, unsure("schedule", pd.Series(change.sum(axis=0), channels), sure))
    return (*told, "No other schedule within the rules is worth more.")
