"""Plans that must reach so many different people: against brute force, at size, from samples, and when it cannot be."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liftwise.core.errors import CannotTell, Infeasible, InputError
from liftwise.core.uncertainty import spawn
from liftwise.decisions.frontier.front import frontier
from liftwise.decisions.reach.audiences import Audiences
from liftwise.decisions.reach.cover import reach_of
from liftwise.decisions.selection import cutting
from liftwise.decisions.selection.choose import DEFAULT, select
from liftwise.decisions.selection.reach import Cut, Reach
from liftwise.decisions.selection.rules import Coverage, Diversity, Frequency
from plan_checker import violations
from test_selection import market, small_world

Sets = dict[str, set[int]]


def followers(seed: int, influencers: int, people: int) -> Sets:
    """Audiences that overlap; now and then an influencer of whom none is known."""
    random = spawn(seed, "followers")
    sets = {
        f"i{k}": set(random.choice(people, int(random.integers(1, people // 2)), replace=False).tolist())
        for k in range(influencers)
    }
    if seed % 3 == 0:
        del sets["i2"]
    return sets


def audiences(sets: Sets) -> Audiences:
    return Audiences.of_pairs(
        pd.DataFrame([(name, p) for name, members in sets.items() for p in members], columns=["influencer_id", "person_id"])
    )


def union(sets: Sets, names: set[str]) -> int:
    return len(set().union(*(sets.get(name, set()) for name in names)))


def best_of_all(frame: pd.DataFrame, events: pd.DataFrame, budget: float, sets: Sets, people: int) -> float:
    """The most valuable of all plans of at most two posts an influencer and one a week that reach so many; -inf where there is none."""
    weeks = dict(zip(events["event_id"], pd.to_datetime(events["date"]).dt.to_period("W"), strict=True))
    rows, best = list(frame.itertuples()), -np.inf
    for size in range(9):
        for chosen in itertools.combinations(rows, size):
            names = [row.influencer_id for row in chosen]
            slots = {(row.influencer_id, weeks[row.event_id]) for row in chosen}
            if sum(row.price for row in chosen) > budget or len(slots) < size or max(map(names.count, names), default=0) > 2:
                continue
            if union(sets, set(names)) >= people:
                best = max(best, sum(row.predicted - 0.5 * row.uncertainty for row in chosen))
    return best


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 100_000), st.floats(60, 500), st.integers(3, 40))
def test_a_plan_is_the_best_of_all_that_reach_as_many_or_there_is_none(seed: int, budget: float, people: int) -> None:
    frame, events = market(seed, 4, 2, 2, 1)
    sets, rules = followers(seed, 4, 40), [Frequency(2), Frequency(1, "influencer-week")]
    best = best_of_all(frame, events, budget, sets, people)
    rule = Reach(audiences(sets), people)
    try:
        plan = select(frame, metric="revenue", budget=budget, events=events, rules=[*rules, rule], gap=0.0, seconds=20)
    except Infeasible as refused:
        assert best == -np.inf and "reach" in refused.rules and f"{people}" in str(refused)
        return
    assert violations(plan, frame, budget, [*rules, rule], events=events) == []
    assert union(sets, set(plan.assignments["influencer_id"])) >= people
    assert plan.bound >= best - 1e-6 and plan.value == pytest.approx(best)


@given(st.integers(0, 10_000))
@settings(max_examples=40)
def test_every_cut_is_above_every_reach_and_every_row_that_is_enough_below(seed: int) -> None:
    random, sets = spawn(seed, "cuts"), followers(seed, 6, 30)
    rule, names = Reach(audiences(sets), 10), sorted(sets)
    z = random.random(len(names))
    plan = {name for name in names if random.random() < 0.5}
    cover = rule.cover(rule.used(plan))
    cuts = [Cut(0.0, rule.full), rule.cut(rule.cover(z), once=False), rule.cut(cover, once=False), rule.cut(cover, once=True)]
    first = [k for k, name in enumerate(names) if name in plan]
    owned = rule.owning(np.array(first + [k for k in range(len(names)) if k not in first])).owned
    for size in range(len(names) + 1):
        for some in itertools.combinations(names, size):
            used, reached = rule.used(some), union(sets, set(some))
            assert rule.reached(some) == (reached, 0.0)
            assert all(cut.constant + cut.worth @ used >= reached - 1e-9 for cut in cuts)
            assert owned @ used <= reached + 1e-9
    used = rule.used(plan)
    assert [cut.constant + cut.worth @ used for cut in cuts[2:]] == pytest.approx([union(sets, plan)] * 2)
    assert owned @ used == pytest.approx(union(sets, plan))


def test_asking_for_nobody_changes_nothing() -> None:
    world = small_world(5)
    plain = select(**world, metric="revenue", budget=400, rules=[*DEFAULT, Diversity("platform", 0.7)])
    asked = select(
        **world,
        metric="revenue",
        budget=400,
        rules=[*DEFAULT, Diversity("platform", 0.7), Reach(audiences(followers(1, 5, 40)), 0)],
    )
    pd.testing.assert_frame_equal(plain.assignments, asked.assignments)
    assert (plain.value, plain.bound, plain.reached) == (asked.value, asked.bound, "")


def test_it_goes_with_other_rules_and_is_told() -> None:
    world, sets = small_world(2), followers(2, 5, 200)
    rules = [*DEFAULT, Diversity("platform", 0.8), Coverage("event", 1)]
    free = select(**world, metric="revenue", budget=200, rules=rules, gap=0.0)
    people = union(sets, set(free.assignments["influencer_id"])) + 1
    rule = Reach(audiences(sets), people)
    plan = select(**world, metric="revenue", budget=200, rules=[*rules, rule], gap=0.0)
    facts = {k: world[k] for k in ("influencers", "events", "audiences")}
    assert violations(plan, world["effectiveness"], 200, [*rules, rule], **facts) == []
    assert plan.value < free.value and plan.gap <= 1e-6
    reached = union(sets, set(plan.assignments["influencer_id"]))
    assert (
        plan.reached == f"It reaches {reached} different people, at least {people} were asked for."
        and plan.reached in plan.summary()
    )
    assert f"Reach(at_least={people}): {reached} different people" in plan.rules
    told = plan.binding[plan.binding["rule"] == "reach"]
    assert len(told) <= 1 and (told["used"] == reached).all() and (told["limit"] == people).all()
    again = plan.replan(budget=220)
    assert violations(again, world["effectiveness"], 220, [*rules, rule], **facts) == [] and again.value >= plan.value - 1e-6
    assert len(plan.next_money(0.2)) >= 0 and plan.reached not in again.warning


def test_what_cannot_be_reached_is_named_and_what_is_not_known_is_not_claimed() -> None:
    frame, events = market(7, 6, 2, 2, 1)
    sets = followers(7, 6, 40)
    all_of_them = union(sets, set(sets))
    given = {"effectiveness": frame, "metric": "revenue", "events": events}
    with pytest.raises(Infeasible, match=rf"hired \(6\) reaches {all_of_them} different people, not {all_of_them + 1}"):
        select(**given, budget=1e6, rules=[*DEFAULT, Reach(audiences(sets), all_of_them + 1)])
    with pytest.raises(Infeasible, match="no plan can reach 58 different people within the budget"):
        select(**given, budget=0.9 * float(frame.groupby("influencer_id")["price"].min().sum()), rules=[*DEFAULT, Reach(Audiences.of_pairs(pd.DataFrame(
            [(f"i{k}", p) for k in range(6) for p in range(10 * k, 10 * k + 10)], columns=["influencer_id", "person_id"])), 58)])  # fmt: skip
    with pytest.raises(InputError, match="at least nan people"):
        Reach(audiences(sets), float("nan"))
    with pytest.raises(CannotTell, match="does not know the rule Reach"):
        frontier(frame, objectives=("revenue", "cost"), budget=300, events=events, rules=[*DEFAULT, Reach(audiences(sets), 5)])


def test_a_plan_that_was_not_found_in_time_is_not_called_impossible(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: object, **__: object) -> None:
        raise CannotTell("no plan was found in the time given")

    frame, events = market(7, 6, 2, 2, 1)
    monkeypatch.setattr(cutting, "search", late)
    with pytest.raises(
        CannotTell, match="no plan that reaches 5 different people was found in time, and it is not proven that there is none"
    ):
        select(frame, metric="revenue", budget=400, events=events, rules=[*DEFAULT, Reach(audiences(followers(7, 6, 40)), 5)])


def crowded(seed: int) -> tuple[Audiences, pd.DataFrame, pd.DataFrame, float]:
    """300 influencers, three contents, two events, 60,000 people who cluster (benchmarks/bench_reach.py)."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    from bench_reach_rule import market as made

    return made(seed, influencers=300, contents=3, events=2, people=60_000, follows=400_000)


