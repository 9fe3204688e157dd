"""Credit rules and the exact chain, against published numbers, a dense slow chain and their own invariants."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.tables import check
from liftwise.models.attribution import FirstTouch, Journeys, LastTouch, Linear, Markov, Position, TimeDecay

MEMBERS = [LastTouch(), FirstTouch(), Linear(), TimeDecay(), Position(), Position(first=0.5, last=0.5), Markov(), Markov(order=3)]
PATHS = st.lists(st.tuples(st.lists(st.sampled_from("abc"), max_size=6), st.booleans()), min_size=1, max_size=15)


def table(paths: list[tuple[list[str], bool]]) -> pd.DataFrame:
    """A small `journeys` table; an empty path is a journey without a touch."""
    rows = []
    for k, (path, won) in enumerate(paths):
        common = {"journey_id": f"j{k}", "person_id": f"p{k}", "converted": won, "revenue": 10.0 * won, "ended_at": "2025-01-10"}
        rows += [{**common, "position": p, "touch_id": f"j{k}-{p}", "channel": c, "hours_before_end": 24.0 * (len(path) - p)}
                 for p, c in enumerate(path, 1)] or [{**common, "position": 0}]  # fmt: skip
    return check("journeys", pd.DataFrame(rows)).clean


@settings(max_examples=60, deadline=None)
@given(PATHS.filter(lambda paths: any(won for _, won in paths)))
def test_credits_of_a_converting_journey_sum_to_one(paths: list[tuple[list[str], bool]]) -> None:
    journeys = table(paths)
    won = {f"j{k}" for k, (_, converted) in enumerate(paths) if converted}
    for member in MEMBERS:
        credits = member.fit(journeys).credit(journeys)
        sums = credits.groupby("journey_id")["credit"].sum()
        assert set(sums.index) == won
        np.testing.assert_allclose(sums, 1, atol=1e-9)
        assert check("credits", credits).rejected.empty
        channels = member.channel_credit(journeys)
        assert channels["conversions"].sum() == pytest.approx(len(won))
        assert channels["revenue"].sum() == pytest.approx(10 * len(won))


@settings(max_examples=40, deadline=None)
@given(PATHS.filter(lambda paths: any(won and path for path, won in paths)), st.integers(1, 3))
def test_the_chain_equals_a_dense_slow_one(paths: list[tuple[list[str], bool]], order: int) -> None:
    chain = Markov(order=order).fit(table(paths))
    walked = [(path, won) for path, won in paths if path]
    base = slow_conversion(walked, order, None)
    assert chain.conversion_ == pytest.approx(base)
    for channel, removal in zip(chain.channels_, chain.removal_, strict=True):
        assert removal == pytest.approx(1 - slow_conversion(walked, order, channel) / base, abs=1e-8)


def slow_conversion(paths: list[tuple[list[str], bool]], order: int, removed: str | None) -> float:
    """Probability of conversion by a dense linear solve over named states."""

    def states(path: list[str]) -> list[tuple[str, ...]]:
        return [tuple(path[max(0, k - order) : k]) for k in range(1, len(path) + 1)]

    names = sorted({state for path, _ in paths for state in states(path)})
    moves = np.zeros((len(names) + 1, len(names) + 2))
    for path, won in paths:
        at = [names.index(state) for state in states(path)]
        for one, other in zip([len(names), *at], [*at, len(names) + (0 if won else 1)], strict=True):
            moves[one, other] += 1
    moves /= np.maximum(moves.sum(axis=1, keepdims=True), 1)
    inner, hit = moves[:, : len(names)].copy(), moves[:, len(names)].copy()
    for k, name in enumerate(names):
        if name[-1] == removed:
            inner[:, k] = 0
    solved = np.linalg.solve(np.eye(len(names)) - inner[:-1], hit[:-1])
    return float(inner[-1] @ solved)


@pytest.fixture(scope="module")
def published(shared_data: Callable[[str], Path]) -> tuple[Journeys, pd.DataFrame]:
    folder = shared_data("channelattribution_pathdata")
    data = pd.read_csv(folder / "path_data.csv.gz", sep=";")
    journeys = Journeys.of_paths(data["path"], data["total_conversions"], data["total_conversion_value"], data["total_null"])
    return journeys, pd.read_csv(folder / "reference_results.csv").set_index("channel")


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_published_chain(published: tuple[Journeys, pd.DataFrame], order: int) -> None:
    journeys, reference = published
    chain = Markov(order=order).fit(journeys)
    got = chain.channel_credit(journeys).set_index("channel")["conversions"].drop("organic")
    want = reference[f"exact_markov_conversions_o{order}"].reindex(got.index)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=5.1e-4)  # the reference is printed to three decimals


@pytest.mark.parametrize(("member", "name"), [(LastTouch(), "last"), (FirstTouch(), "first"), (Linear(), "linear")])
def test_published_rules(published: tuple[Journeys, pd.DataFrame], member: LastTouch, name: str) -> None:
    journeys, reference = published
    got = member.fit(journeys).channel_credit(journeys).set_index("channel").drop("organic")
    for column, suffix in (("conversions", "conversions"), ("revenue", "value")):
        np.testing.assert_allclose(got[column], reference[f"{name}_touch_{suffix}"].reindex(got.index), rtol=1e-9)


def test_order_of_rows_changes_nothing() -> None:
    journeys = table([(list("abca"), True), (list("ca"), False), ([], True), (list("b"), True)])
    for member in MEMBERS:
        one = member.fit(journeys).credit(journeys)
        other = member.fit(journeys.iloc[::-1]).credit(journeys.sample(frac=1, random_state=3))
        pd.testing.assert_frame_equal(one, other)


def test_decay_halves_and_position_keeps_its_shares() -> None:
    journeys = table([(list("abab"), True)])
    decay = TimeDecay(half_life_days=1).fit(journeys).credit(journeys)["credit"]
    np.testing.assert_allclose(decay / decay.shift(1), [np.nan, 2, 2, 2])
    np.testing.assert_allclose(Position().fit(journeys).credit(journeys)["credit"], [0.4, 0.1, 0.1, 0.4])


def test_bad_input_is_refused_or_handled() -> None:
    with pytest.raises(CannotTell, match="no journey converted"):
        Markov().fit(table([(["a"], False)]))
    everyone = table([(["a"], True), (["a", "a"], True)])
    assert Markov().fit(everyone).removal_.tolist() == [1.0]
    with pytest.raises(InputError, match="never seen when fitting: z"):
        Markov().fit(everyone).credit(table([(["z"], True)]))
    long = table([(["a", "b"] * 5_000, True), (["a"], False)])
    assert TimeDecay().fit(long).credit(long)["credit"].sum() == pytest.approx(1)
    with pytest.raises(InputError, match="half-life"):
        TimeDecay(half_life_days=0)
