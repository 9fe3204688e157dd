"""Year on year: a December is judged by Decembers; what it needs, what it assumes, how often it is right."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import spawn
from liftwise.models.causal.structural import StructuralSeries
from liftwise.models.causal.year_on_year import YearOnYear

WEEKS = pd.date_range(end="2025-12-22", periods=156, freq="W-MON")


def christmas(seed: int, weeks: pd.DatetimeIndex = WEEKS, wobble: float = 0.1) -> pd.Series:
    """Weekly sales with a yearly wave, growth, noise that lasts, and a peak before Christmas that is never as high twice."""
    random = spawn(seed, "christmas")
    day, rho, n = weeks.day_of_year.to_numpy(float), random.choice([0.0, 0.3, 0.6]), len(weeks)
    season = 0.08 * np.sin(2 * np.pi * day / 365.25 + random.uniform(0, 6))
    height = dict(zip(sorted(set(weeks.year)), 0.4 * (1 + wobble * random.normal(size=5)), strict=False))
    season = season + weeks.year.map(height).to_numpy(float) * np.exp(-0.5 * ((day - 350) / 14) ** 2)
    noise = random.normal(size=n)
    for t in range(1, n):
        noise[t] = rho * noise[t - 1] + np.sqrt(1 - rho**2) * noise[t]
    return pd.Series(1e5 * np.exp(season + 0.001 * np.arange(n) + 0.03 * noise), index=weeks, name="sales")


def test_december_keeps_its_word_and_finds_what_happened() -> None:
    """60 markets of two years, four to six weeks until Christmas; at nominal 90 % two standard errors are 8 points."""
    covered, false, found = [], [], []
    for seed in range(60):
        series = christmas(seed, WEEKS[-104:])
        start = series.index[-6 if seed % 2 else -4]
        during = series.index >= start
        nothing = YearOnYear(draws=400).estimate(series, start=start)
        low, high = nothing.interval(0.90)
        covered.append(low <= 0 <= high)
        false.append(nothing.p_value < 0.05)
        lifted = YearOnYear(draws=400).estimate(series.where(~during, series * 1.2), start=start)
        assert lifted.effect - nothing.effect == pytest.approx(0.2 * series[during].sum())
        found.append(lifted.p_value < 0.10)
    assert np.mean(covered) > 0.82
    assert np.mean(false) < 0.11
    assert np.mean(found) > 0.7


def test_the_weeks_before_alone_take_christmas_for_the_campaign() -> None:
    series = christmas(3, WEEKS[-104:])
    assert StructuralSeries(drift="learned", draws=400).estimate(series, start=series.index[-4]).p_value < 0.05
    assert YearOnYear().estimate(series, start=series.index[-4]).p_value > 0.10


def test_a_season_that_repeats_and_grows_is_foretold() -> None:
    """Noise of 0.1 % hides little: what would have been is last year's week times growth."""
    noise = 0.001 * spawn(7, "grows").normal(size=156)
    season = 0.5 * np.sin(2 * np.pi * np.arange(156) / 52)
    series = pd.Series(np.exp(season + 0.002 * np.arange(156) + noise), index=WEEKS, name="sales")
    lift = YearOnYear(swing=0.0).estimate(series, start=WEEKS[150])
    assert lift.relative == pytest.approx(0.0, abs=0.003)
    assert np.isnan(lift.counterfactual.iloc[:104]).all() and not np.isnan(lift.counterfactual.iloc[104:]).any()


def test_days_are_compared_with_their_own_weekday() -> None:
    days = pd.date_range(end="2025-12-24", periods=728, freq="D")
    random = spawn(7, "days")
    week = np.array([0.0, -0.1, -0.1, 0.0, 0.2, 0.4, -0.4])[days.day_of_week]
    peak = 0.5 * np.exp(-0.5 * ((days.day_of_year.to_numpy(float) - 352) / 12) ** 2)
    series = pd.Series(1e4 * np.exp(week + peak + 0.02 * random.normal(size=728)), index=days, name="sales")
    lift = YearOnYear(draws=300).estimate(series, start=days[700])
    low, high = lift.interval(0.90)
    assert low < 0 < high
    assert lift.pre_rmspe / series.mean() < 0.06  # 2 % of noise, that of the year before, and how the level is learned


def test_factors_are_taken_year_on_year() -> None:
    """A price cut this December and none the one before."""
    series = christmas(5)
    price = pd.DataFrame({"price": spawn(5, "price").normal(size=156) * 0.05}, index=WEEKS)
    price.iloc[-4:] = -0.15
    cut = series * np.exp(-2 * price["price"])
    start = WEEKS[-4]
    blind, told = (YearOnYear(draws=400).estimate(cut, factors, start=start) for factors in (None, price))
    truth = YearOnYear(draws=400).estimate(series, start=start).relative
    assert abs(told.relative - truth) < 0.08 < abs(blind.relative - truth)
    named = next(check for check in told.checks if check.name == "factors")
    assert "price" in named.sentence


def test_what_is_assumed_is_shown_and_widens() -> None:
    series, start = christmas(2), WEEKS[-4]
    widths = []
    for swing in (0.0, 0.1, 0.3):
        lift = YearOnYear(swing=swing).estimate(series, start=start)
        low, high = lift.interval(0.90)
        assert (lift.p_value < 0.10) == (not low <= 0 <= high)
        widths.append(high - low)
    assert widths[0] < widths[1] < widths[2]
    told = next(check for check in lift.checks if check.name == "the years before")
    assert "2 years before" in told.sentence and "30%" in told.sentence
    same = YearOnYear(swing=0.3).estimate(series, start=start)
    assert same.result_row() == lift.result_row()


def test_refusals() -> None:
    series = christmas(1)
    with pytest.raises(CannotTell, match="season cannot be told from the campaign"):
        YearOnYear().estimate(series, start=WEEKS[60])
    assert YearOnYear(draws=200).estimate(series, start=WEEKS[64], end=WEEKS[67]).pre_periods == 64
    with pytest.raises(CannotTell, match="longer than a year"):
        YearOnYear().estimate(series, start=WEEKS[80])
    with pytest.raises(CannotTell, match="periods of 0 or less"):
        YearOnYear().estimate(series.where(series.index != WEEKS[20], 0.0), start=WEEKS[150])
    with pytest.raises(InputError, match="no dates"):
        YearOnYear().estimate(series.reset_index(drop=True), start=150)
    with pytest.raises(InputError, match="no share"):
        YearOnYear(swing=2.0)