def test_a_market_is_planned_with_a_bound_and_a_sample_says_how_sure_it_is() -> None:
    whole, frame, events, budget = crowded(3)
    rules = [*DEFAULT, Coverage("event", 2)]
    free = select(frame, metric="revenue", budget=budget, events=events, rules=rules)
    before = reach_of(whole, sorted(set(free.assignments["influencer_id"]))).reach
    rule = Reach(whole, 1.3 * before)
    plan = select(frame, metric="revenue", budget=budget, events=events, rules=[*rules, rule], seconds=4)
    assert violations(plan, frame, budget, [*rules, rule], events=events) == []
    assert 0.7 * free.value < plan.value <= plan.bound <= free.bound * (1 + 1e-9) and plan.gap < 0.05
    hashes = spawn(3, "hash").random(whole.size)
    member = np.repeat(np.array(whole.names, dtype=object), np.diff(whole.starts))
    pairs = pd.DataFrame({"influencer_id": member, "hash": hashes[whole.people]}).sort_values(["influencer_id", "hash"])
    some = Audiences.of_samples(pairs.groupby("influencer_id").head(400), size=400)
    assert not some.even
    sampled = Reach(some, 1.3 * before)
    guess = select(frame, metric="revenue", budget=budget, events=events, rules=[*rules, sampled], seconds=4)
    assert violations(guess, frame, budget, [*rules, sampled], events=events) == []
    used = sorted(set(guess.assignments["influencer_id"]))
    people, error = sampled.reached(used)
    assert error > 0 and abs(people - reach_of(whole, used).reach) < 4 * error
    assert "an estimate from a sample (95 %: ±" in guess.reached and f"standard error of {error:,.0f}" in guess.rules[-1]
