"""The flows as a user runs them: a simulated market end to end, and three real data sets through `init` and a mapping."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from liftwise.cli import _rules, app
from liftwise.core.errors import CannotTell, InputError
from liftwise.core.tables import check
from liftwise.flows import mix as mix_flow
from liftwise.flows import prove
from liftwise.flows.attribution import shares
from liftwise.flows.experiment import design_test, read_test
from liftwise.flows.lift import lift_of
from liftwise.flows.measure import measure
from liftwise.flows.panels import prove_panels
from liftwise.flows.plan import default_rules, plan
from liftwise.flows.reach import reach, reach_rule
from liftwise.flows.refresh import refresh
from liftwise.outputs.reports import attribution_words, write_html, write_table, write_xlsx
from liftwise.outputs.reports.words import short
from liftwise.sources.simulator.truth import Truth
from liftwise.store.workspace import Workspace

Shared = Callable[[str], Path]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A small simulated market, refreshed and measured."""
    folder = tmp_path_factory.mktemp("market") / "ws"
    Workspace.create(folder, sample="fmcg").close()
    toml = (folder / "liftwise.toml").read_text()
    small = (
        toml.replace("people = 20000", "people = 2000")
        .replace("influencers = 300", "influencers = 120")
        .replace("weeks = 156", "weeks = 110")
    )
    (folder / "liftwise.toml").write_text(small)
    with Workspace.open(folder) as ws:
        refresh(ws)
        measure(ws)
        yield ws


def test_exactly_what_was_broken_is_in_quarantine(market: Workspace) -> None:
    dirt = Truth(market.truth).frame("dirt")
    caught = market.warehouse.table("quarantine")
    assert sorted(zip(dirt["table"], dirt["line"], strict=True)) == sorted(zip(caught["table"], caught["line"], strict=True))
    loads = market.warehouse.table("loads")
    assert (loads["rows_in"] == loads["kept"] + loads["quarantined"]).all()


def test_every_table_keeps_its_contract(market: Workspace) -> None:
    for name in market.warehouse.names():
        if name not in ("credits", "touchpoints", "journeys"):
            assert check(name, market.warehouse.table(name)).rejected.empty, name


def test_nothing_runs_twice_without_reason(market: Workspace) -> None:
    assert all(ran.skipped for ran in refresh(market).ran)
    assert all(ran.skipped for ran in measure(market).ran)
    assert market.warehouse.table("runs")["step"].is_unique


def test_credits_sum_to_one_and_contributions_to_the_fit(market: Workspace) -> None:
    sums = market.warehouse.sql("SELECT method, journey_id, sum(credit) AS total FROM credits GROUP BY ALL")
    np.testing.assert_allclose(sums["total"], 1, atol=1e-9)
    conversions = market.warehouse.sql("SELECT count(DISTINCT journey_id) AS n FROM journeys WHERE converted")["n"].item()
    credited = sums.groupby("method")["journey_id"].nunique()
    learned = credited.index.isin(["lstm", "shapley", "survival"])  # of purchases before which a whole look-back is known
    known = market.warehouse.sql("SELECT count(DISTINCT journey_id) AS n FROM moments WHERE converted")["n"].item()
    assert learned.sum() == 3
    assert (credited[~learned] == conversions).all()
    assert (credited[learned] == known).all()
    assert 0.5 * conversions < known <= conversions


def test_the_sequence_model_hears_tests_and_shows_no_small_cell(market: Workspace) -> None:
    effects = market.warehouse.table("channel_effects").set_index("channel")
    assert effects["tested"].any()
    assert not effects.loc["email", "tested"]
    lift, notes = shares(market, tuple(effects.index))
    assert set(lift["channel"]) == set(effects.index[effects["tested"]])
    assert any("tv" in note for note in notes)
    labels = market.warehouse.table("label_credits")
    assert (labels["people"] >= 50).all()
    assert set(labels["by"]) == {"content_type", "platform", "influencer_id"}
    influencer = (
        market.warehouse.table("channel_credits").query("method == 'lstm' and channel == 'influencer'")["conversions"].item()
    )
    assert labels.groupby("by")["conversions"].sum().to_numpy() == pytest.approx(influencer, rel=0.02)


