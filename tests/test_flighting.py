"""Weekly schedules and scenarios: rules are kept to the cent, today is never left for worse, the bound holds, and the worth is what it says."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator
from scipy.optimize import minimize

from liftwise.core.errors import CannotTell, Infeasible, InputError
from liftwise.core.transforms import hill, lag_weights
from liftwise.core.uncertainty import spawn
from liftwise.decisions.allocation import climbing
from liftwise.decisions.allocation.aversion import Aversion, worst_mean
from liftwise.decisions.allocation.calendar_rules import Rules
from liftwise.decisions.allocation.carried_media import Media
from liftwise.decisions.allocation.climbing import search
from liftwise.decisions.allocation.curves import curves_of
from liftwise.decisions.allocation.flighting import flight
from liftwise.decisions.allocation.mean_risk import best_risky
from liftwise.decisions.allocation.scenarios import largest_budget, scenarios
from liftwise.decisions.allocation.winners_curse import shrunk


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


def asked(seed: int, weeks: int, *, more: float = 1.0, shape: float = 1.0, channels: int = 3, draws: int = 20) -> dict[str, Any]:
    """What the search is given for a world: choosing draws, rules without limits, today's plan and what is kept of it."""
    curves, lags, history = world(seed, channels=channels, shape=shape, draws=draws)
    names = list(history.columns)
    media = Media.of(curves, lags, names, history.to_numpy())
    today = np.tile(media.usual, (weeks, 1))
    rules = Rules.of(names, media.reach, weeks, float(today.sum()) * more, {}, {}, usual=media.usual)
    return {"media": media.some(slice(0, None, 2)), "rules": rules, "today": today, "kept": rules.as_today(media.usual)}


AVERSE = [(0.0, 0.0), (0.5, 0.0), (1.5, 0.0), (0.0, 0.4), (0.0, 1.0), (0.5, 0.4)]


@given(
    st.integers(0, 10_000), st.sampled_from([1.0, 2.0]), st.sampled_from(AVERSE), st.sampled_from([0.9, 1.0, 1.1]), st.booleans()
)
@settings(max_examples=8)
def test_rules_are_kept_and_the_bound_holds(
    seed: int, shape: float, averse: tuple[float, float], more: float, quarters_apart: bool
) -> None:
    """Seven weeks over the end of a quarter; floors, ceilings, a lock, a cell."""
    curves, lags, history = world(seed, channels=4, shape=shape)
    usual, start = history[-52:].mean(), pd.Timestamp("2025-06-09")
    total = round(float(usual.sum() * 7 * more), 2)
    told = {
        "floors": {"c0": 0.05}, "ceilings": {"c1": 0.6}, "locked": ("c3",), "least": {(start, "c2"): 1.2 * usual["c2"]}, "weeks": 7,
        "start": start, "total": total, "quarters_apart": quarters_apart, "risk_aversion": averse[0], "tail_aversion": averse[1],
    }  # fmt: skip
    try:
        found = flight(curves, lags, history, **told)
    except Infeasible:
        assert usual["c3"] > 0.3 * usual.sum() or usual["c1"] > 0.3 * usual.sum(), "else there is room"
        return
    plan, cents = found.recommended, 0.0101 * 7
    assert (plan * 100 - (plan * 100).round()).abs().max().max() < 1e-6 and round(plan.to_numpy().sum() * 100) == round(
        total * 100
    )
    if quarters_apart:
        assert plan[plan.index < "2025-07-01"].to_numpy().sum() == pytest.approx(total * 4 / 7, abs=0.0051)
    assert (plan.to_numpy() >= 0).all() and (
        plan.to_numpy() <= curves.groupby("channel")["spend"].max().to_numpy() + 0.0101
    ).all()
    assert plan["c0"].sum() >= 0.05 * total - cents and plan["c1"].sum() <= 0.6 * total + cents
    assert (plan["c3"] == round(usual["c3"], 2)).all() and plan["c2"].iloc[0] >= 1.2 * usual["c2"] - 0.01
    assert found.value <= found.bound + 1e-9 * found.revenue
    again = flight(curves, lags, history, **told)
    pd.testing.assert_frame_equal(plan, again.recommended, check_exact=True)
    assert (found.gain.mean, found.value, found.bound) == (again.gain.mean, again.value, again.bound)


