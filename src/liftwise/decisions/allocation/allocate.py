"""How channels share their money: response curves → the best split, with a bound.

A split is worth the mean over draws of what it brings, less `risk_aversion` standard deviations of that sum: draws are worlds in which all
channels have their curves, so channels that are unsure in different worlds hedge each other (`mean_risk`). Curves may be S-shaped: concave
envelopes bound every split, and branching where they overstate closes the gap (`envelopes`). Today's split is kept when nothing is better.

Half of the draws choose and the other half judge: what is promised is shrunk, and money moves towards the best split only as far as that is
sure enough to gain (`winners_curse`).
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (plotly has no types, and numpy loses them over object arrays)
from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.colours import PALETTE, QUIET
from liftwise.core.errors import InputError
from liftwise.core.uncertainty import Estimate
from liftwise.decisions.allocation.curves import curves_of
from liftwise.decisions.allocation.limits import Limits, Unit
from liftwise.decisions.allocation.mean_risk import best_risky, revenue, worth_risky
from liftwise.decisions.allocation.reasons import held_back, listed, part_way, unsure
from liftwise.decisions.allocation.winners_curse import settled

if TYPE_CHECKING:
    import plotly.graph_objects as go

Floats = NDArray[np.float64]
FLAT = 0.01  # currency earned per unit moved: below it a curve is called flat


@dataclass(frozen=True)
class Allocation:
    """A split and its proof. Amounts are per period.

    recommended, current : channel → money. gain : revenue of the recommended split less today's, on draws that did not choose it; what it
    is better than today's split of the same total is shrunk for having been chosen.
    value, bound, gap : of the choosing objective, mean − risk_aversion · sd of the sum over channels; no split within the limits is worth more
    than `bound` (where today is kept because a gain is not sure, the gap is what an unsure gain would have been).
    at_limit : channels held by a lock, a floor, a ceiling or the reach of their curve. sure : share of the judging draws in which the best
    split found beats today's. step : how far money goes from today's split, at this total, to that one: 0, none, to 1. reasons : why money
    does not move, or not further, a sentence each.
    """

    scenario: str
    recommended: pd.Series
    current: pd.Series
    gain: Estimate
    value: float
    bound: float
    gap: float
    at_limit: tuple[str, ...]
    sure: float
    step: float
    reasons: tuple[str, ...]

    @property
    def stays(self) -> bool:
        """Whether today's split is kept, at this total."""
        return self.step == 0

    @property
    def moved(self) -> bool:
        """Whether any channel gets other money than today."""
        return bool((self.recommended - self.current).abs().max() >= 0.01)

    def to_frame(self) -> pd.DataFrame:
        """Table `allocations` but for plan_id."""
        low, high = self.gain.interval(0.90)
        return pd.DataFrame({
            "scenario": self.scenario, "week": pd.NaT, "region": "all", "channel": self.recommended.index, "current": self.current.to_numpy(),
            "recommended": self.recommended.to_numpy(), "gain": self.gain.mean, "low": low, "high": high,
        })  # fmt: skip

    def summary(self) -> str:
        """For a manager."""
        change, why = self.recommended - self.current, " ".join(self.reasons)
        low, high = self.gain.interval(0.90)
        if not self.moved:
            return f"Channel budgets stay as they are. {why}"
        told = (
            f"Channels: {_moves(change)} a period; "
            f"expected revenue {self.gain.mean:+,.0f} a period (90 %: {low:+,.0f} to {high:+,.0f})."
        )
        if self.stays:
            return f"{told} Today's proportions are kept at this total. {why}"
        return told if self.step == 1 else f"{told} {self.reasons[-1]}"  # how far

    def plot(self) -> go.Figure:
        """Today beside recommended, the channel that gets most first, and what is added or taken."""
        import plotly.graph_objects as go

        table = pd.DataFrame({"today": self.current, "recommended": self.recommended}).sort_values("recommended", ascending=False)
        change = table["recommended"] - table["today"]
        told = [f"{each:+,.0f}" if abs(each) >= 1 else "as today" for each in change]
        figure = go.Figure()
        figure.add_bar(x=table.index, y=table["today"], name="today", marker_color=QUIET)
        figure.add_bar(
            x=table.index, y=table["recommended"], name="recommended", marker_color=PALETTE[0], text=told, textposition="outside"
        )
        return figure.update_layout(
            template="plotly_white", barmode="group", title=f"Channel budgets: {self.scenario}", yaxis_title="money a period",
            yaxis={"rangemode": "tozero", "tickformat": ",.0f"},
        )  # fmt: skip


