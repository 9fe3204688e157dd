"""A linked survey panel: its answers meet the touches before them, content that moves them is found, and noise is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import spearmanr

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.tables import check
from liftwise.core.uncertainty import Floats, spawn
from liftwise.flows.attribution import _answers
from liftwise.flows.refresh import refresh
from liftwise.models.attribution.influence import COIN
from liftwise.models.attribution.journeys import Journeys
from liftwise.models.attribution.stages import ORDER, ForetellsStages
from liftwise.pipeline import identity, moments
from liftwise.sources import simulator
from liftwise.sources.simulator import answers as panel
from liftwise.store.warehouse import Warehouse
from liftwise.store.workspace import Workspace

START = pd.Timestamp("2025-01-01")
TYPES = ("film", "reel", "story", "tutorial")
ADDS = {"awareness": (1.6, 0.8, 0.0, 0.3), "consideration": (0.0, 0.4, -0.6, 1.5)}


class Counts(ForetellsStages):
    """Knows how often each channel touched, and nothing else."""

    channels_ = TYPES

    def states(self, journeys: Journeys) -> tuple[Floats, Floats]:
        total = np.cumsum(np.eye(len(TYPES))[journeys.codes], axis=0)
        before = np.vstack([np.zeros(len(TYPES)), total])[journeys.offsets[:-1]]
        return total - before[journeys.owner], np.zeros(len(TYPES))


def asked(seed: int, people: int = 400, times: int = 3, adds: dict[str, tuple[float, ...]] = ADDS) -> pd.DataFrame:
    """Table `answer_moments` of a panel: touches drawn at random, answers by what was seen, by person and by chance."""
    rng = spawn(seed, "test.asked")
    rows: list[dict[str, object]] = []
    own = rng.normal(0, 0.5, people)
    for person in range(people):
        for time in range(times):
            codes, hours = rng.integers(0, len(TYPES), rng.poisson(1.5)), np.sort(rng.uniform(0, 720, 20))[::-1]
            for metric, effect in adds.items():
                yes = rng.random() < expit(-1.0 + own[person] + np.array(effect)[codes].sum())
                mine: dict[str, object] = {"journey_id": f"{person}-{time}-{metric}", "person_id": f"p{person}", "metric": metric,
                                           "score": 100.0 * yes}  # fmt: skip
                rows += [
                    mine | {"position": k + 1, "touch_id": f"{person}-{time}-{k}", "hours_before_end": hours[k],
                            "channel": TYPES[code], "content_type": TYPES[code], "platform": None, "influencer_id": None}
                    for k, code in enumerate(codes)
                ] or [mine | {"position": 0}]  # fmt: skip
    return pd.DataFrame(rows)


def bought(n: int = 400) -> pd.DataFrame:
    """Table `moments` in which half of the people buy, whatever touched them."""
    rng = spawn(1, "test.bought")
    code = rng.integers(0, len(TYPES), n)
    return pd.DataFrame({
        "journey_id": [f"j{k:04d}" for k in range(n)], "person_id": [f"p{k}" for k in range(n)], "position": 1,
        "touch_id": [f"t{k}" for k in range(n)], "hours_before_end": rng.uniform(0, 160, n), "channel": np.array(TYPES)[code],
        "content_type": np.array(TYPES)[code], "platform": "x", "influencer_id": None, "kind": "view", "converted": rng.random(n) < 0.5,
        "revenue": 1.0, "kept": 0.1,
    })  # fmt: skip


def test_content_that_moves_answers_is_found_in_its_order() -> None:
    ranks, right = [], []
    for seed in range(4):
        read = Counts().influence(bought(), answers=asked(seed))
        for metric, effects in ADDS.items():
            mine = read.frame[(read.frame["stage"] == f"{metric} (asked)") & (read.frame["by"] == "content_type")].set_index(
                "name"
            )
            change, true = mine.loc[list(TYPES), "change"], np.array(effects)
            auc, low, high = read.aucs[f"{metric} (asked)"]
            assert mine["tells"].all() and COIN < low < auc < high < 0.9
            ranks.append(spearmanr(change, true).statistic)
            right.append(np.sign(change)[np.abs(true) > 0.5] == np.sign(true)[np.abs(true) > 0.5])
            assert change.idxmax() == TYPES[int(true.argmax())]
    assert np.mean(ranks) > 0.85 and np.concatenate(right).all()


def test_answers_drawn_at_random_cannot_be_told() -> None:
    told = 0
    for seed in range(15):
        none = {metric: (0.0,) * len(TYPES) for metric in ADDS}
        read = Counts().influence(bought(), answers=asked(seed, people=200, adds=none))
        told += sum(low > COIN for stage, (_, low, _) in read.aucs.items() if stage.endswith("(asked)"))
        assert "awareness (asked)" in read.summary()
    assert told <= 3  # of 30


def test_what_people_do_is_read_as_if_nobody_had_been_asked() -> None:
    answers = asked(1, people=100)
    alone, both = Counts().influence(bought()), Counts().influence(bought(), answers=answers)
    did = both.frame[~both.frame["stage"].str.endswith("(asked)")].reset_index(drop=True)
    pd.testing.assert_frame_equal(did, alone.frame)
    stages = list(dict.fromkeys(both.frame["stage"]))
    assert stages == [stage for stage in ORDER if stage in both.aucs] == list(both.aucs)
    assert {"awareness", "consideration", "basket"} <= set(both.spared)
    mixed = Counts().influence(bought(), answers=answers.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(mixed.frame, both.frame)
    head = str(both.plot().to_json())
    assert "consideration\\u003cbr\\u003e(asked)" in head


def test_few_answers_are_spared_with_their_reason_and_bad_ones_refused() -> None:
    answers = asked(2, people=100)
    few = answers[answers["person_id"].isin([f"p{k}" for k in range(20)])]
    read = Counts().influence(bought(), answers=few)
    assert "people did not reach it, 15 are needed" in read.spared["awareness (asked)"] and list(read.aucs) == ["conversion"]
    untouched = few[["journey_id", "person_id", "metric", "score"]].drop_duplicates().assign(
        position=0, touch_id=None, hours_before_end=np.nan, channel=None, content_type=None, platform=None, influencer_id=None
    )  # fmt: skip
    assert "nobody who answered was touched" in Counts().influence(bought(), answers=untouched).spared["awareness (asked)"]
    pd.testing.assert_frame_equal(Counts().influence(bought(), answers=answers[:0]).frame, Counts().influence(bought()).frame)
    with pytest.raises(InputError, match="0 to 100"):
        Counts().influence(bought(), answers=answers.assign(score=7_000.0))
    with pytest.raises(InputError, match="never seen"):
        Counts().influence(bought(), answers=answers.assign(channel="new"))
    nobody = bought().assign(converted=False)
    assert set(Counts().influence(nobody, answers=answers).aucs) == {"awareness (asked)", "consideration (asked)"}
    with pytest.raises(CannotTell, match="no stage can be read"):
        Counts().influence(nobody, answers=few)


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    with Warehouse(tmp_path / "w.duckdb") as opened:
        yield opened


def shop() -> dict[str, pd.DataFrame]:
    """A few people with an account in the shop and one in the app, who buy, are touched and asked; one stranger is asked, too."""
    rng = spawn(1, "test.shop.answers")
    accounts = np.array([f"{kind}-{k}" for k in range(6) for kind in ("app", "shop")])

    def times(n: int) -> pd.Series:
        return pd.Series(START + pd.to_timedelta(rng.uniform(0, 200, n), unit="D")).dt.round("s").astype("datetime64[us]")

    return {
        "identifiers": pd.DataFrame({"record_id": accounts, "source": "x", "person_id": accounts, "email": [f"{a[-1]}@" for a in accounts]}),
        "touchpoints": pd.DataFrame({"touch_id": [f"t{k:03d}" for k in range(90)], "person_id": rng.choice(accounts, 90),
                                     "channel": "nano", "occurred_at": times(90)}),
        "orders": pd.DataFrame({"order_id": [f"o{k:03d}" for k in range(50)], "person_id": rng.choice(accounts, 50),
                                "revenue": 2.0, "ordered_at": times(50)}),
        "panel_answers": pd.DataFrame({"person_id": rng.choice([*accounts, "stranger"], 80), "answered_at": times(80), "metric": "awareness",
                                       "score": rng.choice([0.0, 100.0], 80), "brand": rng.choice(["Ours", "rival", "all"], 80)}),
        "products": pd.DataFrame({"product_id": ["milk"], "brand": ["ours"]}),
    }  # fmt: skip


def test_touches_before_each_answer_are_those_of_a_slow_loop(warehouse: Warehouse) -> None:
    world = shop()
    for name, frame in world.items():
        warehouse.write(name, frame)
    identity.resolve(warehouse)
    warehouse.drop("panel_answers")
    without = moments.build(warehouse, lookback_days=20)
    prints = [warehouse.fingerprint(name) for name in ("moments", "journey_facts")]
    assert not warehouse.has("answer_moments") and "answers" not in without
    warehouse.write("panel_answers", world["panel_answers"])
    counts = moments.build(warehouse, lookback_days=20)
    assert [warehouse.fingerprint(name) for name in ("moments", "journey_facts")] == prints, "no answer enters what learns"
    found = warehouse.table("answer_moments")
    assert check("answer_moments", found).rejected.empty
    touches, day = world["touchpoints"], pd.Timedelta(days=1)
    first, last = touches["occurred_at"].min() + 20 * day, touches["occurred_at"].max()
    want = {}
    for row in world["panel_answers"].itertuples():
        if row.person_id != "stranger" and row.brand != "rival" and first <= row.answered_at <= last:
            mine = touches[touches["person_id"].str[-1] == row.person_id[-1]]
            seen = mine[(mine["occurred_at"] <= row.answered_at) & (mine["occurred_at"] >= row.answered_at - 20 * day)]
            want[(f"app-{row.person_id[-1]}", row.answered_at)] = (row.score, sorted(seen["touch_id"]))
    got = {
        key: (rows["score"].iloc[0], sorted(rows["touch_id"].dropna())) for key, rows in found.groupby(["person_id", "ended_at"])
    }
    assert got == want and any(not seen for _, seen in want.values())
    assert (counts["answers"], counts["answers_read"]) == (80, len(want))


def test_answers_of_one_moment_are_one_and_nothing_is_read_without_touches(warehouse: Warehouse) -> None:
    world = shop()
    world["panel_answers"] = pd.DataFrame({"person_id": ["app-1", "shop-1", "app-1"], "answered_at": START + pd.Timedelta(days=100), "score": [100.0, 50.0, 0.0],
                                           "metric": ["awareness", "awareness", "nps"]})  # fmt: skip
    for name, frame in world.items():
        warehouse.write(name, frame)
    identity.resolve(warehouse)
    moments.build(warehouse, lookback_days=20)
    found = warehouse.table("answer_moments").query("position <= 1")
    assert found.set_index("metric")["score"].to_dict() == {"awareness": 75.0, "nps": 0.0}
    warehouse.drop("touchpoints")
    assert moments.build(warehouse, lookback_days=20)["answers_read"] == 0


def test_bad_answers_are_refused_at_the_door_and_strangers_are_named(tmp_path: Path) -> None:
    world = shop()
    odd = pd.DataFrame({"person_id": ["app-1", "app-2", "", "app-3"], "answered_at": ["2025-05-01", "soon", "2025-05-01", "2025-05-01"],
                        "metric": ["awareness", "awareness", "awareness", "fame"], "score": ["120", "50", "50", "50"], "brand": "ours"})  # fmt: skip
    world["panel_answers"] = pd.concat([world["panel_answers"].assign(score=lambda f: f["score"].astype(str)), odd])
    Workspace.create(tmp_path / "ws").close()
    for name, frame in world.items():
        frame.to_csv(tmp_path / "ws" / "data" / f"{name}.csv", index=False)
    with Workspace.open(tmp_path / "ws") as ws:
        refresh(ws)
        refused = ws.warehouse.table("quarantine").set_index("column")["reason"].to_dict()
        assert refused == {"score": "is above 100", "answered_at": "is not a time", "person_id": "is missing",
                           "metric": "is none of awareness, consideration, preference, purchase_intent, nps"}  # fmt: skip
        kept = ws.warehouse.table("panel_answers")
        assert len(kept) == 80 and not kept["person_id"].str.contains("app|shop|stranger").any()
        strangers = int((world["panel_answers"]["person_id"] == "stranger").sum())
        found = ws.warehouse.table("health").query("table == 'panel_answers' and check == 'link'")
        assert found["rows"].tolist() == [strangers]
        assert _answers(ws, ("tv",))["position"].eq(0).all(), "a channel the model never saw says nothing"
        assert len(_answers(ws, ("nano",))) == ws.warehouse.rows("answer_moments")
        (tmp_path / "ws" / "data" / "panel_answers.csv").unlink()
        refresh(ws)
        assert not ws.warehouse.has("answer_moments") and _answers(ws, ("nano",)) is None


def test_the_market_is_the_same_with_and_without_its_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"seed": 5, "people": 120, "influencers": 20, "regions": 6, "weeks": 60}
    simulator.generate(tmp_path / "with", tmp_path / "with" / "truth", **sizes)
    made = pd.read_parquet(tmp_path / "with" / "panel_answers.parquet")
    assert check("panel_answers", made).rejected.empty
    assert made["person_id"].nunique() == 40 and made.groupby("metric").size().eq(40 * panel.TIMES).all()
    monkeypatch.setattr(panel, "answers", lambda rng, *_: made[: rng.integers(1, 9)])
    simulator.generate(tmp_path / "without", tmp_path / "without" / "truth", **sizes)
    files = [path for path in sorted((tmp_path / "with").rglob("*.*")) if path.stem != "panel_answers"]
    assert len(files) > 30
    for one in files:
        assert one.read_bytes() == (tmp_path / "without" / one.relative_to(tmp_path / "with")).read_bytes(), one.name