@given(st.integers(0, 10_000), st.sampled_from([1.0, 2.0]), st.sampled_from(AVERSE))
@settings(max_examples=15)
def test_today_is_never_left_for_worse_and_the_gap_is_small(seed: int, shape: float, averse: tuple[float, float]) -> None:
    """By the choosing worth, to the cent; the gap of the best schedule found, whether or not it is sure enough to be recommended."""
    curves, lags, history = world(seed, shape=shape)
    found = flight(curves, lags, history, weeks=5, risk_aversion=averse[0], tail_aversion=averse[1])
    assert found.value >= -1e-6 * found.revenue
    given = asked(seed, 5, shape=shape)
    still, aversion = given["media"].revenue(given["today"]), Aversion(*averse)
    plan, bound = search(**given, aversion=aversion)
    value = aversion.worth(given["media"].revenue(plan), still)
    assert -1e-9 * still.mean() <= value <= bound + 1e-9 * still.mean()
    assert bound - value < {1.0: 0.02, 2.0: 0.2}[shape] * still.mean() + (0.1 * still.mean() if averse[0] > 1 else 0.0)


@pytest.mark.parametrize("averse", AVERSE)
@pytest.mark.parametrize("shape", [1.0, 2.0])
def test_no_plan_on_a_grid_is_better(shape: float, averse: tuple[float, float]) -> None:
    """Two channels, two weeks, all plans in steps of a twentieth of the money, each worth what its definition says."""
    given, (risk, tail) = asked(3, 2, shape=shape, channels=2), averse
    media, today, money = given["media"], given["today"], float(given["today"].sum())
    still = media.revenue(today)

    def worth(revenue: np.ndarray) -> float:
        gains = np.sort(revenue - still)
        return float(
            (1 - tail) * gains.mean() + tail * gains[0] - risk * (revenue.std() - still.std())
        )  # ten draws: one is a tenth

    best = -np.inf
    for a, b, c in product(range(21), repeat=3):
        if a + b + c <= 20:
            plan = money / 20 * np.array([[a, b], [c, 20 - a - b - c]])
            if (plan <= media.reach).all():
                best = max(best, worth(media.revenue(plan)))
    plan, bound = search(**given, aversion=Aversion(*averse))
    assert worth(media.revenue(plan)) >= best - 1e-6 * money
    assert bound >= best


def plain_revenue(curves: pd.DataFrame, lags: pd.DataFrame, history: pd.DataFrame, plan: np.ndarray) -> np.ndarray:
    """(draws,) by loops over draws, channels, weeks and lags; spending goes on as in the last year after the plan."""
    many, out = lags["lag"].nunique(), []
    for draw in sorted(curves["draw"].unique()):
        total = 0.0
        for c, name in enumerate(history.columns):
            mine = curves[(curves["channel"] == name) & (curves["draw"] == draw)]
            curve = PchipInterpolator(mine["spend"], mine["revenue"])
            weight = lags[(lags["channel"] == name) & (lags["draw"] == draw)].sort_values("lag")["weight"].to_numpy()
            spent = [*history[name].to_numpy()[-many + 1 :], *plan[:, c], *[history[name][-52:].mean()] * (many - 1)]
            for t in range(many - 1, len(spent)):
                carried = sum(weight[lag] / weight.sum() * spent[t - lag] for lag in range(many))
                total += float(curve(min(carried, mine["spend"].max())))
        out.append(total)
    return np.array(out)


@pytest.mark.parametrize("averse", [(0.7, 0.0), (0.3, 0.5)])
def test_a_general_optimiser_on_plain_loops_finds_nothing_better(averse: tuple[float, float]) -> None:
    """Powell's linear approximations from two starts, on a worth written down anew."""
    curves, lags, history = world(12, channels=2, draws=8)
    given, (risk, tail) = asked(12, 2, channels=2, draws=8), averse
    some = (curves[curves["draw"] % 2 == 0], lags[lags["draw"] % 2 == 0], history)
    money, still = float(given["today"].sum()), plain_revenue(*some, given["today"])

    def worth(plan: np.ndarray) -> float:
        revenue = plain_revenue(*some, plan)
        gains = np.sort(revenue - still)
        return float((1 - tail) * gains.mean() + tail * gains[0] - risk * (revenue.std() - still.std()))

    plan, bound = search(**given, aversion=Aversion(*averse))
    np.testing.assert_allclose(given["media"].revenue(plan), plain_revenue(*some, plan))
    best = -np.inf
    for start in spawn(1, "starts").dirichlet(np.ones(4), 2):
        done = minimize(
            lambda flat: -worth(np.append(flat, 1 - flat.sum()).reshape(2, 2) * money), start[:3], method="COBYLA",
            bounds=[(0, 1)] * 3, constraints={"type": "ineq", "fun": lambda flat: 1 - flat.sum()}, options={"maxiter": 120},
        )  # fmt: skip
        best = max(best, -done.fun)
    assert worth(plan) >= best - 1e-4 * still.mean()
    assert bound >= max(best, worth(plan)) - 1e-9 * still.mean()


