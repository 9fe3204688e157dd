"""Effectiveness: recovered truths, exact sums, intervals that hold, nothing from the future, and a grid that misses nothing."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.tables import check
from liftwise.core.uncertainty import spawn
from liftwise.models.effectiveness import (
    BoostedEffectiveness,
    Effectiveness,
    FactoredNet,
    MixedEffects,
    MLPNet,
    choose_effectiveness,
    factored,
    feasible_tuples,
    folds,
    interval,
    mlp,
    score_grid,
    stages,
)
from liftwise.models.effectiveness.blend import _simplex
from liftwise.models.effectiveness.calibrate import Straight, conformal
from liftwise.models.effectiveness.design import Design
from liftwise.models.effectiveness.factored import Ensemble, FactoredMember
from liftwise.models.effectiveness.grid import additive, arrays, best, floors, tuples
from liftwise.models.effectiveness.history import History, shrinkage
from liftwise.models.effectiveness.level import level
from liftwise.models.effectiveness.mixed import Mixed, MixedMember
from liftwise.models.effectiveness.own_effects import own_effects
from liftwise.models.effectiveness.tuples import PRIOR
from liftwise.sources.simulator.creator_worlds import CLOSES, PERIOD, START, TEST, CreatorWorld

AFTER = (START + pd.Timedelta(weeks=TEST)).date()
SMALL = {"rows": 3_000, "creators": 120, "contents": 6, "events": 5}
KEYS = ["influencer_id", "content_type", "event_id", "days_from_event"]


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Fewer steps: what is tested here does not need the last digit."""
    before = factored.FEWEST_STEPS, factored.EPOCHS, mlp.FEWEST_STEPS, mlp.EPOCHS
    factored.FEWEST_STEPS = mlp.FEWEST_STEPS = 70
    factored.EPOCHS = mlp.EPOCHS = 2
    many, folds.FEW_FOLDS = folds.FEW_FOLDS, 2
    rounds, stages.SIZES = stages.SIZES, dict.fromkeys(stages.SIZES, ((60, 15), (60, 8)))
    yield
    stages.SIZES, folds.FEW_FOLDS = rounds, many
    factored.FEWEST_STEPS, factored.EPOCHS, mlp.FEWEST_STEPS, mlp.EPOCHS = before


@pytest.fixture(scope="module")
def world() -> CreatorWorld:
    return CreatorWorld(seed=11, **SMALL)


@pytest.fixture(scope="module")
def tables(world: CreatorWorld) -> dict[str, pd.DataFrame]:
    return world.tables()


def fitted(model, world: CreatorWorld, tables: dict[str, pd.DataFrame], **more: pd.DataFrame):
    rest = {name: frame for name, frame in tables.items() if name != "assignments"}
    return model.fit(tables["assignments"][world.week < TEST], **rest, **more)


@pytest.fixture(scope="module")
def model(world: CreatorWorld, tables: dict[str, pd.DataFrame], quick: None) -> Effectiveness:
    return fitted(Effectiveness(metric="engagements", networks=1), world, tables)


