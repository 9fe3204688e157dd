"""Designs beyond the simplex, and many treated units: published numbers, slow oracles, and the error rates they promise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import clarabel
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.tables import check
from liftwise.core.uncertainty import spawn
from liftwise.models.causal import Lift, Panel, SyntheticControl
from liftwise.models.causal.completion import MatrixCompletion, choose_penalty, complete, donor_weights, penalties
from liftwise.models.causal.did import DifferenceInDifferences
from liftwise.models.causal.donors import DonorDesign, View
from liftwise.models.causal.placebo import run_placebos_by
from liftwise.models.causal.sdid import SyntheticDiD
from liftwise.models.causal.staggered import Cell, CellLifts, estimate_cells

Data = Callable[[str], Path]
SEEDS = st.integers(0, 2**32 - 1)
DESIGNS = [DifferenceInDifferences(), SyntheticDiD(), MatrixCompletion()]


def factor_panel(random: np.random.Generator, units: int, periods: int, rho: float = 0.5) -> np.ndarray:
    """Sales of regions of many sizes that share a trend and a season, with noise that lasts; shape (units, periods)."""
    size = np.exp(random.normal(0, 0.5, units))
    shared = np.stack([np.cumsum(random.normal(0, 0.3, periods)), 2 * np.sin(np.arange(periods) * 2 * np.pi / 26)])
    noise = random.normal(size=(units, periods))
    for t in range(1, periods):
        noise[:, t] += rho * noise[:, t - 1]
    level = 1 + 0.03 * (1 + 0.4 * random.normal(size=(units, 2))) @ shared
    return 20 * size[:, None] * level + (np.exp(random.normal(0, 0.4, units)) * size**0.5)[:, None] * noise


def panel_of(values: np.ndarray) -> Panel:
    return Panel(values, tuple(f"r{k:03d}" for k in range(len(values))), pd.RangeIndex(values.shape[1]))


def names(*rows: int) -> list[str]:
    return [f"r{row:03d}" for row in rows]


def california(shared_data: Data) -> Panel:
    return Panel.of(pd.read_csv(shared_data("prop99_california") / "smoking_long.csv"), "state", "year", "cigsale")


# --- published numbers


def test_california_by_difference_in_differences(shared_data: Data) -> None:
    lift = DifferenceInDifferences().estimate(california(shared_data), treated="California", start=1989)
    assert lift.effect / 12 == pytest.approx(-27.3491, abs=0.001)


def test_california_by_synthetic_did(shared_data: Data) -> None:
    panel = california(shared_data)
    lift = SyntheticDiD().estimate(panel, treated="California", start=1989)
    assert lift.effect / 12 == pytest.approx(-15.605, abs=0.005)
    times = pd.Series(SyntheticDiD().time_weights(panel, treated="California", start=1989), index=panel.periods[:19])
    assert times[[1986, 1987, 1988]].to_list() == pytest.approx([0.366, 0.206, 0.428], abs=0.001)
    assert times.drop([1986, 1987, 1988]).max() < 1e-9
    assert lift.placebos is not None
    spread = lift.placebos.placebo[:, 19:].mean(axis=1).std(ddof=1)
    assert spread == pytest.approx(9.49, abs=0.02)  # published: 8.4, by drawing placebos at random
    assert lift.duality_gap < 1e-10


def test_california_by_matrix_completion(shared_data: Data) -> None:
    """Published: −20.2 (11.5), with a penalty from cells hidden at random; here they are hidden in the question's pattern."""
    lift = MatrixCompletion().estimate(california(shared_data), treated="California", start=1989)
    assert lift.effect / 12 == pytest.approx(-20.2, abs=0.6)
    assert lift.placebos is not None
    assert lift.placebos.placebo[:, 19:].mean(axis=1).std(ddof=1) == pytest.approx(11.5, abs=1)


# --- slow oracles


def by_conic_solver(rows: np.ndarray, target: np.ndarray, ridge: float) -> tuple[np.ndarray, float]:
    """min ‖target − w·rows − intercept‖² + ridge ‖w‖² over the simplex, by clarabel; weights and optimum."""
    n, periods = rows.shape
    design = np.column_stack([rows.T, np.ones(periods)])
    quadratic = sparse.csc_matrix(np.triu(2 * design.T @ design + 2 * ridge * np.diag([*np.ones(n), 0.0])))
    constraints = sparse.csc_matrix(np.vstack([np.append(np.ones(n), 0.0), np.hstack([-np.eye(n), np.zeros((n, 1))])]))
    how = clarabel.DefaultSettings()
    how.verbose, how.tol_gap_abs, how.tol_gap_rel, how.tol_feas = False, 1e-11, 1e-11, 1e-11
    cones = [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(n)]
    solved = clarabel.DefaultSolver(
        quadratic, -2 * design.T @ target, constraints, np.append(1.0, np.zeros(n)), cones, how
    ).solve()  # fmt: skip
    weights = np.array(solved.x)[:n]
    return weights, penalised(rows, target, ridge, weights)


