"""Identity, journeys, audiences and features on data small enough to check by hand, and against slow loops."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liftwise.core.errors import CannotTell
from liftwise.core.timegrid import TimeGrid
from liftwise.pipeline import audiences, features, identity, journeys
from liftwise.store.warehouse import Warehouse


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    with Warehouse(tmp_path / "w.duckdb") as opened:
        yield opened


def touches(rows: list[tuple[str, str, str]], **more: object) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["touch_id", "person_id", "occurred_at"]).assign(channel="search", **more)
    return frame.astype({"occurred_at": "datetime64[us]"})


def orders(rows: list[tuple[str, str, str, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["order_id", "person_id", "ordered_at", "revenue"])


def test_records_sharing_a_value_are_one_person_through_chains(warehouse: Warehouse) -> None:
    warehouse.write("identifiers", pd.DataFrame({
        "record_id": ["1", "2", "3", "4"], "source": "shop", "person_id": ["a", "b", "c", "d"],
        "email": ["x", "x", None, None], "phone": [None, "p", "p", None],
    }))  # fmt: skip
    identity.resolve(warehouse)
    people = warehouse.table("people").set_index("record_id")["person_id"]
    assert people["1"] == people["2"] == people["3"] == "a"
    assert people["4"] == "d"


def test_a_value_shared_by_a_crowd_links_nobody(warehouse: Warehouse) -> None:
    crowd = identity.SHARED_BY_AT_MOST + 1
    warehouse.write("identifiers", pd.DataFrame({
        "record_id": [f"r{i:02}" for i in range(crowd)], "source": "shop", "person_id": [f"p{i:02}" for i in range(crowd)],
        "phone": "the shop's own",
    }))  # fmt: skip
    assert identity.resolve(warehouse)["people"] == crowd


def test_journeys_end_at_purchases_and_keep_those_without_touch(warehouse: Warehouse) -> None:
    warehouse.write("identifiers", pd.DataFrame({"record_id": ["1"], "source": "shop", "person_id": ["silent"]}))
    warehouse.write("touchpoints", touches([
        ("t1", "ann", "2025-01-01"), ("t2", "ann", "2025-03-01"), ("t3", "ann", "2025-03-05"), ("t4", "ann", "2025-03-09"),
        ("t5", "bob", "2025-03-02"),
    ]))  # fmt: skip
    warehouse.write("orders", orders([("o1", "ann", "2025-03-06", 10.0), ("o2", "eve", "2025-03-20", 5.0)]))
    identity.resolve(warehouse)
    counts = journeys.build(warehouse, lookback_days=30)
    found = warehouse.table("journeys")
    sold = found[found["converted"] & found["touch_id"].notna()]
    assert list(sold["touch_id"]) == ["t2", "t3"], "t1 is too old, t4 came after the purchase"
    assert list(sold["position"]) == [1, 2]
    assert sold["hours_before_end"].tolist() == [120.0, 24.0]
    assert set(found.loc[~found["converted"], "touch_id"].dropna()) == {"t1", "t4", "t5"}
    alone = found[found["position"] == 0]
    assert dict(zip(alone["person_id"], alone["converted"], strict=True)) == {"eve": True, "silent": False}
    assert counts == {"journeys": 6, "conversions": 2, "touches": 5, "without_touch": 2}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 120)), min_size=1, max_size=25),
       st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 120)), min_size=1, max_size=8))  # fmt: skip
def test_every_touch_is_in_exactly_one_journey(
    warehouse: Warehouse, seen: list[tuple[str, int]], bought: list[tuple[str, int]]
) -> None:
    start = pd.Timestamp("2025-01-01")
    warehouse.write(
        "touchpoints", touches([(f"t{i}", who, str(start + pd.Timedelta(days=d))) for i, (who, d) in enumerate(seen)])
    )
    warehouse.write(
        "orders", orders([(f"o{i}", who, str(start + pd.Timedelta(days=d)), 1.0) for i, (who, d) in enumerate(bought)])
    )
    identity.resolve(warehouse)
    journeys.build(warehouse, lookback_days=10)
    found = warehouse.table("journeys")
    assert sorted(found["touch_id"].dropna()) == sorted(f"t{i}" for i in range(len(seen)))
    assert found.loc[found["converted"], "journey_id"].nunique() == len(set(bought))
    sold = {(who, d) for who, d in bought}
    for row in found.dropna(subset=["touch_id"]).itertuples():
        day = (row.occurred_at - start).days
        soon = any(who == row.person_id and day <= d <= day + 10 for who, d in sold)
        assert row.converted == soon, "a touch converts exactly when a purchase follows within the look-back"
    sizes = found[found["position"] > 0].groupby("journey_id")["position"].agg(["max", "count"])
    assert (sizes["max"] == sizes["count"]).all()


def test_without_orders_there_is_no_journey(warehouse: Warehouse) -> None:
    with pytest.raises(CannotTell, match="orders"):
        journeys.build(warehouse)


def test_overlap_of_samples_is_exact_when_small_and_honest_when_sampled() -> None:
    rng = np.random.default_rng(3)
    people = rng.random(20_000)
    one, other = people[:12_000], people[9_000:]
    frame = pd.concat([pd.DataFrame({"influencer_id": name, "hash": hashes}) for name, hashes in (("a", one), ("b", other))])
    exact = audiences.overlap(frame, size=100_000).iloc[0]
    assert (exact["shared"], exact["standard_error"]) == (3_000, 0)
    sampled = frame.sort_values("hash").groupby("influencer_id").head(1_000)
    guess = audiences.overlap(sampled, size=1_000).iloc[0]
    assert abs(guess["shared"] - 3_000) < 4 * guess["standard_error"]
    assert 0 < guess["standard_error"] < 600


def test_features_see_nothing_that_came_later(warehouse: Warehouse) -> None:
    warehouse.write("posts", pd.DataFrame({
        "post_id": ["p1", "p2"], "influencer_id": "i", "platform": "x", "content_type": "reel",
        "posted_at": ["2025-01-10", "2025-02-10"],
    }))  # fmt: skip
    metrics = pd.DataFrame({
        "post_id": ["p1", "p1", "p2"], "observed_at": ["2025-01-12", "2025-03-01", "2025-02-12"], "impressions": [100, 900, 50],
    })  # fmt: skip
    warehouse.write("post_metrics", metrics)
    early = features.as_of(warehouse, date(2025, 2, 1)).set_index("name")["value"]
    assert early["impressions_per_post"] == 100
    assert early["posts_90d"] == 1
    warehouse.write("post_metrics", metrics.assign(impressions=[100, 1, 1]))
    pd.testing.assert_series_equal(features.as_of(warehouse, date(2025, 2, 1)).set_index("name")["value"], early)


def test_weekly_spreads_national_money_without_losing_a_cent(warehouse: Warehouse) -> None:
    weeks = pd.date_range("2025-01-06", periods=6, freq="W-MON")
    sales = pd.DataFrame([(week, region, value) for week in weeks for region, value in (("n", 30.0), ("s", 10.0))],
                         columns=["week", "region", "revenue"])  # fmt: skip
    warehouse.write("sales", sales)
    warehouse.write("spend", pd.DataFrame({"week": [*weeks, weeks[0]], "channel": ["tv"] * 6 + ["search"],
                                           "spend": [8.0] * 6 + [3.0],
                                           "region": ["all"] * 6 + ["n"]}))  # fmt: skip
    warehouse.write("factors", pd.DataFrame({"week": weeks.delete([2, 4]), "name": "heat", "value": [1.0, 2.0, 4.0, 6.0]}))
    features.weekly(warehouse, TimeGrid())
    design = warehouse.table("weekly")
    money = design[design["role"] == "channel"].groupby("name")["value"].sum()
    assert money.to_dict() == {"tv": 48.0, "search": 3.0}
    tv = design[(design["name"] == "tv") & (design["week"] == weeks[0])].set_index("region")["value"]
    assert tv.to_dict() == {"n": 6.0, "s": 2.0}
    heat = design[(design["name"] == "heat") & (design["region"] == "n")].set_index("week")["value"]
    assert heat.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "single gaps are filled both ways"


def test_long_gaps_stay_missing(warehouse: Warehouse) -> None:
    weeks = pd.date_range("2025-01-06", periods=8, freq="W-MON")
    warehouse.write("sales", pd.DataFrame({"week": weeks, "region": "all", "revenue": range(8)}))
    warehouse.write(
        "factors", pd.DataFrame({"week": weeks.delete([3, 4, 5]), "name": "heat", "value": [1.0, 2.0, 3.0, 7.0, 8.0]})
    )
    features.weekly(warehouse, TimeGrid())
    heat = warehouse.sql("SELECT week FROM weekly WHERE name = 'heat'")["week"]
    assert set(heat) == set(weeks.delete([3, 4, 5]))