@pytest.fixture(scope="module")
def later(world: CreatorWorld, tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    rows = tables["assignments"][world.week >= TEST]
    return rows.assign(decided_on=rows["posted_at"])


# -- the world


def test_the_panel_is_as_described() -> None:
    world = CreatorWorld(seed=5)
    late = world.week >= TEST
    seen = np.bincount(world._rows["i"][world.week < 80], minlength=world.creators)
    assert world.oracle(np.arange(world.rows)) == pytest.approx(0.778, abs=0.01)
    assert world.cold[late].mean() == pytest.approx(0.10, abs=0.001)
    assert abs(np.median(seen[seen > 0]) - 8) <= 1
    assert len(np.unique(world._rows["i"])) == 4_584


def test_tables_of_the_panel_keep_their_contracts(tables: dict[str, pd.DataFrame]) -> None:
    for name, frame in tables.items():
        assert check(name, frame).rejected.empty, name


def test_truth_is_what_outcomes_scatter_around(world: CreatorWorld) -> None:
    z = (world.y - world.f) / world.sd
    assert abs(z.mean()) < 0.06
    assert z.std() == pytest.approx(1.0, abs=0.06)


# -- own effects


def test_own_effects_find_size_and_doubt_of_what_is_a_creators_own() -> None:
    rng = spawn(1, "own")
    n, p, creators = 6_000, 4, 400
    i, z = rng.integers(0, creators, n), np.column_stack([np.ones(n), rng.normal(size=(n, p - 1))])
    true = rng.normal(size=(creators + 1, p)) * np.array([0.5, 0.3, 0.2, 0.1])
    sd = rng.uniform(0.3, 0.8, n)
    rest = (z * true[i]).sum(axis=1) + sd * rng.standard_t(6, n) * np.sqrt(4 / 6)
    found = own_effects(i, z, rest, sd, creators + 1)
    np.testing.assert_allclose(np.sqrt(np.diag(found.prior)), [0.5, 0.3, 0.2, 0.1], atol=0.06)
    error, spread = (z * (found.mean[i] - true[i])).sum(axis=1), found.spread(i, z)
    assert np.mean(np.abs(error) < 1.645 * spread) == pytest.approx(0.9, abs=0.03)
    assert np.all(found.mean[creators] == 0)
    np.testing.assert_allclose(found.covariance[creators], found.prior)


@given(st.integers(0, 100))
def test_a_row_that_weighs_two_is_two_rows(seed: int) -> None:
    rng = spawn(seed, "own")
    i, z, rest, sd = rng.integers(0, 9, 120), rng.normal(size=(120, 3)), rng.normal(size=120), rng.uniform(0.5, 2, 120)
    times, order = rng.integers(1, 3, 120), rng.permutation(120)
    one = own_effects(i[order], z[order], rest[order], sd[order], 9, times[order].astype(float))
    many = own_effects(*(np.repeat(x, times, axis=0) for x in (i, z, rest, sd)), 9)
    np.testing.assert_allclose(one.mean, many.mean, atol=1e-8)
    np.testing.assert_allclose(one.covariance, many.covariance, atol=1e-8)


# -- predictions


def test_parts_sum_to_f_and_the_table_keeps_its_contract(model: Effectiveness, later: pd.DataFrame) -> None:
    table = model.predict(later)
    total = table["g_influencer"] + table["g_history"] + table["g_market"]
    np.testing.assert_allclose(total, table["predicted"], rtol=1e-9)
    assert check("effectiveness", table.drop_duplicates(KEYS)).rejected.empty
    assert list(table.columns) == ["influencer_id", "content_type", "event_id", "days_from_event", "metric", "predicted", "g_influencer",
                                   "g_history", "g_market", "uncertainty", "price"]  # fmt: skip


def test_the_default_finds_most_of_what_can_be_found(model: Effectiveness, world: CreatorWorld, later: pd.DataFrame) -> None:
    found, late = model.log_f(later)["median"].to_numpy(), np.flatnonzero(world.week >= TEST)
    y, cold = world.y[late], world.cold[late]
    r2 = 1 - np.mean((y - found) ** 2) / np.var(y)
    assert r2 > 0.55 * world.oracle(late)
    assert np.corrcoef(found, world.f[late])[0, 1] > 0.75
    assert cold.sum() > 40


def test_intervals_hold_what_they_say(model: Effectiveness, later: pd.DataFrame) -> None:
    table, outcome = model.predict(later), later["engagements"].to_numpy()
    for told in (0.5, 0.9):
        low, high = model.interval(table, told)
        assert np.mean((low <= outcome) & (outcome <= high)) == pytest.approx(told, abs=0.07)
    assert model.scores_["coverage_90"] == pytest.approx(0.9, abs=0.03)
    low, high = interval(table, smear=model.smear_)
    np.testing.assert_allclose(low, model.interval(table)[0])
    assert np.all(low < high)


def test_who_was_never_seen_is_doubted_more(model: Effectiveness, later: pd.DataFrame) -> None:
    told = model.log_f(later)
    assert told.loc[told["known"] == 0, "sd"].mean() > told.loc[told["known"] > 20, "sd"].mean()


def test_why_a_score_is_what_it_is_sums_to_it(model: Effectiveness, later: pd.DataFrame) -> None:
    few = later.drop_duplicates(KEYS).head(30)
    told = model.explain(few)
    total = told.groupby(KEYS)["contribution"].sum()
    expected = model.predict(few).set_index(KEYS)["predicted"]
    np.testing.assert_allclose(total.reindex(expected.index), np.log(expected), rtol=1e-6, atol=1e-6)
    assert set(told["database"]) == {"influencer", "history", "market"}


def test_what_matters_can_be_read_in_three_ways(model: Effectiveness) -> None:
    permuted = model.importance("permutation").set_index("feature")["value"]
    assert permuted["creator"] > 0.05
    assert {"net: creator", "net: own level"} <= set(model.importance()["feature"])
    assert model.importance("gain")["value"].ge(0).all()
    assert "R²" not in model.summary()
    assert len(model.plot().data) == 1


def test_dependence_follows_the_truth_of_contents(model: Effectiveness, world: CreatorWorld) -> None:
    found = model.dependence("content_type").set_index("value")["log_f"].reindex(list(world.types))
    assert np.corrcoef(found, world._matrices["content"])[0, 1] > 0.9
    assert len(model.dependence("days_away", 5)) <= 5
    with pytest.raises(InputError, match="no feature"):
        model.dependence("charm")


def test_a_roi_is_revenue_per_price(world: CreatorWorld, tables: dict[str, pd.DataFrame], later: pd.DataFrame) -> None:
    renamed = {**tables, "assignments": tables["assignments"].rename(columns={"engagements": "revenue"})}
    roi, revenue = (fitted(BoostedEffectiveness(metric=metric), world, renamed).predict(later) for metric in ("roi", "revenue"))
    for name in ("predicted", "g_history", "uncertainty"):
        np.testing.assert_allclose(roi[name] * later["price"].to_numpy(), revenue[name], rtol=1e-9)


def test_the_unit_of_an_outcome_does_not_matter(
    world: CreatorWorld, tables: dict[str, pd.DataFrame], later: pd.DataFrame
) -> None:
    rest = {name: frame for name, frame in tables.items() if name != "assignments"}
    past = tables["assignments"][world.week < TEST]
    none = past.assign(engagements=past["engagements"].where(np.arange(len(past)) % 50 > 0, 0.0))
    for some in (past, none):
        units = [some.assign(engagements=some["engagements"] / unit) for unit in (1.0, 1e4)]
        one, other = (MixedEffects(metric="engagements").fit(each, **rest).predict(later)["predicted"] for each in units)
        np.testing.assert_allclose(1e4 * other, one, rtol=1e-6)


def test_the_same_seed_gives_the_same_bytes() -> None:
    tiny = CreatorWorld(seed=4, rows=500, creators=30, contents=4, events=3)
    told = tiny.tables()
    asked = told["assignments"][tiny.week >= TEST].assign(decided_on=pd.Timestamp(AFTER))
    for kind, options in ((FactoredNet, {"networks": 1, "size": (2, 8, 1.0)}), (BoostedEffectiveness, {})):
        one, other = (fitted(kind(metric="engagements", **options), tiny, told).predict(asked) for _ in range(2))
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_nothing_later_than_the_decision_counts(model: Effectiveness, later: pd.DataFrame) -> None:
    task, _, _ = model._held
    half = len(task.target) // 2
    cut = task.design.decided[half]
    asked = replace(Design.of(later, model.facts_), decided=np.full(len(later), cut))
    changed = replace(task, target=np.where(task.observed >= cut, task.target + 5.0, task.target))
    line = History.of(task, np.arange(len(task.target))).line
    before, after = (History(task.design, one.target, task.observed, line).features(task.facts, asked) for one in (task, changed))
    np.testing.assert_allclose(before, after, atol=1e-9)
    later_still = replace(asked, decided=np.full(len(later), task.observed.max() + np.timedelta64(1, "D")))
    assert np.abs(History(task.design, changed.target, task.observed, line).features(task.facts, later_still) - before).max() > 1


def test_later_weeks_of_a_trend_are_not_looked_at(model: Effectiveness, later: pd.DataFrame) -> None:
    e = model.facts_.event_ids.get_indexer(later["event_id"])
    decided = later["decided_on"].to_numpy(dtype="datetime64[us]")
    before = model.facts_.market(e, decided)
    popular = model.facts_._popular["popularity"]
    cut = np.searchsorted(model.facts_._weeks, decided.max().astype("datetime64[D]") - np.timedelta64(7, "D"), side="right")
    weeks = np.arange(len(popular))[:, None]
    try:
        model.facts_._popular["popularity"] = np.where(weeks >= cut, popular + 9, popular)
        np.testing.assert_array_equal(model.facts_.market(e, decided), before)
        model.facts_._popular["popularity"] = np.where(weeks < cut, popular + 9, popular)
        assert np.nanmean(model.facts_.market(e, decided)[:, 0]) > np.nanmean(before[:, 0]) + 5
    finally:
        model.facts_._popular["popularity"] = popular


# -- history


@given(st.integers(0, 200), st.sampled_from([0.3, 1.0, 4.0]))
def test_means_are_shrunk_as_far_as_posts_of_a_creator_differ(seed: int, ratio: float) -> None:
    rng = spawn(seed, "shrinkage")
    who = rng.integers(0, 600, 6_000)
    rest = rng.normal(size=600)[who] + np.sqrt(ratio) * rng.normal(size=6_000)
    assert shrinkage(who, rest) == pytest.approx(ratio, rel=0.3)
    assert shrinkage(rng.permutation(who), rest) > 10
    assert shrinkage(np.arange(6_000), rest) == PRIOR  # nobody posted twice


def test_no_row_is_learned_from_its_own_outcome(model: Effectiveness) -> None:
    task, _, _ = model._held
    whole = History.of(task, np.arange(len(task.target)))
    row = len(task.target) // 2
    rest = whole.rest.copy()
    rest[row] += 50.0
    before, after = (one.around(task.facts, 3) for one in (whole, replace(whole, rest=rest)))
    np.testing.assert_allclose(after[row], before[row], atol=1e-9)
    same = np.flatnonzero(task.design.i == task.design.i[row])
    assert (np.abs(after[same, 0] - before[same, 0]) > 0.1).any()
    plain = task.target.copy()
    plain[row] += 50.0
    moved = History.of(replace(task, target=plain), np.arange(len(plain))).line
    assert moved.without[row] == pytest.approx(whole.line.without[row], abs=1e-6)


def test_a_content_with_few_posts_has_nothing_of_its_own(
    world: CreatorWorld, tables: dict[str, pd.DataFrame], quick: None
) -> None:
    few = np.arange(0, 1_500, 100)
    past = tables["assignments"].copy()
    past["content_type"] = past["content_type"].astype(object)
    past.loc[past.index[few], "content_type"] = [f"rare-{k}" for k in range(len(few))]
    found = fitted(FactoredNet(metric="engagements", networks=1, size=(2, 8, 1.0)), world, {**tables, "assignments": past})
    asked = past.iloc[np.repeat(few[:1], len(few))].assign(content_type=[f"rare-{k}" for k in range(len(few))], price=1.0)
    design = Design.of(asked.assign(decided_on=asked["posted_at"]), found.facts_)
    content = found.learned_.terms(found.facts_, design).amounts[:, factored.NAMES.index("content")]
    assert np.ptp(content) < 1e-6 < np.ptp(found.dependence("content_type")["log_f"])


# -- calibration


@given(st.lists(st.floats(0, 10), min_size=1, max_size=60), st.floats(0.5, 0.99))
def test_conformal_with_equal_weights_is_the_usual_quantile(scores: list[float], told: float) -> None:
    score = np.array(scores)
    at = min(int(np.ceil((len(score) + 1) * told - 1e-9)), len(score)) - 1
    assert conformal(score, np.ones(len(score)), told) == np.sort(score)[at]


@given(st.integers(0, 1_000))
def test_what_weighs_nothing_does_not_count(seed: int) -> None:
    rng = spawn(seed, "weights")
    score, weight = rng.random(50), np.r_[np.ones(30), np.zeros(20)]
    assert conformal(score, weight, 0.8) <= conformal(score[:30], weight[:30], 0.8)
    assert conformal(np.r_[score[:30], 99.0], np.r_[np.ones(30), 30.0], 0.9) == 99.0


@given(st.integers(0, 200), st.floats(-1, 1), st.floats(0.7, 1.3))
def test_a_line_off_by_shift_and_slope_is_straightened(seed: int, shift: float, slope: float) -> None:
    rng = spawn(seed, "line")
    f = rng.normal(size=4_000)
    found = (f - shift) / slope
    told = Straight.of(found, f + 0.2 * rng.normal(size=4_000), np.ones(4_000))
    assert told.slope == pytest.approx(slope, abs=0.05)
    assert told.shift == pytest.approx(shift, abs=0.08)


@given(st.integers(0, 500), st.integers(2, 5))
def test_weights_of_members_sum_to_one_and_do_not_lose(seed: int, members: int) -> None:
    rng = spawn(seed, "simplex")
    y = rng.normal(size=200)
    each = y[:, None] + rng.normal(size=(200, members)) * rng.uniform(0.2, 2, members)
    weights = _simplex(each, y)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    alone = ((each - y[:, None]) ** 2).mean(axis=0).min()
    assert ((each @ weights - y) ** 2).mean() <= alone * 1.05


# -- selection and level


def test_logged_propensities_take_most_of_the_bias_away(quick: None) -> None:
    chosen = CreatorWorld(seed=3, rows=8_000, creators=300, contents=8, events=6, targeting=1.5)
    told = chosen.tables()
    rng = spawn(3, "everywhere")
    i, c, e, day = (
        rng.integers(0, 270, 3_000),
        rng.integers(0, 8, 3_000),
        rng.integers(0, 6, 3_000),
        rng.integers(TEST * 7, 104 * 7, 3_000),
    )
    edition = (day - CLOSES - 7 * (e % 4) + PERIOD - 1) // PERIOD
    t = day - edition * PERIOD - 7 * (e % 4)
    rows = pd.DataFrame({
        "influencer_id": chosen.ids[i], "content_type": chosen.types[c], "event_id": [f"event-{a:02d}-{b:02d}" for a, b in zip(e, edition, strict=True)],
        "days_from_event": t.astype(float), "price": chosen.prices[i, c], "decided_on": START + pd.to_timedelta(day, unit="D"),
    })  # fmt: skip
    f = chosen.truth(i, c, e, day, t)
    off, effective = {}, {}
    for way in ("none", "logged"):
        found = fitted(BoostedEffectiveness(metric="engagements", selection=way), chosen, told)
        off[way], effective[way] = float((found.log_f(rows)["median"] - f).mean()), found.selection_.effective
    assert off["none"] > 0.15
    assert abs(off["logged"]) < 0.6 * off["none"]
    assert effective["logged"] < effective["none"] == float((chosen.week < TEST).sum())


def test_matches_made_at_random_are_left_alone(model: Effectiveness) -> None:
    assert model.selection_.how == "none"
    assert "at random" in model.selection_.summary()


def test_lift_tests_set_the_level() -> None:
    past = pd.DataFrame(
        {
            "campaign_id": ["a", "a", "b"],
            "influencer_id": ["x", "y", "x"],
            "content_type": "reel",
            "price": 10.0,
            "revenue": [50.0, 50.0, 200.0],
        }
    )

    def tests(*rows: tuple) -> pd.DataFrame:
        return pd.DataFrame(rows, columns=["subject_kind", "subject", "metric", "mean", "sd"])

    one = level(tests(("campaign", "a", "revenue", 60.0, 1.0)), past, "revenue")
    two = level(tests(("campaign", "a", "revenue", 60.0, 1.0), ("campaign", "b", "revenue", 120.0, 2.0)), past, "revenue")
    assert 0.6 < two.ratio < one.ratio < 0.8  # one campaign is not the next, however exact its test
    assert two.sd < one.sd
    many = pd.DataFrame(
        {"campaign_id": list("abcdefghijkl"), "influencer_id": "x", "content_type": "reel", "price": 10.0, "revenue": 100.0}
    )
    sure = level(tests(*(("campaign", name, "revenue", 60.0, 1.0) for name in "abcdefghijkl")), many, "revenue")
    assert sure.ratio == pytest.approx(0.6, abs=0.02)
    assert sure.sd < 0.25
    vague = level(tests(("campaign", "a", "revenue", 20.0, 500.0)), past, "revenue")
    assert vague.ratio == pytest.approx(1.0, abs=0.05)
    own = level(
        tests(("influencer", "x", "revenue_per_spend", 6.25, 0.1), ("influencer", "y", "revenue_per_spend", 5.0, 0.1)),
        past,
        "revenue",
    )
    ratio, _ = own.of(past)
    np.testing.assert_allclose(ratio, [0.5, 1.0, 0.5], atol=0.02)
    unusable = level(tests(("channel", "tv", "revenue", 1.0, 1.0), ("influencer", "x", "revenue", 1.0, 1.0)), past, "revenue")
    assert (unusable.tests, unusable.ratio, unusable.ignored) == (0, 1.0, 2)
    assert "as counted" in unusable.summary()


COLUMNS = ["test_id", "channel", "starts_on", "ends_on", "effect", "standard_error", "spend"]


def lift_tests(*rows: tuple, **more: object) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=COLUMNS).assign(metric="revenue", **more)
    return frame.astype({"starts_on": "datetime64[us]", "ends_on": "datetime64[us]"})


