"""How channels share their money: response curves → the best split, with a bound.

Each channel's curve (mean over draws, less risk) is replaced by its concave envelope: filling the steepest segments first is then
optimal (water-filling), and its value bounds every split. Where a curve is S-shaped that split may promise what the true curve does
not give, so a dynamic program over `STEPS` equal parts of the money also looks for the best split of the true curves; the better of
the two is polished by moving money in pairs, and today's split is kept when nothing is better.

The winner's curse: a split is chosen because its gain looks large. Half of the draws choose and the other half say what the choice will bring, so
the luck of single draws flatters nothing. The luck of the fit itself is in all draws alike; against it the expected gain is shrunk towards none by
James & Stein's (1961) factor, 1 − variance/mean² (0 where that is negative): much where the gain is hardly known, hardly where it is known well.
Where fewer than `SURE` of these draws gain, today's split is kept: a plan that may well lose moves no money.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (plotly has no types, and numpy loses them over object arrays)
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell, Infeasible, InputError
from liftwise.core.money import Money
from liftwise.core.uncertainty import Estimate

if TYPE_CHECKING:
    import plotly.graph_objects as go

Floats = NDArray[np.float64]
SURE = 7 / 8  # share of the draws that must gain, else no money moves
STEPS = 400  # parts of the free money that the dynamic program hands out


@dataclass(frozen=True)
class Allocation:
    """A split and its proof. Amounts are per period.

    recommended, current : channel → money. gain : revenue of the recommended split less today's, on draws that did not choose it; what it
    is better than today's split of the same total is shrunk for having been chosen.
    value, bound, gap : of the choosing objective. at_limit : channels held by a floor or ceiling.
    """

    scenario: str
    recommended: pd.Series
    current: pd.Series
    gain: Estimate
    value: float
    bound: float
    gap: float
    at_limit: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """Table `allocations` but for plan_id."""
        low, high = self.gain.interval(0.90)
        return pd.DataFrame({
            "scenario": self.scenario, "week": pd.NaT, "region": "all", "channel": self.recommended.index, "current": self.current.to_numpy(),
            "recommended": self.recommended.to_numpy(), "gain": self.gain.mean, "low": low, "high": high,
        })  # fmt: skip

    def summary(self) -> str:
        """For a manager."""
        change = self.recommended - self.current
        low, high = self.gain.interval(0.90)
        if change.abs().max() < 0.01:
            return "Channel budgets stay as they are: no split within the limits is sure enough to earn more."
        up, down = str(change.idxmax()), str(change.idxmin())
        return (
            f"Channels: move money from {down} ({change[down]:,.0f}) to {up} ({change[up]:+,.0f}) a period; "
            f"expected revenue {self.gain.mean:+,.0f} a period (90 %: {low:+,.0f} to {high:+,.0f})."
        )

    def plot(self) -> go.Figure:
        """Today beside recommended."""
        import plotly.graph_objects as go

        figure = go.Figure()
        figure.add_bar(x=self.current.index, y=self.current, name="today")
        figure.add_bar(x=self.recommended.index, y=self.recommended, name="recommended")
        return figure.update_layout(template="plotly_white", barmode="group")


def allocate(
    responses: pd.DataFrame,
    *,
    current: pd.Series,
    total: float,
    floors: Mapping[str, float] | None = None,
    ceilings: Mapping[str, float] | None = None,
    risk_aversion: float = 0.0,
    scenario: str = "same budget",
) -> Allocation:
    """Split `total` over the channels of `responses` (table of that name, regions summed beforehand).

    Parameters
    ----------
    current : channel → today's money a period.
    floors, ceilings : channel → share of `total`.

    Raises
    ------
    Infeasible
        When floors exceed the total or ceilings cannot hold it.
    CannotTell
        With fewer than four draws, or a total beyond what the curves cover.
    """
    channels = sorted(map(str, current.index))
    names = set(channels)
    unknown = (set(floors or {}) | set(ceilings or {})) - names
    if unknown or not names <= set(responses["channel"]):
        raise InputError(f"no response curve or spend for {', '.join(sorted(unknown or names - set(responses['channel'])))}")
    spend, curves = curves_of(responses, channels)
    low = np.array([(floors or {}).get(name, 0.0) * total for name in channels])
    high = np.minimum(np.array([(ceilings or {}).get(name, 1.0) * total for name in channels]), spend[:, -1])
    _refuse(low, high, total, channels, floors, ceilings, spend)
    today = current.reindex(channels).to_numpy(dtype=np.float64)
    choosing, judging = curves[:, ::2], curves[:, 1::2]
    objective = choosing.mean(axis=1) - risk_aversion * choosing.std(axis=1)
    filled, bound = _fill(spend, objective, low, high, total)
    best = max(
        (_exchange(spend, objective, start, low, high, total / STEPS) for start in (filled, _by_parts(spend, objective, filled, low, high, total))),
        key=lambda split: _value(spend, objective, split),
    )  # fmt: skip
    if _fits(today, low, high, total) and _value(spend, objective, today) >= _value(spend, objective, best) - 1e-9 * abs(bound):
        best = today
    cents = to_cents(best, total)
    kept = to_cents(today, total) if today.sum() > 0 else cents
    gains = _worth(spend, judging, cents) - _worth(spend, judging, today)
    if _fits(kept, low, high, total):
        same = _worth(spend, judging, kept) - _worth(spend, judging, today)
        moves, gains = settled(gains - same, same)
        cents = cents if moves else kept
    value = _value(spend, objective, cents)
    held = tuple(
        name for k, name in enumerate(channels) if (cents[k] <= low[k] + 0.01 and low[k] > 0) or cents[k] >= high[k] - 0.01
    )
    return Allocation(scenario, pd.Series(cents, channels), pd.Series(today, channels), Estimate.of(gains, "currency"), value, bound,
                      max(0.0, bound - value) / max(abs(bound), 1e-9), held)  # fmt: skip


def settled(better: Floats, same: Floats) -> tuple[bool, Floats]:
    """Whether a choice is sure enough to move money, and the draws of its gain on today that may be told.

    better : (draws,) of the choice over what would be kept. same : of that over today (not none, when the total differs).
    """
    moves = bool((better > 0).mean() >= SURE)
    return moves, same + shrunk(better) if moves else same


def shrunk(gains: Floats) -> Floats:
    """Draws of a gain moved towards none, their spread left as it is; a loss is left alone.

    >>> shrunk(np.array([1.0, 3.0])).tolist()  # mean 2, variance 1: a quarter is taken off
    [0.5, 2.5]
    """
    mean = float(gains.mean())
    return gains - min(float(gains.var()) / mean, mean) if mean > 0 else gains


def curves_of(responses: pd.DataFrame, channels: list[str]) -> tuple[Floats, Floats]:
    """Spend grids (channels, points) and revenue (channels, draws, points)."""
    grids: list[Floats] = []
    values: list[Floats] = []
    for name in channels:
        wide = responses[responses["channel"] == name].pivot_table(index="draw", columns="spend", values="revenue", aggfunc="sum")
        grids.append(wide.columns.to_numpy(dtype=np.float64))
        values.append(wide.to_numpy(dtype=np.float64))
    if min(len(grid) for grid in grids) != max(len(grid) for grid in grids) or values[0].shape[0] < 4:
        raise CannotTell("response curves need four draws and the same number of points in each channel")
    return np.array(grids), np.array(values)


def _refuse(
    low: Floats, high: Floats, total: float, channels: list[str], floors: Mapping[str, float] | None, ceilings: Mapping[str, float] | None,
    spend: Floats,
) -> None:  # fmt: skip
    if low.sum() > total * (1 + 1e-9):
        raise Infeasible(
            f"floors ask for {low.sum() / total:.0%} of the total", rules=tuple(sorted(floors or {})), fix="lower a floor"
        )
    crossed = [name for k, name in enumerate(channels) if low[k] > high[k] + 1e-9]
    if crossed:
        raise Infeasible("a floor lies above its ceiling", rules=tuple(crossed), fix="lower the floor or raise the ceiling")
    if high.sum() < total * (1 - 1e-9):
        if ceilings:
            raise Infeasible(
                f"ceilings hold only {high.sum() / total:.0%} of the total", rules=tuple(sorted(ceilings)), fix="raise a ceiling"
            )
        raise CannotTell(
            f"the curves reach up to {spend[:, -1].sum():,.0f}, the total is {total:,.0f}", fix="plan in smaller steps"
        )


def _value(spend: Floats, curve: Floats, split: Floats) -> float:
    return float(sum(np.interp(split[k], spend[k], curve[k]) for k in range(len(split))))


def _worth(spend: Floats, curves: Floats, split: Floats) -> Floats:
    """(draws,) by curves (channels, draws, points)."""
    return np.array([_value(spend, curves[:, draw], split) for draw in range(curves.shape[1])])


def _fits(split: Floats, low: Floats, high: Floats, total: float) -> bool:
    return bool(abs(split.sum() - total) < 0.005 * len(split) and (split >= low - 0.005).all() and (split <= high + 0.005).all())


def _fill(spend: Floats, objective: Floats, low: Floats, high: Floats, total: float) -> tuple[Floats, float]:
    """The best split on the concave envelopes between floors and ceilings, and its value: no split is worth more."""
    segments: list[tuple[float, int, float]] = []
    split, value = low.copy(), 0.0
    for k in range(len(low)):
        inside = spend[k][(spend[k] > low[k]) & (spend[k] < high[k])]
        x = np.concatenate([[low[k]], inside, [high[k]]])
        at = envelope(x, np.interp(x, spend[k], objective[k]))
        y = np.interp(x[at], spend[k], objective[k])
        value += float(y[0])
        segments += [
            (float((y[j + 1] - y[j]) / max(x[at[j + 1]] - x[at[j]], 1e-12)), k, float(x[at[j + 1]] - x[at[j]]))
            for j in range(len(at) - 1)
        ]
    left = total - float(low.sum())
    for slope, k, width in sorted(segments, key=lambda segment: (-segment[0], segment[1])):
        step = min(width, left)
        split[k] += step
        value += slope * step
        left -= step
    return split, value


def envelope(x: Floats, y: Floats) -> list[int]:
    """Points of the upper concave envelope (monotone chain)."""
    kept: list[int] = []
    for k in range(len(x)):
        if kept and x[k] - x[kept[-1]] < 1e-12:
            continue
        while len(kept) > 1 and (y[kept[-1]] - y[kept[-2]]) * (x[k] - x[kept[-2]]) <= (y[k] - y[kept[-2]]) * (
            x[kept[-1]] - x[kept[-2]]
        ):
            kept.pop()
        kept.append(k)
    return kept


def _by_parts(spend: Floats, objective: Floats, filled: Floats, low: Floats, high: Floats, total: float) -> Floats:
    """The best split of the true curves in equal parts above the floors (max-plus convolution, channel by channel).

    `filled` is returned where ceilings leave no such split.
    """
    part = (total - float(low.sum())) / STEPS
    if part <= 0:
        return filled
    room = np.minimum(np.floor((high - low) / part + 1e-9), STEPS).astype(int)
    best = np.full(STEPS + 1, -np.inf)
    best[0] = 0.0
    taken: list[NDArray[np.int64]] = []
    spent, parts = np.arange(STEPS + 1)[:, None], np.arange(STEPS + 1)[None, :]
    for k in range(len(low)):
        worth = np.interp(low[k] + parts[0] * part, spend[k], objective[k])
        worth[room[k] + 1 :] = -np.inf
        left = spent - parts
        together = np.where(left >= 0, best[np.maximum(left, 0)] + worth[None, :], -np.inf)
        taken.append(together.argmax(axis=1))
        best = together.max(axis=1)
    if not np.isfinite(best[STEPS]):
        return filled
    split, left = low.copy(), STEPS
    for k in range(len(low) - 1, -1, -1):
        split[k] += taken[k][left] * part
        left -= int(taken[k][left])
    return split


def _exchange(spend: Floats, objective: Floats, split: Floats, low: Floats, high: Floats, step: float) -> Floats:
    """Move money between pairs while that helps, in ever smaller steps from `step`."""
    split, least = split.copy(), step / 64
    while step > least:
        best, move = 1e-9, (-1, -1)
        worth = [np.interp([split[k] - step, split[k], split[k] + step], spend[k], objective[k]) for k in range(len(split))]
        for one in range(len(split)):
            for other in range(len(split)):
                if one != other and split[one] - step >= low[one] and split[other] + step <= high[other]:
                    gain = float(worth[one][0] - worth[one][1] + worth[other][2] - worth[other][1])
                    if gain > best:
                        best, move = gain, (one, other)
        if move[0] < 0:
            step /= 2
            continue
        split[move[0]] -= step
        split[move[1]] += step
    return split


def to_cents(split: Floats, total: float) -> Floats:
    """The split to the cent, summing exactly to the total's cents."""
    return np.array([float(part.amount) for part in Money.of(round(total, 2)).split([max(float(x), 0.0) for x in split])])