def allocate(
    responses: pd.DataFrame,
    *,
    current: pd.Series,
    total: float,
    floors: Mapping[str, float] | None = None,
    ceilings: Mapping[str, float] | None = None,
    locked: Collection[str] = (),
    limits_in: Unit = "share",
    risk_aversion: float = 0.0,
    scenario: str = "same budget",
) -> Allocation:
    """Split `total` over the channels of `current` by their `responses` (table of that name; regions are summed).

    Where no other split is sure enough to gain, today's proportions are kept as far as the limits allow.

    Parameters
    ----------
    current : channel → today's money a period.
    floors, ceilings : channel → share of `total`, or money a period with ``limits_in="money"``.
    locked : channels that stay at today's money, to the cent.
    risk_aversion : standard deviations of the total revenue taken off its mean; 0, the mean counts alone.

    Raises
    ------
    InputError
        For numbers that are missing, infinite or negative, several currencies or models, channels without a curve.
    Infeasible
        When floors and locks exceed the total, or ceilings and locks cannot hold it.
    CannotTell
        With fewer than four draws, or money beyond what the curves cover.
    """
    if not np.isfinite(risk_aversion) or risk_aversion < 0:
        raise InputError(f"a risk aversion of {risk_aversion} is not known", fix="give a number from 0")
    current = current.rename(index=str).sort_index()
    if current.empty or current.index.has_duplicates:
        raise InputError("today's money names no channel, or one twice", fix="give one amount a channel")
    grid, curves = curves_of(responses, list(current.index))
    limits = Limits.of(
        current, grid[:, -1], float(total), floors=floors, ceilings=ceilings, locked=locked, limits_in=limits_in
    )  # fmt: skip
    today = current.to_numpy(dtype=np.float64)
    choosing, judging = (np.ascontiguousarray(curves[:, start::2]) for start in (0, 1))
    best, bound = _best(grid, choosing, limits, today, risk_aversion)
    kept = limits.rounded(limits.as_today(today)) if today.sum() > 0 else best
    same = revenue(grid, judging, kept)

    def on_the_way(step: float) -> Floats:
        return limits.rounded(kept + step * (best - kept))

    step, sure, gains = settled(
        lambda step: revenue(grid, judging, on_the_way(step)) - same, same - revenue(grid, judging, today)
    )
    chosen = on_the_way(step)
    value = worth_risky(grid, choosing, chosen, risk_aversion)
    held = limits.held(chosen)
    reasons = _why(limits, held, grid, choosing, kept, best, sure, step)
    return Allocation(
        scenario, pd.Series(chosen, current.index), pd.Series(today, current.index), Estimate.of(gains, "currency"), value, max(bound, value),
        max(0.0, bound - value) / max(abs(bound), 1e-9), tuple(name for name in current.index if any(name in each for each in held.values())),
        sure, step, reasons,
    )  # fmt: skip


def _best(grid: Floats, choosing: Floats, limits: Limits, today: Floats, risk_aversion: float) -> tuple[Floats, float]:
    """The best split to the cent, today's where none is better, and the bound."""
    best, _, bound = best_risky(grid, choosing, limits.low, limits.high, limits.total, risk_aversion)
    cents = limits.rounded(best)
    if today.sum() > 0:
        kept = limits.rounded(limits.as_today(today))
        now, then = (worth_risky(grid, choosing, split, risk_aversion) for split in (kept, cents))
        if now >= then - 1e-9 * abs(bound):
            cents = kept
    return cents, bound


def _moves(change: pd.Series) -> str:
    """Where money comes from and where it goes."""
    up, down = str(change.idxmax()), str(change.idxmin())
    if change[down] >= 0:
        return f"{up} gets most of what is added ({change[up]:+,.0f})"
    if change[up] <= 0:
        return f"{down} loses most of what is taken ({change[down]:+,.0f})"
    return f"move money from {down} ({change[down]:,.0f}) to {up} ({change[up]:+,.0f})"


def _why(
    limits: Limits,
    held: dict[str, tuple[str, ...]],
    grid: Floats,
    choosing: Floats,
    kept: Floats,
    best: Floats,
    sure: float,
    step: float,
) -> tuple[str, ...]:
    """What holds the split where it is, a sentence each."""
    told = held_back(held)
    if step > 0:
        return (*told, *part_way("split", step))
    change = pd.Series(best - kept, limits.channels)
    if change.abs().max() >= 0.01:
        return (*told, unsure("split", change, sure))
    free = limits.high - limits.low > 0.01
    if free.sum() < 2:
        return (*told, "So there is no other split.")
    up, down = _slopes(grid, choosing.mean(axis=1), kept, limits.total / 1_000)
    flat = free & (np.abs(up) < FLAT) & (np.abs(down) < FLAT)
    if flat.any():
        told.append(f"The curve of {listed(tuple(np.array(limits.channels, dtype=object)[flat]))} is flat at today's money.")
    return (*told, "No other split within the limits is worth more.")


def _slopes(grid: Floats, curve: Floats, split: Floats, step: float) -> tuple[Floats, Floats]:
    """Earned per unit of money added and taken, by channel."""
    at = [np.interp([x - step, x, x + step], one, y) for x, one, y in zip(split, grid, curve, strict=True)]
    return np.array([(y[2] - y[1]) / step for y in at]), np.array([(y[1] - y[0]) / step for y in at])
