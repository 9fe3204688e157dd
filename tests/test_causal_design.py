"""The design of tests: published market selection, power that holds on truth, and plans that cannot be bent."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import spawn
from liftwise.models.causal import Panel, SyntheticControl
from liftwise.models.causal.frozen import DO_NOT_RUN, RUN, TestPlan, plan_test, read_out
from liftwise.models.causal.markets import candidate_sets, select_markets
from liftwise.models.causal.placebo import run_placebos
from liftwise.models.causal.power import PowerCurve, Rehearsal, simulate_power

Data = Callable[[str], Path]


def panel_of(units: int = 14, periods: int = 60, noise: float = 1.0, seed: int = 0) -> Panel:
    """Weekly sales of regions of many sizes that share a season, with noise."""
    random = spawn(seed, "design panel")
    size = np.exp(random.normal(0, 0.5, units))
    common = np.cumsum(random.normal(0, 0.5, periods)) + 3 * np.sin(np.arange(periods) / 4)
    slope = 1 + 0.3 * random.normal(size=units)
    values = size[:, None] * (100 + slope[:, None] * common + noise * random.normal(size=(units, periods)))
    return Panel(values, tuple(f"r{k:02d}" for k in range(units)), pd.date_range("2024-01-01", periods=periods, freq="W-MON"))


def geolift(shared_data: Data, name: str = "PreTest") -> Panel:
    frame = pd.read_csv(shared_data("geolift_walkthrough") / f"GeoLift_{name}.csv.gz")
    return Panel.of(frame, "location", "date", "Y")


# --- market selection

WALKTHROUGH = [  # rank, markets, duration, mde, scaled L2, investment, |lift found − added|: printed by GeoLift
    (1, "chicago;cincinnati;houston;portland", 15, 0.05, 0.1971864, 74118.38, 0.002),
    (1, "chicago;portland", 15, 0.10, 0.1738778, 64563.75, 0.001),
    (3, "chicago;cincinnati;houston;portland", 10, 0.10, 0.1966996, 99027.75, 0.004),
    (3, "chicago;portland", 10, 0.10, 0.1682310, 43646.25, 0.004),
    (5, "chicago;houston;portland", 10, 0.10, 0.2305628, 75389.25, 0.005),
    (6, "chicago;cincinnati;houston;nashville;san diego", 15, 0.05, 0.2699167, 95755.50, 0.007),
]


def test_the_market_selection_of_the_geolift_walkthrough_comes_out(shared_data: Data) -> None:
    found = select_markets(
        geolift(shared_data), [2, 3, 4, 5], [10, 15], [0, 0.05, 0.1, 0.15, 0.2], include=["chicago"], forced_control=["honolulu"],
        budget=100_000, cost_per_unit=7.5, lookback=1, alpha=0.1, inference="conformal",
    )  # fmt: skip
    best = found.to_frame().head(6)
    for row, (rank, markets, duration, mde, scaled, cost, off) in zip(best.itertuples(), WALKTHROUGH, strict=True):
        assert (row.rank, row.markets, row.duration, row.mde, row.power) == (rank, markets, duration, mde, 1.0)
        assert row.imbalance == pytest.approx(scaled, abs=1e-4)
        assert row.cost == pytest.approx(cost, abs=0.01)
        assert round(abs(row.bias), 3) == off
    assert best["holdout"].iloc[0] == pytest.approx(0.9242359, abs=1e-6)
    assert found.curves[1].found[2] == pytest.approx(0.10117316, abs=1e-6)  # Average_MDE of chicago + portland
    assert len(found.plot().data) == 5
    assert "chicago" in found.summary()


def test_rules_about_markets_are_kept() -> None:
    panel = panel_of()
    found = select_markets(
        panel, [2, 3], [6], [0, 0.05, 0.1], include=["r01"], exclude=["r02"], forced_control=["r03"], lookback=3,
        cost_per_unit=1.0, budget=10_000, holdout=(0.6, 0.95),
    )  # fmt: skip
    for curve in found.curves:
        assert "r01" in curve.markets
        assert not {"r02", "r03"} & set(curve.markets)
        assert 0.6 <= curve.holdout <= 0.95
        assert curve.cost(curve.mde) <= 10_000
    assert list(found.ranks) == sorted(found.ranks)
    with pytest.raises(InputError, match=r"r01 is in include and in exclude"):
        select_markets(panel, [2], [6], [0.1], include=["r01"], exclude=["r01"])
    with pytest.raises(InputError, match="cost_per_unit"):
        select_markets(panel, [2], [6], [0.1], budget=5)
    with pytest.raises(InputError, match="cannot be made"):
        select_markets(panel, [1], [6], [0.1], include=["r01", "r02"])
    with pytest.raises(CannotTell, match="cost more than the budget"):
        select_markets(panel, [2], [6], [0.2], budget=0.001, cost_per_unit=1.0, lookback=2)


def test_an_excluded_market_is_not_even_a_donor() -> None:
    panel = panel_of()
    wild = panel.matrix.copy()
    wild[2] *= spawn(1, "wild").lognormal(0, 1, wild.shape[1])
    other = Panel(wild, panel.units, panel.periods)
    ask = {"sizes": [2], "durations": [6], "effects": [0.05], "exclude": ["r02"], "lookback": 2}
    assert select_markets(panel, **ask).to_frame().equals(select_markets(other, **ask).to_frame())


def test_candidates_are_those_that_move_most_alike() -> None:
    values = panel_of(units=8).matrix
    alike = np.corrcoef(values)
    for group in candidate_sets(values, 3):
        heads = [k for k in group if set(np.argsort(-alike[k])[:3]) == set(group)]
        assert heads  # one of them has the other two as its nearest
    for group in candidate_sets(values, 4, include=[0, 5]):
        assert {0, 5} <= set(group)


# --- power


@pytest.mark.parametrize("treated", [["r00"], ["r00", "r05"]])
def test_a_rehearsal_sees_what_the_read_out_would_have_said(treated: list[str]) -> None:
    """The oracle: add the lift to the panel by hand and run the design itself."""
    panel, duration, effects = panel_of(units=12), 6, [0.0, 0.01, 0.02, 0.05]
    run = Rehearsal(effects=effects, lookback=4, placebos=999)
    curve = simulate_power(panel, treated=treated, duration=duration, effects=effects, lookback=4, placebos=999)
    rows, seen, found, widths = panel.rows(treated), [], [], []
    for first in run.starts(60, duration):
        for effect in effects:
            values = panel.matrix[:, : first + duration].copy()
            values[rows, first:] *= 1 + effect
            lift = SyntheticControl().estimate(
                Panel(values, panel.units, panel.periods[: first + duration]), treated=treated, start=panel.periods[first]
            )
            seen.append(lift.p_value < 0.1)
            found.append(lift.relative)
            low, high = lift.interval(0.9)
            if effect == 0:
                widths.append((high - low) / lift.counterfactual.iloc[first:].sum())
    assert curve.power == pytest.approx(np.reshape(seen, (4, 4)).mean(axis=0))
    assert curve.found == pytest.approx(np.reshape(found, (4, 4)).mean(axis=0))
    assert curve.width == pytest.approx(np.median(widths))
    assert 0 < curve.power.mean() < 1  # so that the comparison says something


def test_power_is_what_fresh_panels_show() -> None:
    """Rehearsed on the past, the power at an effect is the share of fresh panels on which the design then sees it."""
    effects, rehearsed, seen = [0.0, 0.008], [], []
    for seed in range(60):
        panel = panel_of(units=16, periods=66, seed=seed)
        past = Panel(panel.matrix[:, :60], panel.units, panel.periods[:60])
        rehearsed.append(simulate_power(past, treated="r00", duration=6, effects=effects, lookback=5).power)
        values = panel.matrix.copy()
        values[0, 60:] *= 1.008
        seen.append(run_placebos(values, [0], 60, demean=True, seed=7).test(slice(60, None)).p_value < 0.1)
    told = np.mean(rehearsed, axis=0)
    assert told[0] < 0.13  # false alarms, at 10 %
    assert told[1] == pytest.approx(np.mean(seen), abs=0.17)  # 60 panels: standard error 6 points
    assert told[1] > told[0] + 0.15


def test_conformal_p_values_are_those_of_all_shifts_in_time() -> None:
    """An obvious slow version: fit with the window in, then move the window through time."""
    from scipy.optimize import minimize

    panel = panel_of(units=5, periods=30)
    curve = simulate_power(panel, treated="r00", duration=5, effects=[0.02], lookback=1, inference="conformal")
    values = panel.matrix.copy()
    values[0, 25:] *= 1.02
    values -= values.mean(axis=1, keepdims=True)
    fit = minimize(
        lambda w: np.sum((values[0] - w @ values[1:]) ** 2), np.full(4, 0.25), bounds=[(0, 1)] * 4, method="SLSQP",
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1}, options={"ftol": 1e-14, "maxiter": 1000},
    )  # fmt: skip
    apart = np.abs(values[0] - fit.x @ values[1:])
    shifts = [np.mean(np.roll(apart, -k)[:5]) for k in range(30)]
    p = np.mean([shift >= shifts[25] - 1e-9 for shift in shifts])
    assert curve.power[0] == float(p < 0.1)
    assert np.isnan(curve.width)


def test_more_effect_or_less_noise_never_lowers_power() -> None:
    quiet, loud = panel_of(noise=0.5), panel_of(noise=4.0)
    effects = [0.0, 0.01, 0.02, 0.05, 0.1]
    one = simulate_power(quiet, treated=["r00", "r01"], duration=6, effects=effects, lookback=6, cost_per_unit=2.0)
    two = simulate_power(loud, treated=["r00", "r01"], duration=6, effects=effects, lookback=6)
    assert (np.diff(one.power) >= 0).all()
    assert (one.power >= two.power - 0.2).all()
    assert one.mde < two.mde
    assert one.width < two.width
    assert one.cost(0.05) == pytest.approx(2.0 * 0.05 * one.volume)
    assert np.isnan(two.cost(0.05))
    assert one.at(0.015) == pytest.approx((one.power[1] + one.power[2]) / 2)
    assert list(one.to_frame().columns) == ["effect", "power", "found", "cost"]
    with pytest.raises(InputError, match="not rehearsed"):
        one.at(0.3)


def test_the_smallest_detectable_effect_takes_all_larger_ones_with_it() -> None:
    def curve(*power: float) -> PowerCurve:
        effects = np.array([0.0, 0.05, 0.1, 0.15])
        return PowerCurve(("a",), 5, effects, np.array(power), effects, 0.1, 1.0, 0.1, 0.9, 4, 0.1, "placebo")

    assert curve(0.1, 0.8, 0.9, 1).mde == 0.05
    assert curve(0.1, 0.9, 0.7, 1).mde == 0.15  # the 0.9 was luck
    assert curve(1, 1, 1, 1).mde == 0.05
    assert curve(0.1, 0.2, 0.3, 0.4).mde == np.inf
    assert "none of the effects" in curve(0.1, 0.2, 0.3, 0.4).summary()


@pytest.mark.parametrize(("asked", "says"), [
    ({"inference": "hope"}, "unknown"), ({"level": "log"}, "unknown"), ({"lookback": 0}, "lookback"), ({"effects": [-0.1]}, "effects"),
    ({"effects": []}, "effects"), ({"effects": [0.0]}, "effects"), ({"duration": 55}, "cannot rehearse"), ({"alpha": 0.01}, "placebos"),
    ({"treated": [f"r{k:02d}" for k in range(12)]}, "to compare with"), ({"treated": ["nowhere"]}, "no unit"), ({"treated": []}, "no market"),
])  # fmt: skip
def test_impossible_rehearsals_are_refused(asked: dict, says: str) -> None:
    usual = {"treated": ["r00"], "duration": 6, "effects": [0.05]}
    with pytest.raises((InputError, CannotTell), match=says):
        simulate_power(panel_of(), **{**usual, **asked})


# --- frozen plans


def planned(expected: float = 0.05, noise: float = 1.0) -> tuple[TestPlan, Panel]:
    """A frozen plan for the last 6 of 60 weeks, and the panel as it came to be, with a lift of 5 %."""
    panel = panel_of(noise=noise)
    past = Panel(panel.matrix[:, :54], panel.units, panel.periods[:54])
    plan = plan_test(
        past, markets=["r01", "r00"], start=panel.periods[54], end=panel.periods[59], duration=6, expected_lift=expected,
        cost_per_unit=0.5, lookback=4,
    )  # fmt: skip
    values = panel.matrix.copy()
    values[:2, 54:] *= 1.05
    return plan.freeze(), Panel(values, panel.units, panel.periods)


def test_a_plan_read_out_as_planned_has_no_deviation() -> None:
    plan, panel = planned()
    lift, deviations = read_out(plan, panel)
    direct = SyntheticControl().estimate(panel, treated=["r00", "r01"], start=panel.periods[54], end=panel.periods[59])
    assert deviations == []
    assert (lift.effect, lift.p_value, lift.interval(0.9)) == (direct.effect, direct.p_value, direct.interval(0.9))
    assert plan.verdict == RUN
    assert plan.summary().startswith("Run. Test in r00 + r01, 2025-01-13 to 2025-02-17")
    assert lift.p_value < 0.1


def test_every_deviation_is_named() -> None:
    plan, panel = planned()
    fewer = Panel(np.delete(panel.matrix, 9, axis=0), tuple(np.delete(panel.units, 9)), panel.periods)
    _, said = read_out(
        plan, fewer, treated=["r00", "r03"], start=panel.periods[55], end="2025-03-10", level=0.8,
        design=SyntheticControl(level="outcome"),
    )  # fmt: skip
    for part in (
        "Treated but not planned: r03", "Planned but not treated: r01", "not in the data: r09", "The start was 2025-01-20, planned was 2025-01-13",
        "The end was 2025-03-10, planned was 2025-02-17", "The level was 80.0%, planned was 90.0%", "synthetic_control/outcome, planned",
        "The data end at 2025-02-17",
    ):  # fmt: skip
        assert any(part in sentence for sentence in said), part
    assert len(said) == 8


def test_a_plan_that_was_changed_is_refused() -> None:
    plan, panel = planned()
    text = plan.to_json()
    assert TestPlan.from_json(text) == plan
    assert read_out(text, panel)[1] == []
    for bent in (replace(plan, end="2025-02-10"), replace(plan, expected_lift=0.01), replace(plan, alpha=0.2)):
        with pytest.raises(InputError, match="hash does not match"):
            read_out(bent, panel)
    edited = json.loads(text)
    edited["markets"] = ["r00"]
    with pytest.raises(InputError, match="hash does not match"):
        read_out(json.dumps(edited), panel)
    with pytest.raises(InputError, match="never frozen"):
        read_out(replace(plan, sha256=""), panel)
    with pytest.raises(InputError, match="no test plan"):
        read_out("{}", panel)


def test_the_hash_depends_on_content_alone() -> None:
    assert planned()[0].sha256 == planned()[0].sha256
    digests = {planned(expected)[0].sha256 for expected in (0.03, 0.05)}
    assert len(digests) == 2
    assert planned()[0].freeze().sha256 == planned()[0].sha256  # freezing twice changes nothing


def test_a_test_that_would_rather_miss_than_see_is_advised_against() -> None:
    plan, _ = planned(expected=0.002, noise=5.0)
    assert plan.power < 0.5
    assert plan.verdict == DO_NOT_RUN
    assert plan.summary().startswith("Do not run this test.")
    assert "do not run this test" in str(plan.plot().layout.title.text)
    assert dict(plan.to_frame().itertuples(index=False))["verdict"] == DO_NOT_RUN


def test_plans_survive_the_infinite() -> None:
    plan, _ = planned(expected=0.002, noise=40.0)
    assert plan.mde == np.inf
    assert TestPlan.from_json(plan.to_json()) == plan
    assert "none of the effects rehearsed" in plan.summary()


def test_numbered_periods_work_too() -> None:
    panel = panel_of()
    years = Panel(panel.matrix, panel.units, pd.Index(np.arange(1960, 2020)))
    past = Panel(years.matrix[:, :54], years.units, years.periods[:54])
    plan = plan_test(past, markets=["r00"], start=2014, end=2019, duration=6, expected_lift=0.05, lookback=2).freeze()
    lift, said = read_out(plan, years)
    assert said == []
    assert lift.start == 2014


def test_the_walkthroughs_own_test_keeps_its_plan(shared_data: Data) -> None:
    """Planned on 90 days, read out on 105: GeoLift's 5.4 % with p and interval that agree."""
    plan = plan_test(
        geolift(shared_data), markets=["chicago", "portland"], start="2021-04-01", end="2021-04-15", duration=15, expected_lift=0.1,
        cost_per_unit=7.5, lookback=3,
    ).freeze()  # fmt: skip
    lift, said = read_out(plan, geolift(shared_data, "Test"))
    assert said == []
    assert lift.effect == pytest.approx(4666.67, abs=0.5)
    assert lift.relative == pytest.approx(0.054232, abs=1e-5)
    low, high = lift.interval(0.9)
    assert (lift.p_value < 0.1) == (not low <= 0 <= high)


def test_all_groups_are_placebos_when_they_are_few() -> None:
    """With 7 units, pairs: 20 other pairs, so p cannot fall below 1/21 and an interval at 90 % exists."""
    panel = panel_of(units=7)
    curve = simulate_power(panel, treated=["r00", "r01"], duration=6, effects=[0.5], lookback=2)
    assert len(list(combinations(range(7), 2))) - 1 == 20
    assert curve.power[0] in (0.0, 0.5, 1.0)
    with pytest.raises(CannotTell, match="placebos cannot test"):
        simulate_power(panel, treated=["r00", "r01"], duration=6, effects=[0.5], alpha=0.04)