@given(st.integers(0, 10_000))
@settings(max_examples=40)
def test_filling_the_worthiest_cells_is_the_linear_program(seed: int) -> None:
    random, weeks, names = spawn(seed, "rules"), 4, ["a", "b", "c"]
    usual = random.uniform(1, 10, 3)
    cells = np.where(random.random((weeks, 3)) < 0.2, usual, 0.0)
    floors, ceilings = {"a": float(random.uniform(0, 0.3))}, {"b": 0.5}
    rules = Rules.of(names, 3 * usual, weeks, 5 * float(usual.sum()), floors, ceilings, usual=usual, cells=cells)
    worth = random.normal(size=(weeks, 3))
    filled, solved = rules.best(worth), rules._program(worth)
    assert rules.hold(filled)
    assert float(np.sum(worth * filled)) == pytest.approx(float(np.sum(worth * solved)), abs=1e-6 * rules.money)


# -- aversion


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 1.0, 3.0]), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([8, 40]))
@settings(max_examples=60)
def test_prices_bound_the_worth_of_any_revenue(seed: int, risk: float, tail: float, draws: int) -> None:
    """Prices made for one schedule hold for every other: what the bound of schedules rests on."""
    random, aversion = spawn(seed, "prices"), Aversion(risk, tail)
    still, made, *others = 100 + 20 * random.normal(size=(6, draws))
    prices, added = aversion.prices(made, still)
    assert (prices >= 0).all() and prices.sum() == pytest.approx(1.0)
    for revenue in (still, made, *others):
        assert aversion.worth(revenue, still) <= prices @ revenue + added + 1e-9
    if tail == 0 and risk * (made.max() - made.mean()) <= made.std():
        assert aversion.worth(made, still) == pytest.approx(prices @ made + added)


def test_shares_are_the_slope_of_the_worth() -> None:
    random, aversion = spawn(4, "shares"), Aversion(0.7, 0.4)
    still, revenue = 100 + 20 * random.normal(size=(2, 30))
    for k, share in enumerate(aversion.shares(revenue, still)):
        step = np.where(np.arange(30) == k, 1e-5, 0.0)
        rise = (aversion.worth(revenue + step, still) - aversion.worth(revenue - step, still)) / 2e-5
        assert share == pytest.approx(rise, abs=1e-6)


def test_risk_aversion_means_the_same_as_in_a_split() -> None:
    """A week without carry-over is a period: the schedule is the split that `best_risky` finds, and worth as much."""
    for seed, risk in ((1, 0.0), (1, 0.5), (2, 0.3)):
        curves, lags, history = world(seed, channels=3, keep=0.0)
        usual = history[-52:].mean().to_numpy()
        media = Media.of(curves, lags, list(history.columns), history.to_numpy()).some(slice(0, None, 2))
        rules = Rules.of(list(history.columns), media.reach, 1, float(usual.sum()), {}, {}, usual=usual)
        plan, _ = search(media, rules, usual[None], rules.as_today(usual), Aversion(risk))
        grid, revenues = curves_of(curves, list(history.columns))
        split, value, _ = best_risky(
            grid, np.ascontiguousarray(revenues[:, ::2]), np.zeros(3), grid[:, -1], float(usual.sum()), risk
        )
        still = media.revenue(usual[None])
        one, other = (Aversion(risk).worth(media.revenue(each), still) for each in (plan, split[None]))
        assert one >= other - 1e-6 * value
        np.testing.assert_allclose(plan[0], split, atol=0.04 * usual.sum())  # curves are cubic here, straight there


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


def test_more_risk_aversion_is_less_risk_and_less_revenue() -> None:
    """Of the best schedules found, before any is kept back as unsure: on the draws that choose, and on those that do not."""
    given = asked(9, 4, channels=4, draws=400)
    curves, lags, history = world(9, channels=4, draws=400)
    judging = Media.of(curves, lags, list(history.columns), history.to_numpy()).some(slice(1, None, 2))
    plans = [search(**given, aversion=Aversion(risk))[0] for risk in (0.0, 0.5, 1.0, 2.0)]
    for media in (given["media"], judging):
        risks = np.array([media.revenue(plan).std() for plan in plans])
        means = np.array([media.revenue(plan).mean() for plan in plans])
        assert (np.diff(risks) < 0).all() and means[-1] < means[0]
        if media is given["media"]:
            assert (np.diff(means) < 1e-6 * means[0]).all(), "where they are chosen each gives up revenue for less risk"


