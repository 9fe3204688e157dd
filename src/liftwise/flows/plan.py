"""plan: what to do next. Predicted effectiveness → exact selection with a bound; response curves → channel budgets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd

from liftwise.core.errors import CannotTell, Infeasible, InputError
from liftwise.flows.outline import Flow
from liftwise.pipeline import features
from liftwise.store.workspace import Workspace

if TYPE_CHECKING:
    from liftwise.decisions.allocation import Allocation
    from liftwise.decisions.flighting import Flight
    from liftwise.decisions.selection import Selection

METRICS = ("impressions", "engagements", "conversions", "revenue", "brand_equity")
RECENT = 52  # periods that say what a channel gets today
WEEKS = 13  # that a schedule plans


@dataclass(frozen=True)
class Plan:
    """A plan as recorded: who posts what, and how channels share their money."""

    plan_id: str
    metric: str
    selection: Selection
    allocation: Allocation | None
    flow: Flow

    def summary(self) -> str:
        """What a manager reads first."""
        words = [self.selection.summary()]
        if self.allocation is not None:
            words.append(self.allocation.summary())
        return " ".join(words)


def plan(
    ws: Workspace,
    budget: float,
    *,
    metric: str | None = None,
    risk_aversion: float | None = None,
    rules: Sequence[Any] | None = None,
    seconds: float = 60.0,
    again: bool = False,
) -> Plan:
    """Choose posts for the coming events within `budget` (currency), and split the channels' budget.

    Parameters
    ----------
    metric : what a post is worth: impressions, engagements, conversions, revenue or brand_equity.
    risk_aversion : ρ in f − ρσ.
    rules : beyond the budget; default: at most `plan.max_posts` posts per influencer and one a week.
    seconds : how long to look for a better plan.

    Raises
    ------
    CannotTell
        When there are no past assignments to learn from or no event to come.
    Infeasible
        When the rules contradict each other.
    """
    metric = metric or ws.settings.plan.metric
    if metric not in METRICS:
        raise InputError(f"unknown metric {metric!r}", fix=f"choose {', '.join(METRICS)}")
    if not budget > 0:
        raise InputError(f"a budget of {budget:g}", fix="give a positive amount")
    rho = ws.settings.plan.risk_aversion if risk_aversion is None else risk_aversion
    today = features.horizon(ws.warehouse) or datetime.now(UTC).date()
    flow = Flow(ws, "plan", again)
    flow.step(
        "effectiveness", lambda: _effectiveness(ws, metric, today), needs=["influencers", "rates", "events", "assignments"],
        reads=["influencers", "rates", "events", "assignments", "affinities", "audiences", "trends"], writes=["effectiveness"],
        parameters={"metric": metric, "today": today, "seed": ws.settings.seed, "days": ws.settings.plan.horizon_days},
    )  # fmt: skip
    if "effectiveness" in flow.left_out:
        raise CannotTell(
            f"no plan: {flow.left_out['effectiveness']}", fix="deliver influencers, rates, events and past assignments"
        )
    chosen = _select(ws, metric, budget, rho, rules, seconds)
    plan_id = _plan_id(chosen)
    splits: list[Allocation] = []
    flow.step(
        "allocation", lambda: _allocate(ws, plan_id, splits), needs=["responses", "spend"], writes=["allocations"], again=True
    )  # fmt: skip
    _record(ws, plan_id, chosen)
    return Plan(plan_id, metric, chosen, splits[0] if splits else None, flow)


def _effectiveness(ws: Workspace, metric: str, today: date) -> dict[str, Any]:
    from liftwise.models.effectiveness import BoostedEffectiveness, feasible_tuples

    table = {name: ws.warehouse.table(name) for name in ("influencers", "rates", "events", "assignments")}
    more = {name: ws.warehouse.table(name) if ws.warehouse.has(name) else None for name in ("affinities", "audiences", "trends")}
    last = pd.Timestamp(today + timedelta(days=ws.settings.plan.horizon_days))
    coming = table["events"][table["events"]["date"] <= last]
    tuples = feasible_tuples(table["influencers"], table["rates"], coming, after=today)
    if tuples.empty:
        raise CannotTell(f"no event to post for between {today} and {last.date()}", fix="add events, or raise plan.horizon_days")
    ws.progress("effectiveness", 0.1, f"{len(tuples):,} ways to post")
    model = BoostedEffectiveness(metric=metric, seed=ws.settings.seed).fit(
        table["assignments"], influencers=table["influencers"], rates=table["rates"], events=table["events"], **more
    )
    ws.progress("effectiveness", 0.5, "predicting")
    ws.warehouse.write("effectiveness", model.predict(tuples))
    return {"tuples": len(tuples), **{str(name): float(value) for name, value in model.scores_.items()}}


def _select(ws: Workspace, metric: str, budget: float, rho: float, rules: Sequence[Any] | None, seconds: float) -> Selection:
    from liftwise.decisions.rules import Frequency
    from liftwise.decisions.selection import select

    if rules is None:
        rules = [Frequency(max_posts=ws.settings.plan.max_posts), Frequency(max_posts=1, per="influencer-week")]
    ws.progress("selection", 0.0)
    chosen = select(
        ws.warehouse.table("effectiveness"), metric=metric, budget=budget, influencers=ws.warehouse.table("influencers"),
        events=ws.warehouse.table("events"), rules=list(rules), risk_aversion=rho, seconds=seconds, seed=ws.settings.seed,
        grid=ws.settings.grid,
    )  # fmt: skip
    ws.progress("selection", 1.0, f"gap {chosen.gap:.2%}")
    return chosen


def _allocate(ws: Workspace, plan_id: str, splits: list[Allocation]) -> dict[str, Any]:
    """Split today's money over the channels that have a response curve; the split is left in `splits`."""
    from liftwise.decisions.allocation import allocate

    responses = ws.warehouse.table("responses")
    current = current_spend(ws, RECENT)
    current = current[current.index.isin(responses["channel"].unique())]
    if current.sum() <= 0:
        raise CannotTell("no channel has both money and a response curve")
    # a channel moves by at most `max_shift` at a time: curves are known near what was spent, not far from it
    total, shift = float(current.sum()), ws.settings.plan.max_shift
    shares = current / total
    limits = {
        "floors": ((1 - min(shift, 1.0)) * shares).to_dict(),
        "ceilings": ((1 + shift) * shares).clip(upper=1.0).to_dict(),
    }
    split = allocate(responses, current=current, total=total, **limits)
    schedules = _schedules(ws, responses, sorted(current.index), limits)
    tables = [split.to_frame(), *(schedule.to_frame() for schedule in schedules)]
    ws.warehouse.write("allocations", pd.concat(tables, ignore_index=True).assign(plan_id=plan_id))
    splits.append(split)
    gains = {f"gain, {schedule.scenario}": schedule.gain.mean for schedule in schedules}
    return {"gain": float(split.gain.mean), "bound_gap": float(split.gap), **gains}