def penalised(rows: np.ndarray, target: np.ndarray, ridge: float, weights: np.ndarray) -> float:
    gap = target - weights @ rows
    return float(np.sum((gap - gap.mean()) ** 2) + ridge * np.sum(weights**2))


@given(SEEDS, st.integers(4, 25), st.integers(8, 30))
@settings(max_examples=15)
def test_both_weights_of_synthetic_did_are_optimal(seed: int, donors: int, pre: int) -> None:
    random = np.random.default_rng(seed)
    values = factor_panel(random, donors + 1, pre + 4)
    panel = panel_of(values)
    lift = SyntheticDiD().estimate(panel, treated=names(0), start=pre)
    rest, noise = values[1:], np.std(np.diff(values[1:, :pre], axis=1), ddof=1)
    ridge = 4**0.5 * noise**2 * pre
    omega, least = by_conic_solver(rest[:, :pre], values[0, :pre], ridge)
    found = lift.weights.reindex(names(*range(1, donors + 1)), fill_value=0.0).to_numpy()
    assert penalised(rest[:, :pre], values[0, :pre], ridge, found) <= least * (1 + 1e-7)
    np.testing.assert_allclose(found, omega, atol=2e-4)
    times = SyntheticDiD().time_weights(panel, treated=names(0), start=pre)
    tiny = (1e-6 * noise) ** 2 * donors
    _, best = by_conic_solver(rest[:, :pre].T, rest[:, pre:].mean(axis=1), tiny)
    moved = np.sum((rest - rest.mean()) ** 2)
    assert penalised(rest[:, :pre].T, rest[:, pre:].mean(axis=1), tiny, times) <= best * (1 + 1e-6) + 1e-10 * moved
    after, before = values[:, pre:].mean(axis=1), values[:, :pre] @ times
    assert lift.effect / 4 == pytest.approx((after - before)[0] - found @ (after - before)[1:], rel=1e-6)


