"""What if: the same budget, a tenth more or less, money only moved within limits, and the most money that still earns a target.

Each question is answered twice by the same rules: `allocate` says what a period should look like in the long run, `flight` when the money
runs week by week, with what earlier weeks left behind. The size of the budget for a target comes from the steady curves: the marginal
return is what the next money brings on the concave envelopes, where it never rises with the budget, so that the largest budget is found by
halving; the average return may rise and fall again, so that budgets are tried from the largest down.

Neither answer moves money for a gain that is not sure (`winners_curse`): with another budget, today's mix is then kept at that budget.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (plotly and numba have no types)
from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from liftwise.core.colours import PALETTE, QUIET
from liftwise.core.errors import CannotTell, Infeasible, InputError
from liftwise.core.uncertainty import Floats
from liftwise.decisions.allocation.allocate import Allocation, allocate
from liftwise.decisions.allocation.curves import curves_of
from liftwise.decisions.allocation.envelopes import best_split, envelope_bound, worth
from liftwise.decisions.allocation.flighting import Flight, flight
from liftwise.decisions.allocation.limits import Limits, Unit
from liftwise.decisions.allocation.weeks import YEAR

if TYPE_CHECKING:
    import plotly.graph_objects as go

Target = Literal["marginal", "average"]
BUDGETS = {"same budget": 1.0, "+10 %": 1.1, "-10 %": 0.9}
MOVES = 0.3  # share of a channel's money that "reallocate" may move, unless limits are given
TRIED = 200  # budgets, for a target of the average return
EXACT = 1e-6  # of the largest budget


@dataclass(frozen=True, eq=False)
class Scenario:
    """One question: `steady` is the split of a period, `weekly` its schedule; `note` says what was asked."""

    name: str
    steady: Allocation
    weekly: Flight
    note: str

    @property
    def changes(self) -> pd.Series:
        """Channel → money of all weeks beyond today's."""
        return (self.weekly.recommended - self.weekly.current).sum().round(2) + 0.0  # no −0

    def summary(self) -> str:
        """For a manager."""
        change, (low, high) = self.changes, self.weekly.gain.interval(0.90)
        moved = ", ".join(
            f"{name} {change[name]:+,.0f}" for name in change.abs().sort_values(ascending=False).index if abs(change[name]) >= 1
        )
        why = " ".join(("", *self.weekly.reasons)) if self.weekly.stays else ""
        if not self.weekly.moved:
            return f"{self.name} ({self.note}): nothing changes.{why}"
        kept = " Today's mix is kept." if self.weekly.stays else ""
        return (
            f"{self.name} ({self.note}): {moved or 'money moves between weeks alone'}; "
            f"revenue {self.weekly.gain.mean:+,.0f} (90 %: {low:+,.0f} to {high:+,.0f}).{kept}{why}"
        )


@dataclass(frozen=True, eq=False)
class Scenarios:
    """Answers by name; `left_out` says why a question has none."""

    found: dict[str, Scenario]
    left_out: dict[str, str]

    def __getitem__(self, name: str) -> Scenario:
        return self.found[name]

    def to_frame(self) -> pd.DataFrame:
        """Table `allocations` but for plan_id: for each scenario the steady split (no week) and the schedule."""
        return pd.concat(
            [part for each in self.found.values() for part in (each.steady.to_frame(), each.weekly.to_frame())], ignore_index=True
        )

    def compare(self) -> pd.DataFrame:
        """A row a scenario: money and revenue of all weeks beyond today's, with its interval, and each channel's change."""
        rows = list[dict[str, Any]]()
        for name, each in self.found.items():
            low, high = each.weekly.gain.interval(0.90)
            money = float(each.weekly.recommended.to_numpy().sum())
            rows.append({
                "scenario": name, "money": money, "more": float(each.changes.sum()), "gain": each.weekly.gain.mean, "low": low, "high": high,
            } | {f"{channel}, change": amount for channel, amount in each.changes.items()})  # fmt: skip
        return pd.DataFrame(rows)

    def summary(self) -> str:
        """For a manager, a line each."""
        return "\n".join(
            [*(each.summary() for each in self.found.values()), *(f"{name}: {why}" for name, why in self.left_out.items())]
        )

    def plot(self) -> go.Figure:
        """Above, each scenario's money by channel beside today's; below, what it brings beyond today's plan, with its 90 % interval."""
        from plotly.subplots import make_subplots

        table, some = self.compare(), next(iter(self.found.values())).weekly
        figure = make_subplots(
            rows=2, shared_xaxes=True, vertical_spacing=0.12, row_heights=[0.6, 0.4],
            subplot_titles=(f"Money of {len(some.current)} weeks", "Revenue beyond today's plan, with its 90 % interval"),
        )  # fmt: skip
        names = ["today", *table["scenario"]]
        for k, channel in enumerate(some.current.columns):
            money = [some.current[channel].sum(), *(each.weekly.recommended[channel].sum() for each in self.found.values())]
            figure.add_bar(x=names, y=money, name=str(channel), marker_color=PALETTE[k % len(PALETTE)], row=1, col=1)
        figure.add_scatter(
            x=table["scenario"], y=table["gain"], mode="markers", marker={"color": PALETTE[6], "size": 9}, showlegend=False, row=2, col=1,
            error_y={"type": "data", "array": table["high"] - table["gain"], "arrayminus": table["gain"] - table["low"], "width": 8},
        )  # fmt: skip
        figure.update_yaxes(zeroline=True, zerolinecolor=QUIET, row=2, col=1)
        figure.update_xaxes(showticklabels=True, row=1, col=1)
        figure.update_yaxes(tickformat=",.0f")
        return figure.update_layout(template="plotly_white", barmode="stack", legend={"traceorder": "reversed"}, height=700)


