"""Experiments by region: which markets to test in, a plan that is frozen before the start, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd

from liftwise.core.errors import InputError
from liftwise.pipeline import features
from liftwise.store.workspace import Workspace

if TYPE_CHECKING:
    from liftwise.models.causal import Lift, Panel
    from liftwise.models.causal.frozen import TestPlan
    from liftwise.models.causal.markets import Designs

EFFECTS = (0.0, 0.025, 0.05, 0.075, 0.10, 0.15, 0.20)


@dataclass(frozen=True)
class Design:
    """Sets of markets, ranked, and the plan for the best of them; `test_id` is empty until it is frozen."""

    designs: Designs
    plan: TestPlan
    test_id: str = ""


def design_test(
    ws: Workspace, expected_lift: float, *, sizes: Sequence[int] = (2, 3, 4), durations: Sequence[int] = (4, 8), start: date | None = None,
    include: Sequence[str] = (), exclude: Sequence[str] = (), control: Sequence[str] = (), cost_per_unit: float | None = None,
    budget: float | None = None, alpha: float = 0.10, freeze: bool = False,
) -> Design:  # fmt: skip
    """Rank markets by the lift a test in them could show on the workspace's own sales; plan, and with `freeze` record, the best.

    Parameters
    ----------
    expected_lift : what the campaign is hoped to do, as a share of sales. Power under one half there means: do not run this test.
    durations : in periods of the workspace's grid. start : default, the period after the last one with sales.
    include, exclude, control : regions that must be treated, take no part, or stay untreated.

    Raises
    ------
    CannotTell
        When the history is too short or no set of markets could show any of the effects.
    """
    from liftwise.models.causal.frozen import plan_test
    from liftwise.models.causal.markets import select_markets

    panel = history(ws)
    designs = select_markets(
        panel, sizes, durations, sorted({*EFFECTS, expected_lift}), include=include, exclude=exclude, forced_control=control,
        budget=budget, cost_per_unit=cost_per_unit, alpha=alpha, seed=ws.settings.seed,
    )  # fmt: skip
    best = designs.best
    step = panel.periods[-1] - panel.periods[-2]
    first = pd.Timestamp(start) if start else panel.periods[-1] + step
    while start is None and first.date() < _today(ws):  # what has begun cannot be planned
        first += step
    plan = plan_test(
        panel, markets=best.markets, start=first, end=first + best.duration * step - timedelta(days=1), duration=best.duration,
        expected_lift=expected_lift, exclude=exclude, cost_per_unit=cost_per_unit, alpha=alpha, seed=ws.settings.seed,
    )  # fmt: skip
    return Design(designs, *_frozen(ws, plan)) if freeze else Design(designs, plan)


def history(ws: Workspace) -> Panel:
    """Sales by region as a panel."""
    from liftwise.models.causal import Panel

    sales = ws.warehouse.table("sales")
    if sales.empty:
        raise InputError("there are no sales by region to rehearse a test on", fix="deliver a sales table, then refresh")
    return Panel.of(sales, unit="region", time="week", outcome="revenue")


def _today(ws: Workspace) -> date:
    """The day after the last thing known."""
    return features.horizon(ws.warehouse) or datetime.now(UTC).date()


def _frozen(ws: Workspace, plan: TestPlan) -> tuple[TestPlan, str]:
    """Write the plan into the ledger with its hash; refused once the test would have begun."""
    today = _today(ws)
    if pd.Timestamp(plan.start).date() < today:
        raise InputError(
            f"the test would have begun on {plan.start[:10]}, and data reach {today}", fix="freeze a plan before its start"
        )
    plan = plan.freeze()
    test_id = f"test-{plan.sha256[:10]}"
    if test_id not in set(ws.ledger.table("test_designs")["test_id"]):
        ws.ledger.append({"test_designs": pd.DataFrame([{
            "test_id": test_id, "frozen_at": pd.Timestamp(datetime.now(UTC).replace(tzinfo=None)), "starts_on": plan.start[:10],
            "ends_on": plan.end[:10], "markets": ";".join(plan.markets), "expected_lift": plan.expected_lift, "power": plan.power,
            "verdict": plan.verdict, "sha256": plan.sha256, "design": plan.to_json(),
        }])})  # fmt: skip
    return plan, test_id


def read_test(ws: Workspace, test_id: str) -> tuple[Lift, list[str], dict[str, Any]]:
    """What a frozen test caused, every deviation from its plan, and its row in the ledger.

    Raises
    ------
    InputError
        When there is no such test, its plan was changed since, or the data do not reach its start.
    """
    from liftwise.models.causal.frozen import read_out

    known = ws.ledger.table("test_designs")
    mine = known[known["test_id"] == test_id]
    if mine.empty:
        raise InputError(f"there is no frozen test {test_id!r}", fix=f"there are {', '.join(known['test_id']) or 'none yet'}")
    row = {str(name): value for name, value in mine.iloc[0].items()}
    lift, deviations = read_out(str(row["design"]), history(ws))
    return lift, deviations, row
