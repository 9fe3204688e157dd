"""Counterfactuals without donors: published numbers, slow oracles, and what happens where nothing happened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.tables import check
from liftwise.core.uncertainty import spawn
from liftwise.models.causal.baseline import MEMBERS, BaselineEnsemble
from liftwise.models.causal.decompose import _solve, decompose
from liftwise.models.causal.lift import Lift
from liftwise.models.causal.panel import Panel
from liftwise.models.causal.structural import StructuralSeries
from liftwise.models.causal.structural_sampler import kalman, posterior
from liftwise.models.causal.timebased import FiellerTest, IncrementalReturn, TimeBasedRegression, relative_interval

Data = Callable[[str], Path]


def weeks(n: int) -> pd.DatetimeIndex:
    return pd.date_range("2022-01-03", periods=n, freq="W-MON")


def lasting(random: np.random.Generator, n: int, rho: float) -> np.ndarray:
    """AR(1) of unit innovations, after it has forgotten its start."""
    z = random.normal(size=n + 100)
    for t in range(1, n + 100):
        z[t] += rho * z[t - 1]
    return z[100:]


def verdicts(lift: Lift) -> dict[str, str]:
    return {check.name: check.verdict for check in lift.checks}


# --- structural time series: published numbers


def example(folder: Path, name: str) -> tuple[pd.Series, pd.DataFrame, object]:
    if name.startswith("arma"):
        frame = pd.read_csv(folder / "arma_data.csv")
        frame.loc[70:, "y"] += int(name[4:])
        return frame["y"], frame[["X"]], 70
    file, start = {"comparison": ("comparison_data", "2019-07-15"), "volks": ("volks_data", "2015-09-20")}[name]
    frame = pd.read_csv(folder / f"{file}.csv", index_col=0, parse_dates=True)
    return frame.iloc[:, 0], frame.iloc[:, 1:], start


@pytest.mark.parametrize(
    ("name", "point", "sd", "low", "high"),
    [
        ("comparison", -657, 736, -2076, 832), ("arma1", 0.89, 0.3, 0.27, 1.5), ("arma5", 4.89, 0.31, 4.26, 5.47),
        ("volks", -44, 5.6, -55, -33),
    ],
)  # fmt: skip
def test_published_by_causal_impact(shared_data: Data, name: str, point: float, sd: float, low: float, high: float) -> None:
    series, factors, start = example(shared_data("causalimpact_examples"), name)
    lift = StructuralSeries().estimate(series, factors, start=start)
    periods = len(lift.actual) - lift.pre_periods
    ends = np.array(lift.interval(0.95)) / periods
    assert lift.effect / periods == pytest.approx(point, abs=0.25 * sd)
    assert ends == pytest.approx([low, high], abs=0.5 * sd)
    assert (lift.p_value < 0.05) == (not low <= 0 <= high)


def test_too_sure_a_model_is_told_on(shared_data: Data) -> None:
    """Volkswagen's share is no noise about BMW's: the published interval is too narrow, and the check says so."""
    series, factors, start = example(shared_data("causalimpact_examples"), "volks")
    small = StructuralSeries().estimate(series, factors, start=start)
    learned = StructuralSeries(drift="learned").estimate(series, factors, start=start)
    assert verdicts(small)["what is left"] == "fail"
    assert "In doubt: what is left" in small.summary()
    assert np.diff(learned.interval(0.95)) > 1.5 * np.diff(small.interval(0.95))


# --- structural time series: oracles


@pytest.mark.parametrize("season", [0, 4])
def test_the_filter_is_the_normal_density_written_out(season: int) -> None:
    """Likelihood with states and coefficients integrated out, against the covariance of all periods at once."""
    random, n, p = spawn(7, "filter"), 15, 2
    columns = random.normal(size=(n, 1 + p))
    theta = np.array([-0.7, -1.2, -2.5, -1.0, -0.4, 0.8])
    prior = np.ones((6, 2))
    prior[3, 1] = season
    slab = np.eye(p) * 0.3 + 0.1
    white, roots, k = np.zeros((n, 1 + p)), np.zeros(n), 3 + season
    logs = kalman(columns, theta, prior, season, white, roots, np.zeros((k, 1 + p)), np.zeros((k, k)))
    both, half = np.zeros((p, p)), np.zeros(p)
    ours = -0.5 * logs + posterior(white.T @ white, slab, np.exp(2 * theta[0]), np.ones(p, bool), both, half)

    sd, t = np.exp(theta[:5]), np.arange(n)
    rho = 1 / (1 + np.exp(-theta[5]))
    steps = np.minimum.outer(t, t).astype(float)
    slopes = np.array([[sum((i - s) * (j - s) for s in range(1, min(i, j))) for j in t] for i in t], dtype=float)
    cov = 1 + sd[1] ** 2 * steps + 12 / n**2 * np.outer(t, t) + sd[2] ** 2 * slopes
    cov += sd[4] ** 2 * rho ** np.abs(np.subtract.outer(t, t)) + sd[0] ** 2 * np.eye(n)
    if season:
        same = np.equal.outer(t % season, t % season)
        cov += same - 1 / season + sd[3] ** 2 * same * np.minimum.outer(t // season, t // season)
    cov += columns[:, 1:] @ np.linalg.inv(slab / sd[0] ** 2) @ columns[:, 1:].T
    theirs = multivariate_normal(np.full(n, columns[0, 0]), cov).logpdf(columns[:, 0]) + n / 2 * np.log(2 * np.pi)
    assert ours == pytest.approx(theirs, abs=1e-8)


def test_factors_that_count_are_found_and_others_left() -> None:
    random, when = spawn(7, "factors"), weeks(130)
    factors = pd.DataFrame(random.normal(size=(130, 8)), index=when, columns=list("abcdefgh")).assign(still=3.0)
    series = pd.Series(100 + 4 * factors["a"] - 3 * factors["b"] + random.normal(size=130), index=when, name="sales")
    series.iloc[120:] += 2
    lift = StructuralSeries(draws=400).estimate(series, factors, start=when[120])
    found = next(c for c in lift.checks if c.name == "factors")
    counts = found.table.set_index("factor")["counts"]
    assert counts[["a", "b"]].min() == 1
    assert counts[list("cdefgh")].mean() < 0.2
    assert "still" in found.sentence
    low, high = lift.interval(0.95)
    assert low < 20 < high
    assert 1 < (high - low) / (2 * 1.96 * 10**0.5) < 2  # noise of 10 periods, which the prior (R² = 0.8) takes to be larger


@pytest.mark.parametrize("kind", ["noise", "lasting", "walk"])
def test_learned_drift_keeps_its_word_where_small_drift_does_not(kind: str) -> None:
    """No effect: how often each calls one at 10 %."""
    rejected = {"small": 0, "learned": 0}
    reps = 40
    for rep in range(reps):
        random = spawn(rep, f"nothing {kind}")
        y = {"noise": 0.0, "lasting": 0.7, "walk": 0.0}[kind]
        y = lasting(random, 94, y) + (0.15 * random.normal(size=94).cumsum() if kind == "walk" else 0)
        for drift in rejected:
            lift = StructuralSeries(drift=drift, draws=199).estimate(pd.Series(y), start=80)
            rejected[drift] += lift.p_value < 0.10
    assert rejected["learned"] <= 0.25 * reps  # 10 % and 3.2 standard errors
    assert (rejected["small"] > 0.3 * reps) == (kind != "noise")


def test_season_and_slope_are_continued() -> None:
    random, n = spawn(7, "season"), 100
    pattern = 10 * random.normal(size=7)
    truth = 50 + 0.5 * np.arange(n) + np.resize(pattern, n)
    series = pd.Series(truth + random.normal(size=n), index=pd.date_range("2025-01-01", periods=n))
    lift = StructuralSeries(season=7, trend="slope", draws=400).estimate(series, start=series.index[86])
    assert lift.p_value > 0.05
    np.testing.assert_allclose(lift.counterfactual.to_numpy()[86:], truth[86:], atol=2.5)


def test_structural_draws_are_one_test_and_repeat() -> None:
    random, when = spawn(7, "draws"), weeks(60)
    series = pd.Series(100 + lasting(random, 60, 0.3), index=when, name="sales")
    series.iloc[50:] += 1.2
    first = StructuralSeries(draws=500).estimate(series, start=when[50])
    again = StructuralSeries(draws=500).estimate(series, start=when[50])
    other = StructuralSeries(draws=500, seed=8).estimate(series, start=when[50])
    assert first.effect == again.effect
    assert first.interval(0.8) == again.interval(0.8)
    assert first.effect != other.effect
    assert first.effect == pytest.approx(other.effect, abs=0.25 * np.ptp(first.interval(0.68)))
    for level in (0.5, 0.8, 0.9, 0.95, 0.99):
        low, high = first.interval(level)
        assert (first.p_value < round(1 - level, 12)) == (not low <= 0 <= high)
    frame = first.to_frame("t")
    assert check("lift", frame).rejected.empty
    assert (frame["low"][50:] < frame["high"][50:]).all()
    assert first.treated == ("sales",)
    assert first.weights.empty
    assert first.plot().data


# --- time-based regression


@pytest.fixture(scope="module")
def geo(shared_data: Data) -> tuple[Panel, Panel, list[str]]:
    folder = shared_data("tbr_salesandcost")
    frame, groups = pd.read_csv(folder / "salesandcost.csv"), pd.read_csv(folder / "geoassignment.csv")
    whole = frame.set_index(["geo", "date"]).unstack().fillna(0)  # the published numbers count a missing row as nothing sold
    long = whole.stack(future_stack=True).reset_index()
    treated = groups.loc[groups["geo.group"] == 2, "geo"].astype(str).tolist()
    tiny = long.assign(cost=long["cost"] + 1e-5 * spawn(7, "cost").normal(size=len(long)))
    return Panel.of(long, "geo", "date", "sales"), Panel.of(tiny, "geo", "date", "cost"), treated


def test_published_by_time_based_regression(geo: tuple[Panel, Panel, list[str]]) -> None:
    sales, _, treated = geo
    lift = TimeBasedRegression().estimate(sales, treated=treated, start="2015-02-16", end="2015-03-15")
    money = IncrementalReturn.of(lift, cost=50_000)
    assert lift.weights.iloc[0] == pytest.approx(0.9997001, rel=1e-6)
    assert lift.effect == pytest.approx(147337.122, rel=1e-5)
    assert money.effect == pytest.approx(2.946742, rel=1e-5)
    assert money.lower(0.90) == pytest.approx(2.826194, rel=1e-5)
    # the published shares are means of simulated ones; the tests that print them allow 1e-4
    assert lift.relative == pytest.approx(0.173998, abs=1e-4)
    assert relative_interval(lift, 0.80)[0] == pytest.approx(0.165686, abs=1e-4)
    assert relative_interval(lift, 0.90) == pytest.approx((0.163273, 0.184885), abs=1e-4)
    assert "2.95 of sales" in money.summary()
    assert money.to_frame().shape == (1, 6)
    assert money.plot().data


def test_published_where_cost_is_estimated_too(geo: tuple[Panel, Panel, list[str]]) -> None:
    """The reference draws the ratio at random (seed 1234): its ends are 4e-4 from Fieller's exact ones."""
    sales, cost, treated = geo
    design, when = TimeBasedRegression(), {"start": "2015-02-16", "end": "2015-03-15"}
    money = IncrementalReturn.of(design.estimate(sales, treated=treated, **when), design.estimate(cost, treated=treated, **when))
    assert money.effect == pytest.approx(2.947012, abs=1e-3)
    assert money.interval(0.90) == pytest.approx((2.79135, 3.102936), abs=1e-3)


