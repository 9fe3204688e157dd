"""plan: what to do next. Predicted effectiveness → selection with a bound, and its front; response curves → channel budgets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.flows.outline import Flow
from liftwise.pipeline import features
from liftwise.store.workspace import Workspace

if TYPE_CHECKING:
    from liftwise.decisions.allocation.allocate import Allocation
    from liftwise.decisions.allocation.scenarios import Scenarios
    from liftwise.decisions.frontier.front import Frontier
    from liftwise.decisions.selection.choose import Selection

METRICS = ("impressions", "engagements", "conversions", "revenue", "brand_equity")
BESIDE = ("affinities", "audiences", "trends", "embeddings", "evidence", "lift_tests")  # what helps to predict, where it is there
RECENT = 52  # periods that say what a channel gets today
WEEKS = 13  # that a schedule plans
SCREENED = 1_000_000  # ways to post up to which all are scored in full; of more, the promising hundredth


@dataclass(frozen=True)
class Plan:
    """A plan as recorded: who posts what, how channels share their money, and what else could be had instead."""

    plan_id: str
    metric: str
    selection: Selection
    allocation: Allocation | None
    scenarios: Scenarios | None
    frontier: Frontier | None
    flow: Flow

    def summary(self) -> str:
        """What a manager reads first."""
        words = [self.selection.summary(), level_of(self.flow.metrics("effectiveness"), self.metric)]
        if self.allocation is not None:
            words.append(self.allocation.summary())
        if self.frontier is not None:
            words.append(self.frontier.summary())
        return " ".join(word for word in words if word)


def plan(
    ws: Workspace,
    budget: float,
    *,
    metric: str | None = None,
    risk_aversion: float | None = None,
    rules: Sequence[Any] | None = None,
    frontier: Sequence[str] | None = None,
    target_roi: float | None = None,
    seconds: float = 60.0,
    again: bool = False,
) -> Plan:
    """Choose posts for the coming events within `budget` (currency), and split the channels' budget.

    Parameters
    ----------
    metric : what a post is worth: impressions, engagements, conversions, revenue or brand_equity.
    risk_aversion : ρ in f − ρσ, and in mean − ρ·sd of what channels bring together.
    rules : beyond the budget; default: at most `plan.max_posts` posts per influencer and one a week.
    frontier : objectives (metrics, "roi", "reach", "risk", "cost") whose front of plans is wanted too.
    target_roi : for the channels, also the largest budget whose next money earns that much.
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
        "effectiveness", lambda: _effectiveness(ws, _wanted(metric, frontier), today), needs=["influencers", "rates", "events", "assignments"],
        reads=["influencers", "rates", "events", "assignments", *BESIDE], writes=["effectiveness"],
        parameters={"metrics": _wanted(metric, frontier), "today": today, "seed": ws.settings.seed, "days": ws.settings.plan.horizon_days},
    )  # fmt: skip
    if "effectiveness" in flow.left_out:
        raise CannotTell(
            f"no plan: {flow.left_out['effectiveness']}", fix="deliver influencers, rates, events and past assignments"
        )
    if rules is None:
        rules = default_rules(ws)
    chosen = _select(ws, metric, budget, rho, rules, seconds)
    plan_id = _plan_id(chosen)
    found: dict[str, Any] = {}
    flow.step(
        "allocation", lambda: _allocate(ws, plan_id, target_roi, rho, found), needs=["responses", "spend"], writes=["allocations"], again=True
    )  # fmt: skip
    if frontier:
        flow.step(
            "frontier", lambda: _frontier(ws, frontier, budget, rho, rules, seconds, found), writes=["frontier"], again=True
        )
    _record(ws, plan_id, chosen)
    return Plan(plan_id, metric, chosen, found.get("allocation"), found.get("scenarios"), found.get("frontier"), flow)


def level_of(reported: Mapping[str, Any], metric: str) -> str:
    """What step effectiveness reported of a metric's level: whether it is caused or as counted; nothing where it did not predict that metric."""
    return reported.get("levels", {}).get(metric, {}).get("says", "")


def default_rules(ws: Workspace) -> list[Any]:
    """So many posts an influencer as the settings say, one a week."""
    from liftwise.decisions.selection.rules import Frequency

    return [Frequency(max_posts=ws.settings.plan.max_posts), Frequency(max_posts=1, per="influencer-week")]


def _wanted(metric: str, frontier: Sequence[str] | None) -> list[str]:
    """Metrics that must be predicted."""
    asked = [metric, *("revenue" if name in ("roi", "risk") else name for name in frontier or ())]
    return [name for name in METRICS if name in asked]