def weekly(counted: np.ndarray, posts: int = 40) -> pd.DataFrame:
    """So many posts in each week from 2025-01-06 on, each at a price of 10; `counted` (weeks,) is each one's revenue."""
    week = np.repeat(np.arange(len(counted)), posts)
    return pd.DataFrame({
        "influencer_id": np.tile([f"i{k}" for k in range(posts)], len(counted)), "content_type": "reel", "campaign_id": "always",
        "price": 10.0, "revenue": counted[week],
        "posted_at": pd.Timestamp("2025-01-06") + pd.to_timedelta(7 * week + 6.5, unit="D"),
    })  # fmt: skip


def test_a_test_is_compared_with_the_posts_of_its_own_weeks() -> None:
    past = weekly(np.array([100.0, 10.0, 10.0, 10.0]))
    one = level(None, past, "revenue", lift_tests(("t", "influencer", "2025-01-06", "2025-01-12", 600.0, 6.0, 100.0)))
    assert one.own["test", "t"][0] == pytest.approx(0.6, abs=0.01)  # against all weeks it would be 1.8
    assert one.tests == 1
    named = lift_tests(("t", "influencer", "2025-01-06", "2025-02-02", 600.0, 6.0, 100.0), influencer_id="i3")
    past.loc[past["influencer_id"] == "i3", "revenue"] = [120.0, 130.0, 120.0, 110.0]
    ratio, _ = level(None, past, "revenue", named).of(past)
    np.testing.assert_allclose(ratio[past["influencer_id"] == "i3"], 0.5, atol=0.02)
    for strange in (
        lift_tests(
            ("t", "paid_social", "2025-01-06", "2025-02-02", 600.0, 6.0, 100.0), influencer_id="i3"
        ),  # the money is the ads'
        lift_tests(("t", "influencer", "2024-01-01", "2024-02-02", 600.0, 6.0, 100.0)),  # nothing was counted then
        lift_tests(("t", "influencer", "2025-01-06", "2025-02-02", 600.0, 6.0, np.nan)),
        lift_tests(("t", "influencer", "2025-01-06", "2025-02-02", 600.0, 6.0, 100.0), influencer_id="nobody"),
        lift_tests(("t", "influencer", "2025-01-06", "2025-02-02", 600.0, 6.0, 100.0)).assign(metric="conversions"),
    ):
        found = level(None, past, "revenue", strange)
        assert (found.tests, found.ignored, found.ratio) == (0, 1, 1.0)