@pytest.mark.parametrize("design", [DifferenceInDifferences(), SyntheticDiD(ridge=2.0), MatrixCompletion(penalty=0.8)])
def test_placebos_at_once_are_those_one_by_one(design: DonorDesign) -> None:
    values, known = factor_panel(spawn(7, "at once"), 9, 34), np.empty((9, 0))
    quick = design.placebos(values, [0], 30, known)

    def predict(
        donors: np.ndarray, target: np.ndarray, train: np.ndarray, judge: np.ndarray, more: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return design.predict(View(donors, target, train, judge, more))

    slow = run_placebos_by(predict, values, [0], 30, known, seed=7, most=99)
    for name in ("treated", "placebo", "scale", "scales", "shares", "weights"):
        np.testing.assert_allclose(getattr(quick, name), getattr(slow, name), rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("design", [DifferenceInDifferences(), SyntheticDiD(ridge=2.0), MatrixCompletion(penalty=0.8)])
def test_the_interval_is_what_testing_every_effect_would_keep(design: DonorDesign) -> None:
    """Take an effect out of two treated units and test for nothing: the obvious, slow inversion."""
    random = spawn(7, "inversion")
    values, known = factor_panel(random, 7, 27), np.empty((7, 0))
    test = (found := design.placebos(values, [0, 1], 24, known)).test(slice(24, None))
    share = values[:2, :24].mean(axis=1) / values[:2, :24].mean(axis=1).sum()
    bounded = np.isfinite(test.lower)
    assert bounded.any()
    for supposed in test.effect + random.normal(size=6) * 3 * found.scale:
        without = values.copy()
        without[:2, 24:] -= supposed * share[:, None] / 3
        again = design.placebos(without, [0, 1], 24, known)
        t = again.size * again.placebo[:, 24:].sum(axis=1) / again.scales
        extreme = np.abs(t) >= abs(again.size * again.treated[24:].sum()) / again.scale
        np.testing.assert_array_equal(((test.lower <= supposed) & (supposed <= test.upper))[bounded], extreme[bounded])


def by_plain_soft_impute(matrix: np.ndarray, hidden: np.ndarray, theta: float) -> float:
    """Least ½ Σ seen (y − fit)² + θ‖L‖∗ by plain soft-impute with alternating levels, many steps."""
    low, rows, columns = np.zeros(matrix.shape), np.zeros((len(matrix), 1)), np.zeros((1, matrix.shape[1]))
    for _ in range(4000):
        filled = np.where(hidden, low + rows + columns, matrix)
        rows = (filled - low - columns).mean(axis=1, keepdims=True)
        columns = (filled - low - rows).mean(axis=0, keepdims=True)
        u, s, v = np.linalg.svd(filled - rows - columns, full_matrices=False)
        low = (u * np.maximum(s - theta, 0)) @ v
    left = (matrix - low - rows - columns)[~hidden]
    return float(np.sum(left**2) / 2 + theta * np.linalg.norm(low, "nuc"))


@pytest.mark.parametrize("shape", [(12, 9), (7, 20)])
def test_completion_reaches_the_optimum_of_plain_soft_impute(shape: tuple[int, int]) -> None:
    random = spawn(7, "completion")
    matrix = random.normal(size=(shape[0], 2)) @ random.normal(size=(2, shape[1])) * 3 + random.normal(size=shape) + 50
    hidden = np.zeros(shape, bool)
    hidden[:2, -3:] = True
    penalty = 0.9
    theta = penalty * (shape[0] ** 0.5 + shape[1] ** 0.5)
    fit = complete(np.where(hidden, np.nan, matrix), hidden, penalty)
    filled = np.where(hidden, fit, matrix)
    low = fit - (fit.mean(axis=1, keepdims=True) + fit.mean(axis=0) - fit.mean())
    value = np.sum((matrix - fit)[~hidden] ** 2) / 2 + theta * np.linalg.norm(low, "nuc")
    assert value == pytest.approx(by_plain_soft_impute(matrix, hidden, theta), rel=1e-6)
    hidden[1] = False
    filled = np.where(hidden, fit := complete(matrix, hidden, penalty), matrix)
    weights = donor_weights(filled, penalty)  # a completed cell is a constant and the same mix of the others in every period
    assert weights.sum() == pytest.approx(1)
    gap = fit[0, -3:] - weights @ matrix[1:, -3:]
    np.testing.assert_allclose(gap, gap.mean(), atol=1e-3)


def test_completion_follows_patterns_that_no_average_follows() -> None:
    """Two patterns, loadings outside the donors' hull: levels alone are far off, the completed cells are not."""
    random = spawn(7, "patterns")
    loadings = random.normal(size=(16, 2))
    loadings[0] = [3.0, -3.0]
    values = 100 + 5 * loadings @ random.normal(size=(2, 50)).cumsum(axis=1) + 0.5 * random.normal(size=(16, 50))
    panel = panel_of(values)
    errors = {d.method: abs(d.estimate(panel, treated=names(0), start=44).effect) for d in DESIGNS}
    assert errors["matrix_completion"] < 0.2 * errors["difference_in_differences"]


def test_the_penalty_falls_with_the_noise() -> None:
    random = spawn(7, "penalty")
    patterns = random.normal(size=(25, 2)) @ random.normal(size=(2, 40)).cumsum(axis=1)
    noise = random.normal(size=(25, 40))
    quiet, loud = (choose_penalty(100 + patterns + sd * noise, 8, seed=7) for sd in (0.1, 2.0))
    assert quiet < loud
    assert loud > penalties(100 + patterns + 2.0 * noise)[-1]  # inside the grid


# --- what they promise


@pytest.mark.parametrize("design", DESIGNS[:2], ids=lambda design: design.method)
@pytest.mark.parametrize(("treated", "units"), [(1, 21), (2, 11)])
def test_error_rates(design: DonorDesign, treated: int, units: int) -> None:
    """What `estimate` tests, without the checks beside it: 80 panels, 2 standard errors are 7 points."""
    false, covered = [], []
    for rep in range(80):
        values, known = factor_panel(spawn(rep, "A/A"), units, 46), np.empty((units, 0))
        truth = float(0.15 * values[:treated, 40:].sum())
        nothing = design.placebos(values, list(range(treated)), 40, known).test(slice(40, None))
        values[:treated, 40:] *= 1.15
        found = design.placebos(values, list(range(treated)), 40, known).test(slice(40, None))
        low, high = found.interval(0.90) or (-np.inf, np.inf)
        false.append(nothing.p_value < 0.10)
        covered.append(low <= truth <= high)
    assert 0.01 <= np.mean(false) <= 0.18
    assert 0.82 <= np.mean(covered) <= 0.98


@given(SEEDS, st.sampled_from(DESIGNS[:2]), st.integers(1, 3), st.sampled_from([0.8, 0.9, 0.95]))
@settings(max_examples=40)
def test_p_value_and_interval_never_disagree(seed: int, design: DonorDesign, treated: int, level: float) -> None:
    random = np.random.default_rng(seed)
    values = factor_panel(random, 14, 24)
    values[:treated, -3:] *= 1 + random.choice([0, 0.1, 0.5])
    lift = design.estimate(panel_of(values), treated=names(*range(treated)), start=21)
    try:
        low, high = lift.interval(level)
    except CannotTell:
        return
    assert low <= lift.effect <= high
    assert (lift.p_value < round(1 - level, 12)) == (not low <= 0 <= high)


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.method)
def test_results_fit_their_tables_and_nothing_is_touched(design: DonorDesign) -> None:
    values = factor_panel(spawn(7, "tables"), 14, 36)
    values[0, 32:] *= 1.5
    before, panel = values.copy(), Panel(values, tuple(names(*range(14))), pd.date_range("2025-01-06", periods=36, freq="W-MON"))
    one, two = (design.estimate(panel, treated="r000", start=panel.periods[32]) for _ in range(2))
    assert one.result_row() == two.result_row()
    np.testing.assert_array_equal(values, before)
    assert check("lift", one.to_frame("launch")).rejected.empty
    assert check("lift_results", pd.DataFrame([one.result_row("launch")])).rejected.empty
    assert one.weights.sum() == pytest.approx(1)
    assert one.summary().startswith("r000 had ")
    assert len(one.plot().data) == 5
    scaled = design.estimate(Panel(values * 1000, panel.units, panel.periods), treated="r000", start=panel.periods[32])
    assert scaled.effect == pytest.approx(1000 * one.effect, rel=1e-4)
    assert scaled.p_value == one.p_value


def test_odd_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="ridge of -1 means nothing"):
        SyntheticDiD(ridge=-1)
    with pytest.raises(InputError, match="penalty of 0 means nothing"):
        MatrixCompletion(penalty=0)
    assert isinstance(
        SyntheticDiD(ridge=0).estimate(panel_of(factor_panel(spawn(7, "odd"), 8, 30)), treated=names(0), start=26), Lift
    )


