"""Splits of money over channels: every cent and limit kept, the bound holds against plain search, today is never left for worse."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liftwise.core.errors import CannotTell, Infeasible, InputError
from liftwise.core.transforms import hill
from liftwise.core.uncertainty import spawn
from liftwise.decisions.allocation.allocate import Allocation, allocate
from liftwise.decisions.allocation.curves import curves_of
from liftwise.decisions.allocation.envelopes import best_split, envelope_bound
from liftwise.decisions.allocation.mean_risk import best_risky, revenue

SEEDS = st.integers(0, 10_000)


def table(seed: int, channels: int, *, draws: int = 8, noise: float = 0.1, shape: float = 2.5, points: int = 31) -> pd.DataFrame:
    """Response curves: Hill, a height a draw; with no noise all draws are alike."""
    random, grid, rows = spawn(seed, "allocation"), np.linspace(0, 300, points), []
    for k in range(channels):
        top, half = random.uniform(50, 500), random.uniform(30, 200)
        for draw, up in enumerate(np.exp(noise * random.normal(size=draws))):
            rows.append(
                pd.DataFrame({"channel": f"c{k}", "draw": draw, "spend": grid, "revenue": top * up * hill(grid, half, shape)})
            )
    return pd.concat(rows, ignore_index=True)


def today(*amounts: float) -> pd.Series:
    return pd.Series(amounts, [f"c{k}" for k in range(len(amounts))])


def bumpy(seed: int, channels: int, points: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Curves without any shape at all, at whole numbers."""
    random = spawn(seed, "bumpy")
    return np.tile(np.arange(points, dtype=float), (channels, 1)), random.normal(size=(channels, points)).cumsum(axis=1), random


# -- the engine


@given(SEEDS, st.integers(2, 4))
@settings(max_examples=60)
def test_curves_of_any_shape_are_split_as_well_as_by_trying_everything(seed: int, channels: int) -> None:
    """With whole limits and a whole total a best split has one channel between points at most, so whole numbers hold a best one."""
    grid, curve, random = bumpy(seed, channels, 7)
    low, high = random.integers(0, 2, channels).astype(float), random.integers(3, 7, channels).astype(float)
    total = float(random.integers(low.sum(), high.sum() + 1))
    split, value, bound = best_split(grid, curve, low, high, total)
    ranges = [range(int(a), int(b) + 1) for a, b in zip(low, high, strict=True)]
    best = max(sum(curve[k, x] for k, x in enumerate(plan)) for plan in product(*ranges) if sum(plan) == total)
    assert split.sum() == pytest.approx(total) and (split >= low - 1e-9).all() and (split <= high + 1e-9).all()
    assert value == pytest.approx(sum(np.interp(split[k], grid[k], curve[k]) for k in range(channels)))
    assert value == pytest.approx(best, abs=2e-6 * abs(best) + 1e-9)
    assert best - 1e-9 <= bound <= best + 2e-6 * abs(best) + 1e-9


@given(SEEDS)
@settings(max_examples=20)
def test_channels_exactly_alike_are_split_as_well_as_any(seed: int) -> None:
    """They are not searched in each order, which must lose nothing."""
    grid, curve, random = bumpy(seed, 5, 6)
    curve[1:4] = curve[0]
    total = float(random.integers(3, 22))
    _, value, bound = best_split(grid, curve, np.zeros(5), np.full(5, 5.0), total)
    best = max(sum(curve[k, x] for k, x in enumerate(plan)) for plan in product(range(6), repeat=5) if sum(plan) == total)
    assert value == pytest.approx(best, abs=2e-6 * abs(best) + 1e-9)
    assert best - 1e-9 <= bound <= best + 2e-6 * abs(best) + 1e-9