def test_what_was_counted_of_few_posts_is_doubted() -> None:
    past = weekly(np.array([100.0]), posts=60).assign(revenue=spawn(1, "counted").lognormal(4, 1, 60))
    test = lift_tests(("t", "influencer", "2025-01-06", "2025-01-12", 600.0, 1.0, 100.0))
    few, many = (level(None, past.iloc[:n], "revenue", test).own["test", "t"] for n in (6, 60))
    assert few[1] / few[0] > 2 * many[1] / many[0] > 0.1
    assert level(None, past.iloc[:1], "revenue", test).tests == 0


def test_campaigns_of_which_nothing_was_counted_say_nothing() -> None:
    past = weekly(np.full(4, 20.0))
    rows = pd.DataFrame([
        ("campaign", "launch", "revenue", 70.0, 7.0, "launch"), ("campaign", "launch", "revenue_per_spend", 0.7, 0.07, "launch"),
        ("channel", "influencer", "revenue_per_spend", 0.72, 0.07, "t;launch"),
    ], columns=["subject_kind", "subject", "metric", "mean", "sd", "sources"])  # fmt: skip
    assert level(rows, past, "revenue").tests == 0
    test = lift_tests(("t", "influencer", "2025-01-06", "2025-01-19", 200.0, 20.0, 100.0))
    pd.testing.assert_frame_equal(*(pd.DataFrame(level(e, past, "revenue", test).own) for e in (rows, None)))
    told = level(rows, past, "revenue", test)
    assert told.tests == 1
    assert told.ratio == pytest.approx(1.0, abs=0.01)


