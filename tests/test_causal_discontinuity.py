"""Regression discontinuity, and discontinuity in time at a launch: published numbers, slow oracles, and the error rates promised."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import toeplitz

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.tables import check
from liftwise.core.uncertainty import spawn
from liftwise.models.causal.bandwidth import (
    Side,
    adjustment,
    hc1_variance,
    local_weights,
    matched_noise,
    mse_bandwidth,
    triangular,
)
from liftwise.models.causal.discontinuity import Discontinuity
from liftwise.models.causal.launch import LaunchDiscontinuity, LaunchModel, estimate_parts, season_columns
from liftwise.models.causal.serial import RHOS, SerialErrors

Data = Callable[[str], Path]
SEEDS = st.integers(0, 2**32 - 1)
COVARIATES = ["termshouse", "termssenate", "population"]
WEEK = np.array([-2.0, -1, 0, 0.4, 1.6, 2, 1])


# --- published numbers


def test_senate(shared_data: Data) -> None:
    frame = pd.read_csv(shared_data("rd_senate") / "rdrobust_senate.csv")
    jump = Discontinuity().estimate(frame, outcome="vote", running="margin")
    assert (jump.points, jump.effective) == ((595, 702), (360, 323))
    found = [
        jump.bandwidth.main, jump.bandwidth.bias, jump.conventional.effect, jump.conventional.error, jump.robust.effect, jump.robust.error,
        *jump.interval(0.95), *jump.conventional.interval(0.95), jump.robust.effect / jump.robust.error,
    ]  # fmt: skip
    published = [17.754398, 28.028089, 7.414131, 1.458716, 7.506502, 1.741258, 4.093699, 10.919306, 4.5551, 10.2732, 4.311]
    assert found == pytest.approx(published, rel=1e-4)
    assert jump.p_value == pytest.approx(1.6e-5, rel=0.03)
    assert "7.51 more at once" in jump.summary()


def test_senate_with_covariates(shared_data: Data) -> None:
    frame = pd.read_csv(shared_data("rd_senate") / "rdrobust_senate.csv")
    jump = Discontinuity(errors="hc1").estimate(frame, outcome="vote", running="margin", covariates=COVARIATES)
    assert (jump.bandwidth.main, jump.bandwidth.bias) == pytest.approx((17.976890, 28.963712), rel=1e-6)
    assert (jump.conventional.effect, jump.robust.effect) == pytest.approx(
        (6.734199, 6.818348), rel=1e-6
    )  # rdrobust 2.1.1, run here
    assert (jump.conventional.error, jump.robust.error) == pytest.approx((1.416521, 1.680456), rel=1e-6)
    assert jump.effective == (313, 282)
    assert list(jump.slopes.index) == COVARIATES


# --- oracles


def by_least_squares(x: np.ndarray, y: np.ndarray, kernel: np.ndarray, order: int) -> np.ndarray:
    powers = np.vander(x, order + 1, increasing=True)
    return np.linalg.solve(powers.T @ (kernel[:, None] * powers), powers.T @ (kernel * y))


@given(SEEDS, st.integers(0, 4))
@settings(max_examples=30)
def test_weights_give_the_weighted_fit(seed: int, order: int) -> None:
    random = np.random.default_rng(seed)
    x, y = random.uniform(0, 2, 30), random.normal(size=30)
    kernel = triangular(x, 1.7)
    np.testing.assert_allclose(local_weights(x, kernel, order) @ y, by_least_squares(x, y, kernel, order), rtol=1e-5, atol=1e-6)


def test_covariates_are_taken_out_as_in_one_regression() -> None:
    random = spawn(7, "adjustment")
    x, z = random.uniform(-1, 1, 200), random.normal(size=(200, 2))
    y = x + 2 * (x >= 0) + z @ [1.0, -2.0] + random.normal(size=200)
    kernel = triangular(x, 0.8)
    right = (x >= 0).astype(float)
    design = np.column_stack([np.ones(200), x, right, right * x, z])
    joint = np.linalg.solve(design.T @ (kernel[:, None] * design), design.T @ (kernel * y))
    sides = tuple(Side(x[part], y[part], z[part]) for part in (x < 0, x >= 0))
    slopes = adjustment(sides, (kernel[x < 0], kernel[x >= 0]), 1)
    np.testing.assert_allclose(slopes, joint[4:], rtol=1e-8)
    frame = pd.DataFrame({"y": y, "x": x, "a": z[:, 0], "b": z[:, 1]})
    jump = Discontinuity(bandwidth=0.8).estimate(frame, outcome="y", running="x", covariates=["a", "b"])
    assert jump.conventional.effect == pytest.approx(joint[2], rel=1e-8)


def neighbours_by_hand(y: np.ndarray, x: np.ndarray) -> list[float]:
    noise = []
    for i in range(len(x)):
        others = [k for k in range(len(x)) if k != i]
        reach = sorted(abs(x[k] - x[i]) for k in others)[2]
        near = [k for k in others if abs(x[k] - x[i]) <= reach]
        noise.append((len(near) / (len(near) + 1)) ** 0.5 * (y[i] - np.mean(y[near])))
    return noise


@given(SEEDS, st.integers(4, 40), st.sampled_from([2, 8, 1000]))
@settings(max_examples=30)
def test_noise_is_told_by_the_three_nearest_and_all_tied_with_them(seed: int, n: int, grid: int) -> None:
    random = np.random.default_rng(seed)
    x = random.integers(0, grid, n).astype(float)
    y = random.normal(size=n)
    np.testing.assert_allclose(matched_noise(y, x), neighbours_by_hand(y, x), atol=1e-10)


@given(SEEDS, st.floats(0.01, 100), st.floats(-1000, 1000))
@settings(max_examples=10)
def test_units_of_measure_do_not_matter(seed: int, factor: float, shift: float) -> None:
    random = np.random.default_rng(seed)
    x = random.uniform(-1, 1, 120)
    frame = pd.DataFrame({"x": x, "y": np.cos(2 * x) + (x >= 0) + 0.3 * random.normal(size=120)})
    one = Discontinuity().estimate(frame, outcome="y", running="x")
    moved = pd.DataFrame({"x": factor * x, "y": shift + 5 * frame["y"]})
    two = Discontinuity().estimate(moved, outcome="y", running="x")
    assert two.bandwidth.main == pytest.approx(factor * one.bandwidth.main, rel=1e-5)
    assert two.effect == pytest.approx(5 * one.effect, rel=1e-5, abs=1e-4)
    assert two.p_value == pytest.approx(one.p_value, rel=1e-3, abs=1e-9)


def test_robust_intervals_cover() -> None:
    covered, runs = 0, 150
    for run in range(runs):
        random = spawn(7, f"coverage {run}")
        x = random.uniform(-1, 1, 300)
        frame = pd.DataFrame({"x": x, "y": np.sin(3 * x) + 2 * (x >= 0) + 0.5 * random.normal(size=300)})
        low, high = Discontinuity().estimate(frame, outcome="y", running="x").interval(0.90)
        covered += low <= 2 <= high
    assert 0.82 <= covered / runs <= 0.97  # three Monte Carlo errors around 0.90


def test_variance_of_residuals_is_that_of_the_sandwich() -> None:
    random = spawn(7, "hc1")
    x, y = random.uniform(0, 1, 50), random.normal(size=50)
    kernel = triangular(x, 1.2)
    design = np.vander(x, 2, increasing=True)
    bread = np.linalg.inv(design.T @ (kernel[:, None] * design))
    rest = y - design @ by_least_squares(x, y, kernel, 1)
    meat = design.T @ ((kernel * rest)[:, None] ** 2 * design)
    expected = (bread @ meat @ bread)[0, 0] * 50 / 48
    assert hc1_variance(local_weights(x, kernel, 1)[0], y, x, kernel, 1) == pytest.approx(expected)


def test_a_discontinuity_can_be_read_and_refused() -> None:
    random = spawn(7, "read")
    frame = pd.DataFrame({"x": random.uniform(-1, 1, 100), "y": random.normal(size=100), "name": "a"})
    jump = Discontinuity().estimate(frame, outcome="y", running="x")
    low, high = jump.interval(0.90)
    row = jump.to_frame(0.90).set_index("test").loc["robust"]
    assert (row["low"], row["high"], row["p_value"]) == (low, high, jump.p_value)
    assert (jump.p_value < 0.10) == (not low <= 0 <= high)
    assert len(jump.plot().data) == 4
    questions = [
        ({"outcome": "z", "running": "x"}, InputError, "missing column z"),
        ({"outcome": "name", "running": "x"}, InputError, "not all numbers"),
        ({"outcome": "y", "running": "x", "cutoff": 2}, CannotTell, "at or above 2"),
        ({"outcome": "y", "running": "x", "cutoff": 0.97}, CannotTell, "different points on a side"),
        ({"outcome": "flat", "running": "x"}, CannotTell, "never moves"),
    ]
    for question, error, says in questions:
        cutoff = float(question.pop("cutoff", 0))  # type: ignore[arg-type]
        with pytest.raises(error, match=says):
            Discontinuity(cutoff=cutoff).estimate(frame.assign(flat=1.0), **question)  # type: ignore[arg-type]
    for wrong in ({"errors": "hc3"}, {"bandwidth": -1.0}, {"bias_bandwidth": 1.0}):
        with pytest.raises(InputError):
            Discontinuity(**wrong)  # type: ignore[arg-type]


def test_a_bandwidth_needs_points() -> None:
    x = np.arange(1.0, 10.0)
    few = Side(x, x, np.empty((9, 0)))
    with pytest.raises(CannotTell, match="9 different points"):
        mse_bandwidth(Side(-x, x, few.z), few)


# --- in time


def lasting(random: np.random.Generator, n: int, rho: float) -> np.ndarray:
    noise = random.normal(size=n + 100)
    for t in range(1, n + 100):
        noise[t] += rho * noise[t - 1]
    return noise[100:]


def daily(random: np.random.Generator, n: int = 180, rho: float = 0.3, launch: int = 120, jump: float = 0.0) -> pd.Series:
    values = 100 + WEEK[np.arange(n) % 7] + lasting(random, n, rho)
    values[launch:] += jump
    return pd.Series(values, index=pd.date_range("2025-01-06", periods=n), name="sales")


def test_restricted_likelihood_is_that_of_full_matrices() -> None:
    random = spawn(7, "reml")
    n, design = 60, np.column_stack([np.ones(60), np.arange(60.0), spawn(7, "x").normal(size=60)])
    y = lasting(random, n, 0.5)
    errors = SerialErrors.of(design, y)
    logs, noise = [], []
    for rho in RHOS:
        covariance = toeplitz(rho ** np.arange(n)) / (1 - rho**2)
        inverse = np.linalg.inv(covariance)
        inner = design.T @ inverse @ design
        rest = y - design @ np.linalg.solve(inner, design.T @ inverse @ y)
        noise.append(rest @ inverse @ rest / (n - 3))
        logs.append(-0.5 * (np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(inner)[1] + (n - 3) * np.log(noise[-1])))
    weights = np.exp(np.array(logs) - max(logs))
    np.testing.assert_allclose(errors.weights, weights / weights.sum(), atol=1e-8)
    np.testing.assert_allclose(errors.noise, noise, rtol=1e-7)
    sums = spawn(7, "sums").normal(size=(2, n))
    slow = [
        [s @ (v * toeplitz(rho ** np.arange(n)) / (1 - rho**2)) @ s for rho, v in zip(RHOS, noise, strict=True)] for s in sums
    ]
    np.testing.assert_allclose(errors.variances(sums), slow, rtol=1e-7)


def test_the_jump_is_that_of_generalised_least_squares() -> None:
    series = daily(spawn(7, "gls")).to_numpy()
    model = LaunchModel.of(series, 120, season_columns(180, 7), np.empty((180, 0)))
    inverse = np.linalg.inv(toeplitz(model.errors.rho ** np.arange(60)))
    distance = np.arange(-40, 20) + 0.5
    design = np.column_stack([np.ones(60), distance, distance > 0, np.where(distance > 0, distance, 0)])
    y = model.clean[80:140]
    expected = np.linalg.solve(design.T @ inverse @ design, design.T @ inverse @ y)[2]
    sums = model.weights(120, 40, 20)
    assert sums @ model.clean == pytest.approx(expected, rel=1e-9)
    assert model.whole(sums[None])[0] @ series == pytest.approx(expected, rel=1e-9)


def test_false_positives_and_power_in_time() -> None:
    """A small version of what was measured at length; three Monte Carlo errors of 0.014 around 0.05."""
    wrong, found, runs, strong = 0, 0, 240, 40
    for run in range(runs):
        series = daily(spawn(7, f"launch {run}"), rho=(0.0, 0.3, 0.6)[run % 3])
        start = series.index[120]
        wrong += LaunchDiscontinuity().estimate(series, start=start).p_value < 0.05
        if run < strong:
            found += LaunchDiscontinuity().estimate(series + 4 * (series.index >= start), start=start).p_value < 0.05
    assert 0.008 <= wrong / runs <= 0.092
    assert found / strong > 0.8


def test_p_and_interval_say_the_same_in_time() -> None:
    for run in range(25):
        series = daily(spawn(7, f"same {run}"), jump=1.0)
        lift = LaunchDiscontinuity().estimate(series, start=series.index[120])
        for level in (0.5, 0.8, 0.9, 0.95):
            low, high = lift.interval(level)
            assert (lift.p_value < 1 - level) == (not low <= 0 <= high)
            assert low < lift.effect < high


def test_units_shifts_trends_and_effects_add_up_in_time() -> None:
    series = daily(spawn(7, "equivariance"))
    start = series.index[120]
    one = LaunchDiscontinuity(window=40).estimate(series, start=start)
    tilted = LaunchDiscontinuity(window=40).estimate(-3 * series + 7 - 0.5 * np.arange(180), start=start)
    assert tilted.effect == pytest.approx(-3 * one.effect, rel=1e-6)
    assert tilted.p_value == pytest.approx(one.p_value, rel=1e-6)
    added = LaunchDiscontinuity(window=40).estimate(series + 5.0 * (series.index >= start), start=start)
    assert added.effect == pytest.approx(one.effect + 5 * 40, rel=1e-6)
    np.testing.assert_allclose(np.diff(added.interval(0.9)), np.diff(one.interval(0.9)), rtol=1e-6)


def test_a_trend_that_bends_narrows_the_window() -> None:
    random = spawn(7, "bends")
    straight = LaunchDiscontinuity().estimate(daily(random, rho=0.0), start="2025-05-06")
    bent = daily(random, rho=0.0)
    bent += 24 * (np.arange(180) / 90 - 1) ** 2
    lift = LaunchDiscontinuity().estimate(bent, start="2025-05-06")
    windows = [found.checks[1].table["left"].item() for found in (straight, lift)]
    assert windows[0] == 120
    assert windows[1] < 60
    low, high = lift.interval(0.99)
    assert low <= 0 <= high


def test_outside_factors_and_donors_make_it_sharper() -> None:
    random = spawn(7, "factors")
    series = daily(random, jump=2.0)
    weather, national = lasting(random, 180, 0.5), lasting(random, 180, 0.8)
    series += 3 * weather + 4 * national
    factors = pd.DataFrame({"weather": weather, "constant": 1.0}, index=series.index)
    donors = pd.DataFrame(national[:, None] * [5.0, 8.0, 9.0] + random.normal(size=(180, 3)), index=series.index)
    start = series.index[120]
    bare = LaunchDiscontinuity().estimate(series, start=start)
    helped = LaunchDiscontinuity().estimate(series, start=start, covariates=factors, donors=donors)
    wide, narrow = (np.diff(lift.interval(0.90))[0] / (len(lift.actual) - 120) for lift in (bare, helped))
    assert narrow < 0.7 * wide
    low, high = helped.interval(0.99)
    assert low <= 2 * (len(helped.actual) - 120) <= high
    told = next(one for one in helped.checks if one.name == "factors")
    assert list(told.table["factor"]) == ["weather", "donors"]
    assert "constant" in told.sentence
    both = factors.assign(weather=factors["weather"] + 20 * (series.index >= start))
    moved = LaunchDiscontinuity().estimate(series, start=start, covariates=both)
    assert "At the launch weather jumped too" in next(one for one in moved.checks if one.name == "factors").sentence


def test_placebo_dates_widen_what_was_promised_too_narrow() -> None:
    random = spawn(7, "jumpy")
    series = daily(random, n=400, launch=340)
    quiet = LaunchDiscontinuity(window=30).estimate(series, start=series.index[340])
    jumpy = series.copy()
    for day in range(40, 340, 60):  # other things began and ended now and then
        jumpy.iloc[day : day + 30] += 6
    found = LaunchDiscontinuity(window=30).estimate(jumpy, start=series.index[340])
    assert np.diff(found.interval(0.90))[0] > 1.5 * np.diff(quiet.interval(0.90))[0]
    placebos = found.checks[0]
    assert placebos.name == "placebo dates"
    assert len(placebos.table) == 340 - 2 * 10 + 1


def test_a_year_of_weeks() -> None:
    random = spawn(7, "weeks")
    weeks = pd.date_range("2022-01-03", periods=170, freq="W-MON")
    values = 200 + 20 * np.sin(np.arange(170) * 2 * np.pi / 52.18) + lasting(random, 170, 0.3)
    values[140:] += 8
    lift = LaunchDiscontinuity(season=52).estimate(pd.Series(values, index=weeks, name="revenue"), start=weeks[140])
    low, high = lift.interval(0.99)
    assert low <= 8 * (len(lift.actual) - 140) <= high
    assert lift.p_value < 0.01
    assert lift.method == "launch_discontinuity/season52"


def test_a_launch_can_be_read() -> None:
    days = daily(spawn(7, "launch read"), jump=5.0)
    series = days.set_axis(pd.date_range("2023-01-02", periods=180, freq="W-MON"))
    start, end = series.index[120], series.index[155]
    lift = LaunchDiscontinuity().estimate(series, start=start, end=end)
    assert lift.end <= end
    frame = lift.to_frame("launch")
    assert check("lift", frame).rejected.empty
    assert frame["effect"].iloc[120:].sum() == pytest.approx(lift.effect)
    low, _ = lift.interval(0.90)
    assert (frame["low"].iloc[120:] * (len(frame) - 120)).to_numpy() == pytest.approx(low)
    assert check("lift_results", pd.DataFrame([lift.result_row("launch")])).rejected.empty
    assert lift.summary().startswith("sales had ")
    assert len(lift.plot().data) == 5
    again = LaunchDiscontinuity().estimate(series, start=start, end=end)
    assert again.result_row() == lift.result_row()


def test_parts_are_judged_together() -> None:
    parts = pd.DataFrame(
        {name: daily(spawn(7, name), jump=jump) for name, jump in (("reel", 6.0), ("story", 0.0), ("post", 0.0))}
    )
    parts["still"] = 1.0
    starts = dict.fromkeys(["reel", "story", "post"], "2025-05-06")
    found = estimate_parts(parts, {**starts, "still": "2025-05-06"})
    frame = found.to_frame(0.90).set_index("part")
    assert "never moves" in found.refused["still"]
    assert frame["p_adjusted"].to_numpy() == pytest.approx(np.minimum(1, 3 * frame["p_value"]))
    assert ((frame["p_adjusted"] < 0.10) == ((frame["low_all"] > 0) | (frame["high_all"] < 0))).all()
    assert ((frame["p_value"] < 0.10) == ((frame["low"] > 0) | (frame["high"] < 0))).all()
    assert frame.loc["reel", "p_adjusted"] < 0.10
    assert "reel" in found.summary()
    assert "not told: still" in found.summary()
    assert len(found.plot().data) == 1
    with pytest.raises(InputError, match="no series for part video"):
        estimate_parts(parts, {"video": "2025-05-06"})
    with pytest.raises(CannotTell, match="of no part"):
        estimate_parts(parts, {"still": "2025-05-06"})


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"start": "2024-01-01"}, InputError, "outside the series"),
        ({"start": "2025-05-06", "end": "2025-05-01"}, InputError, "comes before"),
        ({"start": "2025-01-20"}, CannotTell, "periods before the start are too few"),
        ({"start": "2025-05-06", "end": "2025-05-10"}, CannotTell, "5 periods from the launch on"),
    ],
)
def test_bad_launches_get_one_clear_answer(change: dict[str, str], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        LaunchDiscontinuity().estimate(daily(spawn(7, "bad")), **change)
    assert "\n" not in str(caught.value)


def test_bad_series_get_one_clear_answer() -> None:
    series = daily(spawn(7, "bad series"))
    with pytest.raises(CannotTell, match="too few"):
        LaunchDiscontinuity(season=104).estimate(series, start="2025-05-06")
    holed = series.copy()
    holed.iloc[50] = np.nan
    with pytest.raises(CannotTell, match="no number at"):
        LaunchDiscontinuity().estimate(holed, start="2025-05-06")
    still = pd.DataFrame({"a": 1.0}, index=series.index)
    with pytest.raises(CannotTell, match="no donor moves"):
        LaunchDiscontinuity().estimate(series, start="2025-05-06", donors=still)
    exact = pd.Series(WEEK[np.arange(180) % 7] + 5.0 * (np.arange(180) >= 120), index=series.index)
    lift = LaunchDiscontinuity().estimate(exact, start="2025-05-06")
    assert lift.effect / (len(lift.actual) - 120) == pytest.approx(5)
    for wrong in ({"season": 1}, {"window": 3}):
        with pytest.raises(InputError):
            LaunchDiscontinuity(**wrong)