# --- cells


def three_cells(
    random: np.random.Generator, effects: tuple[float, ...] = (0.3, 0.2, 0.1)
) -> tuple[np.ndarray, dict[str, Cell], float]:
    """Two units from 30, one from 36 to 41, one from 42; with the true total."""
    values, total = factor_panel(random, 26, 46), 0.0
    cells = {"a": Cell(names(0, 1), 30), "b": Cell("r002", 36, 41), "c": Cell(names(3), 42)}
    for effect, rows, window in zip(effects, ([0, 1], [2], [3]), (slice(30, 46), slice(36, 42), slice(42, 46)), strict=True):
        total += effect * float(values[rows, window].sum())
        values[rows, window] *= 1 + effect
    return values, cells, total


def test_cells_are_judged_by_units_that_were_never_treated_in_their_window() -> None:
    values, cells, truth = three_cells(spawn(7, "cells"))
    found = estimate_cells(panel_of(values), cells)
    apart = SyntheticControl().estimate(panel_of(values), treated=names(0, 1), start=30, exclude=names(2, 3))
    assert found.lifts["a"].result_row() == apart.result_row()
    assert found.effect == pytest.approx(truth, rel=0.3)
    assert found.effect == pytest.approx(sum(lift.effect for lift in found.lifts.values()))
    assert found.test().effect == pytest.approx(found.effect)
    assert found.test("relative").effect == pytest.approx(found.relative)
    donors = [set(lift.placebos.weights.shape) for lift in found.lifts.values() if lift.placebos is not None]
    assert donors == [{22}, {23}, {22}]  # c is not yet treated while b runs; a and b are no donors of c, though b is over
    assert estimate_cells(panel_of(values), cells, not_yet=False).lifts["b"].placebos.weights.shape == (22,)  # type: ignore[union-attr]
    low, high = found.interval(0.90)
    assert low < truth < high
    assert (found.p_value < 0.10) == (not low <= 0 <= high)


