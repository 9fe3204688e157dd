"""Reach: people are counted once, no plan beats the bound, small plans are the best there are, samples tell how sure they are."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liftwise.core.errors import Infeasible, InputError
from liftwise.core.uncertainty import spawn
from liftwise.decisions.reach.cover import Audiences, maximise_reach, reach_of


def market(seed: int, influencers: int, people: int) -> tuple[dict[str, set[int]], dict[str, float]]:
    """Audiences that cluster, and prices that grow with them."""
    random = spawn(seed, "reach market")
    sets, prices = {}, {}
    for k in range(influencers):
        centre, size = random.integers(people), int(random.integers(1, max(2, people // 3)))
        sets[f"i{k:04d}"] = {int(p) % people for p in np.round(random.normal(centre, people / 8, size))}
        prices[f"i{k:04d}"] = round(float(len(sets[f"i{k:04d}"]) ** 0.8 * np.exp(random.normal(0, 0.4))), 2)
    return sets, prices


def audiences(sets: dict[str, set[int]]) -> Audiences:
    return Audiences.of_pairs(
        pd.DataFrame([(name, p) for name, members in sets.items() for p in members], columns=["influencer_id", "person_id"])
    )


def union(sets: dict[str, set[int]], names: tuple[str, ...]) -> int:
    return len(set().union(*(sets[name] for name in names)))


def best_of_all(
    sets: dict[str, set[int]], prices: dict[str, float], budget: float, most: int, must: set[str], forbid: set[str]
) -> int:
    """Every plan."""
    names = [name for name in sets if name not in forbid]
    plans = (plan for size in range(1, most + 1) for plan in combinations(names, size) if must <= set(plan))
    return max((union(sets, plan) for plan in plans if sum(prices[name] for name in plan) <= budget + 1e-9), default=0)


@given(st.integers(0, 10_000), st.floats(0.15, 0.7), st.sampled_from([None, 2, 4]), st.booleans())
@settings(max_examples=40)
def test_rules_hold_and_no_plan_of_all_beats_the_bound(seed: int, part: float, at_most: int | None, ruled: bool) -> None:
    sets, prices = market(seed, 9, 40)
    must, forbid = ({"i0003"}, {"i0005"}) if ruled else (set(), set())
    budget = max(part * sum(prices.values()), prices["i0003"] + 0.01, min(prices.values()))
    found = maximise_reach(audiences(sets), prices, budget, at_most=at_most, must=must, forbid=forbid)
    best = best_of_all(sets, prices, budget, at_most or 9, must, forbid)
    assert found.reach == union(sets, found.chosen)
    assert found.cost == pytest.approx(sum(prices[name] for name in found.chosen)) and found.cost <= budget + 1e-6
    assert must <= set(found.chosen) and not forbid & set(found.chosen) and len(found.chosen) <= (at_most or 9)
    assert found.reach <= best <= found.bound + 1e-3
    assert found.reach >= 0.95 * best
    assert 0 <= found.gap < 1


def test_small_plans_are_nearly_always_the_best() -> None:
    worst, exact = 1.0, 0
    for seed in range(30):
        sets, prices = market(seed, 11, 60)
        budget = 0.3 * sum(prices.values())
        ratio = maximise_reach(audiences(sets), prices, budget).reach / best_of_all(sets, prices, budget, 11, set(), set())
        worst, exact = min(worst, ratio), exact + (ratio == 1)
    assert worst > 0.97 and exact >= 27


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_lines_count_each_person_once(seed: int) -> None:
    sets, _ = market(seed, 8, 50)
    names = tuple(spawn(seed, "order").permutation(list(sets))[:5].tolist())
    told = reach_of(audiences(sets), names)
    for k, line in enumerate(told.lines.itertuples()):
        assert line.audience == len(sets[names[k]])
        assert line.adds == len(sets[names[k]] - set().union(*(sets[name] for name in names[:k])))
        assert line.lost_without == len(sets[names[k]] - set().union(*(sets[name] for name in names if name != names[k])))
    assert told.reach == union(sets, names) and told.standard_error == 0
    assert told.double_counting == pytest.approx(sum(len(sets[name]) for name in names) / told.reach)


def test_beats_ranking_and_the_same_twice() -> None:
    sets, prices = market(1, 300, 4000)
    people, budget = audiences(sets), 0.005 * sum(prices.values())
    found, again = (maximise_reach(people, prices, budget) for _ in range(2))
    left, ranked = budget, []
    for name in sorted(sets, key=lambda name: -len(sets[name]) / prices[name]):
        if prices[name] <= left:
            ranked.append(name)
            left -= prices[name]
    assert found.reach >= 1.02 * union(sets, tuple(ranked))
    assert found.chosen == again.chosen and found.bound == again.bound
    assert found.gap < 0.12
    assert "different people" in found.summary() and len(found.plot().data) == 2
    assert list(found.to_frame().columns) == ["influencer_id", "price", "audience", "adds", "lost_without"]


def samples_of(sets: dict[str, set[int]], people: int, seed: int, size: int) -> pd.DataFrame:
    """Bottom-k hashes of each audience."""
    position = spawn(seed, "hash").random(people)
    return pd.DataFrame(
        [(name, h) for name, members in sets.items() for h in sorted(position[list(members)])[:size]],
        columns=["influencer_id", "hash"],
    )


def test_samples_estimate_any_union_without_bias_and_say_how_sure() -> None:
    sets, _ = market(4, 12, 6000)
    sets["i0000"] = set(list(sets["i0000"])[:40])  # complete in its sample
    names = ("i0000", "i0002", "i0005", "i0007")
    truth, told = union(sets, names), []
    for seed in range(200):
        told.append(reach_of(Audiences.of_samples(samples_of(sets, 6000, seed, 120), size=120), names))
    reach, error = np.array([t.reach for t in told]), np.array([t.standard_error for t in told])
    assert abs(reach.mean() - truth) < 4 * reach.std() / np.sqrt(200)
    assert 0.8 < error.mean() / reach.std() < 1.3
    assert (abs(reach - truth) < 1.96 * error).mean() > 0.9
    assert told[0].lines["audience"].iloc[0] == 40
    lost = [t.lines["lost_without"].iloc[1] for t in told]
    assert abs(np.mean(lost) - (truth - union(sets, ("i0000", "i0005", "i0007")))) < 4 * np.std(lost) / np.sqrt(200)


@pytest.mark.parametrize("way", ["share", "size"])
def test_plans_from_samples_are_as_good_and_not_flattered(way: str) -> None:
    sets, prices = market(6, 100, 8_000)
    budget, full = 0.05 * sum(prices.values()), None
    errors, ratios, raw = [], [], []
    for seed in range(4):
        position = spawn(seed, "position").random(8_000)
        if way == "share":
            rows = [(name, position[p]) for name, members in sets.items() for p in members if position[p] < 0.1]
            seen = Audiences.of_samples(pd.DataFrame(rows, columns=["influencer_id", "hash"]), share=0.1)
        else:
            seen = Audiences.of_samples(samples_of(sets, 8_000, seed, 250), size=250)
        found = maximise_reach(seen, prices, budget)
        full = full or maximise_reach(audiences(sets), prices, budget).reach
        truth = union(sets, found.chosen)
        errors.append((found.reach - truth) / found.standard_error)
        raw.append((found.plan.reach - truth) / found.standard_error)
        ratios.append(truth / full)
        assert found.bound > 0.97 * full
    assert np.mean(ratios) > 0.94 and abs(np.mean(errors)) < 1.2 and np.mean(errors) < np.mean(raw)


def test_what_is_free_is_taken_and_in_the_bound() -> None:
    sets, prices = market(8, 9, 40)
    for name in ("i0001", "i0004"):
        prices[name] = 0.0
    for budget in (0.0, 0.2 * sum(prices.values())):
        found = maximise_reach(audiences(sets), prices, budget)
        assert found.reach == best_of_all(sets, prices, budget, 9, set(), set())
        assert found.reach <= found.bound < found.reach * 1.3


def test_bad_input_is_named() -> None:
    sets, prices = market(2, 6, 30)
    people = audiences(sets)
    with pytest.raises(InputError, match="i0002 has no price"):
        maximise_reach(people, {**prices, "i0002": -1.0}, 10)
    with pytest.raises(InputError, match="no audience of nobody"):
        maximise_reach(people, prices, 10, must=["nobody"])
    with pytest.raises(InputError, match="amount of money"):
        maximise_reach(people, prices, float("nan"))
    with pytest.raises(Infeasible, match="both required and forbidden"):
        maximise_reach(people, prices, 100, must=["i0001"], forbid=["i0001"])
    with pytest.raises(Infeasible, match="must, budget"):
        maximise_reach(people, prices, 0.01, must=["i0001"])
    with pytest.raises(Infeasible, match="nobody may be hired"):
        maximise_reach(people, prices, 0.0)
    with pytest.raises(InputError, match="named twice"):
        reach_of(people, ["i0001", "i0001"])
    with pytest.raises(InputError, match="hash lies outside"):
        Audiences.of_samples(pd.DataFrame({"influencer_id": ["a"], "hash": [1.5]}), size=10)
    with pytest.raises(InputError, match="how people were sampled"):
        Audiences.of_samples(pd.DataFrame({"influencer_id": ["a"], "hash": [0.5]}))
