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

from liftwise.core.errors import CannotTell, Infeasible, InputError
from liftwise.core.tables import check
from liftwise.core.uncertainty import spawn
from liftwise.decisions.selection.candidates import Candidates
from liftwise.decisions.selection.choose import DEFAULT, Selection, select
from liftwise.decisions.selection.engine import compiled
from liftwise.decisions.selection.pricing import leading
from liftwise.decisions.selection.program import Program
from liftwise.decisions.selection.rules import (
    BrandRule,
    Budget,
    Coverage,
    CVaR,
    Diversity,
    Exclude,
    Exclusive,
    Fairness,
    Frequency,
    Include,
    MinimumFee,
    RiskLimit,
)
from liftwise.decisions.selection.solver import model_of, solve
from plan_checker import violations


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
    code = "import sys; sys.path.insert(0, 'tests'); from test_selection import market; from liftwise.decisions.selection.choose import select; " \
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


# -- every rule, against brute force ---------------------------------------------------------------------------------


def small_world(seed: int) -> dict[str, pd.DataFrame]:
    """Five influencers, two contents, three events, two days: 60 ways to post, with facts for every rule."""
    frame, events = market(seed, 5, 2, 3, 2)
    rng = spawn(seed, "facts")
    ids = [f"i{k}" for k in range(5)]
    facts = pd.DataFrame({
        "influencer_id": ids, "followers": rng.lognormal(10, 1.5, 5).round(), "platform": rng.choice(["a", "b"], 5), "genre": rng.choice(["g0", "g1"], 5),
        "location": "all", "risk_score": rng.random(5), "brand_alignment": rng.random(5), "disclosure_rate": rng.random(5),
        "declared_group": rng.choice(["p", "q"], 5),
    })  # fmt: skip
    shares = pd.DataFrame([(i, pd.Timestamp("2026-01-01"), "region", v, s) for i in ids for v, s in zip("xy", rng.dirichlet([1, 1]), strict=True)],
                          columns=["influencer_id", "observed_on", "dimension", "value", "share"])  # fmt: skip
    return {
        "effectiveness": frame.assign(reads=frame["predicted"].to_numpy() * rng.random(len(frame))),
        "influencers": facts,
        "events": events,
        "audiences": shares,
    }


def drawn_rules(seed: int) -> list:
    """A few rules of each kind, some of them tight."""
    rng = spawn(seed, "rules")
    losses = pd.DataFrame(rng.random((10, 2)), columns=["a", "b"])
    every = [
        Frequency(2), Frequency(1, "influencer-week"), Frequency(2, "event"), Coverage("event", 1), Coverage("genre", 1), Coverage("event", 2_000, "reach"),
        Coverage(segment="region", at_least={"x": 3_000}), Coverage("platform", 20.0, "reads"), Diversity("platform", 0.7), Diversity("influencer", 0.6), Diversity("tier", 0.8),
        Diversity("platform", 1.0, {"a": 0.2}), Diversity("influencer", 0.5, of="posts"), RiskLimit(0.5), CVaR(losses, 0.75), Exclusive([("i0", "i1"), ("i1", "i2", "i3")]),
        Include(["i1"]), Include(lines=[("i2", "c1", "e0", -1.0)]), Exclude(["i4"]), BrandRule(alignment=0.2, banned=["g9"]), Fairness(0.5), Budget({"a": 150.0}, "platform"),
        Budget(90.0, "event"), Budget(300.0, of="reads"), Diversity("event", 0.5),
    ]  # fmt: skip
    return [every[k] for k in rng.choice(len(every), int(rng.integers(2, 6)), replace=False)]


def brute_force(program: Program, rows: int) -> float:
    """The best value by depth-first search over all sets of up to `rows` candidates, helpers completed by a linear program."""
    best, n = -np.inf, len(program)
    inner, coupled = program.inner, len(program.helpers.names) > 0
    who = inner.influencer(np.arange(n))
    top = -np.sort(-program.value)
    for size in range(rows + 1):
        for chosen in itertools.combinations(range(n), size):
            at = np.array(chosen, dtype=np.int64)
            value = float(program.value[at].sum())
            if value <= best or (np.bincount(who[at], minlength=1) > inner.cap).any():
                continue
            if size and max(np.unique(who[at] * 100 + inner.week[at], return_counts=True)[1]) > inner.week_cap:
                continue
            used = program.used(at)
            if coupled:
                fixed = solve(program, model_of(program, at, forced=at), integer=True, seconds=5.0)
                good = fixed.feasible
            else:
                good = (used <= program.high + 1e-9).all() and (used >= program.low - 1e-9).all()
            best = value if good else best
        if size and top[: size + 1].sum() <= best:
            break
    return best


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 100_000), st.floats(150, 500))
def test_any_rules_are_kept_and_no_plan_of_up_to_two_posts_is_better(seed: int, budget: float) -> None:
    world, rules = small_world(seed), drawn_rules(seed)
    try:
        plan = select(**world, metric="revenue", budget=budget, rules=rules, gap=0.0, seconds=20)
    except Infeasible:
        plan = None
    if plan is not None:
        facts = {k: world[k] for k in ("influencers", "events", "audiences")}
        assert violations(plan, world["effectiveness"], budget, rules, **facts) == []
        assert plan.gap <= 1e-6
        program = plan.engine.program
    else:
        everyone = Candidates.of(
            world["effectiveness"], "revenue", 0.5, **{k: world[k] for k in ("influencers", "events", "audiences")}
        )
        program = compiled(everyone, budget, rules)[1]
    if len(program) <= 34:
        best = brute_force(program, 2)
        assert best <= (plan.bound + 1e-6 if plan is not None else -np.inf)