@pytest.mark.parametrize("design", [SyntheticControl(level="outcome"), SyntheticDiD(ridge=2.0)], ids=lambda design: design.method)
def test_cells_acted_out_at_once_are_those_one_by_one(design: DonorDesign) -> None:
    """The whole experiment is acted out by never treated units, each fitted by the donors left over."""
    values, cells, _ = three_cells(spawn(7, "acted"))
    found = estimate_cells(panel_of(values), cells, design, draws=3)
    joint = found.joint
    assert joint is not None
    controls = np.arange(4, 26)
    for acted, rows, donors in zip(joint.cells, ([0, 1], [2], [3]), ([], [3], []), strict=True):
        lift = next(lift for lift in found.lifts.values() if lift.treated == tuple(names(*rows)))
        np.testing.assert_allclose(acted.gaps[0] * len(rows), lift.gap, atol=1e-8)
        for play, drawn in enumerate(joint.drawn, start=1):
            group = controls[drawn[joint.roles == joint.cells.index(acted)]]
            rest = np.array([*donors, *np.setdiff1d(controls, controls[drawn])])
            periods = np.arange(acted.gaps.shape[1])
            target = values[group].mean(axis=0)
            view = View(values[rest], target, np.arange(acted.first), periods, np.empty((len(rest) + 1, 0)))
            np.testing.assert_allclose(acted.gaps[play], target[periods] - design.predict(view)[0], atol=1e-7)
            block = np.arange(acted.first)[: len(np.array_split(np.arange(acted.first), 5)[0])]
            view = View(values[rest], target, np.delete(np.arange(acted.first), block), block, view.covariates)
            np.testing.assert_allclose(acted.held[play, block], target[block] - design.predict(view)[0], atol=1e-7)


def test_any_design_can_judge_cells() -> None:
    values, cells, _ = three_cells(spawn(7, "any"))
    cells = {"b": cells["b"], "c": cells["c"]}
    truth = 0.2 / 1.2 * values[2, 36:42].sum() + 0.1 / 1.1 * values[3, 42:].sum()
    for design in (DifferenceInDifferences(), MatrixCompletion(penalty=1.5)):
        assert estimate_cells(panel_of(values), cells, design, draws=3).effect == pytest.approx(truth, rel=0.5)


def test_cells_can_be_compared_and_read() -> None:
    values, cells, _ = three_cells(spawn(7, "read"), (0.5, 0.1, 0.1))
    found = estimate_cells(panel_of(values), cells)
    pairs = found.comparisons()
    assert list(zip(pairs["first"], pairs["second"], strict=True)) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert (pairs["p_holm"] >= pairs["p_value"]).all()
    assert ((pairs["p_value"] < 0.10) == ((pairs["low"] > 0) | (pairs["high"] < 0))).all()
    contrast = found.compare("a", "b")
    assert contrast.difference == pytest.approx(found.lifts["a"].relative - found.lifts["b"].relative)
    assert contrast.difference == pytest.approx(-found.compare("b", "a").difference)
    assert contrast.p_value < 0.10
    assert contrast.summary().startswith("a gained ")
    mean = found.compare("a", "b", by="mean")
    assert mean.difference == pytest.approx(found.lifts["a"].effect / 32 - found.lifts["b"].effect / 6)
    told = found.to_frame().set_index("cell")
    assert told.loc["total", "effect"] == pytest.approx(found.effect)
    assert "3 cells together had " in found.summary()
    profile = found.profile().set_index("since")
    assert profile.index.min() == -30
    assert profile["cells"].loc[[0, 3, 5, 6, 15]].to_list() == [3, 3, 2, 1, 1]
    gaps = [lift.gap.iloc[lift.pre_periods + 2] for lift in found.lifts.values()]
    assert profile.loc[2, "effect"] == pytest.approx(sum(gaps) / 4)
    assert profile.loc[0:, ["low", "high"]].notna().all(axis=None)
    assert profile.loc[:-1, "low"].isna().all()
    assert len(found.plot().data) == 2
    assert estimate_cells(panel_of(values), cells).to_frame().equals(found.to_frame())


def shared_control(seed: int, effect: float) -> tuple[CellLifts, float]:
    """Two cells of one unit against 16 controls, both with the same relative effect."""
    values = factor_panel(spawn(seed, "shared control"), 18, 40)
    truth = effect * float(values[:2, 35:].sum())
    values[:2, 35:] *= 1 + effect
    return estimate_cells(panel_of(values), {"a": Cell("r000", 35), "b": Cell("r001", 35)}, draws=60), truth