def test_no_test_counts_twice() -> None:
    past = weekly(np.full(4, 20.0))
    rows = pd.DataFrame([
        ("campaign", "always", "revenue", 1_600.0, 160.0, "always"),
        ("campaign", "always", "revenue_per_spend", 1.0, 0.1, "always"),
        ("channel", "influencer", "revenue_per_spend", 1.0, 0.1, "always"),
        ("influencer", "i1", "revenue_per_spend", 1.0, 0.1, "t"),
    ], columns=["subject_kind", "subject", "metric", "mean", "sd", "sources"])  # fmt: skip
    test = lift_tests(("t", "influencer", "2025-01-06", "2025-02-02", 80.0, 8.0, 80.0), influencer_id="i1")
    found = level(rows, past, "revenue", test)
    assert found.tests == len(found.own) == 2
    assert found.own["campaign", "always"] == pytest.approx(level(rows.iloc[:1], past, "revenue", test).own["campaign", "always"])
    again = pd.concat([test, test.assign(test_id="u", effect=120.0)])  # two tests of one subject: one subject, known better
    both = level(None, past, "revenue", again)
    assert (both.tests, len(both.own)) == (2, 1)
    assert both.own["influencer", "i1"][1] < level(None, past, "revenue", test).own["influencer", "i1"][1]