def test_time_based_regression_is_ordinary_prediction() -> None:
    """Effect and error of a sum of predictions, from the normal equations; and 90 % of intervals hold nothing."""
    held, reps = 0, 150
    for rep in range(reps):
        random = spawn(rep, "tbr")
        matrix = 50 + random.normal(size=(6, 40)) + 3 * random.normal(size=40)
        lift = TimeBasedRegression().estimate(Panel(matrix, tuple("abcdef"), pd.RangeIndex(40)), treated=["a", "b"], start=30)
        low, high = lift.interval(0.90)
        held += low <= 0 <= high
    x, y = matrix[2:].sum(axis=0), matrix[:2].sum(axis=0)
    X = np.column_stack([np.ones(40), x])
    beta = np.linalg.lstsq(X[:30], y[:30], rcond=None)[0]
    noise = np.sum((y[:30] - X[:30] @ beta) ** 2) / 28
    v = X[30:].sum(axis=0)
    error = np.sqrt(noise * (10 + v @ np.linalg.inv(X[:30].T @ X[:30]) @ v))
    assert lift.effect == pytest.approx((y - X @ beta)[30:].sum(), rel=1e-9)
    assert lift.test.error == pytest.approx(error, rel=1e-9)
    assert 0.83 <= held / reps <= 0.97  # 90 % ± 2.9 standard errors


