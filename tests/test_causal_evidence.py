"""Lift evidence: the same answer in any order, calibrated doubt, drift found where there is one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import kstest

from liftwise.core.errors import CannotTell, InputError, TableError
from liftwise.core.tables import check
from liftwise.core.uncertainty import spawn
from liftwise.models.causal.drift import PRIORS, Mixture, _Filtered, _Grid, pool
from liftwise.models.causal.evidence import LiftEvidence, results_as_tests


def lift_tests(effects: object, errors: object, channel: str = "tv", days: int = 91, **more: object) -> pd.DataFrame:
    """Table `lift_tests`, one test every `days`."""
    effects = np.asarray(effects, float)
    ends = pd.Timestamp("2022-03-31") + pd.to_timedelta(days * np.arange(len(effects)), unit="D")
    return pd.DataFrame({
        "test_id": [f"{channel}-{k:02d}" for k in range(len(effects))], "channel": channel, "starts_on": ends - pd.Timedelta(days=30),
        "ends_on": ends, "effect": effects, "standard_error": errors, **more,
    })  # fmt: skip


def sequence(seed: int, tau: float = 0.3, count: int = 20, jump: float = 0.0) -> tuple[np.ndarray, ...]:
    """True effects, measured effects, errors and days of tests whose level is 3, and 3 + jump from the middle on."""
    random = spawn(seed, "evidence sequence")
    errors, days = np.exp(random.normal(0, 0.3, count)), np.cumsum(random.uniform(30, 120, count))
    truth = 3 + jump * (np.arange(count) >= count // 2) + tau * random.normal(size=count)
    return truth, truth + errors * random.normal(size=count), errors, days


# --- the numbers


@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
@settings(max_examples=6, deadline=None)
def test_pooling_agrees_with_textbook_formulas_integrated_over_the_spread(seed: int, count: int) -> None:
    """Random effects without drift: closed form given τ; quadrature over the uniform shrinkage of τ above 0; τ = 0 apart."""
    random = np.random.default_rng(seed)
    errors = np.exp(random.normal(0, 0.4, count))
    effects = random.normal(2, 1.5, count)
    scale = 2.0 / np.sqrt(np.mean(1 / errors**2))

    def given_tau(tau: float) -> tuple[float, float, float, float]:
        precision = 1 / (errors**2 + tau**2)
        mean, variance = float(precision @ effects / precision.sum()), float(1 / precision.sum())
        trust = tau**2 / (tau**2 + errors[-1] ** 2)
        likelihood = np.exp(
            0.5 * np.sum(np.log(precision)) - 0.5 * np.log(precision.sum()) - 0.5 * float(precision @ (effects - mean) ** 2)
        )
        own = mean + trust * (effects[-1] - mean)
        return float(likelihood), mean, own, tau**2 * (1 - trust) + (1 - trust) ** 2 * variance

    def over(same: float, what: object) -> float:
        def at(tau: float) -> float:
            return what(*given_tau(tau))  # pyright: ignore[reportCallIssue]

        return same * at(0.0) + (1 - same) * quad(lambda share: at(scale * np.sqrt(share / (1 - share))), 0, 1, limit=200)[0]

    same = PRIORS["typical"].same
    typical = over(same, lambda d, m, o, v: d * m) / over(same, lambda d, *_: d)
    same = PRIORS["current"].same
    whole = over(same, lambda d, *_: d)
    current = over(same, lambda d, m, o, v: d * o) / whole
    second = over(same, lambda d, m, o, v: d * (v + o**2)) / whole
    found = pool(effects, errors, 90.0 * np.arange(count), half_life=None, drift=False, spread=2.0)
    assert found.typical.mean == pytest.approx(typical, abs=0.01 * errors.mean())
    assert found.current.mean == pytest.approx(current, abs=0.01 * errors.mean())
    assert found.current.sd == pytest.approx(np.sqrt(second - current**2), rel=0.01)


@pytest.mark.parametrize(("walk", "jump"), [(0.7, 0.0), (0.0, 2.0)])
def test_pooling_agrees_with_generalised_least_squares_under_drift(walk: float, jump: float) -> None:
    """At one grid point the filter must give what the tests' whole covariance matrix gives."""
    _, effects, errors, days = sequence(5, count=7)
    tau, where, years = 0.4, 3, (days - days[0]) / 365.25
    after = (np.arange(7) >= where).astype(float)
    level = walk * np.minimum.outer(years, years) + jump * np.outer(after, after)
    inverse, one = np.linalg.inv(level + np.diag(errors**2 + tau**2)), np.ones(7)
    variance = 1 / (one @ inverse @ one)
    start = variance * one @ inverse @ effects
    rest = inverse @ (effects - start)
    left = level[-1, -1] - level[-1] @ inverse @ level[-1] + (1 - level[-1] @ inverse @ one) ** 2 * variance
    grid = _Grid(*(np.array([x]) for x in (tau, walk, jump, float(where))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Grid, "of", lambda *_: grid)
        found = _Filtered.of(effects, errors, days, np.inf, True, 2.0)
    assert found.level[0][0] == pytest.approx(start + level[-1] @ rest, rel=1e-9)
    assert found.level[1][0] == pytest.approx(left, rel=1e-9)
    assert found.rise[0] == pytest.approx(level[-1] @ rest, rel=1e-9)
    assert found.theta[0][0] == pytest.approx(start + (level[-1] + tau**2 * np.eye(7)[-1]) @ rest, rel=1e-9)
    # the likelihood of what tests say besides the start, up to what is the same at every grid point
    whole = -0.5 * (-np.linalg.slogdet(inverse)[1] - np.log(variance) + rest @ effects)
    assert found.likelihood[0] == pytest.approx(whole, rel=1e-9)


def test_one_test_says_just_what_it_says() -> None:
    found = LiftEvidence().update(lift_tests([10.0], [2.0])).of("tv")
    assert (found.target().mean, found.target().sd) == pytest.approx((10.0, 2.0), rel=1e-6)
    assert found.interval(0.90) == pytest.approx((10 - 1.6449 * 2, 10 + 1.6449 * 2), abs=1e-3)
    assert found.target("next").sd > found.target("typical").sd > 2.0  # what differs between tests is not yet known


def test_the_interval_of_a_mixture_holds_its_share() -> None:
    mixture = Mixture(np.array([0.3, 0.7]), np.array([-1.0, 4.0]), np.array([0.5, 2.0]))
    low, high = mixture.interval(0.8)
    assert mixture.below(low) == pytest.approx(0.1)
    assert mixture.below(high) == pytest.approx(0.9)
    draws = np.concatenate([spawn(1, "a").normal(-1, 0.5, 300_000), spawn(1, "b").normal(4, 2, 700_000)])
    assert (mixture.mean, mixture.sd) == pytest.approx((draws.mean(), draws.std()), abs=0.02)


# --- order and scale


@given(st.permutations(range(6)), st.integers(1, 5))
@settings(max_examples=4, deadline=None)
def test_tests_one_by_one_give_the_same_as_all_at_once(order: list[int], cut: int) -> None:
    tests = lift_tests([3.0, 4.0, 2.5, 6.0, 1.0, 3.3], [1.0, 0.8, 1.2, 2.0, 0.9, 1.1], spend=[1.0, 2.0, 1.0, 3.0, np.nan, 1.0])
    whole = LiftEvidence().update(tests).to_frame()
    steps = LiftEvidence()
    steps.update(tests.iloc[order[:cut]])
    steps.update(tests.iloc[order])  # the first ones again: known already
    for k in order:
        last = steps.update(tests.iloc[[k]])
    pd.testing.assert_frame_equal(last.to_frame(), whole, check_exact=True)


def test_a_corrected_test_replaces_the_old_one() -> None:
    tests = lift_tests([3.0, 4.0], [1.0, 1.0])
    evidence = LiftEvidence()
    evidence.update(tests.assign(effect=[30.0, 4.0]))
    assert evidence.update(tests.iloc[:1]).to_frame().equals(LiftEvidence().update(tests).to_frame())


@given(st.floats(1e-3, 1e6), st.floats(-5, 5))
@settings(max_examples=15, deadline=None)
def test_another_currency_changes_nothing_but_the_unit(scale: float, shift: float) -> None:
    _, effects, errors, days = sequence(3, count=5)
    one = pool(effects, errors, days, half_life=None, drift=True, spread=2.0)
    two = pool(scale * (effects + shift), scale * errors, days, half_life=None, drift=True, spread=2.0)
    assert two.current.mean == pytest.approx(scale * (one.current.mean + shift), rel=1e-6, abs=1e-6 * scale)
    assert two.current.sd == pytest.approx(scale * one.current.sd, rel=1e-6)
    assert two.bayes_factor == pytest.approx(one.bayes_factor, rel=1e-5)


def test_tests_of_different_sizes_agree_per_unit_of_spend() -> None:
    spend = np.array([1_000.0, 10_000.0, 100_000.0, 50_000.0])
    found = LiftEvidence().update(lift_tests(2.5 * spend, 0.3 * spend, spend=spend))
    scaled, total = found.of("tv"), found.of("tv", "revenue")
    assert scaled.metric == "revenue_per_spend"
    assert scaled.target().mean == pytest.approx(2.5, abs=1e-6)
    assert scaled.target().sd < 0.3
    assert total.pooled.spread > 0.5 * total.tests["standard_error"].min()


# --- calibration


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Spread and drift drawn from the prior: then every probability must be uniform over repetitions."""
    shares, prior = [], PRIORS["current"]
    for seed in range(400):
        random = spawn(seed, "evidence calibration")
        count = int(random.integers(1, 7))
        errors, days = np.exp(random.normal(0, 0.3, count)), np.cumsum(random.uniform(30, 400, count))
        span, steps = max(days[-1] - days[0], 1.0), random.normal(size=count)
        shrinkage = random.random(3)
        spread, walk, jump = 2.0 / np.sqrt(np.mean(1 / errors**2)) * np.sqrt(shrinkage / (1 - shrinkage))
        walks = walk * np.sqrt(np.diff(days, prepend=days[0]) / span) * steps
        jumps = jump * steps * (np.arange(count) == (random.integers(1, count) if count > 1 else -1))
        which = random.random() / prior.drifting
        level = 3 + np.cumsum(walks if which < 0.5 else jumps if which < 1 else 0 * steps)
        truth = level + spread * (random.random() >= prior.same) * random.normal(size=count)
        found = pool(truth + errors * random.normal(size=count), errors, days, half_life=None, drift=True, spread=2.0)
        shares.append(found.current.below(truth[-1]))
    assert kstest(shares, "uniform").pvalue > 0.01
    inside = np.mean([0.05 < share < 0.95 for share in shares])
    assert 0.86 <= inside <= 0.94  # 400 sequences: standard error 1.5 points


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
def test_after_twenty_tests_the_typical_effect_is_known_as_well_as_it_says(tau: float) -> None:
    """Coverage of 88 to 92 % but for chance (three standard errors), whether tests differ or not; RMSE well below one test's."""
    many, level, inside, wrong, single = 400, 3.0, [], [], []
    for seed in range(many):
        truth, effects, errors, days = sequence(seed, tau=tau)
        found = pool(effects, errors, days, half_life=None, drift=True, spread=2.0).typical
        inside.append(0.05 < found.below(level) < 0.95)
        wrong.append(found.mean - level)
        single.append(effects[-1] - truth[-1])
    chance = 3 * np.sqrt(0.1 * 0.9 / many)
    assert 0.88 - chance <= np.mean(inside) <= 0.92 + chance
    assert np.sqrt(np.mean(np.square(wrong)) / np.mean(np.square(single))) <= 0.6


@pytest.mark.parametrize(("jump", "tau"), [(0.0, 0.0), (0.0, 0.5), (-3.0, 0.0), (-3.0, 0.5)])
def test_after_twenty_tests_the_current_effect_is_known_well_drift_or_not(jump: float, tau: float) -> None:
    """Never less than it says; more where tests do not differ, which twenty cannot tell."""
    inside, wrong, single = [], [], []
    for seed in range(200):
        truth, effects, errors, days = sequence(seed, tau=tau, jump=jump)
        found = pool(effects, errors, days, half_life=None, drift=True, spread=2.0).current
        inside.append(0.05 < found.below(truth[-1]) < 0.95)
        wrong.append(found.mean - truth[-1])
        single.append(effects[-1] - truth[-1])
    assert np.mean(inside) >= 0.88 - 2 * np.sqrt(0.1 * 0.9 / 200)
    assert np.sqrt(np.mean(np.square(wrong)) / np.mean(np.square(single))) <= 0.6


# --- drift and decay


def test_a_jump_between_tests_is_found_and_said() -> None:
    found = sum(pool(*sequence(seed, jump=-3.0)[1:], half_life=None, drift=True, spread=2.0).drifting for seed in range(40))
    false = sum(pool(*sequence(seed)[1:], half_life=None, drift=True, spread=2.0).drifting for seed in range(40))
    assert found >= 34
    assert false <= 3
    _, effects, errors, _ = sequence(1, jump=-5.0)
    posterior = LiftEvidence().update(lift_tests(effects, errors)).of("tv")
    assert posterior.pooled.drifting
    assert posterior.pooled.change == pytest.approx(effects[10:].mean() - effects[:10].mean(), abs=2)
    assert "has fallen by about" in posterior.summary()
    assert posterior.target().mean < effects.mean() - 1  # the past no longer counts in full


def test_old_tests_count_less() -> None:
    effects, errors, days = np.array([10.0, 10.0, 10.0, 0.0]), np.ones(4), np.array([0.0, 100.0, 200.0, 1000.0])

    def at(life: float | None) -> float:
        return pool(effects, errors, days, half_life=life, drift=False, spread=2.0).typical.mean

    assert at(1e9) == pytest.approx(at(None), rel=1e-6)
    assert at(10.0) == pytest.approx(0.0, abs=1e-3)
    means = [at(life) for life in (10.0, 200.0, 1000.0, 1e9)]
    assert means == sorted(means)


def test_a_learned_half_life_is_short_where_the_past_misleads() -> None:
    def learned(jump: float) -> float:
        lives = [
            pool(*sequence(seed, jump=jump)[1:], half_life="learned", drift=False, spread=0.3).half_life for seed in range(3)
        ]
        return float(np.median(lives))

    assert learned(-5.0) < learned(0.0)


# --- tables


def test_rows_keep_the_contract_of_table_evidence() -> None:
    tests = pd.concat([
        lift_tests([3.0, 4.0], [1.0, 1.0], spend=[2.0, 2.0], regions=["north", "north;south"]),
        lift_tests([5.0], [1.0], channel="influencer", influencer_id="inf-1", metric="conversions"),
    ])  # fmt: skip
    evidence = LiftEvidence(by_region=True).update(tests)
    frame = evidence.to_frame()
    assert check("evidence", frame).rejected.empty
    assert list(zip(frame["subject_kind"], frame["subject"], frame["region"], frame["metric"], strict=True)) == [
        ("channel", "tv", "all", "revenue"), ("channel", "tv", "all", "revenue_per_spend"), ("influencer", "inf-1", "all", "conversions"),
        ("channel", "tv", "north", "revenue"), ("channel", "tv", "north", "revenue_per_spend"),
    ]  # fmt: skip
    assert frame["sources"].iloc[0] == "tv-00;tv-01"
    assert (frame["low"] < frame["mean"]).all()
    assert (frame["mean"] < frame["high"]).all()
    assert len(evidence.details()) == 5
    assert evidence.summary().count("\n") == 2
    assert len(evidence.plot("tv").data) == 2
    assert list(evidence.of("tv").path()["test_id"]) == ["tv-00", "tv-01"]
    assert evidence.of("tv").path()["mean"].iloc[-1] == evidence.of("tv").target().mean


def test_tests_that_say_nothing_are_left_out_and_named() -> None:
    tests = lift_tests([3.0, 4.0, np.nan, 5.0], [1.0, 0.0, 1.0, np.nan])
    endless = tests.iloc[:1].assign(test_id="endless", ends_on=pd.NaT)
    tests = pd.concat([tests, endless], ignore_index=True)
    found = LiftEvidence().update(tests)
    assert found.of("tv").tests["test_id"].tolist() == ["tv-00"]
    assert found.left_out["reason"].tolist() == [
        "has no standard error above 0", "has no effect", "has no standard error above 0", "has no end date",
    ]  # fmt: skip
    with pytest.raises(CannotTell, match="no test to learn from"):
        LiftEvidence().update(tests.iloc[1:])
    with pytest.raises(CannotTell, match="no test of radio"):
        found.of("radio")
    with pytest.raises(TableError, match="missing column effect"):
        LiftEvidence().update(tests.drop(columns="effect"))
    with pytest.raises(InputError, match="target"):
        found.of("tv").target("past")


def test_own_results_are_tests_of_the_campaign_and_of_its_channel() -> None:
    results = pd.DataFrame({
        "test_id": ["c1", "c1", "c2"], "method": ["a", "b", "a"], "effect": [10.0, 12.0, 20.0], "standard_error": [2.0, 2.0, np.nan],
    })  # fmt: skip
    campaigns = pd.DataFrame({
        "campaign_id": ["c1", "c2"], "starts_on": ["2025-01-01", "2025-03-01"], "ends_on": ["2025-02-01", "2025-04-01"],
        "budget": [5.0, 5.0], "channel": ["tv", None], "regions": ["north", None],
    })  # fmt: skip
    with pytest.raises(InputError, match="several methods"):
        results_as_tests(results, campaigns)
    tests = results_as_tests(results, campaigns, method="a")
    assert list(zip(tests["subject_kind"], tests["subject"], strict=True)) == [
        ("campaign", "c1"),
        ("campaign", "c2"),
        ("channel", "tv"),
    ]
    evidence = LiftEvidence()
    evidence.update(tests)
    both = evidence.update(lift_tests([12.0], [2.0], spend=[5.0]))
    assert both.of("tv").tests["effect"].tolist() == [2.4, 2.0]
    assert both.of("c1", "revenue").target().mean == pytest.approx(10.0)
    assert both.left_out["test_id"].tolist() == ["c2"]


@pytest.mark.parametrize("bad", [{"half_life_days": 0.0}, {"half_life_days": "soon"}, {"spread": 0.0}])
def test_settings_that_make_no_sense_are_refused(bad: dict) -> None:
    with pytest.raises(InputError):
        LiftEvidence(**bad)
