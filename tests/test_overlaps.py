"""Campaigns that ran in the same regions and weeks: credit is given once, or not told apart; in tables, JSON and words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from liftwise.cli import app
from liftwise.core.errors import InputError
from liftwise.core.uncertainty import spawn
from liftwise.flows.lift import lift_of
from liftwise.flows.measure import measure
from liftwise.flows.overlaps import confounds, other_campaigns
from liftwise.flows.parts import parts_of
from liftwise.flows.refresh import refresh
from liftwise.outputs.reports import lift_sentence
from liftwise.store.workspace import Workspace

REGIONS, WEEKS = [f"r{k:02d}" for k in range(20)], pd.date_range("2023-11-06", periods=110, freq="W-MON")
CAMPAIGNS = {  # regions, first week, last week, effect
    "posts": (range(0, 6), 80, 89, 0.12), "tv": (range(3, 9), 84, 93, 0.08), "alike": (range(10, 14), 60, 65, 0.10),
    "twin": (range(10, 14), 60, 65, 0.05), "lone": (range(15, 18), 100, 105, 0.10),
}  # fmt: skip


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """20 regions, 110 weeks, and what each campaign alone brought."""
    random = spawn(7, "overlaps")
    size = np.exp(random.normal(8, 0.4, 20))
    base = size[:, None] * np.exp(0.1 * np.sin(np.arange(110) * 2 * np.pi / 52) + 0.02 * random.normal(size=(20, 110)))
    moved, rows = np.zeros((20, 110)), []
    for name, (regions, first, last, effect) in CAMPAIGNS.items():
        moved[regions.start : regions.stop, first : last + 1] += effect
        where = ";".join(REGIONS[regions.start : regions.stop])
        rows.append((name, name, WEEKS[first].date(), (WEEKS[last] + pd.Timedelta(days=6)).date(), where))
    sales = base * np.exp(moved)
    truth = {
        name: float((base[r.start : r.stop, a : b + 1] * np.expm1(effect)).sum()) for name, (r, a, b, effect) in CAMPAIGNS.items()
    }
    folder = tmp_path_factory.mktemp("overlaps") / "ws"
    (folder / "data").mkdir(parents=True)
    frame = pd.DataFrame({"region": np.repeat(REGIONS, 110), "week": np.tile(WEEKS.strftime("%Y-%m-%d"), 20)})
    frame.assign(revenue=sales.ravel().round(2)).to_csv(folder / "data" / "sales.csv", index=False)
    table = pd.DataFrame(rows, columns=["campaign_id", "name", "starts_on", "ends_on", "regions"])
    table.to_csv(folder / "data" / "campaigns.csv", index=False)
    Workspace.create(folder).close()
    with Workspace.open(folder) as ws:
        refresh(ws)
        measure(ws, "lift")
    return folder, truth


@pytest.fixture
def ws(market: tuple[Path, dict[str, float]]) -> Iterator[Workspace]:
    with Workspace.open(market[0]) as opened:
        yield opened


@pytest.fixture
def truth(market: tuple[Path, dict[str, float]]) -> dict[str, float]:
    return market[1]


def test_credit_is_given_once(ws: Workspace, truth: dict[str, float]) -> None:
    table = ws.warehouse.table("overlaps")
    assert set(table["campaigns"]) == {"posts;tv", "alike;twin"}
    parts = table[table["campaigns"] == "posts;tv"].set_index("part")
    assert parts.loc[["posts", "tv", "shared"], "effect"].sum() == pytest.approx(parts.loc["total", "effect"])
    for name in ("posts", "tv"):
        answer = lift_of(ws, name)
        assert answer["method"] == "simultaneous_campaigns"
        assert answer["effect"] == parts.loc[name, "effect"]
        assert answer["effect"] == pytest.approx(truth[name], rel=0.25)
        assert [row["part"] for row in answer["overlaps"]] == ["posts", "tv", "shared", "total"]
        assert next(check for check in answer["checks"] if check["name"] == "other campaigns")["verdict"] == "fail"
    alone = ws.warehouse.table("lift_results")
    alone = alone[alone["method"].str.startswith("calibrated_control")].set_index("test_id")["effect"]
    assert alone["tv"] > parts.loc["tv", "effect"]  # judged alone it is given what the posts brought, too
    says = lift_sentence(lift_of(ws, "tv"))
    assert "posts ran meanwhile in the same regions; judged together: posts " in says and "only together" in says


def test_what_cannot_be_told_apart_gets_no_number(ws: Workspace, truth: dict[str, float]) -> None:
    for name in ("alike", "twin"):
        answer = lift_of(ws, name)
        assert answer["effect"] is None and answer["low"] is None and "not separable" in answer["reason"]
        total = answer["overlaps"][-1]
        assert total["effect"] == pytest.approx(truth["alike"] + truth["twin"], rel=0.3)
        assert "cannot be told" in lift_sentence(answer) and "total" in lift_sentence(answer)


def test_a_campaign_alone_is_judged_alone(ws: Workspace) -> None:
    answer = lift_of(ws, "lone")
    assert answer["method"] == "calibrated_control/log" and "overlaps" not in answer
    assert "meanwhile" not in lift_sentence(answer)


def test_parts_of_a_campaign_are_its_regions(ws: Workspace, truth: dict[str, float]) -> None:
    frame = parts_of(ws, "lone").to_frame(0.90).set_index("part")
    assert list(frame.index) == ["r15", "r16", "r17"]
    assert frame["effect"].sum() == pytest.approx(truth["lone"], rel=0.3)
    assert (frame["p_adjusted"] >= frame["p_value"]).all() and (frame["low_all"] <= frame["low"]).all()
    with pytest.raises(InputError, match="no campaign"):
        parts_of(ws, "nothing")


def test_parts_on_the_command_line(market: tuple[Path, dict[str, float]]) -> None:
    where = ["--workspace", str(market[0])]
    found = CliRunner().invoke(app, ["measure", "lift", "--campaign", "lone", "--parts", "--json", *where])
    assert found.exit_code == 0
    assert [row["part"] for row in json.loads(found.stdout)["parts"]] == ["r15", "r16", "r17"]


def test_who_is_counted_in_whom() -> None:
    when = pd.to_datetime(["2025-11-03", "2025-12-01", "2025-11-10", "2024-11-11"])
    every = pd.DataFrame({
        "campaign_id": ["national", "later", "north", "last year"], "treated": [[], [], ["n"], []], "starts_on": when,
        "ends_on": when + pd.Timedelta(days=20),
    })  # fmt: skip
    national, later, north, _ = every.itertuples()
    assert confounds(national, north) and not confounds(north, national)  # donors of the north had the national one, too
    assert not confounds(national, later)
    checks = {check.name: check for check in other_campaigns(every, national)}
    assert "north ran meanwhile" in checks["other campaigns"].sentence
    assert "last year ran in the same season" in checks["a year before"].sentence
    assert not other_campaigns(every, north)