def test_what_the_panel_answers_is_read_beside_what_people_do(market: Workspace) -> None:
    asked = {"awareness (asked)", "consideration (asked)", "purchase intent (asked)"}
    stages = market.warehouse.table("influence")
    assert asked < set(stages["stage"]) and (stages["people"] >= 50).all()
    order = list(dict.fromkeys(stages["stage"]))
    assert order.index("consideration (asked)") == order.index("consideration") + 1
    answers = market.warehouse.sql(
        "SELECT metric, count(DISTINCT journey_id) AS n, count(touch_id) AS touches FROM answer_moments GROUP BY ALL"
    )
    assert len(answers) == 3 and (answers["n"] > 3_000).all() and (answers["touches"] > answers["n"]).all()
    words = " ".join(attribution_words(market))
    assert all(metric in words for metric in ("awareness", "consideration", "purchase intent"))


@pytest.mark.parametrize("metric", ["revenue", "engagements"])
def test_a_plan_keeps_its_budget_and_is_recorded(market: Workspace, metric: str) -> None:
    made = plan(market, 20_000, metric=metric)
    lines = market.ledger.table("plans").query("plan_id == @made.plan_id")
    assert 0 < lines["budget"].sum() <= 20_000
    assert made.selection.gap <= 0.01
    assert (lines["why"].str.len() > 10).all()
    told = made.flow.metrics("effectiveness")["levels"][metric]
    assert ("is as counted" if told["tests"] == 0 else f"± {told['sd']:.2f} of what is counted") in made.summary()
    assert made.allocation is not None
    assert round(made.allocation.recommended.sum(), 2) == round(made.allocation.current.sum(), 2)


def test_a_plan_comes_with_its_front_its_scenarios_and_what_more_would_buy(market: Workspace) -> None:
    rules = [*default_rules(market), *_rules(0, ["platform=0.7"], 0.6, [], [])]
    made = plan(market, 20_000, frontier=("roi", "brand_equity"), rules=rules, seconds=8)
    assert made.frontier is not None and len(made.frontier.named) >= 3
    said = {metric: level["says"] for metric, level in made.flow.metrics("effectiveness")["levels"].items()}
    assert set(said) == {"revenue", "brand_equity"} and said["revenue"] in made.summary()  # of each metric its own
    table = market.warehouse.table("frontier")
    assert set(table["objective"]) == {"roi", "brand_equity"} and table["plan_id"].nunique() == len(made.frontier.points)
    assert made.scenarios is None or "same budget" in made.scenarios.found
    spent = (
        made.selection.assignments.merge(market.warehouse.table("influencers"), on="influencer_id")
        .groupby("platform")["budget"]
        .sum()
    )
    assert spent.max() <= 0.7 * spent.sum() * (1 + 1e-9)
    assert made.selection.next_money()["gain"].iloc[0] > 0
    with pytest.raises(InputError, match="no share of a group"):
        _rules(0, ["platform:0.7"], None, [], [])


def test_a_plan_reaches_as_many_different_people_as_asked(market: Workspace) -> None:
    asked = round(0.8 * reach(market, 20_000).found.reach)
    made = plan(market, 20_000, rules=[*default_rules(market), reach_rule(market, asked)], seconds=5).selection
    samples = market.warehouse.table("audience_samples")
    mine = samples[samples["influencer_id"].isin(made.assignments["influencer_id"])]
    assert samples.groupby("influencer_id").size().max() < 4096, "these audiences are complete"
    assert mine["hash"].nunique() >= asked and made.bound >= made.value
    assert f"It reaches {mine['hash'].nunique():,} different people" in made.summary()


def test_the_mix_is_written_and_compared_with_the_last_one(market: Workspace) -> None:
    for name in ("mix_roi", "mix_forecasts", "partial_dependence", "mix_facts"):
        assert market.warehouse.rows(name), name
    assert market.warehouse.has("mix_changes") is False or market.warehouse.table("mix_changes").empty, (
        "the first fit says nothing"
    )
    before, parts = market.warehouse.table("mix_roi").set_index("channel"), market.warehouse.table("contributions")
    own = parts[parts["part"].isin(["immediate", "carried"])].groupby("channel")["contribution"].sum()
    np.testing.assert_allclose(own[before.index], before["revenue"], rtol=1e-6)
    chosen = before["model"].iloc[0]
    other = "lasso" if chosen != "lasso" else "ridge"
    try:
        told = measure(market, "mix", model=other).metrics("mix")
        changes, now = market.warehouse.table("mix_changes"), market.warehouse.table("mix_roi").set_index("channel")
        assert set(changes["part"]) == {"model", "tests"}  # lasso and ridge hear none
        assert set(now["model"]) == {other} == {told["model"]}
        sums = changes.groupby("channel")["amount"].sum()
        np.testing.assert_allclose(sums, (now["roi"] - before["roi"])[sums.index], atol=1e-9)
        assert any(name.startswith("changed") and "another model" in str(line) for name, line in told.items())
        assert f"lift tests are known, but {other} does not use them" in " ".join(map(str, told.values()))
    finally:
        measure(market, "mix")


