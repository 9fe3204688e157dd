"""Fronts: against enumeration, published exact fronts, plain loops over every rule, and the linear programs' bounds."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liftwise.core.errors import CannotTell, Infeasible, InputError
from liftwise.core.tables import check
from liftwise.core.uncertainty import spawn
from liftwise.decisions.frontier import plan_core
from liftwise.decisions.frontier.front import Frontier, frontier
from liftwise.decisions.frontier.fronts import hypervolume, knapsack_front, knee, nondominated, thinned
from liftwise.decisions.frontier.supports import ceiling
from liftwise.decisions.selection.candidates import Candidates
from liftwise.decisions.selection.engine import compiled
from liftwise.decisions.selection.rules import Budget, Coverage, CVaR, Diversity, Exclusive, Frequency, MinimumFee, RiskLimit
from liftwise.decisions.selection.solver import model_of, solve


def market(seed: int, influencers: int, contents: int, events: int) -> dict[str, Any]:
    """Tables of a made-up market with two metrics, and its events and influencers."""
    rng = spawn(seed, "front market")
    i, c, e, t = (axis.ravel() for axis in np.meshgrid(*map(np.arange, (influencers, contents, events, 2)), indexing="ij"))
    followers = rng.lognormal(10, 1, influencers).round()
    price = (0.05 * followers[:, None] ** 0.8 * rng.lognormal(0, 0.4, (influencers, contents))).round(2)
    love = rng.lognormal(0, 0.7, influencers)
    base = pd.DataFrame({"influencer_id": np.char.add("i", i.astype(str)), "content_type": np.char.add("c", c.astype(str)),
                         "event_id": np.char.add("e", e.astype(str)), "days_from_event": -2.0 * t, "price": price[i, c]})  # fmt: skip
    revenue = 2 * price[i, c] ** 0.9 * rng.lognormal(0, 0.5, (influencers, events))[i, e] * rng.lognormal(0, 0.1, len(i))
    brand = 0.1 * price[i, c] ** 0.8 * love[i] * rng.lognormal(0, 0.3, len(i))
    long = pd.concat([base.assign(metric="revenue", predicted=revenue, uncertainty=0.3 * revenue),
                      base.assign(metric="brand_equity", predicted=brand, uncertainty=0.2 * brand)], ignore_index=True)  # fmt: skip
    facts = pd.DataFrame({"influencer_id": [f"i{k}" for k in range(influencers)], "followers": followers, "risk_score": rng.beta(2, 8, influencers),
                          "platform": rng.choice(["a", "b", "c"], influencers), "tier": rng.choice(["x", "y"], influencers)})  # fmt: skip
    when = pd.Timestamp("2026-01-05") + pd.to_timedelta(7 * np.arange(events), unit="D")
    return {
        "effectiveness": long,
        "influencers": facts,
        "events": pd.DataFrame({"event_id": [f"e{k}" for k in range(events)], "date": when}),
    }


def all_rules(tables: dict[str, Any]) -> tuple[list[Any], pd.DataFrame]:
    """Every kind of rule that needs a helper, and the scenarios of losses."""
    rng = spawn(1, "losses")
    losses = pd.DataFrame(rng.beta(1.5, 10, (40, 3)), columns=["a", "b", "c"])
    rules = [Frequency(2), Frequency(1, "influencer-week"), Coverage("event", 1), Diversity("platform", 0.6), Diversity("influencer", 0.3),
             RiskLimit(0.22), CVaR(losses, 0.26, by="platform"), Exclusive([("i0", "i1"), ("i2", "i3", "i4")])]  # fmt: skip
    return rules, losses


def verify(front: Frontier, tables: dict[str, Any], budget: float, rho: float, losses: pd.DataFrame) -> None:
    """Each point by plain loops: what it claims, and every rule of `all_rules`."""
    known = dict(zip(
        tables["effectiveness"][["influencer_id", "content_type", "event_id", "days_from_event", "metric"]].itertuples(index=False, name=None),
        tables["effectiveness"].itertuples(), strict=True))  # fmt: skip
    facts = tables["influencers"].set_index("influencer_id")
    for point in front.points.itertuples():
        cost = revenue = brand = risk = reach = 0.0
        posts: dict[str, int] = {}
        weeks, covered, money = set[tuple[str, object]](), set[str](), dict.fromkeys("abc", 0.0)
        each: dict[str, float] = {}
        lines = front.plan(point.point)
        for line in lines.itertuples():
            key = (line.influencer_id, line.content_type, line.event_id, line.days_from_event)
            one, two = known[(*key, "revenue")], known[(*key, "brand_equity")]
            assert line.budget == one.price and line.predicted == one.predicted and line.why
            cost += one.price
            revenue += one.predicted - rho * one.uncertainty
            brand += two.predicted - rho * two.uncertainty
            risk += facts.loc[line.influencer_id, "risk_score"] * one.price
            reach += facts.loc[line.influencer_id, "followers"]
            posts[line.influencer_id] = posts.get(line.influencer_id, 0) + 1
            assert (line.influencer_id, line.week) not in weeks
            weeks.add((line.influencer_id, line.week))
            covered.add(line.event_id)
            money[facts.loc[line.influencer_id, "platform"]] += one.price
            each[line.influencer_id] = each.get(line.influencer_id, 0.0) + one.price
        assert cost <= budget * (1 + 1e-9) and cost == pytest.approx(point.cost) and point.posts == len(lines)
        assert max(posts.values()) <= 2 and covered == set(tables["events"]["event_id"])
        assert max(money.values()) <= 0.6 * cost * (1 + 1e-7) and max(each.values()) <= 0.3 * cost * (1 + 1e-7)
        assert risk <= 0.22 * cost * (1 + 1e-7)
        lost = sorted((sum(row[p] * money[p] for p in "abc") for row in losses.to_dict("records")), reverse=True)
        assert np.mean(lost[:4]) <= 0.26 * cost * (1 + 1e-7)
        assert len({"i0", "i1"} & set(posts)) <= 1 and len({"i2", "i3", "i4"} & set(posts)) <= 1
        claimed = {"roi": revenue / cost, "revenue": revenue, "brand_equity": brand, "reach": reach}
        for name in set(claimed) & set(front.objectives):
            assert getattr(point, name) == pytest.approx(claimed[name])
        if "roi" in front.objectives:
            assert cost >= 0.5 * budget * (1 - 1e-9)


def enumerated(tables: dict[str, Any], budget: float, floor: float, cap: int) -> np.ndarray:
    """(ROI, brand equity) of every non-dominated plan without risk aversion: by looking at all of them."""
    one, two = (
        tables["effectiveness"][tables["effectiveness"]["metric"] == m].reset_index(drop=True)
        for m in ("revenue", "brand_equity")
    )
    price, revenue, brand = one["price"].to_numpy(), one["predicted"].to_numpy(), two["predicted"].to_numpy()
    who = one["influencer_id"].to_numpy()
    found = []
    for size in range(1, len(price) + 1):
        for chosen in itertools.combinations(range(len(price)), size):
            at = list(chosen)
            cost = price[at].sum()
            if floor * budget <= cost <= budget and max(list(who[at]).count(w) for w in who[at]) <= cap:
                found.append((revenue[at].sum() / cost, brand[at].sum()))
    z = np.array(found).reshape(-1, 2)
    return z[[not ((z >= row).all(axis=1) & (z > row).any(axis=1)).any() for row in z]]


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(2, 4))
def test_dominance_and_hypervolume_are_those_of_plain_counting(seed: int, p: int) -> None:
    z = spawn(seed, "points").integers(0, 5, (7, p)).astype(float)
    kept = nondominated(z)
    better = [any((z[k] >= row).all() and (z[k] > row).any() for k in range(len(z))) for row in z]
    assert {tuple(row) for row in z[kept]} == {tuple(row) for row, worse in zip(z, better, strict=True) if not worse}
    assert len({tuple(row) for row in z[kept]}) == kept.sum()
    cells = itertools.product(range(5), repeat=p)
    assert hypervolume(z, np.zeros(p)) == sum(any(all(cell[o] < row[o] for o in range(p)) for row in z) for cell in cells)


@settings(max_examples=60)
@given(st.integers(0, 10_000))
def test_the_dynamic_program_finds_every_point_of_a_knapsack(seed: int) -> None:
    rng = spawn(seed, "knapsack")
    profits, weights, capacity = rng.integers(0, 30, (11, 2)), rng.integers(1, 20, 11), int(rng.integers(10, 100))
    every = np.array(list(itertools.product([0, 1], repeat=11)))
    z = (every @ profits)[every @ weights <= capacity]
    expected = z[nondominated(z.astype(float))]
    found = knapsack_front(profits, weights, capacity, np.zeros((0, 11), dtype=bool))
    assert found is not None
    values, plans = found
    np.testing.assert_array_equal(values, expected[np.argsort(-expected[:, 0])])
    np.testing.assert_array_equal(plans @ profits, values)
    assert (plans @ weights <= capacity).all()


def test_thinning_keeps_the_ends_and_the_knee_is_the_corner() -> None:
    z = np.array([[0, 10], [1, 9.9], [1.05, 9.89], [8, 8], [9.9, 1], [10, 0]], dtype=float)
    assert knee(z) == 3
    kept = thinned(z, 4)
    assert {0, 3, 5} <= set(kept) and len(kept) == 4
    assert len(thinned(spawn(0, "cloud").random((50, 3)), 10)) == 10


def published(folder: Path, number: int) -> tuple[pd.DataFrame, float, np.ndarray]:
    """A published instance as table effectiveness, its capacity and its exact front."""
    lines = (folder / f"MOKP_p-2_n-200_{number}.dat").read_text()
    count, items, capacity, rest = lines.split(None, 3)
    numbers = (
        json.loads("[" + rest.replace("\n", " ").replace("]] [", "]], [").replace("] [", "], [") + "]") if "]" in rest else []
    )
    assert count == "2" and items == "200"
    profits, weights = numbers[0], numbers[1]
    base = pd.DataFrame({"influencer_id": [f"item{k:03d}" for k in range(200)], "content_type": "x", "event_id": "e", "days_from_event": 0.0,
                         "uncertainty": 0.0, "price": weights})  # fmt: skip
    frame = pd.concat([base.assign(metric=f"z{k + 1}", predicted=profits[k]) for k in range(2)], ignore_index=True)
    front = pd.read_csv(folder / "exact_fronts.csv.gz").query("instance == @number")[["z1", "z2"]].to_numpy()
    return frame, float(np.floor(float(capacity))), front


@pytest.mark.parametrize("number", [1, 7])
def test_published_fronts_are_reproduced_to_the_point(shared_data: Callable[[str], Path], number: int) -> None:
    frame, capacity, front = published(shared_data("mokp_biobjective"), number)
    found = frontier(frame, objectives=("z1", "z2"), budget=capacity, rules=(), risk_aversion=0.0)
    assert found.exact and found.hypervolume_bound == 1.0
    z = found.points[["z1", "z2"]].to_numpy()
    np.testing.assert_array_equal(z, front[np.argsort(-front[:, 0])])
    few = frontier(frame, objectives=("z1", "z2"), budget=capacity, rules=(), risk_aversion=0.0, points=20)
    assert len(few.points) == 20 and not few.exact and 0.8 < few.hypervolume_bound < 1.0
    again = found.plans.groupby("plan_id", sort=False)["budget"].sum()
    assert again.max() <= capacity


def test_without_exactness_a_published_front_is_nearly_covered_and_never_overclaimed(shared_data: Callable[[str], Path]) -> None:
    frame, capacity, front = published(shared_data("mokp_biobjective"), 4)
    found = frontier(frame, objectives=("z1", "z2"), budget=capacity, rules=(), risk_aversion=0.0, exact=False, seconds=2.0)
    nadir = front.min(axis=0).astype(float)
    z = found.points[["z1", "z2"]].to_numpy(dtype=float)
    assert hypervolume(z, nadir) >= 0.99 * hypervolume(front.astype(float), nadir)
    assert all(((front >= row).all(axis=1)).any() for row in z)
    aims, prober = found.engine["aims"], found.engine["prober"]
    assert (front[:, 1] <= ceiling(aims, prober.supports, front[:, 0].astype(float)) + 1e-6).all()


@settings(max_examples=6)
@given(st.integers(0, 10_000), st.floats(0.3, 0.9))
def test_small_fronts_of_roi_are_those_of_enumeration_and_bounds_hold(seed: int, share: float) -> None:
    tables = market(seed, 3, 1, 2)
    budget = float(tables["effectiveness"]["price"].sum() / 2 * share)
    expected = enumerated(tables, budget, 0.4, 2)
    found = (
        frontier(**tables, budget=budget, rules=[Frequency(2)], risk_aversion=0.0, least_spend=0.4, seconds=20.0)
        if len(expected)
        else None
    )
    if found is None:
        return
    assert found.exact
    z = found.points[["roi", "brand_equity"]].to_numpy()
    np.testing.assert_allclose(z, expected[np.argsort(-expected[:, 0])], rtol=1e-6)
    aims, prober = found.engine["aims"], found.engine["prober"]
    assert (expected[:, 1] <= ceiling(aims, prober.supports, expected[:, 0]) * (1 + 1e-6) + 1e-6).all()


def test_bounds_of_three_objectives_hold_for_every_plan() -> None:
    tables = market(2, 3, 1, 2)
    rows = tables["effectiveness"]
    price, revenue, brand = (rows.loc[rows["metric"] == metric, column].to_numpy() for metric, column in (
        ("revenue", "price"), ("revenue", "predicted"), ("brand_equity", "predicted")))  # fmt: skip
    budget = float(0.6 * price.sum())
    every = np.array(list(itertools.product([0.0, 1.0], repeat=len(price))))
    every = every[(every @ price <= budget) & (every @ price >= 0.5 * budget)]
    risk = -every @ (0.3 * revenue)
    z = np.column_stack([(every @ revenue) / (every @ price), every @ brand, risk])
    asked = {**tables, "objectives": ("roi", "brand_equity", "risk"), "budget": budget, "rules": (), "risk_aversion": 0.0}
    found = frontier(**asked, seconds=1.5)
    aims, supports = found.engine["aims"], found.engine["prober"].supports
    assert len(supports) > 5
    for support in supports:
        assert support.allows(aims, z - 1e-6 * np.abs(z)).all()
    best = hypervolume(z, z.min(axis=0))
    assert hypervolume(found.points[["roi", "brand_equity", "risk"]].to_numpy() * [1, 1, -1], z.min(axis=0)) <= best * (1 + 1e-9)


@settings(max_examples=6)
@given(st.integers(0, 10_000))
def test_the_search_judges_plans_as_the_solver_does(seed: int) -> None:
    tables = market(5, 9, 2, 3)
    rules, _ = all_rules(tables)
    facts = {name: tables[name] for name in ("influencers", "events")}
    these, program = compiled(Candidates.of(tables["effectiveness"], "revenue", 0.0, **facts), 700.0, rules)
    columns = np.arange(len(these))
    core = plan_core.core_of(program, columns, np.column_stack([these.worth, these.price]), these.price, -1)
    assert core is not None
    rng = spawn(seed, "plans")
    plans = rng.random((12, len(these))) < rng.uniform(0.05, 0.2, (12, 1))
    orders = np.argsort(-these.worth)
    for plan in plans[6:]:
        plan_core.mend(core, plan, orders, these.worth)  # so that some keep the rules
    plans[9:] ^= rng.random((3, len(these))) < 1 / len(these)
    for plan, broken in zip(plans, plan_core.judged(core, plans)[1], strict=True):
        chosen = np.flatnonzero(plan)
        answer = solve(program, model_of(program, chosen, forced=chosen), integer=True, seconds=5.0)
        kept = np.bincount(core.slot[chosen]).max(initial=0) <= 1 and answer.feasible
        assert kept == (broken <= 0)


@pytest.mark.parametrize("objectives", [("roi", "brand_equity"), ("revenue", "brand_equity"), ("roi", "brand_equity", "reach")])
def test_every_point_keeps_every_rule(objectives: tuple[str, ...]) -> None:
    tables = market(5, 12, 2, 4)
    rules, losses = all_rules(tables)
    found = frontier(
        **tables, objectives=objectives, budget=900.0, rules=rules, risk_aversion=0.3, exact=False, seconds=1.5, seed=1
    )
    verify(found, tables, 900.0, 0.3, losses)
    z = found.points[list(objectives)].to_numpy()
    assert nondominated(z).all() and len(z) >= 3
    assert 0.2 < found.hypervolume_bound <= 1.0
    assert found.hypervolume == pytest.approx(hypervolume(z, z.min(axis=0)))
    assert check("frontier", found.to_frame()).rejected.empty and check("plans", found.plans).rejected.empty
    assert list(found.named)[:3] == (["return first", "balanced", "brand first"])
    assert "balanced" in found.summary() and len(found.plot().data) >= 2


def test_the_search_comes_close_to_the_exact_front_of_all_rules() -> None:
    tables = market(6, 10, 1, 3)
    rules, losses = all_rules(tables)
    asked = {**tables, "budget": 600.0, "rules": rules, "risk_aversion": 0.3}
    exact = frontier(**asked, exact=True, seconds=60.0)
    assert exact.exact
    verify(exact, tables, 600.0, 0.3, losses)
    near = frontier(**asked, exact=False, seconds=2.0)
    best, z = (front.points[["roi", "brand_equity"]].to_numpy() for front in (exact, near))
    nadir = best.min(axis=0)
    assert hypervolume(z, nadir) >= 0.95 * hypervolume(best, nadir)
    assert all(((best >= row * (1 - 1e-6)).all(axis=1)).any() for row in z)
    assert near.hypervolume_bound <= 1.0


def test_the_same_seed_gives_the_same_front() -> None:
    tables = market(3, 4, 1, 2)
    one, other = (frontier(**tables, budget=250.0, exact=False, seconds=20.0, seed=4) for _ in range(2))
    pd.testing.assert_frame_equal(one.points, other.points)
    pd.testing.assert_frame_equal(one.plans, other.plans)
    assert one.frontier_id == other.frontier_id


def test_few_points_and_other_objectives() -> None:
    tables = market(4, 8, 2, 3)
    asked = {**tables, "budget": 400.0, "seconds": 1.5, "exact": False}
    found = frontier(**asked, objectives=("revenue", "risk"), points=5)
    assert len(found.points) <= 5 and (np.diff(found.points["risk"]) < 0).all() and (np.diff(found.points["revenue"]) < 0).all()
    lines = found.plan("return first")
    assert found.points["risk"].iloc[0] == pytest.approx(lines["uncertainty"].sum())
    thrift = frontier(**asked, objectives=("revenue", "cost"))
    assert thrift.points["cost"].iloc[0] == pytest.approx(thrift.plan(1)["budget"].sum())
    fees = frontier(**asked, objectives=("revenue", "brand_equity"), rules=[Frequency(2), MinimumFee(0.5, 0.8)])
    slots = fees.plans.groupby(["plan_id", "influencer_id", "content_type", "event_id", "days_from_event"]).size()
    assert slots.max() == 1 and fees.points["revenue"].max() > thrift.points["revenue"].max() * 0.9


def test_what_cannot_be_is_said() -> None:
    tables = market(4, 4, 1, 2)
    with pytest.raises(CannotTell, match="no prediction of joy"):
        frontier(**tables, objectives=("joy", "revenue"), budget=100)
    with pytest.raises(CannotTell, match="no prediction of revenue"):
        only = tables["effectiveness"][tables["effectiveness"]["metric"] == "brand_equity"]
        frontier(**{**tables, "effectiveness": only}, budget=100)
    with pytest.raises(InputError, match="two objectives"):
        frontier(**tables, objectives=("revenue", "brand_equity", "risk"), budget=100, exact=True)
    with pytest.raises(InputError, match="two or more"):
        frontier(**tables, objectives=("revenue",), budget=100)
    with pytest.raises(InputError, match="price is -1"):
        frontier(**{**tables, "effectiveness": tables["effectiveness"].assign(price=-1.0)}, budget=100)
    broken = tables["effectiveness"].copy()
    broken.loc[broken["metric"] == "brand_equity", "predicted"] = np.nan
    with pytest.raises(InputError, match="brand_equity is nan"):
        frontier(**{**tables, "effectiveness": broken}, budget=100)
    with pytest.raises(InputError, match="not predicted for every"):
        frontier(**{**tables, "effectiveness": tables["effectiveness"].iloc[:-1]}, budget=100)
    with pytest.raises(Infeasible, match="spending floor"):
        frontier(**tables, budget=1e6)
    with pytest.raises(Infeasible, match="coverage by event"):
        frontier(**tables, budget=200, rules=[Frequency(1), Budget(0.0, of="price"), Coverage("event", 1)])