@given(SEEDS, st.sampled_from([0.3, 1.0, 3.0]))
@settings(max_examples=25)
def test_no_split_has_more_mean_less_risk_than_the_bound(seed: int, risk: float) -> None:
    """Against all splits on a grid, with draws in which channels hedge each other."""
    grid, _, random = bumpy(seed, 3, 6)
    curves = np.ascontiguousarray(
        random.gamma(2.0, size=(3, 6, 1)).cumsum(axis=1).swapaxes(1, 2) * random.normal(1, 0.5, size=(3, 8, 1))
    )
    low, high, total = np.zeros(3), np.full(3, 5.0), 7.0
    split, value, bound = best_risky(grid, curves, low, high, total, risk)

    def worth(plan: tuple[float, ...]) -> float:
        sums = sum(np.array([np.interp(x, grid[k], one) for one in curves[k]]) for k, x in enumerate(plan))
        return float(sums.mean() - risk * sums.std())

    assert value == pytest.approx(worth(tuple(split)), abs=1e-9)
    steps = np.arange(0, 5.01, 0.25)
    at = np.array([[np.interp(steps, grid[k], one) for one in curves[k]] for k in range(3)])  # (channels, draws, steps)
    plans = [(a, b, 28 - a - b) for a in range(21) for b in range(21) if 0 <= 28 - a - b <= 20]
    sums = np.array([sum(at[k][:, x] for k, x in enumerate(plan)) for plan in plans])
    best = float((sums.mean(axis=1) - risk * sums.std(axis=1)).max())
    assert bound >= best - 1e-9 * abs(best)
    assert value >= best - 2e-3 * max(abs(best), 1.0)
    assert bound - value <= 2e-3 * max(abs(bound), 1.0)


def test_the_risk_is_that_of_the_sum() -> None:
    """Two channels that win in opposite worlds: half and half is sure. The sum of their own risks would not tell it from all on one."""
    spend = np.linspace(0, 10, 11)
    up = np.array([0.5, 1.5] * 4).reshape(-1, 1)
    curves = np.stack([up * spend, 1.02 * (2 - up) * spend])
    split, value, bound = best_risky(np.tile(spend, (2, 1)), curves, np.zeros(2), np.full(2, 10.0), 10.0, 1.0)
    assert revenue(np.tile(spend, (2, 1)), curves, split).std() < 0.01
    assert value == pytest.approx(bound, rel=1e-4)
    assert split[0] == pytest.approx(5.05, abs=0.01)


def test_an_s_shaped_channel_is_filled_or_left_alone() -> None:
    """Ten channels that pay nothing below 10 and 10 from there on, money for three and a half: the bound knows that half a channel pays none."""
    grid = np.tile([0.0, 9.999, 10.0, 20.0], (10, 1))
    curve = np.tile([0.0, 0.0, 10.0, 10.0], (10, 1)) * np.arange(1.0, 2.0, 0.1)[:, None]
    split, value, bound = best_split(grid, curve, np.zeros(10), np.full(10, 20.0), 35.0)
    assert value == pytest.approx(19 + 18 + 17) and bound == pytest.approx(value, rel=2e-6)
    assert envelope_bound(grid, curve, np.zeros(10), np.full(10, 20.0), 35.0)[1] > 1.1 * value
    assert split[9] >= 10 and split[8] >= 10 and split[7] >= 10


# -- what a person gets


@st.composite
def questions(draw: st.DrawFn) -> dict[str, object]:
    """Money today, limits and locks that do not contradict each other."""
    channels = draw(st.integers(2, 5))
    current = today(*(draw(st.integers(0, 15_000)) / 100 for _ in range(channels)))
    current["c0"] += 20.0
    total = round(float(current.sum()) * draw(st.sampled_from([0.9, 1.0, 1.1])), 2)
    if draw(st.booleans()):  # around today, as the flow does
        times = total / current.sum()
        floors, ceilings = (current * times * 0.6).to_dict(), (current * times * 1.7 + 1).to_dict()
    else:
        floors, ceilings = {"c0": 0.05 * total}, {"c1": max(0.4 * total, total - 250 * (channels - 1))}
    locked = ("c1",) if draw(st.booleans()) and current["c1"] < ceilings.get("c1", 1e9) and total >= current.sum() * 0.99 else ()
    if locked:
        floors.pop("c1", None)
    return {
        "current": current, "total": total, "floors": floors, "ceilings": ceilings, "locked": locked, "limits_in": "money",
        "risk_aversion": draw(st.sampled_from([0.0, 0.5])),
    }  # fmt: skip