def test_a_campaign_enters_the_mix_once(market: Workspace) -> None:
    tests = mix_flow.tests_of(market)
    campaign = market.warehouse.table("campaigns").set_index("campaign_id").loc["geo-launch"]
    mine = tests.table.set_index("test_id")
    assert tests.table["test_id"].is_unique and set(market.warehouse.table("lift_tests")["test_id"]) < set(mine.index)
    result = market.warehouse.table("lift_results").query(
        "test_id == 'geo-launch' and method.str.startswith('calibrated_control')"
    )
    row = mine.loc["geo-launch"]
    assert (row["channel"], row["regions"], row["spend"]) == (campaign["channel"], campaign["regions"], campaign["budget"])
    assert row["effect"] == result["effect"].item() and row["standard_error"] == result["standard_error"].item()
    table = market.warehouse.table("lift_tests")
    again = {**table.iloc[0].to_dict(), "test_id": "own", "channel": row["channel"], "starts_on": row["starts_on"],
             "ends_on": row["ends_on"], "regions": row["regions"], "campaign_id": None}  # fmt: skip
    part = {**again, "test_id": "part", "starts_on": table["starts_on"].min(), "ends_on": table["starts_on"].min(), "influencer_id": "i",
            "spend": None}  # fmt: skip
    try:
        market.warehouse.write("lift_tests", pd.concat([table, pd.DataFrame([again, part])], ignore_index=True))
        told = mix_flow.tests_of(market)
        assert "own" in set(told.table["test_id"]) and not {"geo-launch", "part"} & set(told.table["test_id"])
        assert any("geo-launch was measured by test own too" in line for line in told.aside)
        assert any("test part is of a part of its channel" in line for line in told.aside)
        market.warehouse.write("lift_tests", table.assign(campaign_id="geo-launch"))
        assert "geo-launch" not in set(mix_flow.tests_of(market).table["test_id"])
    finally:
        market.warehouse.write("lift_tests", table)


def test_the_report_says_it_all_without_a_network(market: Workspace, tmp_path: Path) -> None:
    made = plan(market, 20_000)
    page = write_html(market, tmp_path / "r.html").read_text(encoding="utf-8")
    told = short(
        made.selection.assignments["predicted"].sum(), market.settings.currency
    )  # as the plan itself says, not less its risk
    assert f"Plan: predicted revenue</span><b>{told}" in page
    for title in (
        "At a glance",
        "The plan",
        "Channel budgets",
        "Marketing mix",
        "What campaigns caused",
        "Attribution",
        "Data health",
    ):
        assert f"<h2>{title}</h2>" in page
    body = page.split("</script>", 1)[1]
    assert "src=" not in body and "https://" not in body.replace("https://plot.ly", "").replace("https://plotly.com", "")
    sheets = pd.read_excel(write_xlsx(market, tmp_path / "r.xlsx"), sheet_name=None)
    assert "Summary" in sheets and len(sheets) > 5
    path, rows = write_table(market, "sales", tmp_path / "s.parquet")
    assert rows == len(pd.read_parquet(path)) == market.warehouse.rows("sales")


def test_formulas_are_neutralised_on_the_way_out(market: Workspace, tmp_path: Path) -> None:
    market.ledger.append({
        "plan_runs": pd.DataFrame([{"plan_id": "=1+1", "made_at": "2025-01-01", "metric": "+cmd", "budget": 1.0, "cost": 1.0, "value": -1.0,
                                    "bound": 1.0, "gap": 0.0, "rules": "@x", "state": "-y"}]),
    })  # fmt: skip
    write_table(market, "plan_runs", tmp_path / "p.csv")
    row = pd.read_csv(tmp_path / "p.csv").query('state == "\'-y"').iloc[0]
    assert (row["plan_id"], row["metric"], row["rules"], row["value"]) == ("'=1+1", "'+cmd", "'@x", -1.0)
    write_table(market, "plan_runs", tmp_path / "p.xlsx")
    import openpyxl

    kinds = {cell.data_type for line in openpyxl.load_workbook(tmp_path / "p.xlsx").active for cell in line}
    assert "f" not in kinds