# -- readings, new plans, reasons and refusals -----------------------------------------------------------------------


def test_fees_can_be_negotiated_and_the_seed_can_be_read_literally() -> None:
    frame, events = market(11, 12, 2, 3, 1)
    full = select(frame, metric="revenue", budget=800, events=events)
    fees = select(
        frame, metric="revenue", budget=800, events=events, rules=[*DEFAULT, MinimumFee(share=0.5, worth=0.8, levels=3)]
    )
    assert fees.value > full.value and fees.cost <= 800
    paid = fees.assignments.merge(frame, on=["influencer_id", "content_type", "event_id", "days_from_event"])
    share = paid["budget"] / paid["price"]
    assert ((share > 0.499) & (share < 1.001)).all()
    worth = 0.8 + 0.2 * ((share - 0.5) / 0.5).clip(0, 1) ** 0.5
    assert np.allclose(paid["predicted_x"], paid["predicted_y"] * worth, rtol=0.01)
    literal = select(frame, metric="revenue", budget=1.0, events=events, literal=True)
    assert literal.cost == 0 and literal.value > full.value and "nobody is paid" in literal.summary()


def test_a_mixture_of_metrics_and_the_roi_of_a_plan() -> None:
    frame, events = market(12, 10, 2, 3, 1)
    both = pd.concat([frame, frame.assign(metric="brand_equity", predicted=frame["price"] * 0.01, uncertainty=0.0)])
    mixed = select(both, metric={"revenue": 1.0, "brand_equity": 100.0}, budget=500, events=events, risk_aversion=0.0)
    alone = select(
        frame.assign(predicted=frame["predicted"] + frame["price"], uncertainty=0.0),
        metric="revenue",
        budget=500,
        events=events,
        risk_aversion=0.0,
    )
    assert mixed.value == pytest.approx(alone.value) and mixed.metric == "1 revenue + 100 brand_equity"
    assert alone.roi == pytest.approx(alone.assignments["predicted"].sum() / alone.cost)
    with pytest.raises(CannotTell, match="no prediction of joy"):
        select(both, metric={"revenue": 1.0, "joy": 1.0}, budget=500)


@pytest.mark.parametrize("times", [0.9, 1.1])
def test_a_new_plan_from_the_old_one_is_as_good_as_one_from_nothing(times: float) -> None:
    frame, events = market(13, 60, 3, 8, 2)
    rules = [*DEFAULT, Coverage("event", 1)]
    old = select(frame, metric="revenue", budget=3_000, events=events, rules=rules)
    new, fresh = (
        old.replan(budget=3_000 * times),
        select(frame, metric="revenue", budget=3_000 * times, events=events, rules=rules),
    )
    assert violations(new, frame, 3_000 * times, rules, events=events) == []
    assert max(new.gap, fresh.gap) <= 1e-4 and new.value == pytest.approx(fresh.value, rel=2e-4)
    more = old.next_money()
    assert 0 < more["gain"].iloc[0] <= old.binding.set_index("rule").loc["budget", "price"] * 300 * (1 + 1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 100_000), st.floats(150, 500), st.floats(0.3, 3.0))
def test_a_new_plan_forgets_nothing_that_another_budget_allows(seed: int, budget: float, times: float) -> None:
    world, rules = small_world(seed), drawn_rules(seed)
    told = {"metric": "revenue", "rules": rules, "gap": 0.0, "seconds": 20}
    try:
        old = select(**world, **told, budget=budget)
    except (Infeasible, InputError):  # or this market has nobody of whom a rule speaks
        return
    try:
        fresh = select(**world, **told, budget=budget * times)
    except Infeasible:
        with pytest.raises(Infeasible):
            old.replan(budget=budget * times, gap=0.0)
        return
    new = old.replan(budget=budget * times, gap=0.0)
    facts = {k: world[k] for k in ("influencers", "events", "audiences")}
    assert violations(new, world["effectiveness"], budget * times, rules, **facts) == []
    assert new.value == pytest.approx(fresh.value, rel=1e-6) and new.gap <= 1e-6


