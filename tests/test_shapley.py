"""Set-Shapley against slow loops over orders and subsets, the axioms that define it, and its own rules for what data lack."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.tables import check
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.attribution import Journeys, Linear, Shapley

PATHS = st.lists(st.tuples(st.lists(st.sampled_from("abcd"), max_size=6), st.booleans()), min_size=1, max_size=25)
GAMES = st.integers(1, 4).flatmap(lambda k: st.lists(st.floats(0.01, 0.99), min_size=2**k, max_size=2**k)).map(np.array)


def table(paths: list[tuple[list[str], bool]]) -> pd.DataFrame:
    """A small `journeys` table; an empty path is a journey without a touch."""
    rows = []
    for n, (path, won) in enumerate(paths):
        common = {"journey_id": f"j{n}", "person_id": f"p{n}", "converted": won, "revenue": 10.0 * won, "ended_at": "2025-01-10"}
        rows += [{**common, "position": p, "touch_id": f"j{n}-{p}", "channel": c, "hours_before_end": 24.0 * (len(path) - p)}
                 for p, c in enumerate(path, 1)] or [{**common, "position": 0}]  # fmt: skip
    return check("journeys", pd.DataFrame(rows)).clean


def game(worth: Floats) -> Journeys:
    """One aggregated journey for each set of channels (bits of its index), converting at the given rate."""
    k = int(np.log2(len(worth)))
    inside = [[c for c in range(k) if s >> c & 1] for s in range(len(worth))]
    offsets = np.cumsum([0, *map(len, inside)])
    codes = np.array([c for one in inside for c in one], np.int64)
    ids, touches = np.arange(len(worth)).astype(str).astype(object), np.arange(len(codes)).astype(str).astype(object)
    return Journeys(ids, offsets, codes, touches, np.zeros(len(codes)), worth, 10 * worth, 1 - worth, tuple("abcdefghijklmn"[:k]))


def by_orders(worth: Callable[[frozenset[int]], float], inside: list[int]) -> dict[int, float]:
    """Shapley values by walking every order."""
    found = dict.fromkeys(inside, 0.0)
    orders = list(itertools.permutations(inside))
    for order in orders:
        for k, channel in enumerate(order):
            found[channel] += (worth(frozenset(order[: k + 1])) - worth(frozenset(order[:k]))) / len(orders)
    return found


def bits(channels: frozenset[int]) -> int:
    return sum(1 << c for c in channels)


@settings(max_examples=40, deadline=None)
@given(PATHS.filter(lambda paths: any(won for _, won in paths)), st.sampled_from([0.0, 20.0]))
def test_credits_equal_a_slow_loop_and_sum_to_one(paths: list[tuple[list[str], bool]], pool: float) -> None:
    journeys = table(paths)
    model = Shapley(pool=pool).fit(journeys)
    names = model.channels_
    subsets = [list(one) for n in range(len(names) + 1) for one in itertools.combinations(names, n)]
    known = model.predict(table([(one, False) for one in subsets])).set_index("journey_id")["probability"]
    rate = {frozenset(map(names.index, one)): known[f"j{n}"] for n, one in enumerate(subsets)}
    credits = model.credit(journeys)
    assert check("credits", credits).rejected.empty
    given_to = credits.set_index("touch_id")["credit"]
    for n, (path, won) in enumerate(paths):
        if not won:
            continue
        values = by_orders(rate.__getitem__, [names.index(c) for c in set(path)])
        earned = max(0.0, 1 - rate[frozenset()] / rate[frozenset(values)])
        total = sum(max(value, 0.0) for value in values.values())
        for p, c in enumerate(path, 1):
            mine = max(values[names.index(c)], 0.0) / total * earned if total > 0 else 0.0
            assert given_to[f"j{n}-{p}"] == pytest.approx(mine / path.count(c), abs=1e-9)
    sums = credits.groupby("journey_id")["credit"].sum()
    np.testing.assert_allclose(sums, 1, atol=1e-9)
    assert set(sums.index) == {f"j{n}" for n, (_, won) in enumerate(paths) if won}
    channels = model.channel_credit(journeys)
    assert channels["conversions"].sum() == pytest.approx(len(sums))
    assert channels["revenue"].sum() == pytest.approx(10 * len(sums))


@settings(max_examples=60, deadline=None)
@given(GAMES)
def test_values_equal_a_slow_loop_and_are_efficient(worth: Floats) -> None:
    model = Shapley(pool=0).fit(game(worth))
    want = by_orders(lambda s: worth[bits(s)], list(range(len(model.channels_))))
    np.testing.assert_allclose(model.value_, list(want.values()), atol=1e-12)
    assert model.value_.sum() == pytest.approx(worth[-1] - worth[0])


@settings(max_examples=30, deadline=None)
@given(GAMES.filter(lambda worth: len(worth) <= 8))
def test_a_channel_without_effect_gets_nothing_and_twins_the_same(worth: Floats) -> None:
    dummy = Shapley(pool=0).fit(game(np.concatenate([worth, worth]))).value_
    assert dummy[-1] == pytest.approx(0, abs=1e-12)
    half = len(worth) // 2
    twins = (
        Shapley(pool=0).fit(game(np.concatenate([worth, worth[half:], worth[half:]]))).value_
    )  # either of the last two: the same
    assert twins[-1] == pytest.approx(twins[-2], abs=1e-12)


def test_sampled_values_approach_the_exact_ones() -> None:
    worth = spawn(3, "test.shapley").random(2**7)
    exact = Shapley(pool=0).fit(game(worth)).value_
    off = [np.abs(Shapley(pool=0, most=2, permutations=n).fit(game(worth)).value_ - exact).max() for n in (8, 512, 32_768)]
    assert off[0] > 4 * off[1] > 16 * off[2]
    assert off[2] < 5e-3
    pair = spawn(4, "test.shapley").random(4)
    one, other = (Shapley(pool=0, most=most, permutations=2).fit(game(pair)) for most in (1, 12))
    np.testing.assert_allclose(one.value_, other.value_, atol=1e-12)  # an order and its reverse are all there are


def many_channels() -> Journeys:
    rng = spawn(5, "test.shapley")
    paths = [" > ".join(f"c{c:02d}" for c in rng.choice(14, 1 + rng.poisson(4))) for _ in range(3_000)]
    won = rng.poisson(0.3, len(paths))
    return Journeys.of_paths(paths, won, won, rng.poisson(3, len(paths)))


def test_more_than_twelve_channels() -> None:
    journeys = many_channels()
    sampled, again, exact = (Shapley(most=most, permutations=4_096).fit(journeys) for most in (3, 3, 14))
    assert sampled.value_.tolist() == again.value_.tolist()
    assert sampled.value_.sum() == pytest.approx(exact.value_.sum())
    np.testing.assert_allclose(sampled.value_, exact.value_, atol=0.01)
    one, other = (model.channel_credit(journeys)["conversions"].to_numpy() for model in (sampled, exact))
    np.testing.assert_allclose(one, other, rtol=0.05, atol=1e-9)
    for model in (sampled, exact):
        np.testing.assert_allclose(model.credit(journeys).groupby("journey_id")["credit"].sum(), 1, atol=1e-9)
    assert Shapley(most=3, seed=8).fit(journeys).value_.tolist() != Shapley(most=3).fit(journeys).value_.tolist()


def test_rare_sets_are_pooled_and_unseen_ones_added_up() -> None:
    journeys = Journeys.of_paths(["a", "b", "c", "a > b", "c > a"], [10, 30, 5, 8, 1], [0] * 5, [90, 70, 45, 12, 1])
    model = Shapley(pool=20).fit(journeys)
    members = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1]])
    won, seen = journeys.conversions, journeys.conversions + journeys.nulls
    base = np.log((won.sum() + 0.5) / (seen.sum() - won.sum() + 0.5))

    def loss(b: Floats) -> float:
        log_odds = base + b[0] + members @ b[1:]
        return float(-won @ log_odds + seen @ np.log1p(np.exp(log_odds)) + b @ b / 2)

    b = minimize(loss, np.zeros(4), tol=1e-12).x
    plain = 1 / (1 + np.exp(-base - b[0] - members @ b[1:]))
    np.testing.assert_allclose(model.predict(journeys)["probability"], (won + 20 * plain) / (seen + 20), atol=1e-5)
    unseen = model.predict(Journeys.of_paths(["b > c"], [0], [0], [1]))["probability"].item()
    assert unseen == pytest.approx(1 / (1 + np.exp(-base - b[0] - b[2] - b[3])), abs=1e-5)


def test_agrees_with_the_definition_of_marketing_attribution_models() -> None:
    worth = np.append(0, np.sort(spawn(6, "test.shapley").random(15)) / 4 + 0.1)  # nobody untouched, and every set converts
    counts = spawn(7, "test.shapley").integers(100, 900, 16) * (worth > 0)
    journeys = game(worth)
    journeys = Journeys(journeys.ids, journeys.offsets, journeys.codes, journeys.touch_ids, journeys.hours,
                        worth * counts, worth * counts, (1 - worth) * counts, journeys.channels)  # fmt: skip
    want = np.zeros(4)
    for s in range(1, 16):  # each set's Shapley values, from the weights of its subsets, scaled to its conversions
        n, values = s.bit_count(), np.zeros(4)
        for t, c in itertools.product(range(1, 16), range(4)):
            if t & s == t and s >> c & 1:
                size, member = t.bit_count(), t >> c & 1
                ways = math.factorial(size - member) * math.factorial(n - size - (1 - member)) / math.factorial(n)
                values[c] += (2 * member - 1) * ways * worth[t]
        assert values.min() >= 0
        want += values / values.sum() * worth[s] * counts[s]
    got = Shapley(pool=0).fit(journeys).channel_credit(journeys).set_index("channel")["conversions"]
    np.testing.assert_allclose(got.drop("organic"), want, rtol=1e-9)
    assert got["organic"] == pytest.approx(0, abs=1e-9)


def test_the_game_of_conversion_sums_is_linear_over_distinct_channels() -> None:
    paths, won = ["a", "a > b", "b > c", "a > b > c"], np.array([3.0, 5.0, 2.0, 7.0])
    inside = [frozenset("abc".index(c) for c in path.split(" > ")) for path in paths]
    summed = by_orders(lambda s: float(sum(w for one, w in zip(inside, won, strict=True) if one <= s)), [0, 1, 2])
    journeys = Journeys.of_paths(paths, won, won, [1] * 4)
    linear = Linear().fit(journeys).channel_credit(journeys)["conversions"]
    np.testing.assert_allclose(list(summed.values()), linear[:3])


def test_untouched_people_are_organic_and_harm_earns_nothing() -> None:
    journeys = game(np.array([0.1, 0.4, 0.05, 0.2]))  # nothing, a, b, both
    credits = Shapley(pool=0).fit(journeys).credit(journeys).set_index(["journey_id", "touch_id"])["credit"]
    assert credits["0", "organic"] == pytest.approx(1)
    assert credits["1", "organic"] == pytest.approx(0.25)
    assert credits["2", "organic"] == pytest.approx(1)  # b alone converts less often than nothing
    assert credits["3"].sort_values().tolist() == pytest.approx([0, 0.5, 0.5])  # b lowers a's rate: the gain is a's, 0.1 of 0.2


def test_aggregated_and_single_journeys_are_one_thing() -> None:
    single = table(
        [(["a", "b"], True)] * 4 + [(["a", "b"], False)] * 6 + [(["a"], True)] + [(["a"], False)] * 9 + [(["b"], False)] * 5
    )
    paths = Journeys.of_paths(["a > b", "a", "b"], [4, 1, 0], [40, 10, 0], [6, 9, 5])
    one, other = Shapley().fit(single), Shapley().fit(paths)
    np.testing.assert_allclose(one.value_, other.value_)
    pd.testing.assert_frame_equal(one.channel_credit(single), other.channel_credit(paths))
    pd.testing.assert_frame_equal(
        one.credit(single), Shapley().fit(single.iloc[::-1]).credit(single.sample(frac=1, random_state=3))
    )
    turned = Journeys.of_paths(["b", "b > c"], [1, 1], [1, 1], [1, 1])
    three = Journeys.of_paths(["a", "b", "c", "b > c"], [1, 1, 2, 3], [1] * 4, [1] * 4)
    model = Shapley().fit(three)  # codes of `turned` mean other channels than the model's
    got = model.channel_credit(turned).set_index("channel")["conversions"]
    assert got["a"] == 0
    assert got.sum() == pytest.approx(2)


def test_bad_input_is_refused_or_handled() -> None:
    with pytest.raises(CannotTell, match="no journey converted"):
        Shapley().fit(table([(["a"], False)]))
    lone = table([(["a"], True), (["a", "a"], True), (["a"], False)])
    assert Shapley().fit(lone).channel_credit(lone)["conversions"].tolist() == pytest.approx([2, 0])
    untouched = table([([], True), ([], False)])
    assert Shapley().fit(untouched).credit(untouched)["credit"].tolist() == [1]
    for strange in (table([(["z"], True)]), Journeys.of_paths(["z"], [1], [1], [0])):
        with pytest.raises(InputError, match="never seen when fitting: z"):
            Shapley().fit(lone).credit(strange)
    wrong = game(np.full(4, 0.5))
    wrong.codes[0] = 2
    with pytest.raises(InputError, match="a code that is no channel"):
        Shapley().fit(wrong)
    with pytest.raises(InputError, match="too many"):
        Shapley().fit(Journeys.of_paths([f"c{k}" for k in range(63)], [1] * 63, [1] * 63, [1] * 63))
    for bad in ({"most": 0}, {"permutations": 3}, {"pool": -1.0}, {"pool": np.nan}):
        with pytest.raises(InputError):
            Shapley(**bad)