def test_lift_of_a_campaign_and_its_refusals(market: Workspace) -> None:
    answer = lift_of(market, "geo-launch")
    assert answer["low"] < answer["effect"] < answer["high"] and answer["method"] == "calibrated_control/log"
    assert {"placebos", "leave one donor out"} <= {check["name"] for check in answer["checks"]}
    parts = market.warehouse.table("components")
    total = parts[["trend", "seasonal", "event", "campaign", "residual"]].sum(axis=1)
    assert total.sum() == pytest.approx(market.warehouse.table("sales")["revenue"].sum())
    with pytest.raises(InputError, match="no campaign 'x'"):
        lift_of(market, "x")
    with pytest.raises(CannotTell, match="cannot be judged"):
        lift_of(market, "always-on")


def test_a_test_is_designed_frozen_and_read_out(market: Workspace) -> None:
    made = design_test(market, 0.10, sizes=(2,), durations=(6,), freeze=True)
    assert made.plan.verdict in ("run", "do not run this test") and len(made.plan.markets) == 2
    again = design_test(market, 0.10, sizes=(2,), durations=(6,), freeze=True)
    assert again.test_id == made.test_id, "the same plan is the same test"
    assert market.ledger.table("test_designs")["sha256"].tolist() == [made.plan.sha256]
    with pytest.raises(InputError, match="no frozen test"):
        read_test(market, "test-0")
    with pytest.raises(InputError, match="outside the panel"):
        read_test(market, made.test_id)  # the data do not reach it yet
    with pytest.raises(InputError, match="freeze a plan before its start"):
        design_test(market, 0.10, sizes=(2,), durations=(6,), start=pd.Timestamp("2024-01-01").date(), freeze=True)
    hopeless = design_test(market, 0.001, sizes=(2,), durations=(6,))
    assert hopeless.plan.verdict == "do not run this test"


def test_panels_are_judged_beside_the_usual_way() -> None:
    board = prove_panels(1)
    unknowable = 3
    assert len(board) == 4 * 2 + (24 - unknowable + 1) * 5 + 2 + (unknowable + 1) * 2
    width, share = board["quantity"].str.startswith("width"), board["quantity"].str.startswith(("coverage", "refused", "false"))
    assert (board.loc[width, "error"].dropna() > 0).all()
    assert board.loc[share, "error"].dropna().between(0, 1).all() and (board.loc[share, "mc_error"].dropna() > 0).all()
    told = board[board["quantity"].str.endswith("all hard panels")]
    assert len(told) == 6 and told["error"].notna().all() and (told["seeds"] > 10).all()
    assert told["worst"].notna().sum() == 4, "the worst cell is told at each level, and for the width"


def test_every_proof_has_a_row(market: Workspace) -> None:
    truth = Truth(market.truth)
    rows = [row for proof in prove.PROOFS for row in proof(market, truth)]
    methods = {row[0].split(",")[0].split("/")[0] for row in rows}
    assert methods == {
        "intake",
        "identity",
        "attribution",
        "calibrated_control",
        "year_on_year",
        "baseline_ensemble",
        "synthetic_control",
        "mix",
        "effectiveness",
        "selection",
        "allocation",
    }
    assert all(np.isfinite(row[2]) and row[2] >= 0 for row in rows)


# -- the command line


def test_the_commands_talk_to_people_and_machines(market: Workspace, tmp_path: Path) -> None:
    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, list(words))
        return done.exit_code, done.output if done.exception is None or isinstance(done.exception, SystemExit) else repr(
            done.exception
        )

    market.warehouse.publish()
    where = ("--workspace", str(market.folder))
    code, shown = run("check", *where, "--json")
    assert code == 0 and {"loads", "quarantine", "health"} == set(json.loads(shown))
    assert run("export", "regions", str(tmp_path / "r.csv"), *where)[0] == 0
    assert run("report", str(tmp_path / "r.html"), *where)[0] == 0
    assert "liftwise init" in run("refresh", "--workspace", str(tmp_path / "none"))[1]
    code, shown = run("what-if", "search=0.5", "influencer=1.2", *where, "--json")
    told = json.loads(shown[shown.index("{") :])
    changes = {row["channel"]: row for row in told["changes"]}
    assert code == 0 and changes["search"]["change"] < 0 < changes["influencer"]["change"] and changes["tv"]["change"] == 0
    assert changes["total"]["spend"] == pytest.approx(changes["search"]["spend"] + changes["influencer"]["spend"])
    code, shown = run("what-if", "search=0.5", *where)
    assert code == 0 and "search at 0.5 times its spend" in shown and "90 %" in shown
    assert run("what-if", "search", *where)[0] == 2 and "no channel fax" in run("what-if", "fax=2", *where)[1]
    assert run("init", str(tmp_path / "fresh"))[0] == 0
    assert "no files in" in run("refresh", "--workspace", str(tmp_path / "fresh"))[1]


