"""Weekly schedules and scenarios: rules are kept to the cent, today is never left for worse, the bound holds, and the worth is what it says."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liftwise.core.errors import CannotTell, Infeasible, InputError
from liftwise.core.transforms import hill, lag_weights
from liftwise.core.uncertainty import spawn
from liftwise.decisions.allocation import flighting
from liftwise.decisions.allocation.flighting import Media, flight
from liftwise.decisions.allocation.scenarios import largest_budget, scenarios


def world(
    seed: int, channels: int = 3, draws: int = 20, shape: float = 1.0, keep: float | None = None
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Response curves, carry-over and 60 weeks of spend."""
    random = spawn(seed, "flighting")
    curves, lags, history = [], [], {}
    for c in range(channels):
        usual = float(np.exp(random.normal(7, 0.7)))
        history[f"c{c}"] = usual * np.exp(0.2 * random.normal(size=60))
        grid = np.linspace(0, 2.5, 26) * history[f"c{c}"][-52:].mean()
        top, half, stays = usual * np.exp(random.normal(0.7, 0.5)), np.exp(random.normal(0, 0.4)), random.uniform(0.1, 0.6)
        for draw in range(draws):
            revenue = top * np.exp(0.2 * random.normal()) * hill(grid / usual, half * np.exp(0.1 * random.normal()), shape)
            curves.append(pd.DataFrame({"channel": f"c{c}", "draw": draw, "spend": grid, "revenue": revenue}))
            weight = lag_weights(stays if keep is None else keep, 6)
            lags.append(pd.DataFrame({"channel": f"c{c}", "draw": draw, "lag": range(6), "weight": weight}))
    weeks = pd.date_range("2024-01-01", periods=60, freq="W-MON")
    return pd.concat(curves), pd.concat(lags), pd.DataFrame(history, index=weeks)


@given(st.integers(0, 10_000), st.sampled_from([1.0, 2.0]), st.sampled_from([0.0, 0.4, 1.0]), st.sampled_from([0.9, 1.0, 1.1]))
@settings(max_examples=15)
def test_rules_are_kept_and_the_bound_holds(seed: int, shape: float, risk_aversion: float, more: float) -> None:
    curves, lags, history = world(seed, shape=shape)
    total = round(float(history[-52:].mean().sum() * 5 * more), 2)
    told = {"floors": {"c0": 0.1}, "ceilings": {"c1": 0.5}}
    found = flight(curves, lags, history, weeks=5, total=total, risk_aversion=risk_aversion, **told)
    plan = found.recommended
    assert round(plan.to_numpy().sum(), 2) == total
    assert (plan.to_numpy() >= 0).all() and plan["c0"].sum() >= 0.1 * total - 0.1 and plan["c1"].sum() <= 0.5 * total + 0.1
    assert found.value <= found.bound + 1e-9 * found.revenue
    assert found.gap < (0.02 if shape == 1 else 0.2)
    if more == 1.0 and found.current["c0"].sum() >= 0.1 * total and found.current["c1"].sum() <= 0.5 * total:
        assert found.value >= -1e-6 * total, "never below today"
    again = flight(curves, lags, history, weeks=5, total=total, risk_aversion=risk_aversion, **told)
    pd.testing.assert_frame_equal(plan, again.recommended)


@pytest.mark.parametrize("shape", [1.0, 2.0])
def test_no_plan_on_a_grid_is_better(shape: float) -> None:
    """Two channels, two weeks, all plans in steps of a twentieth of the money."""
    curves, lags, history = world(3, channels=2, shape=shape)
    found = flight(curves, lags, history, weeks=2)
    past = history.to_numpy()
    media = Media.of(curves, lags, ["c0", "c1"], past).some(slice(0, None, 2))
    today, money = found.current.to_numpy(), found.current.to_numpy().sum()
    best = -np.inf
    for a, b, c in product(range(21), repeat=3):
        if a + b + c <= 20:
            plan = money / 20 * np.array([[a, b], [c, 20 - a - b - c]])
            if (plan <= media.reach).all():
                best = max(best, float(media.gains(plan, today).mean()))
    assert found.value >= best - 1e-6 * money
    assert found.bound >= best