def scenarios(
    responses: pd.DataFrame,
    carryover: pd.DataFrame,
    history: pd.DataFrame,
    *,
    weeks: int = 12,
    start: str | date | None = None,
    floors: Mapping[str, float] | None = None,
    ceilings: Mapping[str, float] | None = None,
    locked: Collection[str] = (),
    target_roi: float | None = None,
    target: Target = "marginal",
    seasons: Mapping[str | date, float] | None = None,
    least: Mapping[tuple[str | date, str], float] | None = None,
    quarters_apart: bool = False,
    risk_aversion: float = 0.0,
    tail_aversion: float = 0.0,
) -> Scenarios:
    """Same budget, ± 10 %, reallocate and, if asked, the largest budget that earns `target_roi`, for `weeks` from `start`.

    Parameters
    ----------
    responses, carryover, history, start, seasons, least, quarters_apart : as in `flight`; today is the mean of the last year of `history`.
    floors, ceilings : channel → share of the budget, in every scenario. "reallocate" further holds each channel within 30 % of today's share.
    locked : channels that stay at today's money in every scenario.
    target_roi : revenue per unit of money that the next money ("marginal") or all money ("average", beyond what no money brings) must earn.
    risk_aversion : as in `allocate` and `flight`: standard deviations of the total revenue taken off its mean.
    tail_aversion : as in `flight`, for the schedules alone: a steady split has no such choice.

    Raises
    ------
    InputError
        As `allocate` and `flight`, and for a target that is no positive number.
    CannotTell, Infeasible
        Where not even the same budget has an answer; a scenario beyond limits or curves is left out with its reason.
    """
    if target not in ("marginal", "average"):
        raise InputError(f"a target of the {target!r} return is not known", fix="use 'marginal' or 'average'")
    current = history[-YEAR:].mean().rename(index=str).sort_index()
    usual = round(float(current.sum()), 2)
    asked = [(name, usual * times, f"{times:.0%} of today's money", (floors, ceilings)) for name, times in BUDGETS.items()]
    shares = current / max(float(current.sum()), 1e-9)
    asked.append(
        ("reallocate", usual, f"each channel within {MOVES:.0%} of today", _within(shares, floors, ceilings, set(locked)))
    )
    left_out: dict[str, str] = {}
    if target_roi is not None:
        try:
            budget, note = _budget(responses, current, target_roi, target, floors, ceilings, locked)
            asked.append(("target ROI", budget, note, (floors, ceilings)))
        except (CannotTell, Infeasible) as why:
            left_out["target ROI"] = str(why)
    found: dict[str, Scenario] = {}
    for name, money, note, (floor, ceiling) in asked:
        try:
            steady = allocate(
                responses, current=current, total=round(money, 2), floors=floor, ceilings=ceiling, locked=locked, risk_aversion=risk_aversion,
                scenario=name,
            )  # fmt: skip
            weekly = flight(
                responses, carryover, history, weeks=weeks, total=round(money * weeks, 2), start=start, floors=floor, ceilings=ceiling,
                locked=locked, seasons=seasons, least=least, quarters_apart=quarters_apart, risk_aversion=risk_aversion, tail_aversion=tail_aversion,
                scenario=f"{name}, {weeks} weeks",
            )  # fmt: skip
        except (CannotTell, Infeasible) as why:
            if name == "same budget":
                raise
            left_out[name] = str(why)
            continue
        found[name] = Scenario(name, steady, weekly, note)
    return Scenarios(found, left_out)


