"""Synthetic control: published numbers, slow oracles, and the error rates it promises."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from liftwise.core.errors import CannotTell, InputError, TableError
from liftwise.core.tables import check
from liftwise.core.uncertainty import spawn
from liftwise.models.causal import Lift, Panel, SyntheticControl, simplex_least_squares
from liftwise.models.causal.placebo import PlaceboTest, needed, placebo_groups, run_placebos
from liftwise.models.causal.simplex import fit_groups

Data = Callable[[str], Path]
SEEDS = st.integers(0, 2**32 - 1)


def factor_panel(random: np.random.Generator, units: int = 21, pre: int = 50, post: int = 6, rho: float = 0.5) -> np.ndarray:
    """Sales of regions of many sizes that share a trend and a season, with noise that lasts; shape (units, periods)."""
    periods = pre + post
    size = np.exp(random.normal(0, 0.6, units))
    walk, season = np.cumsum(random.normal(0, 0.3, periods)), 2 * np.sin(np.arange(periods) * 2 * np.pi / 52)
    noise = random.normal(size=(units, periods))
    for t in range(1, periods):
        noise[:, t] += rho * noise[:, t - 1]
    common = (1 + 0.4 * random.normal(size=(units, 2))) @ np.stack([walk, season])
    return 20 * size[:, None] * (1 + 0.03 * common) + (np.exp(random.normal(0, 0.5, units)) * size**0.5)[:, None] * noise


def panel_of(values: np.ndarray) -> Panel:
    weeks = pd.date_range("2024-01-01", periods=values.shape[1], freq="W-MON")
    return Panel(values, tuple(f"r{k:03d}" for k in range(len(values))), weeks)


def lift_of(values: np.ndarray, treated: int = 1, post: int = 6, level: str = "fixed_effects") -> Lift:
    panel = panel_of(values)
    return SyntheticControl(level=level).estimate(panel, treated=panel.units[:treated], start=panel.periods[-post])


def squared_error(donors: np.ndarray, target: np.ndarray, weights: np.ndarray) -> float:
    return float(np.sum((target - weights @ donors) ** 2))


# --- weights


def by_trying_all_supports(donors: np.ndarray, target: np.ndarray) -> float:
    """Least squared error over the simplex: the best feasible optimum among all subsets of donors."""
    best = np.inf
    for size in range(1, len(donors) + 1):
        for support in map(list, combinations(range(len(donors)), size)):
            base, rest = donors[support[0]], donors[support[1:]] - donors[support[0]]
            free = np.linalg.lstsq(rest.T, target - base, rcond=None)[0]
            weights = np.array([1 - free.sum(), *free])
            if weights.min() >= -1e-12:
                best = min(best, squared_error(donors[support], target, weights))
    return best


@given(SEEDS, st.integers(1, 6), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_weights_are_as_good_as_the_best_of_all_supports(seed: int, donors: int, periods: int) -> None:
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(donors, periods)), random.normal(size=periods)
    fit = simplex_least_squares(x, y)
    assert fit.weights.min() >= 0
    assert fit.weights.sum() == pytest.approx(1, abs=1e-12)
    assert squared_error(x, y, fit.weights) == pytest.approx(by_trying_all_supports(x, y), abs=1e-9)
    assert fit.objective == pytest.approx(squared_error(x, y, fit.weights), abs=1e-9)


@given(SEEDS, st.integers(2, 80), st.integers(2, 60), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_duality_gap_proves_the_weights(seed: int, donors: int, periods: int, doubled: bool) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(size=(donors, 3)) @ random.normal(size=(3, periods)) + 0.3 * random.normal(size=(donors, periods)) + 50
    x = np.concatenate([x, x[: donors // 2]]) if doubled else x  # equal donors: many optima, one value
    y = random.dirichlet(np.ones(len(x))) @ x + random.normal(size=periods) * random.choice([0, 0.1, 3])
    fit = simplex_least_squares(x, y)
    toward = (x - y) @ (fit.weights @ x - y)  # half the gradient, from scratch
    gap = 2 * (fit.weights @ toward - toward.min())
    scale = np.mean(np.sum((x - y) ** 2, axis=1))
    assert gap <= 1e-8 * squared_error(x, y, fit.weights) + 1e-11 * scale
    assert abs(fit.gap - gap) <= 1e-8 * scale


def test_weights_match_nonnegative_least_squares() -> None:
    random = spawn(7, "nnls")
    x = random.normal(size=(60, 40)).cumsum(axis=1) + 10
    y = random.dirichlet(np.full(60, 0.1)) @ x + random.normal(size=40)
    heavy = 1e5  # a heavy row of ones makes the weights of least squares sum to 1
    other = nnls(np.vstack([x.T, np.full(60, heavy)]), np.append(y, heavy))[0]
    fit = simplex_least_squares(x, y)
    np.testing.assert_allclose(fit.weights, other, atol=1e-6)


def test_groups_are_fitted_by_all_others_as_one_by_one() -> None:
    values = factor_panel(spawn(7, "groups"), units=9)
    past = values[:, :50] - values[:, :50].mean(axis=0)
    groups = np.array([[0, 1], [3, 8], [2, 5]])
    gaps, duality = fit_groups(past @ past.T, groups, 50, np.ascontiguousarray(values))
    for group, gap in zip(groups, gaps, strict=True):
        donors, mean = np.delete(values, group, axis=0), values[group].mean(axis=0)
        np.testing.assert_allclose(gap, mean - simplex_least_squares(donors[:, :50], mean[:50]).weights @ donors, atol=1e-7)
    assert duality.max() < 1e-8 * np.trace(past @ past.T)


# --- published numbers


def test_proposition_99(shared_data: Data) -> None:
    panel = Panel.of(pd.read_csv(shared_data("prop99_california") / "smoking_long.csv"), "state", "year", "cigsale")
    lift = SyntheticControl(level="outcome").estimate(panel, treated=["California"], start=1989)
    assert lift.effect / 12 == pytest.approx(-19.514, abs=0.01)
    assert lift.pre_rmspe <= 1.6565
    published = {
        "Utah": 0.394,
        "Montana": 0.232,
        "Nevada": 0.205,
        "Connecticut": 0.109,
        "New Hampshire": 0.045,
        "Colorado": 0.015,
    }
    assert lift.weights.to_dict() == pytest.approx(published, abs=0.001)
    assert lift.p_value == pytest.approx(1 / 39)
    assert lift.interval(0.90)[1] < 0
    assert lift.duality_gap < 1e-9


@pytest.mark.parametrize(
    ("level", "att", "imbalance"), [("outcome", -0.029435, 0.082555), ("fixed_effects", -0.033528, 0.0820645)]
)
def test_kansas(shared_data: Data, level: str, att: float, imbalance: float) -> None:
    panel = Panel.of(pd.read_csv(shared_data("kansas_taxcut") / "kansas.csv.gz"), "state", "year_qtr", "lngdpcapita")
    lift = SyntheticControl(level=level).estimate(panel, treated="Kansas", start=2012.25)
    assert lift.effect / 16 == pytest.approx(att, abs=1e-5)
    assert lift.pre_rmspe * 89**0.5 == pytest.approx(imbalance, abs=1e-5)
    assert 0.2 < lift.p_value < 0.4  # conformal p of the reference: 0.34 and 0.29


def test_geolift_walkthrough(shared_data: Data) -> None:
    panel = Panel.of(pd.read_csv(shared_data("geolift_walkthrough") / "GeoLift_Test.csv.gz"), "location", "date", "Y")
    lift = SyntheticControl().estimate(panel, treated=["portland", "chicago"], start="2021-04-01", end="2021-04-15")
    assert lift.effect == pytest.approx(4666.67, rel=1e-4)
    assert lift.relative == pytest.approx(0.054232, rel=1e-4)
    assert lift.pre_rmspe * 90**0.5 == pytest.approx(909.4885, rel=1e-4)
    published = {"cincinnati": 0.2272, "miami": 0.2028, "baton rouge": 0.1335, "minneapolis": 0.0900, "dallas": 0.0739}
    assert lift.weights.head(5).to_dict() == pytest.approx(published, abs=0.0005)


def test_untouched_cities_are_left_in_peace(shared_data: Data) -> None:
    """Every city that had no campaign, tested as if it had: what is found is false."""
    frame = pd.read_csv(shared_data("geolift_walkthrough") / "GeoLift_Test.csv.gz")
    panel = Panel.of(frame[~frame["location"].isin(["chicago", "portland"])], "location", "date", "Y")
    lifts = [
        SyntheticControl().estimate(panel, treated=city, start=panel.periods[end - 15], end=panel.periods[end - 1])
        for city in panel.units for end in (75, 90, 105)
    ]  # fmt: skip
    covered = np.mean([low <= 0 <= high for low, high in (lift.interval(0.90) for lift in lifts)])
    assert 0.88 <= covered <= 0.96  # 35 of 38 where errors are exchangeable


# --- one test, two answers


@given(SEEDS, st.integers(1, 3), st.sampled_from([0.8, 0.9, 0.95]))
@settings(max_examples=60, deadline=None)
def test_p_value_and_interval_never_disagree(seed: int, treated: int, level: float) -> None:
    random = np.random.default_rng(seed)
    values = factor_panel(random, units=14, pre=20, post=3)
    values[:treated, -3:] *= 1 + random.choice([0, 0.1, 0.5])
    lift = lift_of(values, treated, post=3)
    try:
        low, high = lift.interval(level)
    except CannotTell:
        return
    assert low <= lift.effect <= high
    assert (lift.p_value < round(1 - level, 12)) == (not low <= 0 <= high)


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_the_interval_is_what_testing_every_effect_would_keep(seed: int) -> None:
    """Take an effect out of the treated units and test for nothing: the obvious, slow inversion."""
    random = np.random.default_rng(seed)
    values, pre = factor_panel(random, units=8, pre=20, post=3), 20
    found = run_placebos(values, [0, 1], pre, demean=True, seed=7)
    test = found.test(slice(pre, None))
    share = values[:2, :pre].mean(axis=1) / values[:2, :pre].mean(axis=1).sum()
    for supposed in test.effect + random.normal(size=4) * np.abs(test.effect):
        without = values.copy()
        without[:2, pre:] -= supposed * share[:, None] / 3
        again = run_placebos(without, [0, 1], pre, demean=True, seed=7)
        t = again.size * again.placebo[:, pre:].sum(axis=1) / again.scales
        extreme = np.abs(t) >= abs(again.size * again.treated[pre:].sum()) / again.scale
        bounded = np.isfinite(test.lower)
        np.testing.assert_array_equal(((test.lower <= supposed) & (supposed <= test.upper))[bounded], extreme[bounded])


def test_an_interval_needs_enough_placebos() -> None:
    few, enough = lift_of(factor_panel(spawn(7, "few"), units=10)), lift_of(factor_panel(spawn(7, "few"), units=11))
    with pytest.raises(CannotTell, match="at least 10 comparison units"):
        few.interval(0.90)
    assert np.isfinite(enough.interval(0.90)).all()
    assert np.isnan(few.result_row()["low"])
    assert "cannot be told" in few.summary()
    assert {c.name: c.verdict for c in few.checks}["placebo rank"] == "fail"
    assert few.interval(0.80)[0] < few.effect


@given(st.floats(0.5, 0.99), st.integers(1, 200))
def test_needed_is_the_least_number_that_bounds_the_interval(level: float, placebos: int) -> None:
    test = PlaceboTest.of(1.0, 1.0, np.ones(placebos), np.ones(placebos), np.zeros(placebos))
    assert (test.interval(level) is not None) == (placebos >= needed(level))


def test_a_placebo_that_shares_in_the_whole_effect_leaves_no_bound() -> None:
    test = PlaceboTest.of(5.0, 2.0, np.zeros(19), np.ones(19), np.full(19, 0.6))
    assert test.interval(0.90) == (-np.inf, np.inf)
    assert test.p_value == 1


def test_groups_are_all_or_many_and_never_the_treated_one() -> None:
    assert len(placebo_groups(6, [1, 4], seed=7)) == 14
    many = placebo_groups(40, [0, 1, 2, 3], seed=7)
    assert len(np.unique(many, axis=0)) == 999
    assert not (many == [0, 1, 2, 3]).all(axis=1).any()


# --- what it promises


@pytest.mark.parametrize(("treated", "units"), [(1, 21), (2, 13)])
def test_error_rates(treated: int, units: int) -> None:
    """Without an effect 1 panel in 10 is called, with one 9 in 10 intervals hold it (20 donors: 2 of 21 at most)."""
    false, covered, found = [], [], []
    for rep in range(220):
        values = factor_panel(spawn(rep, "A/A"), units)[spawn(rep, "who").permutation(units)]
        truth = float(0.15 * values[:treated, -6:].sum())
        with_effect = values.copy()
        with_effect[:treated, -6:] *= 1.15
        nothing, something = lift_of(values, treated), lift_of(with_effect, treated)
        false.append(nothing.p_value < 0.10)
        low, high = something.test.interval(0.90) or (-np.inf, np.inf)
        covered.append(low <= truth <= high)
        found.append(something.p_value < 0.10)
    assert 0.04 <= np.mean(false) <= 0.15  # 0.095 ± 2.7 standard errors
    assert 0.85 <= np.mean(covered) <= 0.96
    assert np.mean(found) > 0.5


@given(SEEDS, st.floats(0.01, 100))
@settings(max_examples=20, deadline=None)
def test_units_of_measure_shocks_to_all_and_order_do_not_matter(seed: int, factor: float) -> None:
    random = np.random.default_rng(seed)
    values = factor_panel(random, units=12, pre=20, post=3)
    lift = lift_of(values, post=3)
    order = [0, *(1 + random.permutation(11))]
    other = lift_of(factor * (values + random.normal(size=23) * 5)[order], post=3)
    assert other.effect == pytest.approx(factor * lift.effect, rel=1e-5, abs=factor * 1e-5)
    assert other.p_value == pytest.approx(lift.p_value, abs=1e-12)


def test_same_seed_same_bytes_and_nothing_is_touched() -> None:
    values = factor_panel(spawn(7, "bytes"), units=30)
    before = values.copy()
    one, two = lift_of(values, treated=4), lift_of(values, treated=4)
    assert one.placebos.placebo.tobytes() == two.placebos.placebo.tobytes()
    assert one.result_row() == two.result_row()
    np.testing.assert_array_equal(values, before)
    panel = panel_of(values)
    apart = SyntheticControl(seed=8).estimate(panel, treated=panel.units[:4], start=panel.periods[-6])
    assert apart.effect == one.effect
    assert not np.array_equal(apart.placebos.placebo, one.placebos.placebo)


# --- doubts


def verdicts(lift: Lift) -> dict[str, str]:
    return {check.name: check.verdict for check in lift.checks}


def test_checks_see_what_is_wrong() -> None:
    random = spawn(7, "checks")
    values = random.normal(size=(12, 46)).cumsum(axis=1) + 100
    far = values.copy()
    far[0] += 500
    assert verdicts(lift_of(far, level="outcome"))["hull"] == "fail"
    assert verdicts(lift_of(far))["hull"] == verdicts(lift_of(values))["hull"]  # fixed effects do not mind the level
    copy = values.copy()
    copy[0] = values[5]
    assert verdicts(lift_of(copy))["weights"] == "fail"
    assert lift_of(copy).effect == pytest.approx(0, abs=1e-6)
    noise = random.normal(size=(12, 46))
    assert verdicts(lift_of(noise))["pre-period fit"] in {"warn", "fail"}


def test_an_effect_that_hangs_on_one_donor_is_said_to() -> None:
    random = spawn(7, "one donor")
    values = random.normal(size=(14, 46)).cumsum(axis=1) * 0.2 + 100
    values[:3, :] += 10 * np.sin(np.arange(46))
    values[0] = values[1] * 0.9 + values[2] * 0.1 + random.normal(size=46) * 0.01
    values[1, -6:] -= 40  # something happened in the donor, and elsewhere nothing
    lift = lift_of(values)
    leave = next(check for check in lift.checks if check.name == "leave one donor out")
    assert leave.verdict != "ok"
    assert leave.table.loc[leave.table["donor"] == "r001", "effect"].item() < lift.effect / 2


def test_results_fit_their_tables_and_can_be_read() -> None:
    values = factor_panel(spawn(7, "tables"))
    values[0, -6:] *= 1.5
    lift = lift_of(values)
    weeks = check("lift", lift.to_frame("launch"))
    assert weeks.rejected.empty
    assert len(weeks.clean) == 56
    assert weeks.clean["low"].isna().sum() == 50
    assert weeks.clean["effect"].tail(6).sum() == pytest.approx(lift.effect)
    row = lift.result_row("launch")
    assert check("lift_results", pd.DataFrame([row])).rejected.empty
    assert {"name", "verdict", "sentence"} == set(json.loads(row["checks"])[0])
    low, high = lift.interval(0.90)
    assert (row["low"], row["high"]) == (low, high)
    assert lift.summary().startswith("r000 had ")
    assert "chance alone would show as much" in lift.summary()
    assert len(lift.plot().data) == 5
    assert lift.weights.sum() == pytest.approx(1)


# --- bad input


def sales(regions: int = 12, weeks: int = 30) -> pd.DataFrame:
    random = spawn(7, "sales")
    index = pd.MultiIndex.from_product(
        [[f"region {k}" for k in range(regions)], pd.date_range("2025-01-06", periods=weeks, freq="W-MON"), ["a", "b"]],
        names=["region", "week", "product_id"],
    )  # fmt: skip
    return pd.DataFrame({"revenue": random.gamma(5, 10, len(index))}, index=index).reset_index()


def test_products_are_summed_and_holes_are_told() -> None:
    frame = sales()
    latest = frame["week"].max()
    holed = frame[~((frame["region"] == "region 3") & (frame["week"] == pd.Timestamp("2025-02-03")))]
    holed = holed[~((holed["week"] == latest) & (holed["region"] != "region 5"))]
    holed.loc[holed.index[0], "revenue"] = np.nan
    panel = Panel.of(holed)
    assert panel.matrix.shape == (10, 29)
    told = panel.dropped.set_index("name")["reason"]
    assert told[str(latest.date())] == "more than half of the units lack it"
    assert told["region 3"] == "lacks 1 of 29 periods, the first 2025-02-03"
    assert "region 0" in told
    one = frame[(frame["region"] == "region 1") & (frame["week"] == pd.Timestamp("2025-01-06"))]
    assert panel.matrix[panel.units.index("region 1"), 0] == pytest.approx(one["revenue"].sum())


def test_a_date_within_a_week_is_that_week() -> None:
    panel = Panel.of(sales())
    lift = SyntheticControl().estimate(panel, treated="region 1", start="2025-06-04", end="2025-06-20")
    assert (lift.start, lift.end) == (pd.Timestamp("2025-06-02"), pd.Timestamp("2025-06-16"))
    late = SyntheticControl().estimate(panel, treated="region 1", start="2025-06-04", end="2025-12-01")
    assert "before the campaign does" in late.checks[-1].sentence


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"treated": "region 99"}, InputError, "did you mean region 9"),
        ({"treated": []}, InputError, "no treated unit"),
        ({"start": "2024-06-02"}, InputError, "outside the panel"),
        ({"start": "2026-06-02"}, InputError, "outside the panel"),
        ({"start": "soon"}, InputError, "is not a date"),
        ({"start": 20}, InputError, "is not a date"),
        ({"start": None}, InputError, "is not a date"),
        ({"end": "2025-05-02"}, InputError, "comes before the start"),
        ({"start": "2025-02-24"}, CannotTell, "7 periods before"),
        ({"treated": [f"region {k}" for k in range(10)]}, CannotTell, "2 comparison units"),
        ({"exclude": [f"region {k}" for k in range(2, 12)]}, CannotTell, "0 comparison units"),
        ({"exclude": ["regoin 1"]}, InputError, "did you mean"),
    ],
)
def test_bad_questions_get_one_clear_answer(change: dict[str, object], error: type[Exception], says: str) -> None:
    question: dict[str, object] = {"treated": ["region 0", "region 1"], "start": "2025-06-02"} | change
    with pytest.raises(error, match=says) as caught:
        SyntheticControl().estimate(Panel.of(sales()), **question)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_bad_data_get_one_clear_answer() -> None:
    frame = sales()
    with pytest.raises(TableError, match="missing column revenue"):
        Panel.of(frame.drop(columns="revenue"))
    with pytest.raises(TableError, match="not numbers"):
        Panel.of(frame.assign(revenue="much"))
    with pytest.raises(TableError, match="infinite"):
        Panel.of(frame.assign(revenue=np.inf))
    with pytest.raises(TableError, match="not dates"):
        Panel.of(frame.assign(week="soon"))
    with pytest.raises(CannotTell, match="missing for every unit between 2025-02-10 and 2025-03-03"):
        Panel.of(frame[~frame["week"].between("2025-02-12", "2025-02-26")])
    with pytest.raises(CannotTell, match="no rows"):
        Panel.of(frame.head(0))
    flat = frame.assign(revenue=frame["revenue"].where(frame["region"] != "region 2", 5.0))
    with pytest.raises(CannotTell, match="never moves"):
        SyntheticControl().estimate(Panel.of(flat), treated="region 2", start="2025-06-02")
    lift = SyntheticControl().estimate(Panel.of(flat), treated="region 1", start="2025-06-02")
    assert "region 2" in lift.checks[-1].sentence
    with pytest.raises(CannotTell, match="0 comparison units"):
        SyntheticControl().estimate(Panel.of(sales(regions=1)), treated="region 0", start="2025-06-02")
    holed = Panel.of(frame[~((frame["region"] == "region 3") & (frame["week"] == pd.Timestamp("2025-02-03")))])
    with pytest.raises(CannotTell, match="'region 3' lacks 1 of 30 periods"):
        SyntheticControl().estimate(holed, treated="region 3", start="2025-06-02")
    with pytest.raises(InputError, match="choose outcome or fixed_effects"):
        SyntheticControl(level="levels")
    with pytest.raises(InputError, match="choose placebo"):
        SyntheticControl(inference="normal")