@given(SEEDS, questions(), st.sampled_from([0.8, 2.5]), st.sampled_from([0.0, 0.2]))
@settings(max_examples=60)
def test_cents_limits_locks_and_the_bound_hold(seed: int, asked: dict[str, object], shape: float, noise: float) -> None:
    curves = table(seed, len(asked["current"]), shape=shape, noise=noise)
    try:
        split = allocate(curves, **asked)
    except (Infeasible, CannotTell):
        assert asked["locked"], "only a lock can make these impossible"
        return
    cents = split.recommended * 100
    assert (cents - cents.round()).abs().max() < 1e-6 and round(cents.sum()) == round(asked["total"] * 100)
    for name, floor in asked["floors"].items():
        assert split.recommended[name] >= floor - 0.0101
    for name, ceiling in asked["ceilings"].items():
        assert split.recommended[name] <= ceiling + 0.0101
    for name in asked["locked"]:
        assert split.recommended[name] == round(asked["current"][name], 2)
    assert split.value <= split.bound + 1e-9 * abs(split.bound)
    again = allocate(curves.sample(frac=1.0, random_state=1), **asked)
    pd.testing.assert_series_equal(split.recommended, again.recommended, check_exact=True)
    assert split.gain.mean == again.gain.mean, "the order of rows says nothing"


@given(SEEDS, st.sampled_from([0.8, 2.5]))
@settings(max_examples=20)
def test_more_money_is_never_worth_less_and_today_is_never_left_for_worse(seed: int, shape: float) -> None:
    curves, current = table(seed, 4, shape=shape, noise=0.0), today(60.0, 30.0, 80.0, 30.0)
    grid, revenues = curves_of(curves, list(current.index))
    now = sum(np.interp(current.iloc[k], grid[k], revenues[k, 0]) for k in range(4))
    before = -np.inf
    for total in (200.0, 200.01, 201.0, 220.0, 300.0):
        split = allocate(curves, current=current, total=total)
        assert split.value >= now - 1e-9 * now
        assert split.value >= before - 2e-6 * split.bound - 0.1, "but for the gap that is called none, and a cent's worth"
        assert split.gap <= 1e-5 + 0.1 / split.bound
        before = split.value


def test_shares_and_money_say_the_same() -> None:
    curves, current = table(3, 3), today(100.0, 50.0, 50.0)
    told = {"c0": 0.45}, {"c1": 0.3}
    one = allocate(curves, current=current, total=200.0, floors=told[0], ceilings=told[1])
    other = allocate(curves, current=current, total=200.0, floors={"c0": 90.0}, ceilings={"c1": 60.0}, limits_in="money")
    pd.testing.assert_series_equal(one.recommended, other.recommended)
    assert one.bound == other.bound


def test_a_lock_takes_its_money_out_of_the_question() -> None:
    """The others share what is left exactly as if it were all there is."""
    curves, current = table(5, 4), today(70.005, 40.0, 50.0, 40.0)
    split = allocate(curves, current=current, total=220.0, locked=("c0",))
    rest = allocate(curves[curves["channel"] != "c0"], current=current.drop("c0"), total=round(220.0 - round(70.005, 2), 2))
    np.testing.assert_allclose(split.recommended.drop("c0"), rest.recommended, atol=0.02)
    assert "c0" in split.at_limit and split.recommended["c0"] == round(70.005, 2)


def test_limits_with_parts_of_a_cent_still_give_every_cent() -> None:
    curves, current = table(1, 3), today(33.333, 33.333, 33.334)
    split = allocate(curves, current=current, total=100.0, floors=dict.fromkeys(current.index, 1 / 3))
    assert round(split.recommended.sum(), 2) == 100.0 and (split.recommended >= 33.32).all()