def test_revenue_is_that_of_the_plain_sum() -> None:
    """Against loops over draws, channels, weeks and lags, at points of the curves, where nothing is interpolated."""
    curves, lags, history = world(5, channels=2, draws=8, keep=0.0)
    media = Media.of(curves, lags, ["c0", "c1"], history.to_numpy())
    plan = np.array([[media.grid[0, 3], media.grid[1, 10]], [media.grid[0, 25], media.grid[1, 0]]])
    told = media.gains(plan, plan * 0 + media.grid[:, 10])
    plain = [
        sum(
            media.heights[d, c, np.searchsorted(media.grid[c], plan[t, c])] - media.heights[d, c, 10]
            for c in range(2)
            for t in range(2)
        )
        for d in range(8)
    ]
    np.testing.assert_allclose(told, plain)


def test_the_slope_is_the_derivative() -> None:
    curves, lags, history = world(6, shape=2.0)
    media = Media.of(curves, lags, ["c0", "c1", "c2"], history.to_numpy())
    plan = np.tile(media.usual, (4, 1)) * spawn(1, "plan").uniform(0.3, 1.5, (4, 3))
    slope = media.slope(plan)[1]
    for t, c in ((0, 0), (3, 1), (2, 2)):
        step = np.zeros_like(plan)
        step[t, c] = 1e-4 * media.usual[c]
        rise = (media.revenue(plan + step) - media.revenue(plan - step)) / (2 * step[t, c])
        np.testing.assert_allclose(slope[:, t, c], rise, rtol=1e-4)


def test_what_earlier_weeks_left_behind_still_works() -> None:
    """A channel that ran heavily just before needs less now: its first week gets less than its last but one."""
    curves, lags, history = world(8, channels=2, keep=0.6)
    heavy = history.copy()
    heavy.iloc[-3:, 0] *= 2.4
    plain, after = (flight(curves, lags, told, weeks=6, total=float(history[-52:].mean().sum() * 6)) for told in (history, heavy))
    first = [each.recommended["c0"].iloc[0] / each.recommended["c0"].iloc[-2] for each in (plain, after)]
    assert first[1] < first[0]


def test_more_risk_aversion_is_a_better_worst_case() -> None:
    curves, lags, history = world(9, channels=4, draws=200)
    bold, careful = (flight(curves, lags, history, weeks=4, risk_aversion=aversion) for aversion in (0.0, 1.0))
    assert careful.value >= 0, "today is worth nothing beyond itself in every case"
    assert careful.worst > bold.worst
    assert careful.gain.mean <= bold.gain.mean + 1e-6 * bold.revenue


def test_bad_questions_are_refused() -> None:
    curves, lags, history = world(1)
    with pytest.raises(Infeasible, match="floors ask for 120%"):
        flight(curves, lags, history, floors={"c0": 0.6, "c1": 0.6})
    with pytest.raises(Infeasible, match="hold only"):
        flight(curves, lags, history, total=1e9)
    with pytest.raises(InputError, match="radio"):
        flight(curves, lags, history.assign(radio=1.0))
    with pytest.raises(InputError, match="risk aversion"):
        flight(curves, lags, history, risk_aversion=2.0)
    with pytest.raises(CannotTell, match="8 draws"):
        flight(curves[curves["draw"] < 4], lags[lags["draw"] < 4], history)


def test_it_can_be_read() -> None:
    curves, lags, history = world(2)
    found = flight(curves, lags, history, weeks=3, scenario="+10 %", total=float(history[-52:].mean().sum() * 3.3))
    table = found.to_frame()
    assert len(table) == 9 and set(table["scenario"]) == {"+10 %"} and table["week"].min() > history.index[-1]
    assert "worst tenth" in found.summary()
    assert len(found.plot().data) == 4


# -- dates, holidays, quarters, locks