def _within(
    shares: pd.Series, floors: Mapping[str, float] | None, ceilings: Mapping[str, float] | None, locked: set[str]
) -> tuple[dict[str, float], dict[str, float]]:  # fmt: skip
    """Limits near today's shares, and no wider than those given."""
    free = [str(name) for name in shares.index if name not in locked]
    least = {name: max((1 - MOVES) * float(shares[name]), (floors or {}).get(name, 0.0)) for name in free}
    most = {name: min((1 + MOVES) * float(shares[name]), (ceilings or {}).get(name, 1.0)) for name in free}
    return least, {name: max(most[name], least[name]) for name in free}


def largest_budget(
    responses: pd.DataFrame,
    current: pd.Series,
    target_roi: float,
    *,
    target: Target = "marginal",
    floors: Mapping[str, float] | None = None,
    ceilings: Mapping[str, float] | None = None,
    locked: Collection[str] = (),
    limits_in: Unit = "share",
) -> tuple[float, bool]:
    """The most money a period whose marginal or average return stays at `target_roi` or above, and whether the curves end before it does.

    Means over draws count. Raises `CannotTell` where no budget earns the target.
    """
    if not np.isfinite(target_roi) or target_roi <= 0:
        raise InputError(f"a target of {target_roi} is not known", fix="give revenue per unit of money, above 0")
    current = current.rename(index=str).sort_index()
    grid, curves = curves_of(responses, list(current.index))
    curve = curves.mean(axis=1)
    reach = float(grid[:, -1].sum())

    def fits(total: float) -> Limits | None:
        try:
            return Limits.of(
                current, grid[:, -1], total, floors=floors, ceilings=ceilings, locked=locked, limits_in=limits_in
            )  # fmt: skip
        except (CannotTell, Infeasible):
            return None

    def earns(total: float) -> bool:
        if (limits := fits(total)) is None:
            return False
        return _earns(grid, curve, limits, target_roi, target)

    tries = np.linspace(reach, reach / TRIED, TRIED)
    for k, total in enumerate(map(float, tries)):
        if earns(total):
            if k == 0 or fits(float(tries[k - 1])) is None:
                return _edge(
                    lambda money: fits(money) is not None and earns(money), total, float(tries[max(k - 1, 0)]), reach
                ), True
            return _edge(earns, total, float(tries[k - 1]), reach), False
    raise CannotTell(f"no budget earns {target_roi:g} per unit of money ({target})", fix="lower the target")


def _earns(grid: Floats, curve: Floats, limits: Limits, target_roi: float, target: Target) -> bool:
    if target == "average":
        _, value, _ = best_split(grid, curve, limits.low, limits.high, limits.total)
        return value - float(worth(grid, curve, np.zeros(len(grid)))) >= target_roi * limits.total
    step = min(1e-4 * limits.total, limits.total - float(limits.low.sum()))
    if step <= 0:
        return False
    more, less = (envelope_bound(grid, curve, limits.low, limits.high, total)[1] for total in (limits.total, limits.total - step))
    return more - less >= target_roi * step * (1 - 1e-9)


def _edge(earns: Callable[[float], bool], good: float, bad: float, reach: float) -> float:
    """The largest amount between that earns, to a part of the reach."""
    if earns(bad):
        return bad
    while bad - good > EXACT * reach:
        middle = (good + bad) / 2
        good, bad = (middle, bad) if earns(middle) else (good, middle)
    return good


def _budget(
    responses: pd.DataFrame, current: pd.Series, target_roi: float, target: Target, floors: Mapping[str, float] | None,
    ceilings: Mapping[str, float] | None, locked: Collection[str],
) -> tuple[float, str]:  # fmt: skip
    money, ended = largest_budget(responses, current, target_roi, target=target, floors=floors, ceilings=ceilings, locked=locked)
    what = "the next money earns" if target == "marginal" else "all money earns on average"
    note = f"the most of which {what} {target_roi:g} per unit: {money:,.0f} a period"
    return money, note + ("; limits or curves end there, not the return" if ended else "")
