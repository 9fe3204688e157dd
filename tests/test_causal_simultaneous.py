"""Campaigns that ran together: truth recovered, credit counted once, and no number where none can be had."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.transforms import adstock
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.causal import Panel
from liftwise.models.causal.exposure_fit import Shape, Space, noise, solve, whiten
from liftwise.models.causal.simultaneous import Decomposition, SimultaneousCampaigns

WEEKS = 104
QUICK = {"carryover": (0.4, 0.6, 0.8), "response": "exponential"}


def lasting(random: np.random.Generator, shape: tuple[int, ...], rho: float) -> Floats:
    noise = random.normal(size=shape)
    for t in range(1, shape[-1]):
        noise[..., t] = rho * noise[..., t - 1] + np.sqrt(1 - rho**2) * noise[..., t]
    return noise


def market(
    random: np.random.Generator, correlation: float, *, units: int = 24, effects: tuple[float, float] = (0.08, 0.05), adds: bool = True,
    flat: bool = False, synergy: float = 0.0,
) -> tuple[Panel, dict[str, Floats], dict[str, float]]:  # fmt: skip
    """Regions of many sizes with a season of their own strength, national and regional shocks; tv and posts on top; the truth."""
    one, other = lasting(random, (2, units, WEEKS), 0.6)
    x = np.maximum(2 + np.stack([one, correlation * one + np.sqrt(1 - correlation**2) * other]), 0)
    if flat:
        x[0] = np.repeat(random.random(WEEKS // 4) < 0.4, 4)
    size, t = 1000 * np.exp(random.normal(0, 0.7, units)), np.arange(WEEKS)
    season = 0.15 * np.sin(2 * np.pi * t / 52)
    regional = np.zeros((units, WEEKS))
    for _ in range(3):
        start = random.integers(WEEKS - 8)
        regional[random.random(units) < 0.2, start : start + 8] += random.normal(0, 0.06)
    quiet = (0.04 * np.sqrt(1000 / size)).clip(0.02, 0.1)[:, None]
    moves = (1 + 0.3 * random.normal(size=(units, 1))) * season + 0.03 * lasting(random, (WEEKS,), 0.6) * (not flat)
    base = size[:, None] * np.exp(moves + regional + quiet * lasting(random, (units, WEEKS), 0.5))
    carried = np.stack([adstock(one, alpha) for one, alpha in zip(x, random.uniform(0.5, 0.8, 2), strict=True)])
    s = np.array(effects)[:, None, None] * carried / carried.mean(axis=(1, 2), keepdims=True)
    both = synergy * carried[0] * carried[1] / np.mean(carried[0] * carried[1])
    parts = size[:, None] * s if adds else base * np.expm1(s)
    sales = base + parts.sum(axis=0) + size[:, None] * both if adds else base * np.exp(s.sum(axis=0) + both)
    total = float((sales - base).sum())
    truth = {"tv": float(parts[0].sum()), "posts": float(parts[1].sum()), "total": total}
    weeks = pd.date_range("2023-01-02", periods=WEEKS, freq="W-MON")
    panel = Panel(sales, tuple(f"r{k:02d}" for k in range(units)), weeks, exposure={"tv": x[0], "posts": x[1]})
    return panel, {"tv": x[0], "posts": x[1]}, truth


def verdicts(found: Decomposition) -> dict[str, str]:
    return {check.name: check.verdict for check in found.checks}


# --- truth


@pytest.mark.parametrize("adds", [True, False])
def test_each_campaign_gets_its_own_at_moderate_correlation(adds: bool) -> None:
    random, error, covered = spawn(7, f"parts {adds}"), [], []
    for k in range(12):
        panel, _, truth = market(random, (0.3, 0.7)[k % 2], adds=adds)
        found = SimultaneousCampaigns().estimate(panel)
        told = {"tv": found.part("tv"), "posts": found.part("posts"), "total": found.total}
        error.append([one.effect / truth[name] - 1 for name, one in told.items()])
        covered.append([one.interval(0.90)[0] <= truth[name] <= one.interval(0.90)[1] for name, one in told.items()])
    assert (np.abs(np.mean(error, axis=0)) < 0.10 + 2 * np.std(error, axis=0) / 12**0.5).all()
    assert np.mean(covered) > 0.75  # of 36, far from independent


def test_nothing_is_found_where_nothing_is() -> None:
    random = spawn(7, "null")
    p = [
        SimultaneousCampaigns(**QUICK).estimate(market(random, 0.5, effects=(0.0, 0.05))[0]).part("tv").p_value for _ in range(25)
    ]  # fmt: skip
    assert np.mean(np.array(p) < 0.10) <= 0.28  # 10 % expected; 28 % is three errors away


@pytest.mark.parametrize("correlation", [0.95, 1.0])
def test_exposures_too_alike_are_not_told_apart(correlation: float) -> None:
    panel, exposures, truth = market(spawn(7, "alike"), correlation)
    found = SimultaneousCampaigns(**QUICK).estimate(panel, exposures)
    for name in ("tv", "posts", "shared"):
        with pytest.raises(CannotTell, match="not separable"):
            found.part(name)
    low, high = found.total.interval(0.99)
    assert low <= truth["total"] <= high
    assert verdicts(found)["separability"] == "fail"
    assert "not separable" in found.summary()
    frame = found.to_frame().set_index("part")
    assert frame.loc[["tv", "posts", "shared"], "effect"].isna().all()
    np.testing.assert_allclose(found.paths["together"], found.paths["total"])


def test_a_third_campaign_apart_keeps_its_number() -> None:
    random = spawn(7, "third")
    panel, exposures, _ = market(random, 0.97)
    exposures["price"] = np.maximum(1 + lasting(random, panel.matrix.shape, 0.3), 0)
    found = SimultaneousCampaigns(**QUICK).estimate(panel, exposures)
    assert set(found.refusals) == {"tv", "posts", "shared"}
    low, high = found.part("price").interval(0.99)
    assert low <= 0 <= high


@pytest.mark.parametrize("response", ["auto", "exponential", "proportional", "additive"])
@pytest.mark.parametrize("interaction", [False, True])
def test_parts_and_shared_are_the_total(response: str, interaction: bool) -> None:
    panel, _, _ = market(spawn(7, "sum"), 0.5)
    found = SimultaneousCampaigns(carryover=(0.5, 0.7), response=response, interaction=interaction).estimate(
        panel, start="2024-03-04"
    )
    parts = found.part("tv").effect + found.part("posts").effect + found.shared.effect
    assert parts == pytest.approx(found.total.effect, rel=1e-10)
    by_week = found.paths[["base", "tv", "posts", "shared"]].sum(axis=1)
    np.testing.assert_allclose(by_week, panel.matrix[:, panel.position("2024-03-04") :].sum(axis=0))
    assert found.paths["total"].sum() == pytest.approx(found.total.effect)
    assert sum(found.responses.values()) == pytest.approx(1)
    if not interaction and response in ("proportional", "additive"):
        assert found.shared.effect == pytest.approx(0, abs=1e-6 * found.total.effect)


def test_synergy_goes_to_shared_and_is_noticed_where_it_was_left_out() -> None:
    panel, _, truth = market(spawn(7, "synergy"), 0.2, units=40, synergy=0.10)
    without = SimultaneousCampaigns(**QUICK).estimate(panel)
    assert verdicts(without)["interaction"] == "warn"
    found = SimultaneousCampaigns(carryover=(0.4, 0.6, 0.8), interaction=True).estimate(panel)
    shared = truth["total"] - truth["tv"] - truth["posts"]
    low, high = found.shared.interval(0.95)
    assert low <= shared <= high
    assert low > 0


def test_national_television_is_identified_over_time_and_said_to_be() -> None:
    panel, exposures, truth = market(spawn(7, "flat"), 0.0, flat=True, adds=False)
    found = SimultaneousCampaigns(**QUICK).estimate(panel, {**exposures, "tv": exposures["tv"][0]})
    check = next(check for check in found.checks if check.name == "variation")
    assert check.verdict == "warn"
    assert "tv ran alike" in check.sentence
    held = 0
    for seed in range(5):
        panel, exposures, truth = market(spawn(seed, "flat too"), 0.0, flat=True, adds=False)
        found = SimultaneousCampaigns(**QUICK).estimate(panel, {**exposures, "tv": exposures["tv"][0]})
        assert found.part("tv").p_value < 0.05
        ends = {name: found.part(name).interval(0.95) for name in ("tv", "posts")}
        held += sum(low <= truth[name] <= high for name, (low, high) in ends.items())
    assert held >= 7  # of 10 at 95 %
    both = SimultaneousCampaigns(**QUICK).estimate(panel, {"tv": exposures["tv"], "radio": exposures["tv"] * 2.0})
    assert set(both.refusals) == {"tv", "radio", "shared"}
    with pytest.raises(CannotTell, match="moves as trend, season"):
        SimultaneousCampaigns(**QUICK).estimate(panel, {"tv": 1 + np.sin(2 * np.pi * np.arange(WEEKS) / 52.18)})


# --- the arithmetic, the slow way


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_leaving_out_a_unit_is_a_regression_without_it(seed: int) -> None:
    """Dummies for every unit and period, weights and whitening spelled out."""
    random = np.random.default_rng(seed)
    units, periods, rho = 6, 12, 0.4
    x, y, weights = random.normal(size=(2, units, periods)), random.normal(size=(units, periods)), random.uniform(0.5, 2, units)
    space = Space.of(rho, weights, np.empty((periods, 0)))
    found = solve(space.grams(space.clear(np.concatenate([x, y[None]]))))
    for row in range(units + 1):
        kept = [k for k in range(units) if k != row - 1]
        white = whiten(np.eye(periods), rho).T
        blocks = [np.kron(np.eye(len(kept)), (white @ np.ones(periods))[:, None]), np.kron(np.ones((len(kept), 1)), white)]
        campaigns = np.stack([whiten(one[kept], rho).ravel() for one in x], axis=1)
        root = np.sqrt(np.repeat(weights[kept], periods))[:, None]
        full = root * np.column_stack([campaigns, *blocks])
        slow = np.linalg.lstsq(full, root[:, 0] * whiten(y[kept], rho).ravel(), rcond=None)[0][:2]
        np.testing.assert_allclose(found[row], slow, atol=1e-8)


def test_slopes_of_carry_over_are_derivatives() -> None:
    x = spawn(7, "slopes").gamma(1, 1, size=(3, 40))
    for shape in (Shape(0.5), Shape(0.6, 2.0)):
        step = 1e-5
        exact = [(Shape(shape.retention + step, shape.half).of(x) - Shape(shape.retention - step, shape.half).of(x)) / (2 * step)]
        if np.isfinite(shape.half):
            exact.append((Shape(shape.retention, shape.half * (1 + step)).of(x) - shape.of(x)) / step)
        for one, other in zip(shape.slopes(x), exact, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-3)


def test_factors_are_found_where_they_are() -> None:
    random = spawn(7, "factors")
    errors = lasting(random, (30, 80), 0.5)
    shocks = random.normal(size=(30, 2)) @ lasting(random, (2, 80), 0.8)
    assert noise(errors, np.empty((80, 0)), "auto", 7)[1] == 0
    assert noise(errors + 2 * shocks, np.empty((80, 0)), "auto", 7)[1] == 2
    assert noise(errors, np.empty((80, 0)), "auto", 7)[0].rho == pytest.approx(0.5, abs=0.1)
    panel, _, truth = market(spawn(7, "with factors"), 0.3)
    low, high = SimultaneousCampaigns(**QUICK, factors=1).estimate(panel).total.interval(0.95)
    assert low <= truth["total"] <= high


# --- one test, two answers


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.8, 0.9, 0.95]))
@settings(max_examples=12)
def test_p_value_and_interval_never_disagree(seed: int, level: float) -> None:
    random = np.random.default_rng(seed)
    panel, _, _ = market(random, 0.5, units=10, effects=(0.0, 0.03))
    found = SimultaneousCampaigns(carryover=[0.6], response="exponential").estimate(panel)
    for one in (*found.known.values(), found.total):
        low, high = one.interval(level)
        assert low <= one.effect <= high
        assert (one.p_value < 1 - level) == (not low <= 0 <= high)


# --- other ways to ask


def test_units_and_scale_of_exposure_do_not_matter() -> None:
    panel, exposures, _ = market(spawn(7, "invariance"), 0.4)
    by = SimultaneousCampaigns(**QUICK)
    plain = by.estimate(panel, exposures)
    order = spawn(7, "order").permutation(len(panel.units))
    turned = Panel(panel.matrix[order] * 10, tuple(panel.units[k] for k in order), panel.periods)
    again = by.estimate(turned, {"posts": exposures["posts"][order] / 50, "tv": exposures["tv"][order] * 3})
    for name in ("tv", "posts", "shared"):
        assert again.part(name).effect == pytest.approx(10 * plain.part(name).effect, rel=1e-6)
        assert again.part(name).p_value == pytest.approx(plain.part(name).p_value, rel=1e-6)


def test_amounts_are_divided_by_size_and_noticed_where_they_are_not() -> None:
    panel, exposures, truth = market(spawn(7, "amounts"), 0.3)
    money = {name: x * panel.matrix.mean(axis=1, keepdims=True) for name, x in exposures.items()}
    found = SimultaneousCampaigns(**QUICK, exposure="amount").estimate(panel, money)
    assert found.total.effect == pytest.approx(SimultaneousCampaigns(**QUICK).estimate(panel, exposures).total.effect, rel=1e-8)
    assert verdicts(SimultaneousCampaigns(**QUICK).estimate(panel, money))["per head"] == "warn"
    assert truth["total"] > 0


def test_zeros_are_taken_on_the_linear_scale() -> None:
    panel, exposures, truth = market(spawn(7, "zeros"), 0.3)
    sales = panel.matrix.copy()
    sales[3, 5] = 0.0
    holed = Panel(sales, panel.units, panel.periods)
    found = SimultaneousCampaigns(**QUICK).estimate(holed, exposures)
    low, high = found.total.interval(0.95)
    assert list(found.responses) == ["linear"]
    assert low <= truth["total"] <= high
    with pytest.raises(InputError, match="not positive"):
        SimultaneousCampaigns(scale="log").estimate(holed, exposures)


def test_saturation_and_controls_are_taken() -> None:
    random = spawn(7, "bent")
    panel, exposures, _ = market(random, 0.3)
    price = lasting(random, panel.matrix.shape, 0.3)
    dearer = Panel(panel.matrix * np.exp(-0.2 * price), panel.units, panel.periods)
    by = SimultaneousCampaigns(carryover=(0.5, 0.7), saturation={"tv": (1.0, 3.0)}, response="exponential")
    plain, found = by.estimate(panel, exposures), by.estimate(dearer, exposures, controls={"price": price})
    assert found.part("posts").share == pytest.approx(plain.part("posts").share, rel=0.1)
    assert np.isfinite(found.carryover.set_index("exposure").loc["tv", "half"])
    with pytest.raises(CannotTell, match="posts moves as the controls do"):
        by.estimate(panel, exposures, controls={"posts again": exposures["posts"] + 0.01 * price})


def test_campaigns_that_follow_sales_are_noticed() -> None:
    panel, exposures, _ = market(spawn(7, "ahead"), 0.3)
    moved = panel.matrix * np.exp(0.1 * np.roll(exposures["tv"], -4, axis=1))
    found = SimultaneousCampaigns(**QUICK).estimate(Panel(moved, panel.units, panel.periods), exposures)
    assert verdicts(SimultaneousCampaigns(**QUICK).estimate(panel, exposures))["anticipation"] == "ok"
    assert verdicts(found)["anticipation"] == "fail"


def test_results_can_be_read() -> None:
    panel, _, _ = market(spawn(7, "read"), 0.3)
    found = SimultaneousCampaigns(**QUICK).estimate(panel)
    assert list(found.to_frame()["part"]) == ["tv", "posts", "shared", "total"]
    assert found.summary().startswith("Together tv, posts brought")
    assert len(found.plot().data) == 4
    with pytest.raises(InputError, match="no campaign 'radio'"):
        found.part("radio")


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"exposures": {}}, InputError, "no campaign"),
        ({"exposures": {"tv": np.ones((3, 3))}}, InputError, "shape"),
        ({"exposures": {"tv": np.ones((24, WEEKS))}}, CannotTell, "never moves"),
        ({"exposures": {"tv": np.full((24, WEEKS), np.nan)}}, InputError, "holes"),
        ({"exposures": {"tv": -np.arange(WEEKS)}}, InputError, "negative"),
        ({"exposures": {"shared": np.arange(WEEKS)}}, InputError, "cannot be called"),
        ({"start": "2030-01-01"}, InputError, "outside the panel"),
        ({"start": "2024-03-04", "end": "2023-03-04"}, InputError, "outside the panel"),
    ],
)
def test_bad_questions_are_refused(change: dict[str, object], error: type[Exception], says: str) -> None:
    panel, _, _ = market(spawn(7, "bad"), 0.3)
    with pytest.raises(error, match=says):
        SimultaneousCampaigns(**QUICK).estimate(panel, **change)


def test_too_little_data_are_refused() -> None:
    panel, _, _ = market(spawn(7, "bad"), 0.3)
    few = Panel(panel.matrix[:5], panel.units[:5], panel.periods)
    with pytest.raises(CannotTell, match="too few"):
        SimultaneousCampaigns().estimate(few, {"tv": panel.exposure["tv"][:5]})
    still = panel.matrix.copy()
    still[2] = 5.0
    with pytest.raises(CannotTell, match="r02 never moves"):
        SimultaneousCampaigns().estimate(Panel(still, panel.units, panel.periods), dict(panel.exposure))
    for wrong in ({"scale": "cubic"}, {"response": "odd"}, {"factors": -1}, {"limit": 2.0}, {"exposure": "odd"}):
        with pytest.raises(InputError):
            SimultaneousCampaigns(**wrong)
