"""The default design: it keeps its word on panels with known effects and on cities where nothing happened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.causal import CalibratedControl, Lift, Panel, simplex_least_squares
from liftwise.models.causal.calibration import autocorrelation, calibrate, contrast_factor, memory, own_freedom, variance
from liftwise.models.causal.inference import DrawsTest, RatioTest, StudentTest
from liftwise.models.causal.shrinkage import Pool, Shrinkage
from liftwise.sources.simulator.panels import Made, lasting, recast

Data = Callable[[str], Path]
SEEDS = st.integers(0, 2**32 - 1)


def panel_of(made: Made) -> Panel:
    units, periods = made.sales.shape
    days = pd.date_range("2025-01-01", periods=periods)
    return Panel(made.sales, tuple(f"r{k:03d}" for k in range(units)), days, exposure=made.exposure)


def lift_of(made: Made, **told: object) -> Lift:
    panel = panel_of(made)
    return CalibratedControl(**told).estimate(panel, treated=panel.units[: made.treated], start=panel.periods[made.pre])  # type: ignore[arg-type]


# --- what it promises


@pytest.mark.parametrize("cell", ["A1", "A2", "A3", "A4"])
def test_published_scenarios(cell: str) -> None:
    """Intervals of 90 % hold the truth about 9 times in 10, also where the treated region is five times as large as the others."""
    lifts = [(lift_of(made := recast(cell, seed, 0.2)), made.effect) for seed in range(70)]
    covered = np.mean([low <= true <= high for lift, true in lifts for low, high in [lift.interval(0.90)]])
    assert 0.82 <= covered <= 0.98
    assert np.mean([lift.p_value < 0.05 for lift, _ in lifts]) > 0.45  # one who knows the season finds 0.61 to 0.73 of them
    assert abs(np.mean([lift.effect / true - 1 for lift, true in lifts])) < 0.2


def test_untouched_cities_are_left_in_peace(shared_data: Data) -> None:
    frame = pd.read_csv(shared_data("geolift_walkthrough") / "GeoLift_Test.csv.gz")
    panel = Panel.of(frame[~frame["location"].isin(["chicago", "portland"])], "location", "date", "Y")
    covered, widths, found = [], [], []
    for end in (60, 75, 90, 105):
        for city in panel.units:
            lift = CalibratedControl().estimate(panel, treated=city, start=panel.periods[end - 15], end=panel.periods[end - 1])
            assert isinstance(lift.test, RatioTest)
            low, high = lift.test.log_ratio.interval(0.90)  # type: ignore[misc]
            covered.append(low <= 0 <= high)
            widths.append(high - low)
            found.append(not low <= -np.log(1.1) <= high)  # had there been 10 % more, all would have moved by log 1.1
    assert 0.88 <= np.mean(covered) <= 0.94
    assert np.median(widths) <= 0.14
    assert np.mean(found) >= 0.60


# --- one test, two answers


@given(SEEDS, st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99]), st.integers(1, 2), st.booleans())
@settings(max_examples=25)
def test_p_value_and_interval_never_disagree(seed: int, level: float, treated: int, linear: bool) -> None:
    random = spawn(seed, "agree")
    values = np.exp(0.05 * lasting(random, (12, 30), 0.3) + 3)
    values[:treated, 26:] *= 1 + random.choice([0, 0.1, 0.3])
    lift = lift_of(Made(values, treated, 26, 0.0, 0.0), scale="linear" if linear else "log")
    low, high = lift.interval(level)
    assert low <= lift.effect <= high
    assert (lift.p_value < 1 - level) == (not low <= 0 <= high)


@given(st.floats(-50, 50), st.floats(0.01, 50), st.floats(1, 100), st.floats(0.5, 0.999))
def test_tests_agree_with_themselves(effect: float, error: float, df: float, level: float) -> None:
    student = StudentTest(effect, error, df)
    for test in (student, RatioTest(StudentTest(effect / 50, error / 50, df), 100.0), student.times(3.0)):
        low, high = test.interval(level)  # type: ignore[misc]
        assert (test.p_value < round(1 - level, 12)) == (not low <= 0 <= high) or abs(test.p_value - (1 - level)) < 1e-9
    draws = DrawsTest(effect, spawn(1, "draws").normal(effect, error, 400))
    ends = draws.interval(level)
    assert ends is None or (draws.p_value < round(1 - level, 12)) == (not ends[0] <= 0 <= ends[1])


# --- the parts


def test_weights_are_those_of_the_penalised_problem() -> None:
    """Against an independent conic solver."""
    import clarabel
    from scipy import sparse

    random = spawn(3, "oracle")
    donors, target = random.normal(size=(15, 40)).cumsum(axis=1), random.normal(size=40).cumsum()
    noise = random.uniform(0.5, 2, 15)
    for penalty in (0.0, 0.7, 5.0):
        pool = Pool(target[None], donors, np.array([[-1]]))
        gaps, weights, duality = Shrinkage(penalty, noise).gaps(pool, np.arange(40), np.arange(40))
        x = donors - donors.mean(axis=1, keepdims=True)
        gram = x @ x.T + penalty * 40 * np.diag(noise)
        a = sparse.csc_matrix(np.vstack([np.ones(15), -np.eye(15)]))
        told = clarabel.DefaultSettings()
        told.verbose = False
        problem = sparse.triu(sparse.csc_matrix(2 * gram)).tocsc()
        solved = clarabel.DefaultSolver(
            problem, -2 * x @ (target - target.mean()), a, np.array([1.0, *np.zeros(15)]), [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(15)], told
        ).solve()  # fmt: skip
        np.testing.assert_allclose(weights[0], solved.x, atol=1e-5)
        assert duality < 1e-8
        np.testing.assert_allclose(gaps[0], target - target.mean() - weights[0] @ x, atol=1e-9)


def test_simplex_weights_match_the_conic_solver() -> None:
    import clarabel
    from scipy import sparse

    random = spawn(4, "conic")
    donors, target = random.normal(size=(30, 60)).cumsum(axis=1) + 5, random.normal(size=60).cumsum() + 5
    told = clarabel.DefaultSettings()
    told.verbose = False
    a = sparse.csc_matrix(np.vstack([np.ones(30), -np.eye(30)]))
    quadratic = sparse.triu(sparse.csc_matrix(2 * donors @ donors.T)).tocsc()
    solved = clarabel.DefaultSolver(
        quadratic, -2 * donors @ target, a, np.array([1.0, *np.zeros(30)]), [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(30)], told
    ).solve()  # fmt: skip
    fit = simplex_least_squares(donors, target)
    assert fit.objective <= solved.obj_val + target @ target + 1e-6
    np.testing.assert_allclose(fit.weights, solved.x, atol=1e-4)


def test_a_warm_start_changes_nothing() -> None:
    random = spawn(5, "warm")
    donors = random.normal(size=(25, 50)).cumsum(axis=1)
    pool = Pool(donors, donors, np.arange(25)[:, None])
    for penalty in (0.0, 1.0, np.inf):
        shrinkage = Shrinkage(penalty, np.ones(25))
        cold = shrinkage.gaps(pool, np.arange(40), np.arange(50))
        strange = random.dirichlet(np.ones(25), size=25)
        warm = shrinkage.gaps(pool, np.arange(40), np.arange(50), strange)
        np.testing.assert_allclose(warm[1], cold[1], atol=1e-7)
        assert (np.diag(cold[1]) == 0).all()
        np.testing.assert_allclose(cold[1].sum(axis=1), 1)


@given(st.integers(2, 60), st.integers(1, 20), st.floats(0, 0.9))
def test_the_contrast_factor_is_the_variance_by_brute_force(train: int, judge: int, rho: float) -> None:
    lag = np.abs(np.subtract.outer(np.arange(train + judge), np.arange(train + judge)))
    weights = np.concatenate([np.full(train, -1 / train), np.full(judge, 1 / judge)])
    assert contrast_factor(train, judge, rho) == pytest.approx(weights @ rho**lag @ weights)


def test_autocorrelation_is_recovered() -> None:
    for rho in (0.0, 0.4, 0.8):
        assert autocorrelation(lasting(spawn(1, "rho"), (40, 80), rho)) == pytest.approx(rho, abs=0.06)


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("periods", [20, 90])
def test_memory_and_variance_behind_held_out_gaps(periods: int, rho: float) -> None:
    """Gaps from the mean of the other blocks are larger and last longer than the series; both are undone."""
    series = lasting(spawn(3, "held"), (4000, periods), rho) * np.sqrt(1 - rho**2)  # variance 1
    held = np.empty_like(series)
    for block in np.array_split(np.arange(periods), 5):
        held[:, block] = series[:, block] - np.delete(series, block, axis=1).mean(axis=1, keepdims=True)
    assert memory(held) == pytest.approx(rho, abs=0.03)
    assert variance(held, rho).mean() == pytest.approx(1, abs=0.03)


def test_few_periods_are_not_many_degrees_of_freedom() -> None:
    """The spread of a sample variance is the one that its degrees of freedom say."""
    series = lasting(spawn(4, "freedom"), (4000, 200), 0.5)
    squares = np.mean(series**2, axis=1)
    assert 2 * squares.mean() ** 2 / squares.var() == pytest.approx(own_freedom(200, 0.5), rel=0.1)
    assert calibrate(np.ones(20), 20, np.empty(0), 0, own_freedom(30, 0.3)).df < 25


def test_the_most_telling_source_that_is_not_contradicted_is_believed() -> None:
    wild, calm = 3 * np.ones(20), np.ones(60)
    assert calibrate(wild, 20, calm, 60).sources == ("space",)
    assert calibrate(calm[:20], 20, 3 * calm, 60).sources == ("space",)
    assert calibrate(2 * calm[:20], 20, 2 * calm, 60).sources == ("space", "time")
    assert calibrate(calm[:20], 20, np.empty(0), 0).sources == ("space", "promise")


# --- what ran meanwhile


def test_what_ran_meanwhile_is_taken_out() -> None:
    """Television came with the campaign, more so in the treated regions; its effect is not the campaign's."""

    def made(seed: int) -> Made:
        random = spawn(seed, "tv")
        tv = np.zeros((24, 80))
        tv[:, 20:30] = random.random(24)[:, None]
        tv[:, 66:] = np.where(np.arange(24) < 2, 1.0, random.random(24))[:, None]
        values = np.exp(5 + 0.03 * lasting(random, (24, 80), 0.3) + 0.10 * tv)
        added = np.where((np.arange(24) < 2)[:, None] & (np.arange(80) >= 68), 0.05 * values, 0.0)
        return Made(values + added, 2, 68, float(added.sum()), 0.0, {"tv": tv})

    pairs = [(lift_of(m), lift_of(m, adjust=["tv"]), m.effect) for m in map(made, range(12))]
    naive = np.mean([one.effect / true for one, _, true in pairs])
    fair = np.mean([two.effect / true for _, two, true in pairs])
    assert naive > 1.5
    assert fair == pytest.approx(1, abs=0.25)
    assert np.mean([two.interval(0.90)[0] <= true <= two.interval(0.90)[1] for _, two, true in pairs]) >= 0.7