# -- real data


def real(tmp_path: Path, toml: str, *files: Path) -> Workspace:
    folder = tmp_path / "ws"
    (folder / "data").mkdir(parents=True)
    for file in files:
        shutil.copy(file, folder / "data")
    Workspace.create(folder).close()
    (folder / "liftwise.toml").write_text((folder / "liftwise.toml").read_text() + toml)
    return Workspace.open(folder)


def test_prop99_is_a_panel_read_as_sales(shared_data: Shared, tmp_path: Path) -> None:
    toml = """
[time]
grid = "year"
[tables.sales]
files = "smoking_long.csv"
[tables.sales.columns]
week = "year"
region = "state"
revenue = "cigsale"
[tables.campaigns]
select = "select 'prop99' as campaign_id, 'Proposition 99' as name, '1989-01-01' as starts_on, '2000-12-31' as ends_on, 'California' as regions"
"""
    with real(tmp_path, toml, shared_data("prop99_california") / "smoking_long.csv") as ws:
        refresh(ws)
        assert ws.warehouse.rows("sales") == 1209
        assert ws.warehouse.rows("quarantine") == 0
        measure(ws, "lift")
        rows = ws.warehouse.table("lift_results").set_index("method")
        assert rows.loc["synthetic_control/outcome", "effect"] / 12 == pytest.approx(-19.514, abs=0.01)


def test_robyn_weeks_give_a_mix(shared_data: Shared, tmp_path: Path) -> None:
    toml = """
[tables.sales]
select = "select DATE as week, 'all' as region, revenue from dt_simulated_weekly"
[tables.spend]
select = "unpivot (select DATE as week, tv_S, ooh_S, print_S, facebook_S, search_S from dt_simulated_weekly) on tv_S, ooh_S, print_S, facebook_S, search_S into name channel value spend"
[tables.factors]
select = "unpivot (select DATE as week, competitor_sales_B::double as competitor, newsletter::double as newsletter, (events = 'event1')::int::double as event1, (events = 'event2')::int::double as event2 from dt_simulated_weekly) on competitor, newsletter, event1, event2 into name name value value"
"""
    with real(tmp_path, toml, shared_data("robyn_simulated_weekly") / "dt_simulated_weekly.csv") as ws:
        flow = refresh(ws)
        assert "journeys" in flow.left_out
        assert ws.warehouse.rows("sales") == 208
        assert ws.warehouse.rows("spend") == 208 * 5
        assert ws.warehouse.rows("quarantine") == 0
        scores = measure(ws, "mix").metrics("mix")
        assert scores["rmse_pct"] < scores["naive_rmse_pct"]
        assert scores["rmse_pct"] < 15


def test_complete_journey_households_become_journeys(shared_data: Shared, tmp_path: Path) -> None:
    folder = shared_data("complete_journey")
    toml = """
[tables.orders]
timezone = "America/New_York"
select = "select basket_id as order_id, household_id as person_id, transaction_timestamp as ordered_at, sum(sales_value) as revenue, product_id, sum(quantity) as units, sum(coupon_disc) as discount from transactions_sample group by all"
[tables.touchpoints]
select = "select 'm-' || c.campaign_id || '-' || household_id as touch_id, household_id as person_id, d.start_date::timestamp as occurred_at, 'mailing' as channel, 'view' as kind, c.campaign_id as campaign_id from campaigns c join campaign_descriptions d using (campaign_id) union all select 'r-' || row_number() over (), household_id, redemption_date::timestamp, 'coupon', 'engage', campaign_id from coupon_redemptions"
[tables.products]
files = "products.parquet"
[tables.products.columns]
category = "product_category"
[tables.campaigns]
select = "select campaign_id, campaign_type as name, start_date as starts_on, end_date as ends_on from campaign_descriptions"
"""
    names = ("transactions_sample", "campaigns", "campaign_descriptions", "coupon_redemptions", "products")
    with real(tmp_path, toml, *(folder / f"{name}.parquet" for name in names)) as ws:
        refresh(ws)
        loads = ws.warehouse.table("loads").set_index("table")
        assert (loads["rows_in"] == loads["kept"] + loads["quarantined"]).all()
        assert loads.loc["orders", "kept"] > 70_000
        assert loads.loc["touchpoints", "quarantined"] == 0
        flow = measure(ws, "attribution")
        assert flow.left_out == {}
        credits = ws.warehouse.table("channel_credits")
        assert set(credits["channel"]) == {"mailing", "coupon", "organic"}
