"""measure: what the marketing caused, from journeys, from regions and from weeks; and one table of evidence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import normal_quantile
from liftwise.flows.outline import Flow
from liftwise.store.workspace import Workspace

PARTS = ("attribution", "lift", "mix")


def measure(ws: Workspace, only: str | None = None, *, again: bool = False) -> Flow:
    """Attribution, lift, evidence and mix; `only` names one of them.

    Each part is left out, with its reason, when its tables are missing or cannot carry an answer.
    """
    if only is not None and only not in PARTS:
        raise InputError(f"there is nothing called {only!r} to measure", fix=f"choose {', '.join(PARTS)}")
    flow = Flow(ws, "measure", again)
    told = ws.settings.measure
    if only in (None, "attribution"):
        flow.step(
            "attribution", lambda: _attribution(ws), needs=["journeys"], writes=["credits", "channel_credits"],
            parameters={"order": told.markov_order},
        )  # fmt: skip
    if only in (None, "lift"):
        flow.step(
            "lift", lambda: _lift(ws), needs=["campaigns", "sales"], writes=["lift", "lift_results"],
            parameters={"level": told.level, "seed": ws.settings.seed},
        )  # fmt: skip
        flow.step("evidence", lambda: _evidence(ws), reads=["lift_tests", "lift_results", "campaigns"], writes=["evidence"])
    if only in (None, "mix"):
        flow.step(
            "mix", lambda: _mix(ws), needs=["weekly", "spend"], writes=["contributions", "responses", "carryover", "fits"],
            parameters={"holdout": told.holdout, "seed": ws.settings.seed},
        )  # fmt: skip
    return flow


def _attribution(ws: Workspace) -> dict[str, Any]:
    from liftwise.models.attribution import FirstTouch, LastTouch, Linear, Markov, Position, TimeDecay

    journeys = ws.warehouse.table("journeys")
    members = [LastTouch(), FirstTouch(), Linear(), TimeDecay(), Position(), Markov(order=ws.settings.measure.markov_order)]
    credits: list[pd.DataFrame] = []
    channels: list[pd.DataFrame] = []
    for k, member in enumerate(members):
        ws.progress("attribution", k / len(members), type(member).__name__)
        member.fit(journeys)
        credits.append(member.credit(journeys))
        channels.append(member.channel_credit(journeys))
    ws.warehouse.write("credits", pd.concat(credits, ignore_index=True))
    ws.warehouse.write("channel_credits", pd.concat(channels, ignore_index=True))
    return {"methods": len(members), "journeys": int(journeys["journey_id"].nunique())}


def geo_campaigns(ws: Workspace) -> pd.DataFrame:
    """Campaigns that ran in some regions and not in others, while sales were seen: those a synthetic control can judge."""
    campaigns = ws.warehouse.table("campaigns")
    seen = ws.warehouse.sql("SELECT DISTINCT region FROM sales")["region"]
    span = ws.warehouse.sql("SELECT min(week) AS first, max(week) AS last FROM sales").iloc[0]
    treated = (
        campaigns["regions"].fillna("").map(lambda names: sorted({n.strip() for n in names.split(";") if n.strip()} & set(seen)))
    )
    some = treated.map(len).between(1, len(seen) - 1)
    during = (campaigns["starts_on"] > span["first"]) & (campaigns["starts_on"] <= span["last"])
    return campaigns.assign(treated=treated)[some & during].sort_values("starts_on")


def _lift(ws: Workspace) -> dict[str, Any]:
    from liftwise.models.causal import Panel

    campaigns = geo_campaigns(ws)
    if campaigns.empty:
        raise CannotTell("no campaign ran in some regions and not in others", fix="give campaigns.regions, or run a geo test")
    sales = ws.warehouse.table("sales")
    panel = Panel.of(sales, unit="region", time="week", outcome="revenue")
    weeks: list[pd.DataFrame] = []
    results: list[Mapping[str, Any]] = []
    refused: dict[str, str] = {}
    for k, campaign in enumerate(campaigns.itertuples()):
        ws.progress("lift", k / len(campaigns), str(campaign.name))
        others = _others_treated(campaigns, campaign, ws)
        for level in ("fixed_effects", "outcome"):
            try:
                found = estimate(panel, campaign, level=level, exclude=others, ws=ws)
            except (CannotTell, InputError) as reason:
                refused[str(campaign.campaign_id)] = str(reason)
                break
            results.append(found.result_row(str(campaign.campaign_id), level=ws.settings.measure.level))
            if level == "fixed_effects":
                weeks.append(found.to_frame(str(campaign.campaign_id), level=ws.settings.measure.level))
    if not results:
        raise CannotTell("no campaign could be judged: " + "; ".join(f"{name}: {why}" for name, why in refused.items()))
    ws.warehouse.write("lift", pd.concat(weeks, ignore_index=True))
    ws.warehouse.write("lift_results", pd.DataFrame(results))
    return {"campaigns": len(results) // 2, "refused": len(refused)}


def estimate(panel: Any, campaign: Any, *, level: str, exclude: list[str], ws: Workspace) -> Any:
    """The synthetic control of one campaign (a row of `geo_campaigns`)."""
    from liftwise.models.causal import SyntheticControl

    control = SyntheticControl(level=level, seed=ws.settings.seed)
    return control.estimate(panel, treated=campaign.treated, start=campaign.starts_on, end=campaign.ends_on, exclude=exclude)


def _others_treated(campaigns: pd.DataFrame, campaign: Any, ws: Workspace) -> list[str]:
    """Regions in which another geo campaign ran meanwhile: no donors."""
    overlap = campaigns[(campaigns["starts_on"] <= campaign.ends_on) & (campaigns["ends_on"] >= campaign.starts_on)]
    regions = {region for names in overlap["treated"] for region in names}
    return sorted(regions - set(campaign.treated))


def _evidence(ws: Workspace) -> dict[str, Any]:
    """One row per subject: tests already run, and campaigns judged here."""
    rows = [*_from_tests(ws.warehouse.table("lift_tests")), *_from_results(ws)]
    if not rows:
        raise CannotTell("there is no experiment and no geo campaign yet", fix="deliver lift_tests, or run a geo campaign")
    ws.warehouse.write("evidence", pd.DataFrame(rows))
    return {"subjects": len(rows)}


def _from_tests(tests: pd.DataFrame) -> list[dict[str, Any]]:
    """Inverse-variance mean of the tests of the same subject and metric, as revenue (or conversions) per unit of test."""
    tests = tests.assign(
        subject_kind=tests["influencer_id"].notna().map({True: "influencer", False: "channel"}),
        subject=tests["influencer_id"].where(tests["influencer_id"].notna(), tests["channel"]),
        metric=tests["metric"].fillna("revenue"),
    )
    rows: list[dict[str, Any]] = []
    for (kind, subject, metric), group in tests.groupby(["subject_kind", "subject", "metric"]):
        precision = 1 / group["standard_error"].clip(lower=1e-12) ** 2
        mean, sd = float((group["effect"] * precision).sum() / precision.sum()), float(precision.sum() ** -0.5)
        rows.append(
            _evidence_row(str(kind), str(subject), str(metric), group["ends_on"].max(), mean, sd, ";".join(group["test_id"]))
        )
    return rows


def _from_results(ws: Workspace) -> list[dict[str, Any]]:
    if not ws.warehouse.has("lift_results"):
        return []
    results = ws.warehouse.table("lift_results").merge(
        ws.warehouse.table("campaigns", ["campaign_id", "ends_on"]), left_on="test_id", right_on="campaign_id"
    )
    chosen = results[results["method"].str.contains("fixed_effects") & results["standard_error"].notna()]
    return [
        _evidence_row("campaign", row.test_id, "revenue", row.ends_on, row.effect, row.standard_error, row.method)
        for row in chosen.itertuples()
    ]


def _evidence_row(kind: str, subject: str, metric: str, as_of: Any, mean: float, sd: float, sources: str) -> dict[str, Any]:
    half = normal_quantile(0.90) * sd
    return {
        "subject_kind": kind, "subject": subject, "region": "all", "metric": metric, "as_of": as_of, "mean": mean, "sd": sd,
        "low": mean - half, "high": mean + half, "sources": sources,
    }  # fmt: skip


def _mix(ws: Workspace) -> dict[str, Any]:
    from liftwise.models.mix import RidgeMix

    weekly = ws.warehouse.table("weekly")
    mix = RidgeMix(seed=ws.settings.seed, holdout=ws.settings.measure.holdout).fit(weekly)
    ws.warehouse.write("contributions", mix.contributions())
    ws.warehouse.write("responses", mix.responses())
    ws.warehouse.write("carryover", mix.carryover())
    scores = {str(name): float(value) for name, value in mix.scores_.items()}
    fits = [{"family": "mix", "model": "ridge", "metric": name, "value": value, "chosen": True} for name, value in scores.items()]
    ws.warehouse.write("fits", pd.DataFrame(fits))
    return scores


def lift_of(ws: Workspace, campaign_id: str) -> dict[str, Any]:
    """The result of one campaign, for `liftwise measure lift --campaign`.

    Raises
    ------
    InputError
        When there is no such campaign.
    CannotTell
        When it cannot be judged.
    """
    known = ws.warehouse.table("campaigns", ["campaign_id"])["campaign_id"]
    if campaign_id not in set(known):
        raise InputError(f"there is no campaign {campaign_id!r}", fix=f"choose one of {', '.join(sorted(known))}")
    results = ws.warehouse.table("lift_results")
    mine = results[(results["test_id"] == campaign_id) & results["method"].str.contains("fixed_effects")]
    if mine.empty:
        raise CannotTell(
            f"campaign {campaign_id!r} cannot be judged by regions",
            fix="it must run in some regions and not in others, with enough weeks before",
        )
    row = mine.iloc[0]
    return {
        "campaign": campaign_id, "method": row["method"], "effect": row["effect"], "low": row["low"], "high": row["high"],
        "p_value": row["p_value"], "checks": json.loads(row["checks"]) if isinstance(row["checks"], str) else [],
    }  # fmt: skip
