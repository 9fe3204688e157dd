"""Conformal inference and placebos in time: published numbers, slow oracles, agreement of p and interval, error rates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import spawn
from liftwise.models.causal import Panel, SyntheticControl, simplex_least_squares
from liftwise.models.causal.conformal import ConformalTest, conformal_lift, conformal_test, placebo_in_time

Data = Callable[[str], Path]
SEEDS = st.integers(0, 2**32 - 1)


def panel_of(values: np.ndarray) -> Panel:
    return Panel(values, tuple(f"r{k:03d}" for k in range(len(values))), pd.RangeIndex(values.shape[1]))


def steady_panel(random: np.random.Generator, units: int = 10, pre: int = 40, post: int = 5, rho: float = 0.0) -> Panel:
    """Regions with a common wave and errors of their own; AR(1) with `rho`."""
    noise = random.normal(size=(units, pre + post + 50))
    for t in range(1, noise.shape[1]):
        noise[:, t] += rho * noise[:, t - 1]
    return panel_of(100 + random.normal(size=pre + post).cumsum() * (1 + 0.2 * random.normal(size=(units, 1))) + noise[:, 50:])


# --- published numbers


@pytest.mark.parametrize(("level", "published"), [("outcome", 0.34), ("fixed_effects", 0.29)])
def test_kansas_joint_p_values(shared_data: Data, level: str, published: float) -> None:
    panel = Panel.of(pd.read_csv(shared_data("kansas_taxcut") / "kansas.csv.gz"), "state", "year_qtr", "lngdpcapita")
    test = conformal_test(
        SyntheticControl(level=level), panel, treated="Kansas", start=2012.25, permutations="iid", draws=4000, seed=7
    )
    drawn = 1.96 * np.sqrt(published * (1 - published) / 1000)  # the published ones are shares of 1000 random permutations
    assert test.at(0.0) == pytest.approx(published, abs=0.03 + drawn)
    assert test.p_value >= test.at(0.0)


def test_kansas_quarter_by_quarter(shared_data: Data) -> None:
    panel = Panel.of(pd.read_csv(shared_data("kansas_taxcut") / "kansas.csv.gz"), "state", "year_qtr", "lngdpcapita")
    lift = conformal_lift(SyntheticControl(level="outcome"), panel, treated="Kansas", start=2012.25, permutations="iid")
    assert lift.effect / 16 == pytest.approx(-0.0294347, abs=1e-6)
    quarter = lift.period_test(list(panel.periods).index(2012.5))
    assert quarter.effect == pytest.approx(-0.041, abs=0.0005)
    assert quarter.at(0.0) == pytest.approx(0.026, abs=0.015)
    assert quarter.interval(0.95) == pytest.approx((-0.070, -0.007), abs=0.006)  # published ends are those of a grid
    assert lift.method == "synthetic_control/outcome/conformal_iid"


def test_kansas_ridge(shared_data: Data) -> None:
    augmented = pytest.importorskip("liftwise.models.causal.augmented")
    panel = Panel.of(pd.read_csv(shared_data("kansas_taxcut") / "kansas.csv.gz"), "state", "year_qtr", "lngdpcapita")
    question = {"treated": "Kansas", "start": 2012.25}
    chosen = augmented.AugmentedSyntheticControl(fixed_effects=False).explain(panel, **question).penalty
    design = augmented.AugmentedSyntheticControl(
        fixed_effects=False, penalty=chosen
    )  # as published: chosen once, before the start
    test = conformal_test(design, panel, **question, permutations="iid")
    assert test.at(0.0) == pytest.approx(0.071, abs=0.03)


def test_the_walkthrough_of_geolift(shared_data: Data) -> None:
    panel = Panel.of(pd.read_csv(shared_data("geolift_walkthrough") / "GeoLift_Test.csv.gz"), "location", "date", "Y")
    question = {"treated": ["chicago", "portland"], "start": "2021-04-01"}
    test = conformal_test(SyntheticControl(), panel, **question, permutations="iid", draws=1999)
    assert test.effect == pytest.approx(4667, rel=1e-3)
    assert test.at(0.0) == pytest.approx(0.01, abs=0.01)
    assert test.p_value == pytest.approx(0.01, abs=0.01)
    blocks = conformal_test(SyntheticControl(), panel, **question)
    low, high = blocks.interval(0.90)
    assert low < blocks.effect < high
    assert (blocks.p_value < 0.10) == (low > 0)


def test_basque_year_by_year(shared_data: Data) -> None:
    frame = pd.read_csv(shared_data("basque") / "basque.csv")
    panel = Panel.of(frame[frame["regionname"] != "Spain (Espana)"], "regionname", "year", "gdpcap")
    lift = conformal_lift(SyntheticControl(level="outcome"), panel, treated="Basque Country (Pais Vasco)", start=1975)
    published = {1976: (0.0123, -0.168, 0.192), 1977: (-0.1213, -0.301, 0.084)}  # of weights that also match predictors
    for year, (effect, low, high) in published.items():
        test = lift.period_test(list(panel.periods).index(year))
        assert test.effect == pytest.approx(effect, abs=0.01)
        assert test.interval(0.95) == pytest.approx((low, high), abs=0.02)


# --- oracles


def by_hand(panel: Panel, pre: int, delta: float, order: float) -> float:
    """p of δ by loops: refit, shift the residuals round the ring, compare."""
    target = panel.matrix[0].copy()
    target[pre:] -= delta
    donors = panel.matrix[1:]
    centred = donors - donors.mean(axis=1, keepdims=True)
    left = target - target.mean() - simplex_least_squares(centred, target - target.mean()).weights @ centred
    periods, own, count = len(target), 0.0, 0
    for shift in range(periods):
        total = sum(abs(left[(k + shift) % periods]) ** order for k in range(pre, periods))
        own = total if shift == 0 else own
        count += total >= own * (1 - 1e-9)
    return count / periods


@given(SEEDS, st.floats(-8, 8), st.sampled_from([1.0, 2.0, 4.0]))
@settings(max_examples=15)
def test_p_is_what_loops_give(seed: int, delta: float, order: float) -> None:
    panel = steady_panel(np.random.default_rng(seed), units=6, pre=20, post=4)
    test = conformal_test(SyntheticControl(), panel, treated="r000", start=20, order=order)
    assert test.at(4 * delta) == pytest.approx(by_hand(panel, 20, delta, order), abs=1e-12)


@given(SEEDS, st.floats(-3, 3), st.sampled_from(["block", "iid"]), st.sampled_from([0.8, 0.9]))
@settings(max_examples=25)
def test_p_and_interval_say_the_same(seed: int, effect: float, permutations: str, level: float) -> None:
    panel = steady_panel(np.random.default_rng(seed), units=6, pre=25, post=3)
    panel.matrix[0, 25:] += effect
    test = conformal_test(SyntheticControl(), panel, treated="r000", start=25, permutations=permutations, draws=199)
    found = test.interval(level)
    if found is None:
        assert test.p_value < 1 - level
        assert isinstance(test.refusal(level), CannotTell)
        return
    assert (test.p_value < 1 - level - 1e-12) == (not found[0] <= 0 <= found[1])
    assert found[0] <= test.effect <= found[1]
    assert test.p_value >= test.at(0.0)


def test_the_interval_holds_every_effect_that_is_not_rejected() -> None:
    panel = steady_panel(spawn(7, "inversion"), units=8)
    panel.matrix[0, 40:] += 2
    test = conformal_test(SyntheticControl(), panel, treated="r000", start=40)
    low, high = test.interval(0.90)
    step = (high - low) / 40
    for total in np.arange(low - 20 * step, high + 20 * step, step):
        if test.at(total) >= 0.10:
            assert low - 1e-3 * step <= total <= high + 1e-3 * step
    for end in (low, high):  # the estimate is always inside, even where it is rejected
        assert test.at(end) >= 0.10 or end == test.effect


# --- error rates


def test_coverage_where_nothing_happened() -> None:
    covered = dict.fromkeys(("block", "iid"), 0)
    runs = 100
    for run in range(runs):
        panel = steady_panel(spawn(7, f"null {run}"), units=8, pre=36, post=4)
        for permutations in covered:
            test = conformal_test(SyntheticControl(), panel, treated="r000", start=36, permutations=permutations, draws=199)
            covered[permutations] += test.at(0.0) >= 0.10
    for share in covered.values():
        assert 0.81 <= share / runs <= 0.98  # three Monte Carlo errors of 0.03 around 0.90


def test_effects_are_found() -> None:
    found = 0
    for run in range(20):
        panel = steady_panel(spawn(7, f"effect {run}"), units=8, pre=36, post=4)
        panel.matrix[0, 36:] += 4
        found += conformal_test(SyntheticControl(), panel, treated="r000", start=36).at(0.0) < 0.10
    assert found >= 16


def test_placebos_in_time_reject_as_often_as_they_say() -> None:
    rejected, found, runs = 0, 0, 60
    for run in range(runs):
        panel = steady_panel(spawn(7, f"time {run}"), units=8, pre=48, post=5, rho=0.5)
        rejected += placebo_in_time(SyntheticControl(), panel, treated="r000", start=48).p_value < 0.10
        panel.matrix[0, 48:] += 10
        found += placebo_in_time(SyntheticControl(), panel, treated="r000", start=48).p_value < 0.10
    assert 0.0 < rejected / runs <= 0.22
    assert found / runs > 0.9


# --- results and refusals


def test_placebos_in_time_can_be_read() -> None:
    panel = steady_panel(spawn(7, "read"), pre=40, post=5)
    panel.matrix[:2, 40:] += 6
    test = placebo_in_time(SyntheticControl(), panel, treated=["r000", "r001"], start=40)
    assert list(test.to_frame()["first"]) == [10, 15, 20, 25, 30, 35, 40]
    assert test.to_frame()["effect"].iloc[-1] == test.effect
    low, high = test.interval(0.90)
    assert low < 60 < high
    assert (test.p_value < 0.10) == (low > 0)
    assert "6 earlier windows" in test.summary()
    assert len(test.plot().data) == 1
    with pytest.raises(CannotTell, match="3 earlier windows of 8 periods"):
        placebo_in_time(SyntheticControl(), panel, treated="r000", start=37)


def test_a_lift_judged_by_conformal_inference() -> None:
    panel = steady_panel(spawn(7, "lift"), units=8)
    panel.matrix[0, 40:] += 5
    lift = conformal_lift(SyntheticControl(), panel, treated="r000", start=40)
    low, high = lift.interval(0.90)
    assert low < 25 < high
    assert low > 0
    assert lift.p_value < 0.10
    frame = lift.to_frame()
    assert frame["low"].isna().sum() == 40
    assert (frame["low"].tail(5) <= frame["effect"].tail(5)).all()
    assert lift.effect == SyntheticControl().estimate(panel, treated="r000", start=40).effect
    again = conformal_lift(SyntheticControl(), panel, treated="r000", start=40)
    assert again.interval(0.90) == (low, high)


def test_what_cannot_be_told_is_said() -> None:
    panel = steady_panel(spawn(7, "refusal"), units=8, pre=20, post=20)
    long = conformal_test(SyntheticControl(), panel, treated="r000", start=20)
    assert np.isinf(long.interval(0.90)).any()
    assert "however large" in str(long.refusal(0.90))
    few = conformal_test(SyntheticControl(), panel, treated="r000", start=30)
    assert few.interval(0.99) is None
    assert "40 permutations" in str(few.refusal(0.99))
    turned = steady_panel(spawn(7, "turned"), units=8, pre=60, post=4)
    turned.matrix[0, 60:] += np.array([30.0, -30, 30, -30])
    none = conformal_test(SyntheticControl(), turned, treated="r000", start=60)
    assert none.interval(0.90) is None
    assert none.p_value < 0.10
    assert "every constant effect is rejected" in str(none.refusal(0.90))
    for wrong in ({"permutations": "all"}, {"order": 0.0}, {"draws": 9}):
        with pytest.raises(InputError):
            conformal_test(SyntheticControl(), panel, treated="r000", start=30, **wrong)  # type: ignore[arg-type]
    with pytest.raises(CannotTell, match="7 periods before"):
        conformal_test(SyntheticControl(), panel, treated="r000", start=7)


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    panel = steady_panel(spawn(7, "lazy"), units=6)
    test = conformal_test(SyntheticControl(), panel, treated="r000", start=40)
    assert isinstance(test, ConformalTest)
    assert not {"_known", "_tried", "estimate"} & set(vars(test))
    test.at(0.0)
    assert len(test._known) == 1