@pytest.mark.parametrize("many", [1, 4])
def test_the_level_covers_the_ratio_of_campaigns_to_come(many: int) -> None:
    rng, inside = spawn(5, f"level.{many}"), []
    start = pd.Timestamp("2025-01-06")
    for _ in range(150):
        counted = rng.lognormal(3, 0.3, 4 * many)
        past = weekly(counted, posts=10)
        past["revenue"] *= rng.lognormal(-0.08, 0.4, len(past))
        typical = 1 + 0.5 * rng.normal()
        true = np.maximum(0, typical + 0.4 * rng.normal(size=many + 1))  # of each test, and of what comes
        rows = []
        for k in range(many):
            effect = true[k] * counted[4 * k : 4 * k + 4].sum() / 10
            first = start + pd.Timedelta(weeks=4 * k)
            rows.append((f"t{k}", "influencer", first, first + pd.Timedelta(days=27), effect + 0.8 * rng.normal(), 0.8, 4.0))
        found = level(None, past, "revenue", lift_tests(*rows))
        inside.append(abs(true[-1] - found.ratio) < 1.645 * found.sd)
    assert 0.83 <= np.mean(inside) <= 0.97


def test_evidence_moves_f_and_widens_its_doubt(world: CreatorWorld, tables: dict[str, pd.DataFrame], later: pd.DataFrame) -> None:
    told = {**tables, "assignments": tables["assignments"].assign(campaign_id="one")}
    counted = told["assignments"].loc[world.week < TEST, "engagements"].sum()
    evidence = pd.DataFrame(
        [{"subject_kind": "campaign", "subject": "one", "metric": "engagements", "mean": 0.5 * counted, "sd": 0.05 * counted}]
    )
    plain, calibrated = (fitted(BoostedEffectiveness(metric="engagements"), world, told, evidence=e) for e in (None, evidence))
    one, other = plain.predict(later), calibrated.predict(later)
    np.testing.assert_allclose(other["predicted"] / one["predicted"], calibrated.level_.ratio, rtol=1e-9)
    assert 0.5 < calibrated.level_.ratio < 0.75
    assert np.all(other["uncertainty"] / other["predicted"] > one["uncertainty"] / one["predicted"])
    assert "is what posts cause: one lift test says" in calibrated.summary()


