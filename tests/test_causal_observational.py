"""Effects without an experiment, and the doubts that go with a lift: known truth, published numbers, slow oracles."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import f as fisher

from liftwise.core.errors import CannotTell, InputError, TableError
from liftwise.core.uncertainty import spawn
from liftwise.models.causal import Lift, Panel, SyntheticControl
from liftwise.models.causal.double_ml import DoubleML, robustness
from liftwise.models.causal.inference import StudentTest
from liftwise.models.causal.instruments import AndersonRubin, Dependence, InstrumentalVariables, effective_f
from liftwise.models.causal.segments import anticipation, cell, segment_panel, sensitivity, spillover

SEEDS = st.integers(0, 2**32 - 1)
TRUTH = 2.0


def confounded(
    random: np.random.Generator, strength: float, instruments: int = 1, clusters: int = 60, each: int = 5
) -> pd.DataFrame:
    """Sales and spend that share a hidden cause; errors and instruments of a cluster move together."""
    n = clusters * each
    who = np.repeat(np.arange(clusters), each)

    def mixed() -> np.ndarray:
        return 0.7 * random.normal(size=clusters)[who] + 0.7 * random.normal(size=n)

    z = np.column_stack([mixed() for _ in range(instruments)])
    hidden, season = mixed(), random.normal(size=n)
    spend = strength * z.sum(axis=1) / instruments**0.5 + hidden + 0.5 * season + mixed()
    sales = TRUTH * spend + 2 * hidden - season + mixed()
    frame = pd.DataFrame(z, columns=[f"z{k}" for k in range(instruments)])
    return frame.assign(sales=sales, spend=spend, season=season, region=who)


def instrumented(frame: pd.DataFrame, estimator: str = "auto"):
    names = [name for name in frame.columns if name.startswith("z")]
    by = InstrumentalVariables(estimator=estimator)
    return by.estimate(frame, "sales", "spend", names, controls=["season"], cluster="region")


# --- instruments


@pytest.mark.parametrize(("estimator", "instruments"), [("auto", 1), ("crossfit", 4), ("2sls", 4), ("liml", 4)])
def test_instruments_recover_the_truth_and_cover_it(estimator: str, instruments: int) -> None:
    random, found = spawn(7, f"strong {estimator}"), []
    for _ in range(200):
        one = instrumented(confounded(random, 1.0 if instruments == 1 else 1.4, instruments), estimator)
        low, high = one.interval(0.90)
        found.append((one.effect, low <= TRUTH <= high, one.numbers["least_squares"]))
    effect, covered, biased = np.mean(found, axis=0)
    assert np.median([one[0] for one in found]) == pytest.approx(TRUTH, abs=0.05)
    assert effect == pytest.approx(TRUTH, abs=0.1)
    assert biased > TRUTH + 0.2  # what least squares would say
    assert 0.85 <= covered <= 0.95  # Monte Carlo error 2.1 points


def test_weak_instruments_leave_coverage_whole_or_are_refused() -> None:
    random, rejected, unbounded, refused = spawn(7, "weak"), 0, 0, 0
    for k in range(200):
        frame = confounded(random, 0.12)
        one = instrumented(frame)
        ends = one.test.interval(0.90)
        unbounded += ends is None
        frame["sales"] -= TRUTH * frame["spend"]  # now the truth is 0: how often is it rejected?
        rejected += instrumented(frame).p_value < 0.10
        if k < 20:
            with pytest.raises(CannotTell, match="weak"):
                instrumented(confounded(random, 0.05, 3), "2sls")
            refused += 1
    assert 0.06 <= rejected / 200 <= 0.14
    assert unbounded > 20
    assert refused == 20


def test_an_unbounded_set_is_said_to_be() -> None:
    one = instrumented(confounded(spawn(7, "hopeless"), 0.0))
    with pytest.raises(CannotTell, match="may not move spend"):
        one.interval(0.99)
    assert "cannot be told" in one.summary(0.99)
    assert np.isnan(one.to_frame(0.99)["low"].item())
    assert {check.name: check.verdict for check in one.checks}["first stage"] == "fail"


@given(SEEDS, st.sampled_from([0.8, 0.9, 0.95]))
@settings(max_examples=80)
def test_the_anderson_rubin_interval_is_what_testing_every_effect_would_keep(seed: int, level: float) -> None:
    random = np.random.default_rng(seed)
    root = random.normal(size=(2, 2))
    test = AndersonRubin(random.normal(size=2) * 3, root @ root.T + 0.01 * np.eye(2), 30, "spend")
    ends = test.interval(level)
    for b in [0.0, *(test.effect + 5 * random.standard_cauchy(40))]:
        contrast = np.array([1.0, -b])
        kept = fisher.sf((contrast @ test.cross) ** 2 / (contrast @ test.variance @ contrast), 1, 30) >= 1 - level
        if ends is not None:
            assert kept == (ends[0] <= b <= ends[1])
    if ends is not None:
        assert ends[0] <= test.effect <= ends[1]
        assert (test.p_value < 1 - level) == (not ends[0] <= 0 <= ends[1])


def test_effective_f_is_the_robust_f_of_one_instrument() -> None:
    frame = confounded(spawn(7, "f"), 0.5)
    x, z = (frame[name].to_numpy() - frame[name].mean() for name in ("spend", "z0"))
    slope = z @ x / (z @ z)
    sums = pd.Series(z * (x - slope * z)).groupby(frame["region"]).sum()
    robust = slope**2 / (float(sums @ sums) * 60 / 59 / (z @ z) ** 2)
    assert effective_f(x, z[:, None], Dependence.of(frame, "region", None)) == pytest.approx(robust, rel=1e-10)


def test_instruments_that_contradict_each_other_are_found() -> None:
    random = spawn(7, "contradiction")
    frame = confounded(random, 1.0, 3, clusters=120)
    fair = {check.name: check.verdict for check in instrumented(frame).checks}
    frame["sales"] += 1.5 * frame["z0"]  # moves sales by itself
    foul = {check.name: check.verdict for check in instrumented(frame).checks}
    assert fair["over-identification"] == "ok"
    assert foul["over-identification"] == "fail"


def test_errors_that_last_over_time_are_allowed_for() -> None:
    random, rejected = spawn(7, "time"), {"week": 0, None: 0}
    for _ in range(100):
        noise = random.normal(size=(3, 150))
        for t in range(1, 150):
            noise[:, t] += 0.6 * noise[:, t - 1]
        data = {"week": np.arange(150), "z": noise[0], "x": noise[0] + noise[1], "y": noise[1] + noise[2]}
        for time in rejected:
            rejected[time] += InstrumentalVariables().estimate(data, "y", "x", "z", time=time).p_value < 0.10
    assert rejected["week"] < rejected[None]
    assert rejected["week"] / 100 < 0.20


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda f: f.drop(columns="z0"), TableError, "missing column z0"),
        (lambda f: f.assign(z0="a"), TableError, "z0 is not numbers"),
        (lambda f: f.assign(z0=1.0), CannotTell, "z0 does not move"),
        (lambda f: f.assign(z0=2 * f["season"]), CannotTell, "z0 does not move"),
        (lambda f: f.head(12), CannotTell, "too few"),
        (lambda f: f.assign(region=f["region"] % 3), CannotTell, "3 independent groups"),
    ],
)
def test_bad_rows_are_refused(change, error: type[Exception], says: str) -> None:
    by = InstrumentalVariables()
    with pytest.raises(error, match=says):
        by.estimate(change(confounded(spawn(7, "bad"), 1.0)), "sales", "spend", ["z0"], controls=["season"], cluster="region")


def test_holes_are_counted_and_words_are_controls() -> None:
    frame = confounded(spawn(7, "holes"), 1.0)
    frame.loc[:49, "spend"] = np.nan
    frame["month"] = np.where(np.arange(len(frame)) % 2 == 0, "june", "july")
    found = InstrumentalVariables().estimate(frame, "sales", "spend", "z0", controls=["season", "month"])
    data = next(check for check in found.checks if check.name == "data")
    assert found.rows == len(frame) - 50
    assert data.verdict == "warn"
    assert "50 with holes" in data.sentence
    with pytest.raises(InputError, match="mix of others"):
        InstrumentalVariables().estimate(frame.assign(z1=frame["z0"]), "sales", "spend", ["z0", "z1"])


# --- double machine learning


def observed(random: np.random.Generator, n: int = 500, bend: float = 0.0) -> pd.DataFrame:
    """Exposure by chance that follows x, effects that differ: 1 + x₁ / 2, mean 1; with `bend`, through curves."""
    x = random.normal(size=(n, 3))
    pull = 0.8 * x[:, 0] - 0.5 * x[:, 1] + bend * np.cos(2 * x[:, 2])
    exposed = (random.random(n) < 1 / (1 + np.exp(-pull))).astype(float)
    base = 2 * x[:, 0] - x[:, 1] + 2 * bend * np.cos(2 * x[:, 2])
    sales = base + (1 + 0.5 * x[:, 1]) * exposed + random.normal(size=n)
    return pd.DataFrame(x, columns=["a", "b", "c"]).assign(exposed=exposed, sales=sales)


def test_interactive_model_covers_the_mean_effect() -> None:
    random, found = spawn(7, "aipw"), []
    for _ in range(100):
        one = DoubleML(learner="linear").estimate(observed(random), "sales", "exposed", ["a", "b", "c"])
        low, high = one.interval(0.90)
        found.append((one.effect, low <= 1 <= high, one.numbers["naive"]))
    effect, covered, naive = np.mean(found, axis=0)
    assert effect == pytest.approx(1, abs=0.04)
    assert naive > 2
    assert 0.83 <= covered <= 0.96  # Monte Carlo error 3 points


def test_partially_linear_model_covers_with_clusters() -> None:
    random, found, clusters = spawn(7, "linear"), [], 50
    for _ in range(100):
        who = np.repeat(np.arange(clusters), 8)
        a, shock = random.normal(size=400), random.normal(size=(2, clusters))
        spend = a + shock[0][who] + random.normal(size=400)
        sales = 0.5 * spend + 2 * a + shock[1][who] + random.normal(size=400)
        data = {"a": a, "spend": spend, "sales": sales, "region": who}
        one = DoubleML(learner="linear").estimate(data, "sales", "spend", ["a"], cluster="region")
        low, high = one.interval(0.90)
        found.append((one.effect, low <= 0.5 <= high))
    effect, covered = np.mean(found, axis=0)
    assert effect == pytest.approx(0.5, abs=0.02)
    assert 0.83 <= covered <= 0.96


def test_trees_find_what_lines_miss_and_say_the_same_twice() -> None:
    frame = observed(spawn(7, "bent"), n=3000, bend=1.5)
    by = DoubleML()
    trees, lines = (one.estimate(frame, "sales", "exposed", ["a", "b", "c"]) for one in (by, DoubleML(learner="linear")))
    again = DoubleML().estimate(frame, "sales", "exposed", ["a", "b", "c"])
    low, high = trees.interval(0.95)
    assert low <= 1 <= high
    assert abs(trees.effect - 1) < 0.5 * abs(lines.effect - 1)
    assert trees.effect == again.effect
    treated = DoubleML(target="treated").estimate(frame, "sales", "exposed", ["a", "b", "c"])
    truth = 1 + 0.5 * frame.loc[frame["exposed"] == 1, "b"].mean()
    low, high = treated.interval(0.95)
    assert low <= truth <= high


def test_no_overlap_is_no_answer() -> None:
    random = spawn(7, "overlap")
    frame = observed(random)
    frame["exposed"] = (frame["a"] + 0.05 * random.normal(size=500) > 0).astype(float)
    with pytest.raises(CannotTell, match=r"all but decide|rows in effect|too few rows"):
        DoubleML(learner="linear").estimate(frame, "sales", "exposed", ["a", "b", "c"])
    frame["spend"] = frame["a"] + 0.01 * random.normal(size=500)
    with pytest.raises(CannotTell, match="nothing is left"):
        DoubleML(learner="linear").estimate(frame, "sales", "spend", ["a", "b", "c"])


def test_neighbours_in_time_teach_nothing() -> None:
    groups = Dependence.of(pd.DataFrame({"week": np.repeat(np.arange(60), 3)}), None, "week")
    for train, judge in DoubleML()._splits(groups):
        apart = np.abs(groups.group[train][:, None] - groups.group[judge]).min()
        assert apart > groups.lags > 0


def test_robustness_value_is_the_published_one() -> None:
    """Darfur, Cinelli and Hazlett (2020), table 1: t = 4.18 with 783 degrees of freedom, robustness value 13.9 %."""
    assert robustness(StudentTest(0.097, 0.0232, 783), 0.0232 * 783**0.5)["robustness_value"] == pytest.approx(0.139, abs=0.0005)


@given(SEEDS)
@settings(max_examples=20)
def test_a_hidden_cause_as_strong_as_the_robustness_value_takes_the_effect_away(seed: int) -> None:
    random = np.random.default_rng(seed)
    effect, reach = random.uniform(0.1, 3), random.uniform(0.5, 5)
    r = robustness(StudentTest(effect, 0.01), reach)["robustness_value"]
    assert reach * r / np.sqrt(1 - r) == pytest.approx(effect, rel=1e-9)


# --- segments, spill-over, anticipation, sensitivity


def sales_of_cells(random: np.random.Generator, weeks: int = 60) -> pd.DataFrame:
    """Three segments in six regions: regions share weather, segments taste."""
    when = pd.date_range("2025-01-06", periods=weeks, freq="W-MON")
    weather, taste = random.normal(size=(6, weeks)), random.normal(size=(3, weeks))
    rows = [
        pd.DataFrame({"segment": f"s{s}", "region": f"r{r}", "week": when,
                      "revenue": np.exp(5 + 0.2 * s + 0.1 * r + 0.05 * (weather[r] + taste[s]) + 0.02 * random.normal(size=weeks))})
        for s in range(3) for r in range(6)
    ]  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def test_segments_are_donors() -> None:
    frame = sales_of_cells(spawn(7, "cells"))
    hit = (frame["segment"] == "s0") & (frame["region"] == "r1") & (frame["week"] >= "2026-01-01")
    truth = 0.3 * frame.loc[hit, "revenue"].sum()
    frame.loc[hit, "revenue"] *= 1.3
    panel = segment_panel(frame, treated=[("s0", "r1")])
    lift = SyntheticControl().estimate(panel, treated=cell("s0", "r1"), start="2026-01-05")
    low, high = lift.interval(0.90)
    assert len(panel.units) == 18
    assert low <= truth <= high
    assert lift.p_value <= 0.1
    apart = segment_panel(frame, treated=[("s0", "r1")], apart=["region"])
    assert len(apart.units) == 16
    assert set(apart.dropped["name"]) == {cell("s1", "r1"), cell("s2", "r1")}
    assert not {cell("s1", "r1"), cell("s2", "r1")} & {
        *SyntheticControl().estimate(apart, treated=cell("s0", "r1"), start="2026-01-05").weights.index
    }


def test_cells_that_cannot_be_are_refused() -> None:
    frame = sales_of_cells(spawn(7, "cells"), weeks=12)
    with pytest.raises(TableError, match="missing column segment"):
        segment_panel(frame.drop(columns="segment"))
    with pytest.raises(InputError, match="city is not part"):
        segment_panel(frame, apart=["city"])
    with pytest.raises(InputError, match="no unit"):
        segment_panel(frame, treated=[("s9", "r1")])
    with pytest.raises(CannotTell, match="shares something"):
        segment_panel(frame[frame["region"] == "r0"], treated=[("s0", "r0")], apart=["region"])
    frame.loc[0, "segment"] = None
    assert "rows" in set(segment_panel(frame).dropped["kind"])


def lifted(effect: float = 0.0, near: float = 0.0, early: float = 0.0) -> tuple[Panel, Lift]:
    """25 regions that share a season; r00 treated for the last 6 weeks, r01 and r02 its neighbours."""
    random = spawn(7, "doubts")
    season = np.sin(np.arange(60) / 8)
    values = (
        100
        + random.normal(size=(25, 1)) * 10
        + (1 + 0.3 * random.normal(size=(25, 1))) * 5 * season
        + random.normal(size=(25, 60))
    )
    values[0, 54:] += effect
    values[1:3, 54:] += near
    values[0, 51:54] += early
    panel = Panel(values, tuple(f"r{k:02d}" for k in range(25)), pd.date_range("2025-01-06", periods=60, freq="W-MON"))
    return panel, SyntheticControl().estimate(panel, treated="r00", start=panel.periods[54])


NEXT = {"r00": ["r01", "r02", "elsewhere"]}


def test_spill_over_is_seen_where_it_is() -> None:
    design = SyntheticControl()
    assert spillover(*lifted(8.0), NEXT, design=design).verdict == "ok"
    found = spillover(*lifted(8.0, near=6.0), NEXT, design=design)
    assert found.verdict == "fail"
    assert found.table["effect"].iloc[0] == pytest.approx(72, rel=0.2)
    with pytest.raises(InputError, match="no treated unit"):
        spillover(*lifted(), {"r00": ["elsewhere"]})


def test_anticipation_is_seen_where_it_is() -> None:
    assert anticipation(*lifted(8.0), 3, design=SyntheticControl()).verdict == "ok"
    assert anticipation(*lifted(8.0, early=6.0), 3, design=SyntheticControl()).verdict == "fail"
    assert anticipation(*lifted(), 60).verdict == "warn"
    with pytest.raises(InputError, match="are none"):
        anticipation(*lifted(), 0)


def test_sensitivity_says_how_large_a_shock_would_have_to_be() -> None:
    small, large = (sensitivity(lifted(effect)[1]) for effect in (4.0, 40.0))
    assert sensitivity(lifted(0.0)[1]).table.empty
    assert large.verdict == "ok"
    multiples = [check.table.set_index("form")["multiple"] for check in (small, large)]
    assert (multiples[1] > multiples[0]).all()
    panel, lift = lifted(40.0)
    step = multiples[1]["lasting shock"] * np.abs(np.diff(lift.gap.to_numpy()[:54])).max()
    values = panel.matrix.copy()
    values[0, 54:] -= 1.001 * step  # the shock it speaks of, taken out of what was seen
    doubted = SyntheticControl().estimate(Panel(values, panel.units, panel.periods), treated="r00", start=panel.periods[54])
    assert doubted.interval(0.90)[0] <= 0