def test_a_ratio_has_no_interval_where_its_cost_may_be_nothing() -> None:
    test = FiellerTest(30.0, 3.0, 2.0, 1.5, 40)
    assert test.interval(0.95) is None
    assert "cost" in str(test.refusal(0.95))
    for level in (0.5, 0.8):
        low, high = test.interval(level)
        t = [abs(30 - end * 2) / np.hypot(3, end * 1.5) for end in (low, high)]
        assert t[0] == pytest.approx(t[1])
    lift = TimeBasedRegression().estimate(
        Panel(spawn(7, "flat").normal(size=(5, 30)), tuple("abcde"), pd.RangeIndex(30)), treated="a", start=20
    )
    with pytest.raises(InputError, match="no return"):
        IncrementalReturn.of(lift, cost=0)


# --- baseline ensemble


def sales_and_factors(n: int = 90, season: int = 7) -> tuple[pd.Series, pd.DataFrame]:
    random, when = spawn(7, "ensemble"), pd.date_range("2025-01-01", periods=n)
    factors = pd.DataFrame({"weather": random.normal(size=n)}, index=when)
    pattern = np.resize(8 * random.normal(size=season), n)
    noise = lasting(random, n, 0.3)
    return pd.Series(100 + pattern + 4 * factors["weather"].to_numpy() + noise, index=when, name="sales"), factors


