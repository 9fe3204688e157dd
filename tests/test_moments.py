"""Moments, their facts and habits: against slow loops, against the future, and against an intensity that is known."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from liftwise.core.errors import CannotTell, SettingsError
from liftwise.core.settings import read
from liftwise.core.tables import check
from liftwise.flows.refresh import refresh
from liftwise.pipeline import habits, identity, journeys, moments
from liftwise.store.warehouse import Warehouse
from liftwise.store.workspace import Workspace

START = pd.Timestamp("2025-01-01")
DAY = pd.Timedelta(days=1)


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    with Warehouse(tmp_path / "w.duckdb") as opened:
        yield opened


def at(days: float | np.ndarray) -> pd.Series:
    """Moments so many days after the start, to the second."""
    return pd.Series(START + pd.to_timedelta(np.atleast_1d(days), unit="D")).dt.round("s").astype("datetime64[us]")


def small_world(rng: np.random.Generator, people: int = 6, days: int = 200) -> dict[str, pd.DataFrame]:
    """A few people with two accounts each, who buy, are touched, and of whom something is known."""
    who = np.array([f"{kind}{k}" for k in range(people) for kind in ("app-", "shop-")])
    records = pd.DataFrame({"record_id": who, "source": "x", "person_id": who, "email": [f"{name[-1]}@" for name in who]})
    touched, bought, told = rng.choice(who, 90), rng.choice(who, 50), rng.choice(who, 40)
    touches = pd.DataFrame({"touch_id": [f"t{i:03}" for i in range(90)], "person_id": touched, "channel": "search",
                            "occurred_at": at(rng.uniform(0, days, 90))})  # fmt: skip
    orders = pd.DataFrame({"order_id": [f"o{i:03}" for i in range(50)], "person_id": bought, "ordered_at": at(rng.uniform(0, days, 50)),
                           "revenue": rng.choice([-1.0, 2.0, 3.0], 50, p=[0.1, 0.5, 0.4]),
                           "product_id": rng.choice(["milk", "soap"], 50)})  # fmt: skip
    covariates = pd.DataFrame({"person_id": told, "as_of": at(rng.integers(0, days, 40)), "name": rng.choice(["age", "score"], 40),
                               "value": rng.normal(size=40)}).drop_duplicates(["person_id", "as_of", "name"])  # fmt: skip
    return {"identifiers": records, "touchpoints": touches, "orders": orders, "covariates": covariates}


def load(warehouse: Warehouse, world: dict[str, pd.DataFrame]) -> None:
    for name, frame in world.items():
        warehouse.write(name, frame)
    identity.resolve(warehouse)


def person(account: str) -> str:
    """Accounts app-k and shop-k are one person, named by the smaller."""
    return "app-" + account.split("-")[1]


def own_purchases(world: dict[str, pd.DataFrame]) -> dict[str, list[pd.Timestamp]]:
    found = world["orders"].assign(person_id=world["orders"]["person_id"].map(person))
    sums = found.groupby(["person_id", "ordered_at"])["revenue"].sum()
    times: dict[str, list[pd.Timestamp]] = {}
    for (who, when), revenue in sums.items():  # type: ignore[misc]
        if revenue > 0:
            times.setdefault(who, []).append(when)
    return times


def days_of(gap: pd.Timedelta) -> float:
    return gap / DAY


def slow_facts(world: dict[str, pd.DataFrame], who: str, when: pd.Timestamp) -> dict[str, float]:
    """What was known just before `when`, by reading everything again."""
    purchases = {name: [t for t in sorted(times) if t < when] for name, times in own_purchases(world).items()}
    gaps = {name: [days_of(b - a) for a, b in itertools.pairwise(times)] for name, times in purchases.items()}
    mine, pooled = purchases.get(who, []), [gap for own in gaps.values() for gap in own]
    facts = {"purchases_before": float(len(mine)), "weekend": float(when.day_of_week >= 5)}
    angle = 2 * np.pi * when.day_of_year / 365.25
    facts |= {"day_of_year_sin": np.sin(angle), "day_of_year_cos": np.cos(angle)}
    if mine:
        facts["days_since_purchase"] = days_of(when - mine[-1])
    if pooled:
        facts["usual_gap_days"] = float(np.median(gaps[who] if len(gaps.get(who, [])) >= 2 else pooled))
        if mine:
            facts["due"] = min(facts["days_since_purchase"] / facts["usual_gap_days"], 5.0)
    told = world["covariates"]
    told = told[(told["person_id"].map(person) == who) & (told["as_of"] + DAY <= when)]
    for name, rows in told.sort_values(["as_of", "person_id"], ascending=[False, True]).groupby("name"):
        facts[str(name)] = float(rows["value"].iloc[0])
    return facts


@pytest.mark.parametrize("seed", range(4))
def test_touches_and_facts_of_each_moment_are_those_of_a_slow_loop(warehouse: Warehouse, seed: int) -> None:
    world = small_world(np.random.default_rng(seed))
    load(warehouse, world)
    counts = moments.build(warehouse, lookback_days=20, ratio=5)
    found, facts = warehouse.table("moments"), warehouse.table("journey_facts")
    for name, frame in (("moments", found), ("journey_facts", facts)):
        assert check(name, frame).rejected.empty
    opens = max(min(min(times) for times in own_purchases(world).values()), world["touchpoints"]["occurred_at"].min()) + 20 * DAY
    sold = {(who, when) for who, times in own_purchases(world).items() for when in times if when > opens}
    cases = found[found["converted"]]
    assert set(zip(cases["person_id"], cases["ended_at"], strict=True)) == sold
    assert counts["purchases"] == len(sold) and counts["moments"] == found["journey_id"].nunique() == 6 * len(sold)
    walked = world["touchpoints"].assign(person_id=world["touchpoints"]["person_id"].map(person))
    known = {key: rows.set_index("name")["value"].to_dict() for key, rows in facts.groupby("journey_id")}
    for key, rows in found.groupby("journey_id"):
        who, when = rows["person_id"].iloc[0], rows["ended_at"].iloc[0]
        window = walked[(walked["person_id"] == who) & walked["occurred_at"].between(when - 20 * DAY, when)]
        assert rows["touch_id"].dropna().tolist() == window.sort_values(["occurred_at", "touch_id"])["touch_id"].tolist()
        assert rows["position"].tolist() == (list(range(1, len(window) + 1)) or [0])
        assert known[key] == pytest.approx(slow_facts(world, who, when), abs=1e-9)
    hours = (found["ended_at"] - found["occurred_at"]) / pd.Timedelta(hours=1)
    np.testing.assert_allclose(found["hours_before_end"].dropna(), hours.dropna(), atol=1e-6)


def test_a_purchase_is_called_as_in_journeys_and_a_drawn_moment_as_nothing_there(warehouse: Warehouse) -> None:
    load(warehouse, small_world(np.random.default_rng(9)))
    journeys.build(warehouse, lookback_days=20)
    moments.build(warehouse, lookback_days=20)
    both = warehouse.sql("SELECT m.converted, j.converted AS there FROM moments m LEFT JOIN journeys j USING (journey_id)")
    assert both.loc[both["converted"], "there"].eq(True).all()
    assert both.loc[~both["converted"], "there"].isna().all()
    same = warehouse.sql("SELECT DISTINCT m.revenue = j.revenue AND m.ended_at = j.ended_at AS same FROM moments m JOIN journeys j "
                         "USING (journey_id)")  # fmt: skip
    assert same["same"].tolist() == [True]


def test_a_touch_acts_on_the_next_purchase_too(warehouse: Warehouse) -> None:
    load(warehouse, {
        "touchpoints": pd.DataFrame({"touch_id": ["t0", "t1"], "person_id": "ann", "occurred_at": at(np.array([0.0, 40.0])),
                                     "channel": "search"}),
        "orders": pd.DataFrame({"order_id": ["a", "b", "c"], "person_id": "ann", "ordered_at": at(np.array([0.0, 42.0, 45.0])),
                                "revenue": 1.0}),
    })  # fmt: skip
    moments.build(warehouse, lookback_days=10)
    found = warehouse.table("moments").query("converted")
    assert found["touch_id"].tolist() == ["t1", "t1"]
    assert sorted(found["hours_before_end"]) == [48.0, 120.0]


def test_the_same_data_give_the_same_rows_in_any_order(warehouse: Warehouse) -> None:
    world = small_world(np.random.default_rng(3))
    prints = []
    for seed in range(3):
        load(warehouse, {name: frame.sample(frac=1, random_state=seed) for name, frame in world.items()})
        habits.build(warehouse)
        moments.build(warehouse, lookback_days="auto")
        prints.append([warehouse.fingerprint(name) for name in ("habits", "moments", "journey_facts")])
    assert prints[0] == prints[1] == prints[2]


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.floats(30, 199))
def test_what_comes_later_changes_no_fact(warehouse: Warehouse, seed: int, day: float) -> None:
    world = small_world(np.random.default_rng(seed))
    load(warehouse, world)
    moments.build(warehouse, lookback_days=20)
    found, before = warehouse.table("moments"), warehouse.table("journey_facts")
    now = START + pd.Timedelta(days=day)
    early = set(found.loc[found["ended_at"] <= now, "journey_id"])
    when = {"orders": "ordered_at", "touchpoints": "occurred_at", "covariates": "as_of"}
    for name, column in when.items():
        warehouse.write(name, world[name][world[name][column] <= now])
    moments.facts(warehouse)
    pd.testing.assert_frame_equal(
        *(frame[frame["journey_id"].isin(early)].sort_values(["journey_id", "name"], ignore_index=True)
          for frame in (before, warehouse.table("journey_facts")))
    )  # fmt: skip
    late = {name: frame[frame[when[name]] > now] for name, frame in world.items() if name in when}
    touched = found[found["journey_id"].isin(early)].dropna(subset=["touch_id"])
    assert not touched["touch_id"].isin(late["touchpoints"]["touch_id"]).any()


def test_a_figure_of_the_same_day_is_not_yet_known(warehouse: Warehouse) -> None:
    world = small_world(np.random.default_rng(1))
    world["covariates"] = pd.DataFrame({
        "person_id": ["app-0", "shop-0", "app-0", "app-0"], "as_of": at(np.array([100, 100, 100, 101])),
        "name": ["score", "score", "due", "score"], "value": [1.0, 2.0, 9.0, 3.0],
    })  # fmt: skip
    load(warehouse, world)
    moments.build(warehouse, lookback_days=20)
    told = warehouse.sql("SELECT ended_at, name, value FROM journey_facts JOIN (SELECT DISTINCT journey_id, person_id, ended_at "
                         "FROM moments) USING (journey_id) WHERE person_id = 'app-0'")  # fmt: skip
    score = told[told["name"] == "score"]
    assert score["ended_at"].min() >= START + 101 * DAY
    assert (score["value"] == np.where(score["ended_at"] < START + 102 * DAY, 1.0, 3.0)).all(), "of two accounts the first"
    assert (told.loc[told["name"] == "due", "value"] <= 5).all(), "our own fact keeps its name"


def test_drawn_moments_are_even_over_time_and_people(warehouse: Warehouse) -> None:
    rng = np.random.default_rng(2)
    world = steady_world(rng, people=300, days=400, rate=0.02)
    load(warehouse, world)
    counts = moments.build(warehouse, lookback_days=10, ratio=3)
    base = warehouse.sql("SELECT person_id, ended_at FROM moments WHERE NOT converted AND position <= 1")
    sold = warehouse.sql("SELECT min(ordered_at) AS first, max(ordered_at) AS last FROM orders").iloc[0]
    opens = max(sold["first"], world["touchpoints"]["occurred_at"].min()) + 10 * DAY
    where = (base["ended_at"] - opens) / (sold["last"] - opens)
    assert where.between(0, 1).all()
    assert len(base) == 3 * counts["purchases"]
    assert counts["kept"] == pytest.approx(len(base) / (300 * days_of(sold["last"] - opens)))
    assert (warehouse.table("moments")["kept"] == counts["kept"]).all()
    per_slot = np.histogram(where, 37, (0, 1))[0]
    assert chisquare(per_slot).pvalue > 0.001
    assert np.ptp(base["person_id"].value_counts()) <= 6, "one slot, one moment: nobody is drawn much more often"
    within = np.modf(where * np.ceil(len(base) / 300))[0]
    assert chisquare(np.histogram(within, 20, (0, 1))[0]).pvalue > 0.001


def test_fewer_moments_than_people_are_drawn_where_there_is_little_to_learn(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(warehouse, steady_world(np.random.default_rng(5), people=400, days=100, rate=0.001))
    few = moments.build(warehouse, lookback_days=10, ratio=2)
    assert few["moments"] - few["purchases"] == 2 * few["purchases"] < 400
    monkeypatch.setattr(moments, "MOST", 7)
    capped = moments.build(warehouse, lookback_days=10, ratio=2)
    assert capped["moments"] - capped["purchases"] == 7
    assert capped["kept"] == pytest.approx(few["kept"] * 7 / (2 * few["purchases"]))


def test_without_time_to_look_back_nothing_can_be_told(warehouse: Warehouse) -> None:
    with pytest.raises(CannotTell, match="need orders"):
        moments.build(warehouse)
    load(warehouse, steady_world(np.random.default_rng(5), people=50, days=25, rate=0.1))
    with pytest.raises(CannotTell, match="later than 30 days"):
        moments.build(warehouse)


def steady_world(rng: np.random.Generator, people: int, days: int, rate: float, factor: float = 1.0) -> dict[str, pd.DataFrame]:
    """People who buy at a constant daily rate, times `factor` in the 5 days after a touch; about one touch in 25 days."""
    who = np.array([f"p{k:04}" for k in range(people)])
    touched = rng.integers(0, people, rng.poisson(people * days / 25))
    seen = pd.DataFrame({"touch_id": [f"t{i:06}" for i in range(len(touched))], "person_id": who[touched], "channel": "search",
                         "occurred_at": at(rng.uniform(0, days, len(touched)))})  # fmt: skip
    tried = rng.integers(0, people, rng.poisson(people * days * rate * factor))  # thinned to the rate: no discretisation
    proposals = pd.DataFrame({"person_id": who[tried], "ordered_at": at(rng.uniform(0, days, len(tried)))}).sort_values(
        "ordered_at"
    )
    latest = pd.merge_asof(
        proposals, seen.sort_values("occurred_at"), left_on="ordered_at", right_on="occurred_at", by="person_id"
    )
    fresh = (latest["ordered_at"] - latest["occurred_at"] < 5 * DAY).to_numpy()
    bought = proposals[rng.random(len(proposals)) < np.where(fresh, 1.0, 1 / factor)]
    bought = bought.drop_duplicates().assign(order_id=lambda frame: [f"o{i:06}" for i in range(len(frame))], revenue=2.0)
    records = pd.DataFrame({"record_id": who, "source": "x", "person_id": who})
    return {"identifiers": records, "touchpoints": seen, "orders": bought}


def fit(rows: pd.DataFrame, kept: float) -> tuple[np.ndarray, np.ndarray]:
    """Log daily rate and log factor of a fresh touch, with standard errors, by logistic regression."""
    last = rows.groupby("journey_id").agg(hours=("hours_before_end", "min"), converted=("converted", "first"))
    fresh = (last["hours"] < 120).to_numpy().astype(float)
    told = sm.GLM(last["converted"].astype(float), sm.add_constant(fresh), sm.families.Binomial(),
                  offset=np.full(len(last), -np.log(kept))).fit()  # fmt: skip
    return np.asarray(told.params), np.asarray(told.bse)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_intensity_of_buying_is_recovered_from_moments_and_not_from_journeys(warehouse: Warehouse, seed: int) -> None:
    load(warehouse, steady_world(np.random.default_rng(seed), people=800, days=300, rate=0.01, factor=3.0))
    kept = moments.build(warehouse, lookback_days=30)["kept"]
    found, error = fit(warehouse.table("moments"), kept)
    truth = np.log([0.01, 3.0])
    assert (error < [0.04, 0.07]).all(), "the intervals say something"
    assert (np.abs(found - truth) < 3 * error).all()
    journeys.build(warehouse, lookback_days=30)
    biased, its = fit(warehouse.table("journeys"), 1.0)
    assert biased[1] - truth[1] > 10 * its[1] or biased[1] > np.log(30), "fresh touches seem to convert by themselves"


def test_habits_are_those_of_a_slow_loop(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(habits, "_HABITS", habits._HABITS.replace(f"gaps >= {habits.ENOUGH_GAPS}", "gaps >= 4"))
    world = small_world(np.random.default_rng(4))
    rare = (
        world["orders"]
        .head(6)
        .assign(product_id=["rare", "rare", "rare", "odd", "odd", "odd"], revenue=1.0, order_id=list("abcdef"))
    )
    world["orders"] = pd.concat([world["orders"], rare])
    world["products"] = pd.DataFrame({"product_id": ["milk", "rare"], "repurchase_days": [3.0, 200.0]})
    load(warehouse, world)
    counts = habits.build(warehouse)
    found = warehouse.table("habits").set_index("product_id")
    assert check("habits", warehouse.table("habits")).rejected.empty
    orders = world["orders"].assign(who=world["orders"]["person_id"].map(person))
    sums = orders.groupby(["product_id", "who", "ordered_at"])["revenue"].sum()
    times = sums[sums > 0].reset_index().sort_values("ordered_at")
    gaps: dict[str, list[float]] = {name: [] for name in found.index}
    for (product, _), rows in times.groupby(["product_id", "who"]):
        gaps[product] += [days_of(gap) for gap in rows["ordered_at"].diff().dropna()]
    every = list(itertools.chain.from_iterable(gaps.values()))
    want = {
        "milk": ("measured", gaps["milk"]),
        "soap": ("measured", gaps["soap"]),
        "rare": ("declared", [200.0]),
        "odd": ("overall", every),
    }
    for product, (source, spans) in want.items():
        row = found.loc[product]
        assert row["source"] == source
        assert row["gap_days_median"] == pytest.approx(np.median(spans))
        assert row["lookback_days"] == round(min(max(float(np.median(spans)), 7), 90))
        buyers = times[times["product_id"] == product].groupby("who").size()
        assert (row["people"], row["repeat_buyers"]) == (len(buyers), (buyers > 1).sum())
        if source != "declared":
            assert row["gap_days_p90"] == pytest.approx(np.quantile(spans, 0.9))
    weighted = np.average(found["lookback_days"], weights=orders["product_id"].value_counts()[found.index])
    assert counts == {"products": 4, "measured": 2, "lookback_days": round(weighted)}


def rhythmic() -> dict[str, pd.DataFrame]:
    """Milk every 10 days, soap every 60: thirty people each, always a touch 20 days before a purchase of either."""
    rows = [(f"m{k:02}", "milk", 10.0 * n + k / 40) for k in range(30) for n in range(1, 25)]
    rows += [(f"s{k:02}", "soap", 60.0 * n + k / 40) for k in range(30) for n in range(1, 5)]
    rows += [("both", "milk", 150.0), ("both", "soap", 150.0), ("only", "milk", 150.0)]
    orders = pd.DataFrame(rows, columns=["person_id", "product_id", "day"])
    orders = orders.assign(
        order_id=orders.groupby(["person_id", "day"]).ngroup().astype(str), revenue=1.0, ordered_at=at(orders["day"])
    )
    seen = pd.DataFrame({"touch_id": ["tb", "to", "ts"], "person_id": ["both", "only", "s00"], "channel": "search",
                         "occurred_at": at(np.array([130.0, 130.0, 160.0]))})  # fmt: skip
    return {"orders": orders.drop(columns="day"), "touchpoints": seen}


def test_left_to_the_habits_a_purchase_looks_back_as_far_as_its_slowest_product(warehouse: Warehouse) -> None:
    load(warehouse, rhythmic())
    with pytest.raises(CannotTell, match="lookback_days"):
        journeys.build(warehouse, lookback_days="auto")
    usual = habits.build(warehouse)["lookback_days"]
    assert usual == round((10 * 722 + 60 * 121) / 843) == 17
    assert warehouse.table("habits").set_index("product_id")["lookback_days"].to_dict() == {"milk": 10, "soap": 60}
    journeys.build(warehouse, lookback_days="auto")
    found = warehouse.table("journeys").dropna(subset=["touch_id"]).set_index("touch_id")
    assert found["converted"].to_dict() == {"tb": True, "to": False, "ts": True}
    assert found.loc["to", "hours_before_end"] == 17 * 24, "what did not convert waits for the usual look-back"
    told = moments.build(warehouse, lookback_days="auto")
    assert told["lookback_days"] == usual, "moments look back alike, purchases or not"
    assert warehouse.table("moments")["hours_before_end"].max() <= 17 * 24


def test_the_look_back_may_be_left_to_the_habits_in_the_settings(tmp_path: Path) -> None:
    def told(line: str) -> object:
        (tmp_path / "liftwise.toml").write_text(f"[journeys]\n{line}\n")
        return read(tmp_path).journeys.lookback_days

    assert (told('lookback_days = "auto"'), told("lookback_days = 45"), told("")) == ("auto", 45, 30)
    for wrong in ("lookback_days = 0", 'lookback_days = "soon"', "moments_per_purchase = 0.0"):
        with pytest.raises(SettingsError, match="journeys"):
            told(wrong)


def test_refresh_makes_them_once(tmp_path: Path) -> None:
    world = rhythmic()
    Workspace.create(tmp_path / "ws").close()
    toml = tmp_path / "ws" / "liftwise.toml"
    toml.write_text(toml.read_text() + '\n[journeys]\nlookback_days = "auto"\nmoments_per_purchase = 2.0\n')
    for name, frame in world.items():
        frame.to_csv(tmp_path / "ws" / "data" / f"{name}.csv", index=False)
    with Workspace.open(tmp_path / "ws") as ws:
        flow = refresh(ws)
        told = flow.metrics("moments")
        assert told["moments"] == 3 * told["purchases"] and told["lookback_days"] == 17
        assert {"habits", "moments", "journey_facts"} <= set(ws.warehouse.names())
        assert all(ran.skipped for ran in refresh(ws).ran)
