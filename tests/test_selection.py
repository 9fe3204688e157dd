"""Plans: against brute force, checked by an independent slow checker, at size, and when impossible."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liftwise.core.errors import CannotTell, Infeasible
from liftwise.core.tables import check
from liftwise.core.uncertainty import spawn
from liftwise.decisions.rules import Coverage, Frequency
from liftwise.decisions.selection import Selection, select


def market(seed: int, influencers: int, contents: int, events: int, days: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every tuple of a made-up market, and its events."""
    rng = spawn(seed, "market")
    i, c, e, t = (axis.ravel() for axis in np.meshgrid(*map(np.arange, (influencers, contents, events, days)), indexing="ij"))
    price = (rng.lognormal(0, 0.8, (influencers, contents)) * 100).round(2)
    base = price**0.7 * rng.lognormal(0, 0.5, (influencers, contents))
    predicted = base[i, c] * rng.lognormal(0, 0.4, (influencers, events))[i, e] * (1 - 0.05 * np.abs(t - 1))
    frame = pd.DataFrame({
        "influencer_id": np.char.add("i", i.astype(str)), "content_type": np.char.add("c", c.astype(str)),
        "event_id": np.char.add("e", e.astype(str)), "days_from_event": -t.astype(float), "metric": "revenue", "predicted": predicted,
        "uncertainty": 0.2 * predicted, "price": price[i, c],
    })  # fmt: skip
    when = pd.Timestamp("2026-01-05") + pd.to_timedelta(rng.integers(0, 80, events), unit="D")
    return frame, pd.DataFrame({"event_id": [f"e{k}" for k in range(events)], "date": when, "genre": [f"g{k % 3}" for k in range(events)],
                                "location": "all"})  # fmt: skip


def verify(
    plan: Selection, frame: pd.DataFrame, budget: float, rho: float, per_influencer: int, per_event: int, events: pd.DataFrame
) -> None:
    """Everything a plan claims, by plain loops."""
    cost = value = 0.0
    posts: dict[str, int] = {}
    weeks: dict[tuple[str, object], int] = {}
    covered = dict.fromkeys(events["event_id"], 0)
    for line in plan.assignments.itertuples():
        mine = frame[(frame["influencer_id"] == line.influencer_id) & (frame["content_type"] == line.content_type)
                     & (frame["event_id"] == line.event_id) & (frame["days_from_event"] == line.days_from_event)].iloc[0]  # fmt: skip
        assert line.budget == mine["price"] and line.predicted == mine["predicted"]
        cost += mine["price"]
        value += mine["predicted"] - rho * mine["uncertainty"]
        posts[line.influencer_id] = posts.get(line.influencer_id, 0) + 1
        weeks[line.influencer_id, line.week] = weeks.get((line.influencer_id, line.week), 0) + 1
        covered[line.event_id] += 1
        assert line.why
    assert cost <= budget * (1 + 1e-9) and cost == pytest.approx(plan.cost)
    assert value == pytest.approx(plan.value)
    assert max(posts.values(), default=0) <= per_influencer
    assert max(weeks.values(), default=0) <= 1
    assert min(covered.values()) >= per_event
    assert plan.bound >= plan.value - 1e-6
    assert plan.gap * abs(plan.bound) == pytest.approx(plan.bound - plan.value, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(50, 600), st.floats(0, 1))
def test_the_plan_is_as_good_as_brute_force(seed: int, budget: float, rho: float) -> None:
    frame, events = market(seed, 3, 2, 2, 1)
    rules = [Frequency(2), Frequency(1, "influencer-week")]
    plan = select(frame, metric="revenue", budget=budget, events=events, rules=rules, risk_aversion=rho, gap=0.0)
    verify(plan, frame, budget, rho, 2, 0, events)
    weeks = dict(zip(events["event_id"], pd.to_datetime(events["date"]).dt.to_period("W"), strict=True))
    best = 0.0
    for size in range(1, 5):
        for chosen in itertools.combinations(frame.itertuples(), size):
            names = [row.influencer_id for row in chosen]
            slots = [(row.influencer_id, weeks[row.event_id]) for row in chosen]
            if sum(row.price for row in chosen) <= budget and max(map(names.count, names)) <= 2 and len(set(slots)) == size:
                best = max(best, sum(row.predicted - rho * row.uncertainty for row in chosen))
    if len(plan.assignments) <= 4:
        assert plan.value == pytest.approx(best)
    assert plan.bound >= best - 1e-6


def test_a_large_plan_is_proven_close_in_time() -> None:
    frame, events = market(5, 400, 5, 25, 4)
    began = time.monotonic()
    plan = select(frame, metric="revenue", budget=4_000, events=events, rules=[Frequency(3), Frequency(1, "influencer-week"), Coverage("event", 2)],
                  gap=0.01, seconds=30)  # fmt: skip
    assert len(frame) == 200_000
    assert plan.gap <= 0.01
    assert time.monotonic() - began < 60
    verify(plan, frame, 4_000, 0.5, 3, 2, events)
    assert check("plans", plan.assignments.assign(plan_id="p")).rejected.empty
    assert "budget" in set(plan.binding["rule"])


def test_more_money_never_hurts_and_the_same_input_gives_the_same_plan() -> None:
    frame, events = market(1, 30, 3, 6, 2)
    values = [select(frame, metric="revenue", budget=b, events=events, gap=1e-6).value for b in (200, 400, 800)]
    assert values == sorted(values)
    one, other = (select(frame, metric="revenue", budget=400, events=events).assignments for _ in range(2))
    pd.testing.assert_frame_equal(one, other)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """The solver greets in its first run of a process, also between the brackets of JSON; so a process of its own is asked."""
    code = "import sys; sys.path.insert(0, 'tests'); from test_selection import market; from liftwise.decisions.selection import select; " \
           "f, e = market(1, 5, 2, 3, 1); select(f, metric='revenue', budget=300, events=e)"  # fmt: skip
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
    assert capfd.readouterr().out == ""


def test_impossible_rules_are_named() -> None:
    frame, events = market(2, 4, 2, 6, 1)
    with pytest.raises(Infeasible, match="coverage by event") as caught:
        select(frame, metric="revenue", budget=1e6, events=events, rules=[Frequency(1), Coverage("event", 2)])
    assert caught.value.rules == ("coverage by event",)
    with pytest.raises(Infeasible, match="budget"):
        select(frame, metric="revenue", budget=1.0, events=events, rules=[Coverage("event", 1)])
    with pytest.raises(CannotTell, match="no prediction of joy"):
        select(frame, metric="joy", budget=10)


def test_a_budget_below_every_price_is_an_empty_plan_that_says_so() -> None:
    frame, events = market(97, 3, 2, 2, 1)
    plan = select(frame, metric="revenue", budget=10.0, events=events)
    assert plan.assignments.empty and plan.cost == plan.value == plan.bound == plan.gap == 0.0
    assert f"costs {frame['price'].min():,.2f}" in plan.summary()
    with pytest.raises(Infeasible, match="coverage by event"):
        select(frame, metric="revenue", budget=10.0, events=events, rules=[Coverage("event", 1)])


def test_risk_aversion_prefers_the_sure_thing() -> None:
    frame, events = market(3, 2, 1, 1, 1)
    frame = frame.assign(price=10.0, predicted=[100.0, 90.0], uncertainty=[50.0, 1.0])
    chosen = [
        select(frame, metric="revenue", budget=10, events=events, risk_aversion=rho).assignments["influencer_id"].item()
        for rho in (0, 1)
    ]
    assert chosen == ["i0", "i1"]