def test_a_plan_may_start_later_and_today_goes_on_until_then() -> None:
    """The same as if the weeks between had been spent as usual and were part of the history."""
    curves, lags, history = world(3, channels=2, keep=0.5)
    usual = history[-52:].mean()
    later = flight(curves, lags, history, weeks=3, start=history.index[-1] + pd.Timedelta(weeks=9))
    assert later.recommended.index[0] == history.index[-1] + pd.Timedelta(weeks=9)
    waited = Media.of(curves, lags, ["c0", "c1"], np.vstack([history, np.tile(usual, (8, 1))]), usual=usual.to_numpy())
    even = np.tile(usual, (3, 1))
    told = waited.some(slice(1, None, 2)).gains(later.recommended.to_numpy(), even)
    np.testing.assert_allclose(later.gain.mean, told.mean())
    for bad in (history.index[-1], history.index[-1] + pd.Timedelta(days=10)):
        with pytest.raises(InputError, match="no week begins on"):
            flight(curves, lags, history, weeks=3, start=bad)


def test_a_holiday_week_gets_more_and_is_worth_its_multiple() -> None:
    curves, lags, history = world(4, channels=2, keep=0.0)
    week = history.index[-1] + pd.Timedelta(weeks=3)
    plain, feast = (flight(curves, lags, history, weeks=5, seasons=told) for told in ({}, {week + pd.Timedelta(days=3): 1.8}))
    assert feast.recommended.loc[week].sum() > 1.15 * plain.recommended.loc[week].sum()
    media = Media.of(curves, lags, ["c0", "c1"], history.to_numpy())
    plan = feast.current.to_numpy()
    rise = replace(media, seasons=np.array([1.0, 1.0, 1.8, 1.0, 1.0])).revenue(plan) - media.revenue(plan)
    of_week = sum([np.array([np.interp(plan[2, c], media.grid[c], media.heights[d, c]) for d in range(20)]) for c in range(2)])
    np.testing.assert_allclose(rise, 0.8 * of_week, rtol=2e-3)  # cubic there, straight here