def test_error_rates_of_cells() -> None:
    """Differences and totals at nominal 90 %: 60 experiments, 2 standard errors are 8 points."""
    runs = [shared_control(rep, 0.15) for rep in range(60)]
    equal = [low <= 0 <= high for low, high in (found.compare("a", "b").interval(0.90) for found, _ in runs)]
    total = [low <= truth <= high for (low, high), truth in ((found.interval(0.90), truth) for found, truth in runs)]
    assert 0.82 <= np.mean(equal) <= 0.98
    assert 0.82 <= np.mean(total) <= 0.98
    assert np.mean([found.p_value < 0.10 for found, _ in runs]) > 0.7


@given(SEEDS, st.sampled_from([0.8, 0.9, 0.95]), st.sampled_from(["relative", "mean"]))
@settings(max_examples=25)
def test_cells_p_value_and_interval_never_disagree(seed: int, level: float, by: str) -> None:
    found, _ = shared_control(seed, 0.05)
    for test in (found.test(), found.test("relative"), found.compare("a", "b", by=by).test):
        low, high = test.interval(level) or (np.nan, np.nan)
        assert low < test.effect < high
        assert (test.p_value < round(1 - level, 12)) == (not low <= 0 <= high)


# --- bad input


@pytest.mark.parametrize(
    ("cells", "more", "error", "says"),
    [
        ({}, {}, InputError, "there is no cell"),
        ({"a": Cell("r000", 30), "b": Cell(names(0, 1), 34)}, {}, InputError, "'r000' is in cells 'a' and 'b'"),
        ({"a": Cell("r000", 30)}, {"donors": names(0, 2, 3, 4)}, InputError, "donor 'r000' is treated in cell 'a'"),
        ({"a": Cell("r000", 30)}, {"donors": ["r2"]}, InputError, "no unit 'r2'"),
        ({"a": Cell("r000", -3)}, {}, InputError, "cell 'a': it starts -3, before the data do"),
        ({"a": Cell("r000", 99)}, {}, InputError, "cell 'a': the start 99 lies outside"),
        ({"a": Cell("r000", 30), "late": Cell("r001", 30, 20)}, {}, InputError, "cell 'late': the end 20 comes before"),
        ({"a": Cell("r000", 5)}, {}, CannotTell, "cell 'a': 5 periods before"),
        ({"a": Cell("r999", 30)}, {}, InputError, "cell 'a': there is no unit 'r999'"),
        ({"a": Cell((), 30)}, {}, InputError, "cell 'a': no treated unit"),
        ({"a": Cell(names(*range(6)), 30), "b": Cell(names(*range(6, 11)), 30)}, {}, CannotTell, "cell 'a': 1 comparison units"),
    ],
)
def test_bad_cells_get_one_clear_answer(
    cells: dict[str, Cell], more: dict[str, list[str]], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        estimate_cells(panel_of(factor_panel(spawn(7, "bad"), 12, 40)), cells, **more)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_too_few_controls_leave_estimates_without_a_joint_test() -> None:
    values = factor_panel(spawn(7, "few"), 12, 40)
    found = estimate_cells(panel_of(values), {"a": Cell(names(0, 1, 2, 3), 34), "b": Cell(names(4), 34)})
    assert np.isfinite(found.effect)
    with pytest.raises(CannotTell, match="7 units that were never treated are too few to act out 5"):
        found.interval()
    assert np.isnan(found.to_frame()["low"].iloc[-1])
    assert "cannot be told" in found.summary()
    assert found.profile()["effect"].notna().all()


def test_shares_of_nothing_are_refused() -> None:
    values = factor_panel(spawn(7, "nothing"), 20, 40) - 500
    found = estimate_cells(panel_of(values), {"a": Cell("r000", 34), "b": Cell("r001", 34)})
    with pytest.raises(CannotTell, match="no share of it means anything"):
        found.compare("a", "b")
    assert np.isfinite(found.compare("a", "b", by="mean").interval()).all()
    with pytest.raises(InputError, match="no cell 'z'"):
        found.compare("a", "z")
    with pytest.raises(InputError, match="choose relative or mean"):
        found.compare("a", "b", by="sum")
    with pytest.raises(InputError, match="choose total or relative"):
        found.interval(by="mean")