def test_the_ensemble_beats_the_naive_and_knows_how_well() -> None:
    series, factors = sales_and_factors()
    model = BaselineEnsemble(horizon=7).fit(series.iloc[:-7], factors.iloc[:-7])
    assert model.weights_.sum() == pytest.approx(1)
    assert model.weights_.min() >= 0
    assert model.errors_["ensemble"] < 0.7 * model.errors_["seasonal naive"]
    ahead = model.predict(7, factors)
    frame = ahead.to_frame(0.90)
    assert list(frame["period"]) == list(series.index[-7:])
    assert ((frame["low"] < series.to_numpy()[-7:]) & (series.to_numpy()[-7:] < frame["high"])).mean() > 0.5
    assert (np.diff(frame["high"] - frame["low"]) >= -1e-9).all()  # farther is never surer
    again = BaselineEnsemble(horizon=7).fit(series.iloc[:-7], factors.iloc[:-7]).predict(series.index[-7:], factors)
    np.testing.assert_array_equal(again.mean, ahead.mean)
    table = model.origins_
    scores = np.abs(table["actual"] - table["forecast"]).to_numpy().reshape(-1, 7) / ahead.spread
    assert np.mean(scores <= (ahead.interval(0.90)[1] - ahead.mean)[0] / ahead.spread[0]) == pytest.approx(0.90, abs=0.02)
    assert "sales is expected at" in ahead.summary()
    assert ahead.plot().data
    with pytest.raises(InputError, match="follow the series"):
        model.predict(series.index[-6:], factors)
    with pytest.raises(InputError, match="needs weather"):
        model.predict(7)


