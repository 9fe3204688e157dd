"""The walk that looks for a good plan soon: its plans keep the rules, are no worse than the start, and often the best there is."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from liftwise.core.uncertainty import spawn
from liftwise.decisions.selection.candidates import Candidates
from liftwise.decisions.selection.climb import applies, climb
from liftwise.decisions.selection.engine import compiled
from liftwise.decisions.selection.program import Program
from liftwise.decisions.selection.rules import Budget, Coverage, Diversity, Frequency
from liftwise.decisions.selection.sifting import Relaxed, sift


def relaxed(frame: pd.DataFrame, budget: float, rules: list) -> tuple[Program, Relaxed]:
    _, program = compiled(Candidates.of(frame, "sales", 0.0), budget, rules)
    return program, sift(program, 10.0)


def posts(influencers: int, events: int, predicted: np.ndarray, price: np.ndarray) -> pd.DataFrame:
    who, what = np.meshgrid(np.arange(influencers), np.arange(events), indexing="ij")
    return pd.DataFrame(
        {
            "influencer_id": [f"i{k:02d}" for k in who.ravel()],
            "content_type": "reel",
            "event_id": [f"e{k:03d}" for k in what.ravel()],
            "days_from_event": 0.0,
            "metric": "sales",
            "predicted": predicted,
            "uncertainty": 0.0,
            "price": price,
        }
    )


def keeps(program: Program, chosen: np.ndarray) -> bool:
    used, inner = program.used(chosen), program.inner
    who = inner.influencer(chosen)
    weeks = np.unique(np.column_stack([who, inner.week[chosen]]), axis=0, return_counts=True)[1]
    return bool(
        (used <= program.high + 1e-6).all() and (used >= program.low - 1e-6).all()
        and (np.bincount(who, minlength=1) <= inner.cap).all() and (weeks <= inner.week_cap).all()
    )  # fmt: skip


def knapsack(seed: int, items: int = 12, resources: int = 3) -> tuple[Program, Relaxed]:
    random = spawn(seed, "test climb")
    weight = random.integers(1, 100, (resources, items)).astype(float)
    frame = posts(items, 1, weight.mean(axis=0) + random.integers(1, 50, items), weight[0])
    frame = frame.assign(**{f"resource{k}": weight[k] for k in range(1, resources)})
    return relaxed(frame, weight[0].sum() / 2, [Budget(weight[k].sum() / 2, of=f"resource{k}") for k in range(1, resources)])


def assigned(seed: int, agents: int, jobs: int, room: float) -> tuple[Program, Relaxed]:
    """Every job to exactly one agent within what agents have room for."""
    random = spawn(seed, "test climb")
    use = random.integers(5, 25, agents * jobs).astype(float)
    frame = posts(agents, jobs, 100 + random.integers(10, 50, agents * jobs).astype(float), use)
    limit = room * 15 * jobs / agents
    limits = {f"i{k:02d}": limit for k in range(agents)}
    return relaxed(frame, agents * limit, [Budget(limits, per="influencer"), Coverage("event", 1), Frequency(1, per="event")])


def best_of_all(program: Program, most: int) -> float:
    plans = (np.array(p, dtype=np.int64) for k in range(most + 1) for p in itertools.combinations(range(len(program)), k))
    return max((float(program.value[plan].sum()) for plan in plans if keeps(program, plan)), default=-np.inf)


@pytest.mark.parametrize("seed", range(3))
def test_small_plans_are_the_best_there_are(seed: int) -> None:
    for (program, root), most in ((knapsack(seed, 9), 9), (assigned(seed, 3, 3, 1.2), 3)):
        found = climb(program, root, np.arange(len(program)), None, 10.0, steps=3_000, seed=seed)
        best = best_of_all(program, most)
        assert (found is None) == (best == -np.inf)
        if found is not None:
            assert keeps(program, found[0])
            assert found[1] == pytest.approx(best)


def test_caps_of_one_influencer_are_kept() -> None:
    random = spawn(0, "caps")
    frame = posts(6, 8, random.uniform(1, 2, 48), random.uniform(1, 2, 48))
    program, root = relaxed(frame, 20.0, [Frequency(2), Frequency(3, per="event")])
    found = climb(program, root, np.arange(len(program)), None, 10.0, steps=30_000)
    assert found is not None
    assert keeps(program, found[0])
    assert found[1] >= 0.998 * root.bound


def test_a_start_is_never_made_worse_and_the_same_seed_gives_the_same_plan() -> None:
    program, root = assigned(1, 5, 40, 0.85)
    everyone = np.arange(len(program))
    first = climb(program, root, everyone, None, 10.0, steps=2_000, seed=3)
    again = climb(program, root, everyone, None, 10.0, steps=2_000, seed=3)
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first[0], again[0])
    later = climb(program, root, everyone, first[0], 10.0, steps=2_000, seed=4)
    assert later is not None
    assert later[1] >= first[1]
    assert keeps(program, later[0])
    untouched = climb(program, root, everyone, first[0], 10.0, steps=1, seed=4)
    assert untouched is not None
    assert untouched[1] >= first[1]


def test_a_poor_start_comes_close_to_the_bound() -> None:
    program, root = assigned(2, 5, 60, 0.85)
    worst = program.worth(-program.value)
    start = climb(worst, sift(worst, 10.0), np.arange(len(program)), None, 10.0, steps=10_000)
    assert start is not None
    assert program.value[start[0]].sum() < 0.95 * root.bound
    found = climb(program, root, np.arange(len(program)), start[0], 10.0, steps=50_000)
    assert found is not None
    assert keeps(program, found[0])
    assert found[1] >= 0.998 * root.bound


def test_programs_with_helpers_are_left_alone() -> None:
    program, root = relaxed(posts(4, 3, np.arange(1.0, 13), np.ones(12)), 4.0, [Diversity("influencer", at_most=0.5)])
    assert not applies(program)
    assert climb(program, root, np.arange(len(program)), None, 1.0) is None


def test_where_nothing_keeps_the_rules_nothing_is_found() -> None:
    program, root = assigned(0, 3, 6, 1.2)
    assert climb(program, root, np.arange(6), None, 5.0, steps=300) is None  # one agent alone has no room for all
    assert climb(program, root, np.arange(0), None, 5.0) is None