def test_channels_that_win_in_opposite_worlds_hedge_each_other() -> None:
    """Half and half is sure; without aversion all goes to the slightly better one."""
    up = np.array([0.5, 0.5, 1.5, 1.5] * 4)
    curves, lags, history = straight(a=list(up), b=list(1.02 * (2 - up)))
    media = Media.of(curves, lags, ["a", "b"], history.to_numpy()).some(slice(0, None, 2))
    today = np.tile(media.usual, (2, 1))
    rules = Rules.of(["a", "b"], media.reach, 2, 400.0, {}, {}, usual=media.usual)
    bold, careful = (search(media, rules, today, today, Aversion(risk))[0] for risk in (0.0, 1.0))
    assert bold[:, 1].sum() == pytest.approx(400.0)
    assert careful[:, 0].sum() / careful[:, 1].sum() == pytest.approx(1.02, abs=0.02)


def test_more_tail_aversion_is_a_better_worst_case_and_never_below_staying() -> None:
    """Of the best schedules found, as above: one that is kept back cannot be compared with one that moves."""
    given = asked(9, 4, channels=4, draws=400)
    curves, lags, history = world(9, channels=4, draws=400)
    judging = Media.of(curves, lags, list(history.columns), history.to_numpy()).some(slice(1, None, 2))
    plans = [search(**given, aversion=Aversion(tail=tail))[0] for tail in (0.0, 0.5, 1.0)]
    for media in (given["media"], judging):
        worst = [worst_mean(media.gains(plan, given["today"])) for plan in plans]
        means = [float(media.gains(plan, given["today"]).mean()) for plan in plans]
        assert worst[0] < worst[1] < worst[2] and means[0] >= means[1] >= means[2]
    assert worst_mean(given["media"].gains(plans[2], given["today"])) >= 0, "staying gains nothing in every case"
    careful = flight(curves, lags, history, weeks=4, tail_aversion=1.0)
    assert careful.stays or careful.value >= 0


# -- the winner's curse