def test_what_cannot_be_told_apart_is_refused() -> None:
    made = recast("A3", 1, 0.0)
    flat = np.tile(np.arange(105.0), (10, 1))
    with pytest.raises(CannotTell, match="ran alike in all comparison units"):
        lift_of(Made(made.sales, 1, 90, 0.0, 0.0, {"tv": flat}), adjust=["tv"])
    with pytest.raises(InputError, match="no exposure 'radio'"):
        lift_of(made, adjust=["radio"])
    with pytest.raises(InputError, match="has holes"):
        lift_of(Made(made.sales, 1, 90, 0.0, 0.0, {"tv": flat * np.nan}), adjust=["tv"])
    with pytest.raises(InputError, match="not positive"):
        lift_of(Made(made.sales - made.sales.max(), 1, 90, 0.0, 0.0), scale="log")
    with pytest.raises(InputError, match="choose auto, log or linear"):
        CalibratedControl(scale="square")


# --- invariants


@given(SEEDS, st.floats(0.01, 1000))
@settings(max_examples=10)
def test_units_of_measure_and_order_do_not_matter(seed: int, factor: float) -> None:
    random = spawn(seed, "units")
    values = np.exp(0.05 * lasting(random, (10, 40), 0.3) + 3)
    order = [0, *(1 + random.permutation(9))]
    one = lift_of(Made(values, 1, 34, 0.0, 0.0))
    other = lift_of(Made(factor * values[order], 1, 34, 0.0, 0.0))
    assert other.effect == pytest.approx(factor * one.effect, rel=1e-6, abs=1e-6 * factor)
    assert other.p_value == pytest.approx(one.p_value, abs=1e-6)