def test_no_member_sees_what_comes_after() -> None:
    """Forecasts made at an origin stay as they are, whatever happens afterwards."""
    series, factors = sales_and_factors(70)
    y, known = series.to_numpy(), factors.to_numpy()
    model = BaselineEnsemble(horizon=5).fit(series, factors)
    origin = model.origins_["origin"].unique()[2]
    changed = series.where(series.index <= origin, series * 3 + 50)
    other = BaselineEnsemble(horizon=5).fit(changed, factors)
    names = list(MEMBERS)
    early = model.origins_["origin"] <= origin
    pd.testing.assert_frame_equal(model.origins_.loc[early, names], other.origins_.loc[early, names])
    assert not np.allclose(model.origins_.loc[~early, names], other.origins_.loc[~early, names])
    for name, member in MEMBERS.items():
        np.testing.assert_array_equal(
            member(y[:50], known[:55], 7, 5, 7), member(y[:50].copy(), known[:55].copy(), 7, 5, 7), name
        )


def test_a_national_campaign_is_seen_by_placebo_dates() -> None:
    series, factors = sales_and_factors()
    start = series.index[-7]
    nothing = BaselineEnsemble().estimate(series, factors, start=start)
    lifted = series.where(series.index < start, series + 6)
    something = BaselineEnsemble().estimate(lifted, factors, start=start)
    assert nothing.p_value > 0.10
    assert something.p_value < 0.05
    low, high = something.interval(0.90)
    assert low < 42 < high
    assert something.effect - nothing.effect == pytest.approx(42)
    np.testing.assert_array_equal(something.counterfactual.to_numpy(), nothing.counterfactual.to_numpy())
    assert verdicts(something)["placebo dates"] == "ok"
    assert something.band()[0][-7:].max() < something.gap.max()
    assert "90% interval" in something.summary()


# --- decomposition