@pytest.mark.parametrize("cells", [100, 1])
def test_least_money_locks_and_quarters_are_kept(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By quadratic programs and by walking; weeks from mid June, so that the quarter ends in between."""
    monkeypatch.setattr(flighting, "CELLS", cells)
    curves, lags, history = world(7, channels=3)
    usual = history[-52:].mean()
    start = pd.Timestamp("2025-06-09")
    total = round(float(usual.sum()) * 7, 2)
    feast = (start + pd.Timedelta(weeks=5), "c1")
    least = {feast: 1.5 * usual["c1"]}
    told = {"weeks": 7, "start": start, "least": least, "locked": ("c2",), "seasons": {start: 1.5}, "total": total}
    free, apart = (flight(curves, lags, history, quarters_apart=each, **told) for each in (False, True))
    for found in (free, apart):
        assert round(found.recommended.to_numpy().sum(), 2) == total
        assert found.recommended.loc[feast] >= 1.5 * usual["c1"] - 0.01
        assert (found.recommended["c2"] == round(usual["c2"], 2)).all()
        assert found.value <= found.bound + 1e-9 * found.revenue
        assert found.gap < 0.02
    june = apart.recommended.index < "2025-07-01"
    assert june.sum() == 4
    assert apart.recommended[june].to_numpy().sum() == pytest.approx(total * 4 / 7, abs=0.011)
    assert abs(free.recommended[june].to_numpy().sum() - total * 4 / 7) > 0.001 * total, "else the rule is not tried"
    assert free.value >= apart.value - 1e-3 * abs(apart.revenue)


def test_walking_is_hardly_worse_than_quadratic_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    curves, lags, history = world(11, channels=4, shape=1.6)
    exact = flight(curves, lags, history, weeks=6)
    monkeypatch.setattr(flighting, "CELLS", 1)
    walked = flight(curves, lags, history, weeks=6)
    assert walked.value >= exact.value - 2e-4 * exact.revenue


def test_more_bad_questions_are_refused() -> None:
    curves, lags, history = world(1)
    first = history.index[-1] + pd.Timedelta(weeks=1)
    for told, what in (
        ({"seasons": {"2020-01-01": 1.2}}, "lies in no week"),
        ({"seasons": {first: float("nan")}}, "season of"),
        ({"least": {(first, "radio"): 1.0}}, "radio"),
        ({"least": {(first, "c0"): -1.0}}, "least money of c0"),
        ({"locked": ("radio",)}, "radio"),
        ({"floors": {"c0": 900.0}}, "no share"),
        ({"total": float("nan")}, "total of nan"),
        ({"weeks": 0}, "a week to plan"),
    ):
        with pytest.raises(InputError, match=what):
            flight(curves, lags, history, **told)
    with pytest.raises(InputError, match="missing or negative money"):
        flight(curves, lags, history - 1e6)
    with pytest.raises(Infeasible, match="beyond what the curve knows"):
        flight(curves, lags, history, least={(first, "c0"): 1e9})
    weeks = pd.date_range("2025-06-16", periods=2, freq="W-MON")
    needs = {(week, name): 2.0 * history[-52:][name].mean() for week in weeks for name in history.columns}
    with pytest.raises(Infeasible, match="money of a quarter"):
        flight(curves, lags, history, weeks=6, start=weeks[0], least=needs, quarters_apart=True)


# -- scenarios


def test_scenarios_answer_each_question_within_its_money() -> None:
    curves, lags, history = world(2, channels=3, draws=16)
    usual = float(history[-52:].mean().sum())
    found = scenarios(
        curves, lags, history, weeks=4, locked=("c2",), start=history.index[-1] + pd.Timedelta(weeks=2), target_roi=0.2
    )
    assert {*found.found} == {"same budget", "+10 %", "-10 %", "reallocate", "target ROI"} - {*found.left_out}
    for name, times in (("same budget", 1.0), ("+10 %", 1.1), ("-10 %", 0.9), ("reallocate", 1.0)):
        each = found[name]
        assert each.weekly.recommended.to_numpy().sum() == pytest.approx(4 * times * usual, abs=0.1)
        assert each.steady.recommended.sum() == pytest.approx(times * usual, abs=0.011)
        assert each.steady.recommended["c2"] == round(float(history["c2"][-52:].mean()), 2)
    moved = found["reallocate"].weekly.recommended.sum() / found["reallocate"].weekly.current.sum()
    assert moved.between(0.7 - 1e-3, 1.3 + 1e-3).all()
    table = found.to_frame()
    assert not table.duplicated(["scenario", "week", "region", "channel"]).any()
    assert {*table.columns} == {"scenario", "week", "region", "channel", "current", "recommended", "gain", "low", "high"}
    compared = found.compare().set_index("scenario")
    assert compared.loc["+10 %", "gain"] > compared.loc["same budget", "gain"] > compared.loc["-10 %", "gain"]
    np.testing.assert_allclose(compared.filter(like="change").sum(axis=1), compared["more"], atol=1e-6)
    assert len(found.summary().splitlines()) == len(found.found) + len(found.left_out)
    assert len(found.plot().data) == 1


@pytest.mark.parametrize("target", ["marginal", "average"])
def test_the_largest_budget_for_a_target_is_that_of_the_formula(target: str) -> None:
    """Two channels of revenue a·√x: the next money earns √Σa² / 2√total, all money √Σa² / √total."""
    spend = np.concatenate([[0.0], np.geomspace(0.01, 1000, 400)])
    curves = pd.concat([
        pd.DataFrame({"channel": name, "draw": draw, "spend": spend, "revenue": height * np.sqrt(spend)})
        for name, height in (("a", 30.0), ("b", 40.0)) for draw in range(4)
    ])  # fmt: skip
    current = pd.Series({"a": 10.0, "b": 10.0})
    money, ended = largest_budget(curves, current, 2.0, target=target)
    assert not ended
    assert money == pytest.approx({"marginal": (50 / 4) ** 2, "average": (50 / 2) ** 2}[target], rel=0.02)
    assert largest_budget(curves, current, 0.4, target=target)[1], "the curves end first"
    with pytest.raises(CannotTell, match="no budget earns"):
        largest_budget(curves, current, 1e6, target=target)
    for bad in (0.0, float("nan")):
        with pytest.raises(InputError, match="target of"):
            largest_budget(curves, current, bad, target=target)