def test_binding_shares_are_told_as_shares_and_prices_are_worth_their_word() -> None:
    world = small_world(4)
    rules = [*DEFAULT, Diversity("platform", 0.55)]
    plan = select(**world, metric="revenue", budget=400, rules=rules, gap=0.0)
    rows = plan.binding[plan.binding["rule"].str.contains("share")]
    assert (rows["limit"] == 0.55).all() and (rows["used"] <= 0.55 + 1e-9).all()
    price = plan.binding.set_index("rule")["price"].get("budget", 0.0)
    richer = select(**world, metric="revenue", budget=404, rules=rules, gap=0.0)
    assert richer.engine.root.bound - plan.engine.root.bound <= 4 * price + 1e-6  # concave: a price is never too low


def test_out_of_time_the_best_plan_known_comes_with_the_gap_it_has() -> None:
    frame, events = market(14, 300, 4, 12, 3)
    plan = select(
        frame, metric="revenue", budget=2_500, events=events, rules=[*DEFAULT, Coverage("event", 3)], gap=0.0, seconds=1.5
    )
    assert violations(plan, frame, 2_500, [*DEFAULT, Coverage("event", 3)], events=events) == []
    assert 0 <= plan.gap < 0.2


@pytest.mark.parametrize(("spoil", "words"), [
    ({"predicted": np.nan}, "predicted is nan"), ({"predicted": np.inf}, "predicted is inf"), ({"price": -3.0}, "price is -3"),
    ({"uncertainty": -1.0}, "uncertainty is -1"), ({"currency": "USD"}, "prices are in EUR, USD"),
])  # fmt: skip
def test_numbers_that_are_none_are_refused_with_the_row_named(spoil: dict, words: str) -> None:
    frame, events = market(15, 4, 2, 2, 1)
    frame = frame.assign(currency="EUR")
    for column, value in spoil.items():
        frame.loc[5, column] = value
    with pytest.raises(InputError, match=words) as told:
        select(frame, metric="revenue", budget=500, events=events)
    assert "currency" in spoil or "i1, c0, e1" in str(told.value)


@pytest.mark.parametrize(("rule", "words"), [
    (Exclusive([("i0", "nobody")]), "unknown influencer 'nobody'"), (Include(["nobody"]), "unknown influencer"), (Exclude(events=["x"]), "unknown event"),
    (Diversity("platform", {"radio": 0.2}), "unknown 'radio'"), (Coverage("moon", 1), "tell of 'moon'"), (Coverage(segment="age"), "no audience is known by 'age'"),
    (Diversity("platform", 1.4), "a share of 1.4"), (Include(lines=[("i0", "c0", "e9", 0.0)]), "no such way to post"), ("three posts", "is no rule"),
])  # fmt: skip
def test_rules_that_name_what_is_not_there_are_refused(rule, words: str) -> None:
    with pytest.raises(InputError, match=words):
        select(**small_world(1), metric="revenue", budget=300, rules=[*DEFAULT, rule])


def test_rules_that_contradict_one_another_are_named() -> None:
    world = small_world(2)
    with pytest.raises(Infeasible, match="i0"):
        select(**world, metric="revenue", budget=1e4, rules=[*DEFAULT, Include(["i0"]), Exclude(["i0"])])
    with pytest.raises(Infeasible, match=r"include \(i") as told:
        select(**world, metric="revenue", budget=1e4, rules=[*DEFAULT, Include(["i0", "i1"]), Exclusive([("i0", "i1")])])
    assert told.value.rules == ("include",)


def test_public_knapsacks_and_assignments_are_solved_by_the_same_call(shared_data) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    from public_knapsacks import assignment, knapsacks

    plan = select(**knapsacks(shared_data("or_library_mknap") / "mknapcb1.txt.gz")[20], risk_aversion=0, gap=1e-9, seconds=30)
    assert plan.value == 59_822 and plan.gap < 1e-6
    plan = select(
        **assignment(shared_data("gap_orlib") / "instances" / "cattrysse1994_gap7-0.txt"), risk_aversion=0, gap=1e-9, seconds=30
    )
    assert plan.value == -646 and plan.gap < 1e-6


def test_a_market_with_every_rule_is_planned_within_a_ten_thousandth() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    from tuple_worlds import world

    given = world("10k", 0)
    facts = {"influencers": given.influencers, "events": given.events}
    plan = select(given.effectiveness, metric="revenue", budget=given.budget, rules=given.rules, **facts)
    assert violations(plan, given.effectiveness, given.budget, given.rules, **facts) == []
    assert plan.gap <= 1e-4


def test_the_leading_of_each_group_are_those_that_sorting_finds() -> None:
    rng = spawn(3, "leading")
    score, group = rng.integers(0, 30, 400).astype(float), rng.integers(-1, 6, 400)
    found = leading(score, group, 7, 5)
    for g in range(7):
        mine = np.flatnonzero(group == g)
        best = mine[np.argsort(-score[mine], kind="stable")][:5]
        np.testing.assert_array_equal(found[g], np.append(best, np.full(5 - len(best), -1)))