def _effectiveness(ws: Workspace, metrics: Sequence[str], today: date) -> dict[str, Any]:
    table: dict[str, Any] = {name: ws.warehouse.table(name) for name in ("influencers", "rates", "events", "assignments")}
    table |= {name: ws.warehouse.table(name) if ws.warehouse.has(name) else None for name in BESIDE}
    last = pd.Timestamp(today + timedelta(days=ws.settings.plan.horizon_days))
    coming = table["events"][table["events"]["date"] <= last]
    coming = coming[coming["date"] + pd.to_timedelta(coming["closes_days"].fillna(0), unit="D") >= pd.Timestamp(today)]
    if coming.empty:
        raise CannotTell(f"no event to post for between {today} and {last.date()}", fix="add events, or raise plan.horizon_days")
    scored: list[pd.DataFrame] = []
    told: dict[str, Any] = {}
    for k, metric in enumerate(metrics):
        ws.progress("effectiveness", (k + 0.1) / len(metrics), f"learning from {len(table['assignments']):,} assignments")
        frame, facts = _predicted(ws, table, coming, metric, today)
        scored.append(frame)
        told = told or facts
        told["levels"] |= facts["levels"]
    ws.warehouse.write("effectiveness", pd.concat(scored, ignore_index=True))
    return told


def _predicted(
    ws: Workspace, table: dict[str, Any], coming: pd.DataFrame, metric: str, today: date
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """f ± σ of every way to post for the coming events (of very many, of the promising ones), and how good the model is."""
    from liftwise.models.effectiveness import Effectiveness, score_grid

    given = {name: frame for name, frame in table.items() if name != "assignments"}
    model = Effectiveness(metric=metric, seed=ws.settings.seed, networks=2).fit(table["assignments"], **given)
    found = score_grid(model, rates=table["rates"], events=coming, after=today, keep_all=SCREENED)
    known = model.level_
    level = {"ratio": known.ratio, "sd": known.sd, "tests": known.tests, "says": known.summary()}
    scores = {str(name): float(value) for name, value in model.scores_.items()}
    return found.to_frame(), {"tuples": found.screened, **scores, "levels": {metric: level}}


def _select(ws: Workspace, metric: str, budget: float, rho: float, rules: Sequence[Any], seconds: float) -> Selection:
    from liftwise.decisions.selection.choose import select

    def told(value: float, bound: float) -> None:
        ws.progress("selection", 0.5, f"{value:,.0f}, no plan above {bound:,.0f}")

    ws.progress("selection", 0.0)
    chosen = select(
        ws.warehouse.table("effectiveness"), metric=metric, budget=budget, influencers=ws.warehouse.table("influencers"),
        events=ws.warehouse.table("events"), audiences=ws.warehouse.table("audiences"), rules=list(rules), risk_aversion=rho,
        seconds=seconds, told=told,
        grid=ws.settings.grid,
    )  # fmt: skip
    ws.progress("selection", 1.0, f"gap {chosen.gap:.2%}")
    return chosen


def _frontier(
    ws: Workspace, objectives: Sequence[str], budget: float, rho: float, rules: Sequence[Any], seconds: float, found: dict[str, Any]
) -> dict[str, Any]:  # fmt: skip
    """The front of plans; it is kept as table `frontier`, the plan that was made is the one of the metric."""
    from liftwise.decisions.frontier.front import frontier

    front = frontier(
        ws.warehouse.table("effectiveness"), objectives=objectives, budget=budget, influencers=ws.warehouse.table("influencers"),
        events=ws.warehouse.table("events"), audiences=ws.warehouse.table("audiences"), rules=rules, risk_aversion=rho, seconds=seconds,
        seed=ws.settings.seed, grid=ws.settings.grid,
    )  # fmt: skip
    ws.warehouse.write("frontier", front.to_frame())
    found["frontier"] = front
    return {"points": len(front.points), "share of what no front exceeds": float(front.hypervolume_bound)}


def _allocate(ws: Workspace, plan_id: str, target_roi: float | None, rho: float, found: dict[str, Any]) -> dict[str, Any]:
    """Split today's money over the channels that have a response curve, and answer what other budgets would bring; `rho` as in `allocate`."""
    from liftwise.decisions.allocation.allocate import allocate

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
    split = allocate(responses, current=current, total=total, risk_aversion=rho, **limits)
    schedules = _scenarios(ws, responses, sorted(current.index), limits | {"risk_aversion": rho}, target_roi)
    tables = (
        [split.to_frame(), *(each.weekly.to_frame() for each in schedules.found.values())] if schedules else [split.to_frame()]
    )
    ws.warehouse.write("allocations", pd.concat(tables, ignore_index=True).assign(plan_id=plan_id))
    found |= {"allocation": split, "scenarios": schedules}
    gains = {f"gain, {name}": each.weekly.gain.mean for name, each in schedules.found.items()} if schedules else {}
    return {"gain": float(split.gain.mean), "bound_gap": float(split.gap), **gains}


def _scenarios(
    ws: Workspace, responses: pd.DataFrame, channels: list[str], told: dict[str, Any], target_roi: float | None
) -> Scenarios | None:
    """The next weeks with today's money, a tenth more, a tenth less; none where the carry-over is not known."""
    from liftwise.decisions.allocation.scenarios import scenarios

    carryover = ws.warehouse.table("carryover")
    if carryover.empty:
        return None
    spend = ws.warehouse.table("spend")
    history = spend[spend["channel"].isin(channels)].pivot_table(
        index="week", columns="channel", values="spend", aggfunc="sum", fill_value=0.0
    )
    return scenarios(responses, carryover, history, weeks=WEEKS, target_roi=target_roi, **told)


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
