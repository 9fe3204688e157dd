"""Transforms of a mix: sums to one, monotone, undone again, and the same on NumPy and JAX; the columns and gaps of a design."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.transforms import adstock, lag_weights
from liftwise.core.uncertainty import spawn
from liftwise.models.mix.design import Design
from liftwise.models.mix.transforms import (
    Adstock,
    Binomial,
    Chain,
    Delayed,
    Geometric,
    Hill,
    Holidays,
    Knots,
    Lags,
    Log,
    Logistic,
    MichaelisMenten,
    Product,
    Ratio,
    ReachAndFrequency,
    Saturation,
    Scale,
    Season,
    SpendPerImpression,
    Trend,
    WeibullCdf,
    WeibullPdf,
)

SPEND = spawn(3, "test.transforms").gamma(1.0, 100.0, (2, 40)) * (np.arange(40) % 5 > 0)


def share(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high)


ADSTOCKS: st.SearchStrategy[Adstock] = st.one_of(
    st.builds(Geometric, share(0, 0.95)),
    st.builds(Delayed, share(0.05, 0.9), share(0, 4)),
    st.builds(WeibullPdf, share(0.3, 4), share(0.5, 8)),
    st.builds(WeibullCdf, share(0.3, 4), share(0.5, 8)),
    st.builds(Binomial, share(0.05, 0.95)),
)
SATURATIONS: st.SearchStrategy[Saturation] = st.one_of(
    st.builds(Hill, share(0.1, 9), share(0.3, 4)),
    st.builds(Logistic, share(0.1, 9)),
    st.builds(Log, share(0.1, 9)),
    st.builds(MichaelisMenten, share(0.1, 9)),
)


@given(ADSTOCKS, st.integers(1, 60))
def test_weights_sum_to_one_and_a_steady_spend_keeps_its_level(law: Adstock, lags: int) -> None:
    weights = law.weights(lags)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    steady = law.apply(np.full((2, 9), 3.0), before=np.full((2, 80), 3.0), lags=lags)
    np.testing.assert_allclose(steady, 3.0, rtol=1e-12)


@given(ADSTOCKS)
def test_a_carry_over_is_undone_or_refused(law: Adstock) -> None:
    try:
        spend = law.inverse(law.apply(SPEND))
    except CannotTell:
        assert law.weights()[0] < 0.5  # never refused where most of an effect is at once
        return
    np.testing.assert_allclose(spend, SPEND, atol=1e-8 * SPEND.max())


@given(ADSTOCKS)
def test_spend_before_is_carried_into_the_present(law: Adstock) -> None:
    whole = law.apply(SPEND)
    np.testing.assert_allclose(law.apply(SPEND[:, 25:], before=SPEND[:, :25]), whole[:, 25:], atol=1e-9)


def test_the_geometric_law_is_the_one_of_core_and_the_others_have_their_shape() -> None:
    np.testing.assert_allclose(Geometric(0.6).apply(SPEND), adstock(SPEND, 0.6), rtol=1e-9)
    np.testing.assert_allclose(Geometric(0.6).weights(200)[:9], lag_weights(0.6, 9), rtol=1e-12)
    both = Geometric(np.array([0.2, 0.7])).apply(SPEND)
    np.testing.assert_allclose(both[1], Geometric(0.7).apply(SPEND[1]), rtol=1e-12)
    assert np.argmax(Delayed(0.5, 3.0).weights(13)) == 3
    np.testing.assert_allclose(WeibullPdf(1.0, 2.0).weights(13), Geometric(np.exp(-0.5)).weights(13), rtol=1e-12)
    # what survives 1, 2, 3 periods of Weibull's law with shape 1 is multiplied up: exp(−(0 + 1 + 2 + …) / scale)
    weights = WeibullCdf(1.0, 2.0).weights(13)
    np.testing.assert_allclose(weights[1:] / weights[:-1], np.exp(-np.arange(1, 13) / 2), rtol=1e-9)
    np.testing.assert_allclose(Binomial(0.5).weights(4), np.array([4, 3, 2, 1]) / 10, rtol=1e-12)
    assert Geometric(0.5).half_life() == pytest.approx(1.0)


def test_an_effect_that_only_comes_later_hides_what_was_spent() -> None:
    late = WeibullPdf(600.0, 5.0)
    assert late.weights()[0] == 0.0
    with pytest.raises(CannotTell, match="own period"):
        late.inverse(late.apply(SPEND))
    with pytest.raises(CannotTell, match="rounding"):
        Delayed(0.6, 3.0).inverse(SPEND)
    with pytest.raises(InputError, match="retention"):
        Geometric(1.0)


@given(SATURATIONS, st.floats(0.01, 20))
def test_saturation_is_monotone_and_undone(curve: Saturation, x: float) -> None:
    grid = np.linspace(0, 30, 200)
    assert curve.apply(np.zeros(2)).tolist() == [0.0, 0.0]
    assert (np.diff(curve.apply(grid)) >= 0).all()
    assert float(curve.apply(np.array([curve.half]))[0]) == pytest.approx(0.5)
    at = np.array([x])
    y = curve.apply(at)
    if y[0] < 1 - 1e-6:
        np.testing.assert_allclose(curve.inverse(y), at, rtol=1e-6)
    step = 1e-6 * x
    slope = (curve.apply(at + step) - curve.apply(at - step)) / (2 * step)
    np.testing.assert_allclose(curve.slope(at), slope, rtol=1e-4, atol=1e-9)


def test_transforms_are_the_same_on_numpy_and_jax() -> None:
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        spend = jax.numpy.asarray(SPEND)
        for build, values in ((Geometric, (0.6,)), (Delayed, (0.4, 1.5)), (WeibullPdf, (1.5, 3.0)), (WeibullCdf, (0.8, 2.0)), (Binomial, (0.3,))):  # fmt: skip
            traced = jax.jit(lambda x, *v, build=build: build(*v).apply(x))(spend, *values)
            np.testing.assert_allclose(np.asarray(traced), build(*values).apply(SPEND), rtol=1e-10, atol=1e-9)
        for build, values in ((Hill, (80.0, 1.7)), (Logistic, (90.0,)), (Log, (70.0,)), (MichaelisMenten, (60.0,))):
            traced = jax.jit(lambda x, *v, build=build: (build(*v).apply(x), build(*v).slope(x + 1)))(spend, *values)
            for theirs, ours in zip(traced, (build(*values).apply(SPEND), build(*values).slope(SPEND + 1)), strict=True):
                np.testing.assert_allclose(np.asarray(theirs), ours, rtol=1e-10)
        # slopes by the parameters are finite where nothing was spent
        silent = jax.numpy.zeros((1, 9))
        slope = jax.grad(lambda v: jax.numpy.sum(Hill(v[0], v[1]).apply(Geometric(v[2]).apply(silent))))(
            jax.numpy.array([1.0, 0.4, 0.5])
        )
        assert np.isfinite(np.asarray(slope)).all()


@given(st.floats(1.1, 6), st.floats(0.5, 8))
def test_reach_is_undone_and_the_best_frequency_is_known(shape: float, half: float) -> None:
    curve = ReachAndFrequency(half, shape)
    reach, often = np.array([0.0, 3.0, 50.0]), np.array([1.0, 2.0, 7.0])
    np.testing.assert_allclose(curve.inverse(curve.apply(reach, often), often), reach, rtol=1e-12)
    # d log hill / d log f = 1 where exposures are all that costs: f = half · (shape − 1)^(1 / shape)
    best = max(half * (shape - 1) ** (1 / shape), 1.0)
    assert curve.optimal_frequency() == pytest.approx(best, rel=1e-5)
    assert curve.optimal_frequency(person=3.0) >= curve.optimal_frequency() - 1e-6
    assert curve.slope(reach, often).tolist() == curve.apply(np.ones(3), often).tolist()
    with pytest.raises(InputError, match="cost"):
        curve.optimal_frequency(exposure=0.0)


def test_columns_of_series() -> None:
    assert Lags(3).apply(np.array([1.0, 2.0, 3.0])).tolist() == [[1, 0, 0], [2, 1, 0], [3, 2, 1]]
    assert Lags(3).inverse(Lags(3).apply(SPEND)).tolist() == SPEND.tolist()
    price = SpendPerImpression(1000.0)
    views = SPEND * 40
    np.testing.assert_allclose(price.inverse(price.apply(SPEND, views), views), SPEND)
    assert price.apply(np.array([5.0]), np.array([0.0])).tolist() == [0.0]
    pair = {"tv": np.array([4.0, 0.0, 1.0]), "radio": np.array([1.0, 0.0, 0.0])}
    assert Ratio("tv", "radio").apply(pair).tolist() == [0.8, 0.0, 1.0]
    assert Product("tv", "radio").apply(pair).tolist() == [2.0, 0.0, 0.0]
    with pytest.raises(InputError, match="no channel print"):
        Ratio("tv", "print").apply(pair)


def test_a_scale_is_learned_from_the_past_and_undone() -> None:
    past, all_of_it = SPEND[:, :30], SPEND
    for by in ("mean", "max", "standard"):
        scale = Scale(by).fit(past)
        np.testing.assert_allclose(scale.inverse(scale.apply(all_of_it)), all_of_it, atol=1e-9)
        np.testing.assert_array_equal(scale.apply(all_of_it)[:, :30], Scale(by).fit(past).apply(past))
    with pytest.raises(InputError, match="seen nothing"):
        Scale().apply(SPEND)
    with pytest.raises(CannotTell, match="no scale"):
        Scale("standard").fit(np.ones(5))
    chain = Chain(Scale("mean"), Geometric(0.5), Hill(1.2, 1.4)).fit(past)
    np.testing.assert_allclose(chain.inverse(chain.apply(all_of_it)), all_of_it, atol=1e-6)
    with pytest.raises(CannotTell, match="cannot be undone"):
        Chain(Ratio("a", "b")).inverse(SPEND)


def test_columns_of_time() -> None:
    weeks = pd.date_range("2024-01-01", periods=53, freq="W-MON")
    knots = Knots(13, 53).columns(weeks)
    assert knots.shape == (53, 5)
    np.testing.assert_allclose(knots.sum(axis=1), 1.0)
    line = knots @ np.array([0.0, 1, 2, 3, 4])
    np.testing.assert_allclose(np.diff(line), 1 / 13, rtol=1e-9)
    days = Holidays({"easter": ["2024-03-31"], "sale": ["2024-11-29", "2024-05-06"]}, lead=1, lag=2).columns(weeks)
    assert days.sum(axis=0).tolist() == [4, 8]
    assert days[12, 0] == 2  # Saturday and Sunday before; Monday and Tuesday after
    assert days[13, 0] == 2
    with pytest.raises(InputError, match="cannot be read"):
        Holidays({"easter": ["soon"]}).columns(weeks)
    assert Season(52.18, 3).columns(weeks).shape == (53, len(Season(52.18, 3).names))
    assert Trend().columns(weeks)[0, 0] == -0.5


# -- the design --------------------------------------------------------------------------------------------------------


def weekly(weeks: int = 60, regions: tuple[str, ...] = ("north", "south")) -> pd.DataFrame:
    rng, rows = spawn(5, "test.design"), list[tuple[object, ...]]()
    for region in regions:
        for week in pd.date_range("2024-01-01", periods=weeks, freq="W-MON"):
            rows += [(week, region, "target", "revenue", 1000 + 50 * rng.normal()), (week, region, "channel", "tv", rng.gamma(2, 50)),
                     (week, region, "channel", "social", rng.gamma(2, 30)), (week, region, "control", "price", rng.normal())]  # fmt: skip
    return pd.DataFrame(rows, columns=["week", "region", "role", "name", "value"])


def without(frame: pd.DataFrame, role: str, places: list[int], region: str | None = None) -> pd.DataFrame:
    days = pd.date_range("2024-01-01", periods=60, freq="W-MON")[places]
    return frame[~((frame["role"] == role) & frame["week"].isin(days) & ((frame["region"] == region) | (region is None)))]


def test_gaps_under_two_weeks_are_filled_and_longer_ones_leave_the_period_out() -> None:
    frame = weekly()
    full = Design.of(frame, 10)
    holes = without(without(frame, "control", [20], "north"), "control", [30, 31], "south")
    design = Design.of(holes, 10)
    whole = design.base(52.18)[2].reshape(2, 60)
    assert whole[0].all()
    assert np.flatnonzero(~whole[1]).tolist() == [30, 31]
    before, after = full.controls["price"][0, [19, 21]]
    assert design.controls["price"][0, 20] == pytest.approx((before + after) / 2)
    # a target is never made up, but its period keeps its place in time
    design = Design.of(without(frame, "target", [40]), 10)
    assert len(design.weeks) == 60
    assert np.flatnonzero(~design.base(52.18)[2]).tolist() == [40, 100]
    assert "missing after 2024-09-30" in " ".join(design.notes)


def test_weeks_nobody_delivered_keep_their_place_in_time() -> None:
    frame = weekly()
    days = pd.date_range("2024-01-01", periods=60, freq="W-MON")[[25, 26, 27]]
    design = Design.of(frame[~frame["week"].isin(days)], 10)
    assert design.target.shape == (2, 60)
    assert np.isnan(design.target[:, 25:28]).all()
    left, right = design.spend["tv"][0, [24, 28]]
    np.testing.assert_allclose(design.spend["tv"][0, 24:29], np.linspace(left, right, 5))
    assert np.flatnonzero(~design.base(52.18)[2][:60]).tolist() == [25, 26, 27]


def test_months_have_a_calendar_too() -> None:
    frame = weekly()
    days = dict(zip(sorted(frame["week"].unique()), pd.date_range("2020-01-01", periods=60, freq="MS"), strict=True))
    monthly = frame.assign(week=frame["week"].map(days))
    assert len(Design.of(monthly[monthly["week"] != pd.Timestamp("2021-03-01")], 10).weeks) == 60
    assert Design.of(monthly, 10).notes == ()


def test_a_channel_is_measured_in_impressions_where_they_are_known() -> None:
    frame = weekly()
    tv = frame[(frame["role"] == "channel") & (frame["name"] == "tv")]
    views = tv.assign(role="impressions", value=tv["value"] * 40 * np.where(tv["week"] < "2024-07-01", 1.0, 0.5))
    both = pd.concat([frame, without(views, "impressions", [10], "north"), tv.assign(role="reach"), tv.assign(role="frequency", value=2.0 + (tv["value"] > 90))])  # fmt: skip
    design, money = Design.of(both, 10), Design.of(frame, 10)
    np.testing.assert_array_equal(design.spend["tv"], money.spend["tv"])
    np.testing.assert_array_equal(design.scaled()["social"], money.scaled()["social"])
    ratio = design.scaled()["tv"][1] / money.scaled()["tv"][1]
    np.testing.assert_allclose(ratio[:26] / ratio[-1], 2.0)
    assert design.base(52.18)[2].all()  # one missing week is filled
    assert set(design.reach) == {"tv"} == set(design.frequency)
    gone = Design.of(pd.concat([frame, without(views, "impressions", [10, 11, 12], "north")]), 10)
    assert np.flatnonzero(~gone.base(52.18)[2]).tolist() == [10, 11, 12]
    assert np.isfinite(gone.scaled()["tv"]).all()
    with pytest.raises(InputError, match="negative impressions of tv"):
        Design.of(pd.concat([frame, views.assign(value=-1.0)]), 10)


def test_the_base_is_what_it_was_and_takes_knots_and_holidays() -> None:
    design = Design.of(weekly(), 10)
    columns, parts, _ = design.base(52.18)
    assert columns.shape == (120, 2 + 1 + 4 + 1)
    assert parts == ("baseline",) * 7 + ("outside",)
    assert design.base(52.18, pairs=1, knots=20, holidays={"sale": ["2024-11-29"]})[0].shape == (120, 2 + 3 + 2 + 2)
    assert np.linalg.matrix_rank(design.base(52.18, knots=20)[0]) == 2 + 3 + 4 + 1
    assert design.base(1.0)[0].shape[1] == 2 + 1 + 1