def _schedules(ws: Workspace, responses: pd.DataFrame, channels: list[str], limits: dict[str, Any]) -> list[Flight]:
    """The next weeks, with as much money as today and with a tenth more; none where the carry-over is not known."""
    from liftwise.decisions.flighting import flight

    carryover = ws.warehouse.table("carryover")
    if carryover.empty:
        return []
    spend = ws.warehouse.table("spend")
    history = spend[spend["channel"].isin(channels)].pivot_table(
        index="week", columns="channel", values="spend", aggfunc="sum", fill_value=0.0
    )
    usual = float(history[-RECENT:].mean().sum()) * WEEKS
    found = []
    for scenario, money in ((f"same budget, {WEEKS} weeks", usual), (f"+10 %, {WEEKS} weeks", 1.1 * usual)):
        with suppress(Infeasible):  # a tenth more than the curves know
            found.append(flight(responses, carryover, history, weeks=WEEKS, total=money, scenario=scenario, **limits))
    return found


def current_spend(ws: Workspace, periods: int) -> pd.Series:
    """Mean spend per period and channel over the last `periods`, all regions together."""
    spend = ws.warehouse.sql(
        f"""
        WITH recent AS (SELECT DISTINCT week FROM spend ORDER BY week DESC LIMIT {int(periods)})
        SELECT channel, sum(spend) / (SELECT count(*) FROM recent) AS spend FROM spend SEMI JOIN recent USING (week)
        GROUP BY channel ORDER BY channel
        """
    )
    return spend.set_index("channel")["spend"]


def _plan_id(chosen: Selection) -> str:
    content = chosen.assignments.to_csv(index=False) + datetime.now(UTC).isoformat()
    return "plan-" + hashlib.sha256(content.encode()).hexdigest()[:10]


def _record(ws: Workspace, plan_id: str, chosen: Selection) -> None:
    made_at = pd.Timestamp(datetime.now(UTC).replace(tzinfo=None))
    runs = pd.DataFrame([{**chosen.plan_row(), "plan_id": plan_id, "made_at": made_at, "state": "proposed"}])
    ws.ledger.append({"plan_runs": runs, "plans": chosen.assignments.assign(plan_id=plan_id)})