# -- the grid


@pytest.fixture(scope="module")
def coming(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    ahead = tables["events"][tables["events"]["date"] >= pd.Timestamp(AFTER)]
    return ahead[ahead["date"] < pd.Timestamp(AFTER) + pd.Timedelta(days=35)]


def test_small_arrays_say_what_net_and_line_say_of_every_tuple(
    model: Effectiveness, tables: dict[str, pd.DataFrame], coming: pd.DataFrame
) -> None:
    task, fold, _ = model._held
    members = [
        *((0.3, one) for one in FactoredMember(2).learn(task, fold.rows).members),
        (0.4, MixedMember().learn(task, fold.rows)),
    ]
    grid = arrays(members, model.facts_, rates=tables["rates"], after=AFTER, events=coming)
    everything, _ = best(grid, grid.size, per_price=False)
    rows = tuples(grid, everything, model.facts_, AFTER)
    plain = feasible_tuples(tables["influencers"], tables["rates"], coming, after=AFTER)
    assert len(rows) == len(plain) == grid.size
    assert set(map(tuple, rows[KEYS].to_numpy())) == set(map(tuple, plain[KEYS].to_numpy()))
    pick = np.sort(spawn(0, "pick").permutation(len(rows))[:500])
    design = Design.of(rows.iloc[pick], model.facts_)
    parts = [(weight, one if isinstance(one, Mixed) else Ensemble((one,))) for weight, one in members]
    expected = sum(weight * one.terms(model.facts_, design).total for weight, one in parts) + design.size
    rest, t = np.divmod(everything[pick], grid.G.shape[1])
    rest, e = np.divmod(rest, len(grid.e))
    i, c = np.divmod(rest, len(grid.c))
    np.testing.assert_allclose(grid.A[i, c] + grid.B[i, e] + grid.D[c, e] + grid.G[e, t], expected, atol=1e-4)


def test_the_kept_are_the_best_and_nobody_is_left_out(
    model: Effectiveness, tables: dict[str, pd.DataFrame], coming: pd.DataFrame
) -> None:
    grid = arrays(additive(model), model.facts_, rates=tables["rates"], after=AFTER, events=coming)
    scores = (grid.A[:, :, None, None] + grid.B[:, None, :, None] + grid.D[None, :, :, None] + grid.G[None, None]).ravel()
    for wanted in (1, 37, 2_000):
        found, cut = best(grid, wanted, per_price=False)
        assert len(found) == wanted
        np.testing.assert_allclose(np.sort(scores[found]), np.sort(scores)[-wanted:])
        assert cut == pytest.approx(scores[found].min())
    kept = floors(grid, 1, 1)
    owner = kept // (len(grid.c) * grid.G.size)
    best_of = scores.reshape(len(grid.i), -1).max(axis=1)
    assert set(owner) == set(range(len(grid.i)))
    np.testing.assert_allclose(pd.Series(scores[kept]).groupby(owner).max(), best_of, rtol=1e-6)


def test_the_kept_are_scored_by_the_whole_model(
    model: Effectiveness, tables: dict[str, pd.DataFrame], coming: pd.DataFrame
) -> None:
    found = score_grid(model, rates=tables["rates"], after=AFTER, events=coming, top=0.02, keep_all=0)
    assert found.by_rank < 0.03 * found.screened
    assert check("effectiveness", found.to_frame()).rejected.empty
    assert set(found.table["influencer_id"]) == set(tables["influencers"]["influencer_id"])
    rows = found.table.assign(decided_on=pd.Timestamp(AFTER))
    pd.testing.assert_frame_equal(model.predict(rows), found.table)
    whole = score_grid(model, rates=tables["rates"], after=AFTER, events=coming)
    assert len(whole.table) == whole.screened
    with pytest.raises(CannotTell, match="no event"):
        score_grid(model, rates=tables["rates"], after=date(2099, 1, 1))


def test_a_grid_is_screened_though_trees_alone_foretell(
    world: CreatorWorld, tables: dict[str, pd.DataFrame], coming: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liftwise.models.effectiveness.blend._simplex", lambda *_: np.array([0.0, 1.0, 0.0]))
    trees = fitted(Effectiveness(metric="engagements", networks=1), world, tables)
    assert [trees.member_.members[k].name for k in trees.learned_.used] == ["trees", "mixed"]
    found = score_grid(trees, rates=tables["rates"], after=AFTER, events=coming, top=0.02, keep_all=0)
    rows = found.table.assign(decided_on=pd.Timestamp(AFTER))
    np.testing.assert_allclose(trees.learned_.share(Design.of(rows, trees.facts_))[:, 0], 1.0)


# -- the family


def test_members_are_compared_on_what_none_has_seen(world: CreatorWorld, tables: dict[str, pd.DataFrame]) -> None:
    rest = {name: frame for name, frame in tables.items() if name != "assignments"}
    asked = ("boosted, history", "boosted, native ids", "boosted, no ids", "xgboost", "catboost")
    choice = choose_effectiveness(tables["assignments"][world.week < TEST], metric="engagements", members=asked, **rest)
    assert choice.scores["r2"].is_monotonic_decreasing
    assert choice.scores.loc[choice.scores["chosen"], "member"].tolist() == [choice.winner]
    assert (choice.scores["behind"] >= -1e-12).all()
    for name in ("xgboost", "catboost"):
        if importlib.util.find_spec(name) is None:
            assert "not installed" in choice.left_out[name]
    assert choice.winner in choice.summary()


def test_a_perceptron_and_its_embeddings_under_trees_say_parts_too(
    world: CreatorWorld, tables: dict[str, pd.DataFrame], later: pd.DataFrame
) -> None:
    found = fitted(MLPNet(metric="engagements", size=4), world, tables)
    table = found.predict(later)
    np.testing.assert_allclose(table["g_influencer"] + table["g_history"] + table["g_market"], table["predicted"], rtol=1e-9)
    task = found._held[0]
    hybrid = mlp.HybridMember(4).learn(task, np.arange(len(task.target)))
    terms = hybrid.detail(task.facts, task.design.take(np.arange(20)))
    assert any(name.startswith("learned influencer") for name in terms.names)
    np.testing.assert_allclose(terms.total, hybrid.terms(task.facts, task.design.take(np.arange(20))).total, atol=1e-6)


def test_what_cannot_be_told_is_said(
    world: CreatorWorld, tables: dict[str, pd.DataFrame], model: Effectiveness, later: pd.DataFrame
) -> None:
    rest = {name: frame for name, frame in tables.items() if name != "assignments"}
    with pytest.raises(CannotTell, match="60 are needed"):
        Effectiveness(metric="engagements").fit(tables["assignments"].head(30), **rest)
    with pytest.raises(InputError, match="no column 'charm'"):
        Effectiveness(metric="charm").fit(tables["assignments"], **rest)
    with pytest.raises(InputError, match="nobody"):
        model.predict(later.head(3).assign(influencer_id="nobody"))
    with pytest.raises(InputError, match="price -1"):
        model.predict(later.head(3).assign(price=-1.0))
    with pytest.raises(InputError, match="unknown correction"):
        fitted(BoostedEffectiveness(metric="engagements", selection="luck"), world, tables)
    with pytest.raises(InputError, match="no part to screen with"):
        score_grid(fitted(BoostedEffectiveness(metric="engagements"), world, tables), rates=tables["rates"], after=AFTER)
    assert len(model.predict(later.head(0))) == 0
