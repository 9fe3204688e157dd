"""Mix, allocation, effectiveness, transforms and simulator: recovered truths and invariants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liftwise.core import transforms
from liftwise.core.errors import CannotTell, Infeasible, InputError
from liftwise.core.tables import TABLES, check
from liftwise.core.uncertainty import spawn
from liftwise.decisions.allocation.allocate import allocate
from liftwise.models.effectiveness.tuples import PRIOR, past_mean
from liftwise.models.mix import RidgeMix
from liftwise.sources import simulator
from liftwise.sources.simulator.truth import FRAMES, Truth

SERIES = st.lists(st.floats(0, 1e6), min_size=1, max_size=40).map(np.array)


@given(SERIES, st.floats(0, 0.95))
def test_adstock_equals_a_slow_loop_and_can_be_undone(spend: np.ndarray, keep: float) -> None:
    slow = [sum((1 - keep) * keep**lag * spend[t - lag] for lag in range(t + 1)) for t in range(len(spend))]
    carried = transforms.adstock(spend, keep)
    np.testing.assert_allclose(carried, slow, atol=1e-6)
    np.testing.assert_allclose(transforms.inverse_adstock(carried, keep), spend, atol=1e-4)


@given(st.floats(0.01, 50), st.floats(0.1, 10), st.floats(0.5, 3))
def test_hill_rises_to_one_and_can_be_undone(x: float, half: float, shape: float) -> None:
    y = float(transforms.hill(np.array([x]), half, shape)[0])
    assert 0 < y < 1
    step = 1e-6 * x
    slope = float(np.diff(transforms.hill(np.array([x - step, x + step]), half, shape))[0] / (2 * step))
    assert slope == pytest.approx(float(transforms.hill_slope(np.array([x]), half, shape)[0]), rel=1e-3, abs=1e-7)
    if y < 1 - 1e-6:
        assert float(transforms.inverse_hill(np.array([y]), half, shape)[0]) == pytest.approx(x, rel=1e-4)


# -- mix


def weekly(seed: int = 1, weeks: int = 150, effect: float = 1.0) -> tuple[pd.DataFrame, dict[str, float]]:
    """A national market with two channels whose spend is random, and what each really added."""
    rng = spawn(seed, "weekly")
    dates = pd.date_range("2022-01-03", periods=weeks, freq="W-MON")
    spend = {name: rng.lognormal(0, 0.7, weeks) * (rng.random(weeks) < 0.7) * 1000 for name in ("tv", "search")}
    added = {"tv": 400 * effect * transforms.hill(transforms.adstock(spend["tv"] / 700, 0.6), 1.0),
             "search": 250 * effect * transforms.hill(spend["search"] / 700, 2.0)}  # fmt: skip
    heat = rng.normal(0, 1, weeks)
    revenue = (
        2000 + 150 * np.sin(2 * np.pi * np.arange(weeks) / 52.18) + 60 * heat + sum(added.values()) + rng.normal(0, 25, weeks)
    )
    rows = [
        ("target", "revenue", revenue),
        ("control", "heat", heat),
        *(("channel", name, values) for name, values in spend.items()),
    ]
    long = pd.concat(
        [pd.DataFrame({"week": dates, "region": "all", "role": role, "name": name, "value": v}) for role, name, v in rows]
    )
    return long, {name: float(values.sum()) for name, values in added.items()}


def test_a_mix_recovers_what_channels_added_and_how_long_it_lasted() -> None:
    long, truth = weekly()
    mix = RidgeMix(draws=60).fit(long)
    totals = mix.totals()
    for name, true in truth.items():
        got = mix.contributions().query("channel == @name")["contribution"].sum()
        assert got == pytest.approx(true, rel=0.3), name
        assert totals[name].quantile(0.005) * 0.8 < true < totals[name].quantile(0.995) * 1.2
    assert mix.retention_["tv"] >= 0.45 > 0.3 >= mix.retention_["search"]
    assert mix.scores_["rmse_pct"] < mix.scores_["naive_rmse_pct"]


def test_parts_sum_to_the_fit_and_tables_keep_their_contract() -> None:
    mix = RidgeMix(draws=20).fit(weekly()[0])
    assert mix.contributions()["contribution"].sum() == pytest.approx(mix.predict()["predicted"].sum())
    for name in ("contributions", "responses", "carryover"):
        assert check(name, getattr(mix, name)()).rejected.empty, name
    assert mix.simulate({})["change"].abs().max() < 1e-6
    assert (mix.simulate({"tv": 2.0}).set_index("channel")["change"]["tv"]) > 0


def test_the_hold_out_is_never_seen_and_the_same_seed_gives_the_same_fit() -> None:
    long, _ = weekly()
    one = RidgeMix(draws=10).fit(long)
    late = (long["role"] == "target") & (long["week"] > long["week"].max() - pd.Timedelta(weeks=26))
    other = RidgeMix(draws=10).fit(long.assign(value=long["value"].where(~late, long["value"] * 3)))
    assert (one.choice_, one.penalty_) == (other.choice_, other.penalty_)
    pd.testing.assert_frame_equal(one.responses(), RidgeMix(draws=10).fit(long).responses())


def test_a_mix_says_what_it_cannot_tell() -> None:
    long, _ = weekly()
    with pytest.raises(CannotTell, match="a mix needs 30"):
        RidgeMix().fit(long[long["week"] < long["week"].min() + pd.Timedelta(weeks=12)])
    with pytest.raises(CannotTell, match="no media spend"):
        RidgeMix().fit(long[long["role"] != "channel"])
    with pytest.raises(InputError, match="negative spend of tv"):
        RidgeMix().fit(long.assign(value=long["value"].where(long["name"] != "tv", -1.0)))
    twin = long[long["name"] == "tv"].assign(name="tv2")
    still = long[long["name"] == "tv"].assign(name="still", value=5.0)
    notes = " ".join(RidgeMix(draws=5).fit(pd.concat([long, twin, still])).notes_)
    assert "tv and tv2 move together" in notes and "still never changes" in notes


# -- allocation


def responses(seed: int, channels: int, s_shaped: bool) -> pd.DataFrame:
    rng = spawn(seed, "responses")
    grid, rows = np.linspace(0, 300, 31), []
    for k in range(channels):
        top, half, shape = rng.uniform(50, 500), rng.uniform(30, 200), 2.5 if s_shaped else 1.0
        for draw in range(8):
            revenue = top * rng.lognormal(0, 0.05) * transforms.hill(grid, half, shape)
            rows.append(pd.DataFrame({"channel": f"c{k}", "draw": draw, "spend": grid, "revenue": revenue}))
    return pd.concat(rows, ignore_index=True)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.booleans(), st.floats(0, 1))
def test_a_split_is_as_good_as_a_grid_search_and_keeps_every_cent(seed: int, s_shaped: bool, risk: float) -> None:
    table = responses(seed, 3, s_shaped)
    current = pd.Series({"c0": 100.0, "c1": 70.33, "c2": 29.67})
    split = allocate(table, current=current, total=200.0, risk_aversion=risk)
    assert round(split.recommended.sum(), 2) == 200.0
    curves = [
        table.query("channel == @c and draw % 2 == 0").pivot_table(index="draw", columns="spend", values="revenue")
        for c in current.index
    ]
    curves = [(c.columns.to_numpy(), (c.mean() - risk * c.std(ddof=0)).to_numpy()) for c in curves]

    def worth(parts: tuple[float, ...]) -> float:
        return sum(float(np.interp(x, *curve)) for x, curve in zip(parts, curves, strict=True))

    best = max(worth((a, b, 200.0 - a - b)) for a in np.arange(0, 201, 10.0) for b in np.arange(0, 201 - a, 10.0))
    assert split.bound >= best - 1e-6
    assert split.value >= worth(tuple(current)) - 0.02, "never below today"
    assert split.value >= best - 0.02, "to the cents' rounding"


def test_limits_are_kept_and_impossible_ones_named() -> None:
    table, current = responses(1, 3, False), pd.Series({"c0": 100.0, "c1": 50.0, "c2": 50.0})
    split = allocate(table, current=current, total=200.0, floors={"c0": 0.45}, ceilings={"c1": 0.3})
    assert split.recommended["c0"] >= 90 and split.recommended["c1"] <= 60
    with pytest.raises(Infeasible, match="floors ask for 120%"):
        allocate(table, current=current, total=200.0, floors={"c0": 0.6, "c1": 0.6})
    with pytest.raises(Infeasible, match="ceilings hold only"):
        allocate(table, current=current, total=200.0, ceilings={"c0": 0.1, "c1": 0.1, "c2": 0.1})


# -- effectiveness


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 20), st.floats(-5, 5)), min_size=1, max_size=20),
       st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 22)), min_size=1, max_size=6))  # fmt: skip
def test_history_is_the_past_and_nothing_else(past: list[tuple[str, int, float]], asked: list[tuple[str, int]]) -> None:
    keys, when, values = (np.array(column, dtype=object) for column in zip(*past, strict=True))
    seen = when.astype("int64").astype("datetime64[D]")
    who, days = (np.array(column, dtype=object) for column in zip(*asked, strict=True))
    mean, count = past_mean(keys, seen, values.astype(float), who, days.astype("int64").astype("datetime64[D]"))
    for k, (name, day) in enumerate(asked):
        before = [v for _, d, v in past if d < day]
        mine = [v for n, d, v in past if d < day and n == name]
        general = float(np.mean(before)) if before else 0.0
        assert count[k] == len(mine)
        assert mean[k] == pytest.approx((sum(mine) + PRIOR * general) / (len(mine) + PRIOR), abs=1e-9)


# -- simulator


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sim")
    simulator.generate(folder / "data", folder / "truth", seed=3, people=1500, influencers=60, regions=12, weeks=80)
    return folder


def test_a_market_has_every_table_and_truth(small: Path) -> None:
    missing = {name for name, table in TABLES.items() if table.is_source} - {p.stem for p in (small / "data").iterdir()}
    assert missing == {"comments", "exchange_rates"}
    truth = Truth(small / "truth")
    assert all(len(truth.frame(name)) for name in FRAMES)


def test_the_same_seed_gives_the_same_bytes(small: Path, tmp_path: Path) -> None:
    simulator.generate(tmp_path / "data", tmp_path / "truth", seed=3, people=1500, influencers=60, regions=12, weeks=80)
    for one in sorted((small / "data").glob("*.*")) + sorted((small / "truth").iterdir()):
        assert one.read_bytes() == (tmp_path / one.parent.name / one.name).read_bytes(), one.name


def test_truth_adds_up(small: Path) -> None:
    truth = Truth(small / "truth")
    channels, touches = truth.frame("channels").set_index("channel"), truth.frame("touches")
    by_week = truth.frame("channel_weeks").groupby("channel")["incremental_revenue"].sum()
    np.testing.assert_allclose(by_week[channels.index], channels["incremental_revenue"])
    assert (touches["incremental_orders"] >= 0).all()
    # orders that touches set off are as many as expected, within Poisson error
    caused = ~truth.frame("orders")["cause"].isin(["organic", "brand", "tv"])
    assert abs(caused.sum() / touches["incremental_orders"].sum() - 1) < 0.2
    sales = pd.read_parquet(small / "data" / "sales.parquet")["revenue"].sum()
    assert sales == pytest.approx(truth.frame("weeks")["expected_revenue"].sum(), rel=0.03)


def test_reality_is_hard(small: Path) -> None:
    """Spend follows demand, and those who see search are likely buyers: last touch credits search far too much."""
    sales = pd.read_parquet(small / "data" / "sales.parquet").groupby("week")["revenue"].sum()
    spend = pd.read_parquet(small / "data" / "spend.parquet").query("channel == 'search'").groupby("week")["spend"].sum()
    assert sales.corr(spend) > 0.25
    touches = pd.read_parquet(small / "data" / "touchpoints.parquet")
    orders = pd.read_parquet(small / "data" / "orders.parquet").groupby("person_id").size()
    searched = touches.query("channel == 'search'")["person_id"].str.replace("app", "shop")
    assert orders.reindex(searched).fillna(0).mean() > 1.2 * orders.sum() / 1500, "a search is likelier where people buy anyway"