def straight(**slopes: list[float]) -> pd.DataFrame:
    """Response curves that are lines, a slope a draw."""
    spend = np.linspace(0, 250, 6)
    return pd.concat([pd.DataFrame({"channel": name, "draw": draw, "spend": spend, "revenue": slope * spend})
                      for name, mine in slopes.items() for draw, slope in enumerate(mine)])  # fmt: skip


def _why(split: Allocation) -> str:
    assert not split.moved
    assert all(reason in split.summary() for reason in split.reasons)
    return " ".join(split.reasons)


def test_it_says_why_nothing_moves() -> None:
    sure, current = straight(a=[1.0] * 8, b=[2.0] * 8), pd.Series({"a": 100.0, "b": 100.0})
    shares = {"a": 0.5, "b": 0.5}
    assert "a cannot go lower: floor. No other" in _why(allocate(sure, current=current, total=200.0, floors={"a": 0.5}))
    assert "b cannot get more: ceiling." in _why(allocate(sure, current=current, total=200.0, ceilings=shares))
    assert "a stay at today's money, as asked." in _why(allocate(sure, current=current, total=200.0, locked=("a",)))
    unsure = straight(a=[1.0] * 8, b=[0.5, 0.5, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    assert "gains in only 75% of the draws" in _why(allocate(unsure, current=current, total=200.0))
    flat = straight(a=[0.0] * 8, b=[0.0] * 8)
    assert "The curve of a and b is flat at today's money." in _why(allocate(flat, current=current, total=200.0))
    far = allocate(sure, current=pd.Series({"a": 30.0, "b": 250.0}), total=280.0)
    assert "b cannot get more: beyond, their curves are not known." in _why(far)


def test_with_more_money_an_unsure_split_keeps_todays_proportions_and_says_so() -> None:
    unsure = straight(a=[1.0] * 8, b=[0.5, 0.5, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    split = allocate(unsure, current=pd.Series({"a": 150.0, "b": 50.0}), total=220.0)
    assert split.stays and split.moved and split.sure == 0.75
    assert split.recommended.tolist() == [165.0, 55.0]
    assert split.gain.mean == pytest.approx(15 + 5 * np.mean([0.5, 2.0, 2.0, 2.0])), (
        "what today's proportions bring is not shrunk"
    )
    assert "Today's proportions are kept at this total. The best other split found" in split.summary()


def test_money_goes_as_far_as_it_is_sure() -> None:
    """Half of the worlds pay for the last of b's money, half punish it: the whole way is a coin, a part of it is sure."""
    spend, worlds = np.array([0.0, 100.0, 150.0, 200.0]), [[0.0, 100.0, 400.0, 2000.0], [0.0, 100.0, 400.0, 50.0]]
    a = [pd.DataFrame({"channel": "a", "draw": draw, "spend": spend, "revenue": spend}) for draw in range(8)]
    b = [pd.DataFrame({"channel": "b", "draw": k, "spend": spend, "revenue": worlds[k // 2 % 2]}) for k in range(8)]
    split = allocate(pd.concat([*a, *b]), current=pd.Series({"a": 100.0, "b": 100.0}), total=200.0)
    assert split.sure == 0.5 and split.step == 0.8 and not split.stays
    assert split.recommended.to_dict() == {"a": 20.0, "b": 180.0}
    assert "Money goes 80% of the way to the best split found" in split.summary()


def test_what_comes_out_can_be_read() -> None:
    split = allocate(table(2, 3), current=today(100.0, 50.0, 50.0), total=220.0, scenario="+10 %")
    frame = split.to_frame()
    assert set(frame["scenario"]) == {"+10 %"} and frame["recommended"].sum() == pytest.approx(220.0)
    assert split.moved and not split.stays and "expected revenue" in split.summary()
    before, after = split.plot().data
    assert (before.name, after.name) == ("today", "recommended") and before.y.sum() == 200.0
    assert [float(text.replace(",", "")) for text in after.text] == pytest.approx(after.y - before.y, abs=0.51)
    assert 0 <= split.sure <= 1


# -- bad input


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ({"floors": {"radio": 0.1}}, "radio"),
        ({"locked": ("radio",)}, "radio"),
        ({"locked": "c0"}, "collection"),
        ({"floors": {"c0": -0.1}}, "floor of c0 is -0.1"),
        ({"ceilings": {"c0": float("nan")}}, "ceiling of c0 is nan"),
        ({"floors": {"c0": 5000.0}}, "no share.*limits_in='money'"),
        ({"ceilings": {"c0": 5000.0}}, "no share"),
        ({"limits_in": "percent"}, "percent"),
        ({"risk_aversion": -1.0}, "risk aversion"),
        ({"risk_aversion": float("nan")}, "risk aversion"),
        ({"total": -200.0}, "total of -200"),
        ({"total": float("inf")}, "total of inf"),
        ({"current": pd.Series({"c0": -1.0, "c1": 50.0, "c2": 50.0})}, "of c0 is negative"),
        ({"current": pd.Series({"c0": np.nan, "c1": 50.0, "c2": 50.0})}, "of c0 is missing"),
        ({"current": pd.Series([1.0, 2.0], ["c0", "c0"])}, "one twice"),
        ({"current": pd.Series({"c0": 100.0, "radio": 50.0})}, "radio"),
    ],
)
def test_bad_questions_are_refused_in_a_line(told: dict[str, object], what: str) -> None:
    with pytest.raises(InputError, match=what) as caught:
        allocate(table(1, 3), **{"current": today(100.0, 50.0, 50.0), "total": 200.0} | told)
    assert "\n" not in str(caught.value)


def test_bad_curves_are_refused_in_a_line() -> None:
    good, asked = table(1, 3), {"current": today(100.0, 50.0, 50.0), "total": 200.0}
    second = good["channel"] == "c1"
    for bad, what in (
        (good.assign(revenue=good["revenue"].where(~second)), "missing or infinite number in the response curve of c1"),
        (good.assign(revenue=good["revenue"].where(~second, np.inf)), "curve of c1"),
        (good.assign(spend=good["spend"] - 10.0 * second), "negative spend in the response curve of c1"),
        (good.assign(currency=np.where(second, "USD", "EUR")), "mix EUR and USD"),
        (good.assign(model=np.where(second, "ridge", "bayesian")), "mix bayesian and ridge"),
    ):
        with pytest.raises(InputError, match=what):
            allocate(bad, **asked)
    assert allocate(good.assign(currency="EUR", model="ridge"), **asked).value > 0
    for few in (good[good["draw"] < 3], good[~second | (good["spend"] < 100)], good[~second | (good["draw"] < 5)]):
        with pytest.raises(CannotTell, match="four draws"):
            allocate(few, **asked)
    with pytest.raises(CannotTell, match="the curves reach up to 900, the total is 1,000"):
        allocate(good, current=asked["current"], total=1000.0)


def test_contradictions_name_their_rules() -> None:
    curves, current = table(1, 3), today(100.0, 50.0, 50.0)
    for told, kind, what in (
        ({"locked": ("c0", "c1", "c2"), "total": 250.0}, Infeasible, "ceilings and locked channels hold only 80%"),
        ({"locked": ("c0", "c1"), "total": 100.0}, Infeasible, "floors and locked channels ask for 150%"),
        ({"locked": ("c0",), "ceilings": {"c0": 0.3}}, Infeasible, "locked at 100.00, outside its limits"),
        ({"floors": {"c0": 0.5}, "ceilings": {"c0": 0.4}}, Infeasible, "a floor lies above its ceiling"),
        (
            {"current": today(400.0, 50.0, 50.0), "total": 500.0, "locked": ("c0",)},
            CannotTell,
            "locked at 400 and its curve reaches up to 300",
        ),
        ({"total": 400.0, "floors": {"c0": 0.8}}, CannotTell, "curve of c0 does not reach its floor"),
    ):
        with pytest.raises(kind, match=what):
            allocate(curves, **{"current": current, "total": 200.0} | told)