def regions(random: np.random.Generator, count: int = 6, n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Baseline and sales without campaign: own trend, shared season, noise."""
    t = np.arange(n)
    base = 100 + 8 * np.sin(t * 2 * np.pi / 52) + 0.3 * random.normal(size=(count, n)).cumsum(axis=1)
    return base, base + 1.5 * random.normal(size=(count, n))


def test_parts_sum_and_are_found() -> None:
    random, when = spawn(7, "parts"), weeks(120)
    base, y = regions(random)
    feast, campaign = [20, 72, 110], slice(60, 68)
    y[:, feast] += 10
    y[:3, campaign] += 20
    panel = Panel(y, tuple("abcdef"), when)
    campaigns = pd.DataFrame({"starts_on": [when[60]], "ends_on": [when[67]], "regions": ["a;b;c"]})
    parts = decompose(panel, campaigns, pd.DataFrame({"name": "feast", "date": when[feast]}))
    frame = parts.to_frame()
    assert check("components", frame).rejected.empty
    np.testing.assert_allclose(frame[["trend", "seasonal", "event", "campaign", "residual"]].sum(axis=1), y.ravel(), atol=1e-9)
    assert parts.campaign[:3, campaign].mean() == pytest.approx(20, abs=1.5)
    assert not parts.campaign[3:].any()
    assert parts.event[:, feast].mean() == pytest.approx(10, abs=1.5)
    assert not parts.event[:, 30:60].any()
    ordinary = np.setdiff1d(np.arange(120), feast)
    assert np.sqrt(np.mean((parts.baseline - base)[:, ordinary] ** 2)) < 1.2
    assert "above their baseline" in parts.summary()
    assert parts.plot("a").data
    assert parts.plot().data


def test_a_campaign_never_leaks_into_the_trend() -> None:
    """However much is sold in its periods, the baseline stays what it was."""
    random, when = spawn(7, "leak"), weeks(120)
    _, y = regions(random)
    campaigns = pd.DataFrame({"starts_on": [when[60]], "ends_on": [when[69]]})
    quiet = decompose(Panel(y, tuple("abcdef"), when), campaigns)
    y[:, 60:70] *= 5
    loud = decompose(Panel(y, tuple("abcdef"), when), campaigns)
    np.testing.assert_allclose(loud.baseline, quiet.baseline, atol=1e-8)
    np.testing.assert_allclose(loud.residual, quiet.residual, atol=1e-8)


def test_the_solver_is_least_squares_written_out() -> None:
    random, n, q = spawn(7, "solver"), 30, 3
    y, design, kept = random.normal(size=(4, n)), random.normal(size=(n, q)), random.random(n) > 0.2
    bends = np.diff(np.eye(n), 2, axis=0)
    rows = np.vstack([
        np.hstack([np.eye(n), design])[kept], np.hstack([50**0.5 * bends, np.zeros((n - 2, q))]),
        np.hstack([np.zeros((q, n)), 0.1**0.5 * np.eye(q)]),
    ])  # fmt: skip
    aims = np.vstack([y.T[kept], np.zeros((n - 2 + q, 4))])
    np.testing.assert_allclose(_solve(y, kept, design, 50.0), np.linalg.lstsq(rows, aims, rcond=None)[0].T, atol=1e-6)


def test_what_cannot_be_told_apart_is_said() -> None:
    random, when = spawn(7, "hidden"), weeks(80)
    series = pd.Series(regions(random, 1, 80)[1][0], index=when, name="all")
    campaigns = pd.DataFrame({"starts_on": [when[40]], "ends_on": [when[45]]})
    parts = decompose(series, campaigns, pd.DataFrame({"name": ["concert"], "date": [when[42]]}))
    assert "Not separable from the campaign, as they fell together: concert." in parts.summary()
    assert "has not been seen twice" in parts.summary()
    assert not parts.event.any()
    nothing = decompose(series, factors=pd.DataFrame({"x": random.normal(size=80)}, index=when), after=2)
    assert nothing.summary().startswith("No campaign ran")
    assert not nothing.campaign.any()


# --- refusals


def estimates(series: pd.Series, **when: object) -> list[Callable[[], object]]:
    return [
        lambda: StructuralSeries(draws=100).estimate(series, **when),
        lambda: BaselineEnsemble().estimate(series, **when),
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("constant", "never moves"), ("zero", "is zero in all periods"), ("short", "too few"), ("hole", "no number"), ("gap", "periods are missing"),
        ("twice", "twice"), ("outside", "outside the series"), ("swapped", "comes before"),
    ],
)  # fmt: skip
def test_bad_series_are_refused(change: str, says: str) -> None:
    series = pd.Series(spawn(7, "bad").normal(size=60), index=weeks(60), name="sales")
    when: dict[str, object] = {"start": series.index[50]}
    if change in ("constant", "zero"):
        series[:50] = 5.0 if change == "constant" else 0.0
    if change == "short":
        series = series.iloc[45:]
    if change == "hole":
        series.iloc[10] = np.nan
    if change == "gap":
        series = series.drop(series.index[20:23])
    if change == "twice":
        series = pd.concat([series, series.iloc[:1]])
    if change == "outside":
        when = {"start": "2031-01-01"}
    if change == "swapped":
        when["end"] = series.index[40]
    for ask in estimates(series, **when):
        with pytest.raises((CannotTell, InputError), match=says):
            ask()


def test_other_refusals() -> None:
    series = pd.Series(spawn(7, "other").normal(size=60), index=weeks(60), name="sales")
    holed = pd.DataFrame({"x": np.where(np.arange(60) == 55, np.nan, 1.0)}, index=weeks(60))
    for design in (StructuralSeries(), BaselineEnsemble()):
        with pytest.raises(InputError, match="factor 'x' has no number"):
            design.estimate(series, holed, start=series.index[50])
    with pytest.raises(CannotTell, match="too few to judge"):
        BaselineEnsemble().estimate(series, start=series.index[30])
    with pytest.raises(InputError, match="not been fitted"):
        BaselineEnsemble().predict(2)
    with pytest.raises(CannotTell, match="without a campaign"):
        decompose(series, pd.DataFrame({"starts_on": [series.index[5]], "ends_on": [series.index[-1]]}))
    for wrong in (series * 0, series * 0 + 3):
        with pytest.raises(CannotTell):
            decompose(wrong)
    for bad in ({"season": 1}, {"trend": "wild"}, {"drift": "none"}, {"draws": 5}):
        with pytest.raises(InputError):
            StructuralSeries(**bad)
