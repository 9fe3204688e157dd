"""Credit rules and the exact chain, against published numbers, a dense slow chain and their own invariants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.tables import check
from liftwise.core.uncertainty import spawn
from liftwise.models.attribution import FirstTouch, Journeys, Label, LastTouch, Linear, Markov, Position, Shapley, TimeDecay

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
    told = chain.predict(table(paths)).set_index("journey_id")["probability"]
    for k, (path, _) in enumerate(paths):
        want = slow_conversion(walked, order, None, tuple(path[-order:])) if path else np.nan
        assert told[f"j{k}"] == pytest.approx(want, abs=1e-8, nan_ok=True)


def slow_conversion(
    paths: list[tuple[list[str], bool]], order: int, removed: str | None, since: tuple[str, ...] | None = None
) -> float:
    """Probability of conversion by a dense linear solve over named states; from a state on where `since` names one."""

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
    return float(inner[-1] @ solved) if since is None else float(solved[names.index(since)])


def test_a_history_never_seen_counts_as_its_end() -> None:
    chain = Markov(order=2).fit(table([(list("ab"), True), (list("cb"), False), (list("c"), False), (list("ca"), False)]))
    told = chain.predict(table([(list("ab"), True), (list("bb"), True), (list("bc"), True), (list("bcb"), True)]))["probability"]
    # b after a always converts, b after c never: b after b is halfway
    assert told.tolist() == pytest.approx([1.0, 0.5, 0.0, 0.0])


@pytest.mark.parametrize("member", [LastTouch(), FirstTouch(), Linear(), TimeDecay(), Position()])
def test_a_rule_of_place_foretells_nothing_and_says_so(member: LastTouch) -> None:
    journeys = table([(list("ab"), True), (list("b"), False)])
    member.fit(journeys)
    with pytest.raises(CannotTell, match="shares out conversions and predicts none; ask Markov"):
        member.predict(journeys)
    with pytest.raises(CannotTell, match="tells of no later stage"):
        member.influence(journeys)


def staged(n: int, seed: int) -> Journeys:
    """Journeys of three touches; after a tutorial, more buy. A platform is drawn without regard to anything."""
    rng = spawn(seed, "test.staged")
    codes, hours = rng.integers(0, 3, (n, 3)), np.sort(rng.uniform(1, 160, (n, 3)), axis=1)[:, ::-1]
    bought = (rng.random(n) < 0.1 + 0.15 * (codes == 2).sum(axis=1)).astype(float)
    ids = np.array([f"t{k:06d}" for k in range(3 * n)], object)
    labels = {
        "content_type": Label(codes.ravel(), ("post", "reel", "tutorial")), "platform": Label(rng.integers(0, 3, 3 * n), tuple("xyz")),
        "kind": Label(rng.integers(0, 2, 3 * n), ("view", "visit")),
    }  # fmt: skip
    names = ("post", "reel", "tutorial")
    return Journeys(
        ids[:n], np.arange(n + 1) * 3, codes.ravel(), ids, hours.ravel(), bought, bought, 1 - bought, names, labels=labels
    )


@pytest.mark.parametrize("member", [Markov(), Markov(order=2), Shapley()])
def test_members_that_foretell_read_what_moves_a_stage(member: Markov | Shapley) -> None:
    read = member.fit(staged(6_000, 1)).influence(staged(6_000, 2))
    buys = read.frame[read.frame["stage"] == "conversion"]
    types = buys[buys["by"] == "content_type"].set_index("name")
    assert buys["tells"].all() and types["change"].idxmax() == "tutorial"
    assert types.loc["tutorial", "low"] > types.loc[["post", "reel"], "high"].max()
    assert "no platform moves it" in read.summary() and "consideration: cannot tell" in read.summary()
    assert set(read.frame["by"]) == {"content_type", "platform"}
    plain = member.influence(replace(staged(6_000, 2), labels={}))  # nothing else to tell touches apart by, and no kinds
    assert set(plain.frame["by"]) == {"channel"} and set(plain.frame["stage"]) == {"conversion"}


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