def test_gaps_add_up_and_the_same_seed_gives_the_same_bytes() -> None:
    made = recast("A3", 2, 0.1)
    several = Made(made.sales, 3, made.pre, 0.0, 0.0)
    for one in (made, several):
        lift = lift_of(one)
        assert lift.gap.iloc[made.pre :].sum() == pytest.approx(lift.effect)
        assert lift.gap.iloc[: made.pre].sum() == pytest.approx(0, abs=1e-6 * lift.actual.sum())
        again = lift_of(one)
        assert lift.result_row() == again.result_row()
        assert lift.counterfactual.to_numpy().tobytes() == again.counterfactual.to_numpy().tobytes()
    frame = lift_of(made).to_frame("t")
    assert frame["low"].iloc[made.pre :].notna().all() and frame["low"].iloc[: made.pre].isna().all()


def test_many_donors_are_thinned_and_few_are_refused() -> None:
    random = spawn(8, "many")
    values: Floats = np.exp(0.05 * lasting(random, (90, 40), 0.3) + 3)
    lift = lift_of(Made(values, 1, 34, 0.0, 0.0))
    assert len(lift.placebos.placebo) == 60  # type: ignore[union-attr]
    with pytest.raises(CannotTell, match="2 comparison units"):
        lift_of(Made(values[:3], 1, 34, 0.0, 0.0))
    with pytest.raises(CannotTell, match="5 units are treated and only 6"):
        lift_of(Made(values[:11], 5, 34, 0.0, 0.0))
    with pytest.raises(CannotTell, match="5 periods before"):
        lift_of(Made(values, 1, 5, 0.0, 0.0))


def test_a_manager_can_read_it() -> None:
    lift = lift_of(recast("A1", 3, 0.4))
    assert "90% interval" in lift.summary() and "once in 1000" in lift.summary()
    assert {check.name for check in lift.checks} >= {
        "pre-period fit",
        "hull",
        "weights",
        "leave one donor out",
        "placebos",
        "data",
    }
    assert len(lift.plot().data) >= 4
