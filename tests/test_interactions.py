"""Pairs of touches by gap: features and scores against slow versions, recovery and silence on journeys with known effects, edges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.attribution.interactions import GAPS, PairEffects, pairs
from liftwise.models.attribution.journeys import Journeys
from liftwise.models.attribution.motifs import motifs
from liftwise.models.attribution.pair_baseline import Data, discoveries
from liftwise.models.attribution.pair_cells import cells_of, edges_of
from liftwise.sources.simulator.journey_effects import CURVE
from liftwise.sources.simulator.journey_worlds import CHANNELS, ORDERS, JourneyWorld

NAMES = ("tutorial", "demo", "review")
JOURNEY = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60), st.floats(0, 1)), max_size=9)


def of(paths: list[list[tuple[int, float, float]]], bought: Floats, names: tuple[str, ...] = NAMES) -> tuple[Journeys, Floats]:
    """Journeys from (code, hours before the end, fresh) of each touch."""
    flat = [touch for path in paths for touch in path]
    codes, hours, fresh = (np.array([touch[c] for touch in flat], float) for c in range(3))
    offsets = np.cumsum([0, *map(len, paths)]).astype(np.int64)
    ids = np.arange(len(paths)).astype(str).astype(object)
    touches = np.arange(len(flat)).astype(str).astype(object)
    return Journeys(ids, offsets, codes.astype(np.int64), touches, hours, bought, 10 * bought, 1 - bought, names), fresh


def world(made: JourneyWorld) -> tuple[Journeys, Floats, Floats]:
    """A simulated market, with the freshness and the organic log-odds that generated it."""
    drawn, (_, does) = made.draw(), made.equation()
    n, ids = len(drawn.bought), np.arange(len(drawn.codes)).astype(object)
    journeys = Journeys(
        ids[:n], drawn.offsets.astype(np.int64), drawn.codes.astype(np.int64), ids, drawn.hours, drawn.bought, 10 * drawn.bought,
        1 - drawn.bought, CHANNELS,
    )  # fmt: skip
    return journeys, np.exp(-drawn.hours / 24 / does.fades[drawn.codes]), np.log(drawn.organic / (1 - drawn.organic))


def made_up(n: int, seed: int, *, first: int = 0, second: int = 1, extra: float = 0.0, within: float = 48.0, base: float = -2.0):
    """Journeys of three content types without decay: `second` adds `extra` more within `within` hours of the latest `first`."""
    rng = spawn(seed, "test.pairs")
    lengths = rng.poisson(3.0, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    owner = np.repeat(np.arange(n), lengths)
    hours = rng.uniform(0, 240, len(owner))
    hours = hours[np.lexsort((-hours, owner))]
    codes, fresh = rng.integers(0, 3, len(owner)), np.exp(-hours / 150)
    eta = base + rng.normal(0, 0.7, n)
    organic = eta.copy()
    for j in range(n):
        for i in range(offsets[j], offsets[j + 1]):
            before = [hours[x] - hours[i] for x in range(offsets[j], i) if codes[x] == first]
            eta[j] += fresh[i] * (0.4 + extra * (codes[i] == second and bool(before) and before[-1] <= within))
    bought = (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float)
    ids = np.arange(max(n, len(owner))).astype(object)
    journeys = Journeys(ids[:n], offsets, codes, ids[: len(owner)], hours, bought, 10 * bought, 1 - bought, NAMES)
    return journeys, fresh, organic


@pytest.fixture(scope="module")
def lifted() -> tuple[Journeys, Floats, Floats]:
    return made_up(12_000, 1, extra=1.2)


@pytest.fixture(scope="module")
def told(lifted: tuple[Journeys, Floats, Floats]) -> PairEffects:
    return pairs(*lifted)


# ── against slow versions ──────────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=25)
@given(st.lists(JOURNEY, min_size=2, max_size=6))
def test_features_are_those_of_a_slow_loop(paths: list[list[tuple[int, float, float]]]) -> None:
    paths = [*paths, [(0, 1, 1.0), (1, 1, 1.0)]]
    journeys, fresh = of(paths, np.arange(len(paths)) % 2.0)
    made = cells_of(Data.of(journeys, fresh, np.zeros(len(paths))), edges_of(GAPS)).toarray()
    slow = np.zeros((len(paths), 3, 3, len(GAPS)))
    for j, path in enumerate(paths):
        ordered = sorted(path, key=lambda touch: -touch[1])  # stable: rows decide between touches at the same hour
        for i, (second, hour, left) in enumerate(ordered):
            for first in range(3):
                gap = [before[1] - hour for before in ordered[:i] if before[0] == first]
                if gap and gap[-1] <= GAPS[-1]:
                    slow[j, first, second, next(g for g, edge in enumerate(GAPS) if gap[-1] <= edge)] += left
    np.testing.assert_allclose(made, slow.reshape(len(paths), -1), atol=1e-12)


def test_found_cells_are_the_joint_maximum_likelihood(lifted: tuple[Journeys, Floats, Floats], told: PairEffects) -> None:
    data = Data.of(*lifted)
    cells = told.cells
    mine = cells[(cells["first"] == "tutorial") & (cells["second"] == "demo")]
    columns = cells_of(data, edges_of(GAPS)).toarray()[:, 5:10]
    own = sm.Logit(data.bought, np.column_stack([data.base, columns])).fit(disp=0)
    one = pairs(*lifted, least=10**9)  # nothing is tested
    assert one.tested == 0 and one.cells.empty and "often enough" in one.summary()
    # the reverse is told by one step, so the two agree closely and not to the last digit
    np.testing.assert_allclose(mine["effect"], own.params[-5:], atol=0.15 * own.bse[-5:].max())
    np.testing.assert_allclose((mine["high"] - mine["low"]) / 2 / 1.6449, own.bse[-5:], rtol=0.1)


def test_one_step_is_close_to_the_full_fit_of_a_pair() -> None:
    journeys, fresh, organic = made_up(8_000, 2)
    effects, data = pairs(journeys, fresh, organic, gaps=(24, 96)), Data.of(journeys, fresh, organic)
    columns = cells_of(data, edges_of((24, 96))).toarray().reshape(-1, 3, 3, 2)
    full = sm.Logit(data.bought, np.column_stack([data.base, columns[:, 1, 2], columns[:, 2, 1]])).fit(disp=0)
    cells = effects.cells
    mine = pd.concat([cells[(cells["first"] == a) & (cells["second"] == b)] for a, b in (("demo", "review"), ("review", "demo"))])
    assert len(mine) == 4
    assert np.abs(mine["effect"].to_numpy() - full.params[-4:]).max() < 0.12 * full.bse[-4:].max()
    np.testing.assert_allclose((mine["high"] - mine["low"]) / 2 / 1.6449, full.bse[-4:], rtol=0.1)


def test_motif_counts_are_those_of_a_slow_loop(lifted: tuple[Journeys, Floats, Floats]) -> None:
    journeys, fresh, organic = lifted
    table = motifs(journeys, fresh, organic, length=3).set_index("sequence")
    paths = [[NAMES[c] for c in journeys.codes[a:b]] for a, b in zip(journeys.offsets[:-1], journeys.offsets[1:], strict=True)]
    for sequence in ("tutorial > demo", "demo > demo > review"):
        parts = sequence.split(" > ")
        holds = np.array([any(path[i : i + len(parts)] == parts for i in range(len(path))) for path in paths])
        assert table.loc[sequence, ["journeys", "observed"]].tolist() == [holds.sum(), journeys.conversions[holds].sum()]


def test_discoveries_are_benjamini_and_hochbergs() -> None:
    p = spawn(3, "p").random(50) ** 4
    from scipy.stats import false_discovery_control

    np.testing.assert_array_equal(discoveries(p), false_discovery_control(p) <= 0.10)


# ── truth ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_demo_works_within_48_hours_of_a_tutorial(told: PairEffects) -> None:
    assert told.window("tutorial", "demo") == 48.0
    assert told.window("demo", "tutorial") is None
    top = told.windows.iloc[0]
    assert (top["first"], top["second"], top["gap_from"]) == ("tutorial", "demo", 0.0)
    assert top["low"] < 1.2 < top["high"] and top["order_low"] > 0
    assert top["multiplier_low"] < 4.0 < top["multiplier_high"]
    assert told.summary().startswith("demo within 48 hours of tutorial adds") and "after that, no more" in told.summary()


def test_a_touch_too_soon_after_another_is_wasted() -> None:
    effects = pairs(*made_up(12_000, 4, first=2, second=2, extra=-0.9, within=24.0))
    assert effects.window("review", "review") == 24.0
    top = effects.windows.iloc[0]
    assert top["high"] < 0 and np.isnan(top["order"])
    assert "less than otherwise" in effects.summary()


def worth(made: JourneyWorld, journeys: Journeys, fresh: Floats, first: int, second: int) -> float:
    """Log-odds that `ordered` adds a fresh touch of `second` within 48 hours, from the equation that generates."""
    data, (_, does), k = Data.of(journeys, fresh, np.zeros(len(journeys.ids))), made.equation(), len(CHANNELS)
    cell = (first * k + second) * len(GAPS)
    within = np.asarray(cells_of(data, edges_of(GAPS))[:, cell : cell + 3].sum(axis=1)).ravel()
    stock = data.stock[:, second]
    extra = does.strength[second] * (np.exp(-CURVE * stock) - np.exp(-CURVE * (stock + made.ordered * within))) / CURVE
    return float(within @ extra / (within @ within))


def test_pairs_of_the_simulator_are_found_with_their_sign_and_end() -> None:
    made = JourneyWorld(targeting="random", ordered=1.5, lends=0.0, people=80_000, seed=5)
    journeys, fresh, organic = world(made)
    effects = pairs(journeys, fresh, organic)
    windows = effects.windows.set_index(["first", "second"])
    for first, second in ((3, 7), (0, 6)):
        assert effects.window(CHANNELS[first], CHANNELS[second]) == 48.0
        row = windows.loc[(CHANNELS[first], CHANNELS[second])]
        assert 0 < row["low"] < worth(made, journeys, fresh, first, second) < row["high"] and row["order_low"] > 0
        assert 1.0 < row["multiplier_low"] < 2.5 and row["multiplier_high"] > 2.0
    assert effects.window(CHANNELS[8], CHANNELS[9]) is None
    true = {(CHANNELS[a], CHANNELS[b]) for a, b in ORDERS}
    assert len(set(windows.index) - true) <= 1  # at a false discovery rate of 10 %


def test_nothing_is_found_where_nothing_is() -> None:
    journeys, fresh, organic = world(JourneyWorld(targeting="observed", lends=0.0, people=60_000))
    effects = pairs(journeys, fresh, organic)
    assert effects.windows.empty and not effects.cells["found"].any()
    assert effects.summary() == "no pair of touches can be told apart from its parts"
    covered = ((effects.cells["low"] <= 0) & (effects.cells["high"] >= 0)).mean()
    assert 0.85 < covered < 0.95
    assert (motifs(journeys, fresh, organic, length=2)["label"] == "as its parts").all()


def test_motifs_lift_or_are_as_their_parts(lifted: tuple[Journeys, Floats, Floats]) -> None:
    table = motifs(*lifted, length=2, within=48.0).set_index("sequence")
    row = table.loc["tutorial > demo"]
    assert row["label"] == "lifts" and row["low"] > 1 and row["low"] < row["lift"] < row["high"]
    assert table.index[0] == "tutorial > demo" and (table["label"] != "wastes").all()
    everything = motifs(*lifted, length=2).set_index("sequence")
    assert everything.loc["tutorial > demo", "journeys"] > row["journeys"]


# ── invariance and edges ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_order_of_rows_does_not_matter(lifted: tuple[Journeys, Floats, Floats], told: PairEffects) -> None:
    journeys, fresh, organic = lifted
    rng = spawn(5, "shuffle")
    order = rng.permutation(len(journeys.ids))
    rows = [
        rng.permutation(np.arange(journeys.offsets[j], journeys.offsets[j + 1])) for j in order
    ]  # no two touches share an hour
    take = np.concatenate(rows)
    shuffled = replace(
        journeys, ids=journeys.ids[order], offsets=np.concatenate([[0], np.cumsum(journeys.lengths[order])]), codes=journeys.codes[take],
        hours=journeys.hours[take], touch_ids=journeys.touch_ids[take], conversions=journeys.conversions[order],
        value=journeys.value[order], nulls=journeys.nulls[order],
    )  # fmt: skip
    again = pairs(shuffled, fresh[take], organic[order])
    pd.testing.assert_frame_equal(again.cells, told.cells, rtol=1e-6)
    pd.testing.assert_frame_equal(motifs(shuffled, fresh[take], organic[order]), motifs(journeys, fresh, organic), rtol=1e-6)


def test_counts_are_as_good_as_single_journeys(lifted: tuple[Journeys, Floats, Floats], told: PairEffects) -> None:
    journeys, fresh, organic = lifted
    twice = replace(journeys, conversions=2 * journeys.conversions, nulls=2 * journeys.nulls)
    doubled = pairs(twice, fresh, organic, least=400).cells.merge(
        told.cells, on=["first", "second", "gap_to"], suffixes=("", "_one")
    )
    single = doubled[~doubled["found"] & (doubled["first"] == "review")]
    np.testing.assert_allclose(doubled["journeys"], 2 * doubled["journeys_one"])
    np.testing.assert_allclose((single["high"] - single["low"]) * np.sqrt(2), single["high_one"] - single["low_one"], rtol=0.05)


def test_touches_at_the_same_hour_are_in_the_first_gap_in_order_of_rows() -> None:
    journeys, fresh = of([[(0, 5, 1.0), (1, 5, 0.5)], [(1, 5, 1.0)]], np.array([1.0, 0.0]))
    made = cells_of(Data.of(journeys, fresh, np.zeros(2)), edges_of(GAPS)).toarray().reshape(2, 3, 3, 5)
    assert made[0, 0, 1, 0] == 0.5 and made.sum() == 0.5


def test_a_journey_of_ten_thousand_touches_is_walked_once() -> None:
    rng = spawn(6, "long")
    paths = [
        [(int(c), float(h), 0.01) for c, h in zip(rng.integers(0, 3, 10_000), rng.uniform(0, 700, 10_000), strict=True)]
        for _ in range(4)
    ]
    paths += [[(0, 5.0, 1.0), (1, 3.0, 1.0)]] * 600
    journeys, fresh = of(paths, (rng.random(len(paths)) < 0.3).astype(float))
    effects = pairs(journeys, fresh, np.zeros(len(paths)))
    assert np.isfinite(effects.cells[["effect", "low", "high"]]).all(axis=None)


def test_a_channel_that_explains_every_purchase_is_survived() -> None:
    paths = [[(0, 5.0, 1.0), (1, 3.0, 1.0)], [(0, 4.0, 1.0)], [(2, 4.0, 1.0)], []] * 300
    journeys, fresh = of(paths, np.tile([1.0, 0.0, 0.0, 0.0], 300))
    assert pairs(journeys, fresh, np.zeros(len(paths))).windows.empty


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"conversions": np.zeros(4), "nulls": np.ones(4)}, CannotTell, "no journey converted"),
        ({"conversions": np.ones(4), "nulls": np.zeros(4)}, CannotTell, "every journey converted"),
        ({"codes": np.zeros(5, np.int64)}, CannotTell, "fewer than two"),
        ({"hours": np.full(5, np.nan)}, InputError, "not numbers"),
        ({"organic": np.zeros(3)}, InputError, "one value"),
        ({"fresh": np.full(5, -1.0)}, InputError, "below 0"),
        ({"gaps": (24, 6)}, InputError, "rising"),
        ({"gaps": ()}, InputError, "rising"),
    ],
)
def test_what_cannot_be_told_is_refused(change: dict[str, object], error: type[Exception], says: str) -> None:
    journeys, fresh = of([[(0, 5, 1), (1, 4, 1)], [(1, 2, 1)], [(0, 3, 1), (2, 1, 1)], []], np.array([1.0, 0.0, 0.0, 1.0]))
    given_ = {"fresh": fresh, "organic": np.zeros(4), "gaps": GAPS} | {
        k: v for k, v in change.items() if k in ("fresh", "organic", "gaps")
    }
    journeys = replace(journeys, **{k: v for k, v in change.items() if k not in given_})
    with pytest.raises(error, match=says):
        pairs(journeys, **given_)


def test_motifs_need_two_touches(lifted: tuple[Journeys, Floats, Floats]) -> None:
    with pytest.raises(InputError, match="choose 2 to 5"):
        motifs(*lifted, length=1)


def test_picture_and_table(told: PairEffects) -> None:
    frame = told.to_frame()
    assert list(frame.columns) == ["first", "second", "gap_from", "gap_to", "effect", "low", "high", "multiplier", "multiplier_low",
                                   "multiplier_high", "order", "order_low", "order_high", "p_value", "found", "journeys"]  # fmt: skip
    assert (frame["low"] <= frame["effect"]).all() and (frame["effect"] <= frame["high"]).all()
    opposite = frame.merge(frame, left_on=["first", "second", "gap_to"], right_on=["second", "first", "gap_to"])
    np.testing.assert_allclose(opposite["order_x"], -opposite["order_y"], atol=1e-9)
    figure = told.plot()
    heat = figure.data[0]
    assert "tutorial → demo" in set(heat.y) and len(figure.layout.shapes) == frame["found"].sum() == len(
        figure.layout.annotations
    )
    empty = pairs(*made_up(300, 8), least=10**6)
    assert len(empty.plot().data) == 1 and empty.to_frame().empty