def straight(**slopes: list[float]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Response curves that are lines, a slope a draw, without carry-over; 100 a week was spent on each."""
    spend, draws = (
        np.linspace(0, 250, 6),
        [(name, draw, slope) for name, mine in slopes.items() for draw, slope in enumerate(mine)],
    )
    curves = pd.concat([
        pd.DataFrame({"channel": name, "draw": draw, "spend": spend, "revenue": slope * spend}) for name, draw, slope in draws
    ])  # fmt: skip
    lags = pd.DataFrame(
        [{"channel": name, "draw": draw, "lag": lag, "weight": 1.0 - lag} for name, draw, _ in draws for lag in (0, 1)]
    )
    weeks = pd.date_range("2024-01-01", periods=60, freq="W-MON")
    return curves, lags, pd.DataFrame(dict.fromkeys(slopes, 100.0), index=weeks)


UNSURE = {"a": [1.0] * 8, "b": [0.5, 0.5, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]}


def test_a_schedule_that_may_well_lose_moves_no_money_and_says_so() -> None:
    kept = flight(*straight(**UNSURE), weeks=3)
    assert kept.stays and not kept.moved and kept.sure == 0.75
    assert (kept.recommended == 100.0).all().all() and kept.gain.mean == 0 and kept.gain.interval(0.90) == (0.0, 0.0)
    assert "The best other schedule found (most to b, least to a) gains in only 75% of the draws" in kept.summary()
    more = flight(*straight(**UNSURE), weeks=3, total=660.0)
    assert more.stays and more.moved and "Today's mix is kept at this total." in more.summary()
    np.testing.assert_allclose(more.recommended, 110.0, atol=0.01)
    np.testing.assert_allclose(more.gain.mean, 3 * 10 * (1 + np.mean([0.5, 2.0, 2.0, 2.0])), rtol=1e-3)
    sure = flight(*straight(a=[1.0] * 8, b=[1.9, 2.1] * 4), weeks=3)
    assert not sure.stays and sure.sure == 1.0 and sure.recommended["b"].sum() > 590


def test_a_hardly_known_gain_is_promised_less() -> None:
    """The mean over the judging draws, less its variance over it."""
    known = [1.2, 1.4, 2.5, 1.6, 1.1, 2.2, 1.9, 1.3]
    found = flight(*straight(a=[1.0] * 8, b=known), weeks=1, ceilings={"b": 0.75})
    raw = 50.0 * (np.array(known[1::2]) - 1.0)
    assert not found.stays
    np.testing.assert_allclose(found.gain.mean, raw.mean() - raw.var() / raw.mean(), rtol=1e-3)


def test_it_says_what_holds_a_schedule() -> None:
    known = {"a": [1.0] * 8, "b": [2.0] * 8}
    assert "a cannot go lower: floor. No other schedule" in flight(*straight(**known), weeks=2, floors={"a": 0.5}).summary()
    assert "b cannot get more: ceiling." in flight(*straight(**known), weeks=2, ceilings={"b": 0.5}).summary()
    assert "a stay at today's money, as asked." in flight(*straight(**known), weeks=2, locked=("a",)).summary()
    alike = flight(*straight(a=[1.0] * 8, b=[1.0] * 8), weeks=2)
    assert alike.summary() == "The schedule stays as it is. No other schedule within the rules is worth more."


# -- input


def test_bad_questions_are_refused() -> None:
    curves, lags, history = world(1)
    with pytest.raises(Infeasible, match="floors ask for 120%"):
        flight(curves, lags, history, floors={"c0": 0.6, "c1": 0.6})
    with pytest.raises(Infeasible, match="hold only"):
        flight(curves, lags, history, total=1e9)
    with pytest.raises(InputError, match="radio"):
        flight(curves, lags, history.assign(radio=1.0))
    for bad in (-1.0, float("nan")):
        with pytest.raises(InputError, match="risk aversion"):
            flight(curves, lags, history, risk_aversion=bad)
    with pytest.raises(InputError, match="tail aversion"):
        flight(curves, lags, history, tail_aversion=2.0)
    with pytest.raises(CannotTell, match="8 draws"):
        flight(curves[curves["draw"] < 4], lags[lags["draw"] < 4], history)


def test_it_can_be_read() -> None:
    curves, lags, history = world(2)
    found = flight(curves, lags, history, weeks=3, scenario="+10 %", total=float(history[-52:].mean().sum() * 3.3))
    table = found.to_frame()
    assert len(table) == 9 and set(table["scenario"]) == {"+10 %"} and table["week"].min() > history.index[-1]
    assert "worst tenth" in found.summary()
    bars = found.plot().data
    assert [bar.name for bar in bars] == ["c0", "c1", "c2"] and all(bar.x[0] == "today" and len(bar.y) == 4 for bar in bars)
    assert sum(bar.y[0] for bar in bars) == pytest.approx(found.current.iloc[0].sum())


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
    told = told if later.stays else shrunk(told)
    np.testing.assert_allclose(later.gain.mean, told.mean(), atol=1e-2)
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
    monkeypatch.setattr(climbing, "CELLS", cells)
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
        assert not found.stays and found.gap < 0.02
    june = apart.recommended.index < "2025-07-01"
    assert june.sum() == 4
    assert apart.recommended[june].to_numpy().sum() == pytest.approx(total * 4 / 7, abs=0.011)
    assert abs(free.recommended[june].to_numpy().sum() - total * 4 / 7) > 0.001 * total, "else the rule is not tried"
    assert free.value >= apart.value - 1e-3 * abs(apart.revenue)


def test_walking_is_hardly_worse_than_quadratic_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    curves, lags, history = world(11, channels=4, shape=1.6)
    exact = flight(curves, lags, history, weeks=6)
    monkeypatch.setattr(climbing, "CELLS", 1)
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
    with pytest.raises(Infeasible, match="more than the locked money"):
        flight(curves, lags, history, least={(first, "c0"): 1.1 * history["c0"][-52:].mean()}, locked=("c0",))
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
    picture = found.plot().data
    assert len(picture) == 4 and list(picture[0].x) == ["today", *found.found] and list(picture[3].x) == list(found.found)


def test_scenarios_say_why_nothing_moves() -> None:
    found = scenarios(*straight(**UNSURE), weeks=3, risk_aversion=0.1, tail_aversion=0.1)
    same, more = (found[name].summary() for name in ("same budget", "+10 %"))
    assert same.startswith("same budget (100% of today's money): nothing changes. The best other schedule found")
    assert "a +30, b +30" in more and "Today's mix is kept. The best other schedule found" in more
    assert found["same budget"].steady.stays and found["+10 %"].steady.stays


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
