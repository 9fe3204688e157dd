"""What campaigns caused: which can be judged, by which design; what all tests say together; sales taken apart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.flows.overlaps import joint_result, other_campaigns, write_overlaps
from liftwise.store.workspace import Workspace

if TYPE_CHECKING:
    from liftwise.models.causal import Check, Lift, Panel

MAIN = ("calibrated_control", "year_on_year")  # methods that speak for a campaign; the others are there to compare with
LONGEST = 0.35  # of the history that a campaign may last and still be judged against the time before it


def campaigns(ws: Workspace) -> dict[str, Any]:
    """Tables `lift`, `lift_results` and `overlaps`: regional campaigns against other regions, national ones against their own years before."""
    every = judgeable(ws)
    weeks: list[pd.DataFrame] = []
    results: list[Mapping[str, Any]] = []
    refused: dict[str, str] = {}
    level = ws.settings.measure.level
    for k, campaign in enumerate(every.itertuples()):
        ws.progress("lift", k / max(len(every), 1), str(campaign.name))
        try:
            for found in _estimates(ws, campaign, every):
                results.append(found.result_row(str(campaign.campaign_id), level=level))
                if found.method.startswith(MAIN):
                    frame = found.to_frame(str(campaign.campaign_id), level=level)
                    weeks.append(frame.dropna(subset=["counterfactual"]))  # what a forecast learned from it did not predict
        except (CannotTell, InputError) as reason:
            refused[str(campaign.campaign_id)] = str(reason)
    if not results:
        why = "; ".join(f"{name}: {reason}" for name, reason in refused.items()) or "none ran while sales were seen"
        raise CannotTell(
            f"no campaign could be judged: {why}", fix="give campaigns.regions, or run a geo test (liftwise design-test)"
        )
    ws.warehouse.write("lift", pd.concat(weeks, ignore_index=True))
    ws.warehouse.write("lift_results", pd.DataFrame(results))
    together = write_overlaps(ws, _short(ws, every))
    return {
        "campaigns": len({row["test_id"] for row in results}),
        **together,
        "refused": len(refused),
        **{f"refused {k}": v for k, v in refused.items()},
    }


def judgeable(ws: Workspace) -> pd.DataFrame:
    """Campaigns that began while sales were seen, with `treated`: the regions they ran in, empty for everywhere."""
    table = ws.warehouse.table("campaigns")
    seen = set(ws.warehouse.sql("SELECT DISTINCT region FROM sales")["region"])
    span = ws.warehouse.sql("SELECT min(week) AS first, max(week) AS last FROM sales").iloc[0]
    treated = table["regions"].fillna("").map(lambda names: sorted({n.strip() for n in names.split(";") if n.strip()} & seen))
    table = table.assign(treated=treated.map(lambda names: [] if len(names) == len(seen) else names))
    during = (table["starts_on"] > span["first"]) & (table["starts_on"] <= span["last"])
    return table[during].sort_values("starts_on")


def _estimates(ws: Workspace, campaign: Any, every: pd.DataFrame) -> Iterator[Lift]:
    """By the design that fits how a campaign ran, and by one to compare with."""
    from liftwise.models.causal import BaselineEnsemble, CalibratedControl, Panel, SyntheticControl, YearOnYear

    others, sales = other_campaigns(_short(ws, every), campaign), ws.warehouse.table("sales")
    if campaign.treated:
        panel = Panel.of(sales, unit="region", time="week", outcome="revenue")
        asked = {
            "treated": campaign.treated,
            "start": campaign.starts_on,
            "end": campaign.ends_on,
            "exclude": also_treated(every, campaign),
        }
        found = CalibratedControl(seed=ws.settings.seed).estimate(panel, **asked)
        yield replace(found, checks=(*found.checks, *_further_checks(ws, panel, found, asked["exclude"]), *others))
        for level in ("fixed_effects", "outcome"):
            yield SyntheticControl(level=level, seed=ws.settings.seed).estimate(panel, **asked)
        return
    total = sales.groupby("week")["revenue"].sum()
    long = (campaign.ends_on - campaign.starts_on) / (total.index[-1] - total.index[0])
    if long > LONGEST:
        raise CannotTell(
            f"it ran everywhere for {long:.0%} of the history: there is nothing to compare it with", fix="run a geo test"
        )
    asked = {"start": campaign.starts_on, "end": campaign.ends_on}
    found = YearOnYear(seed=ws.settings.seed).estimate(total, **asked)
    yield replace(found, checks=(*found.checks, *others))
    with suppress(CannotTell):  # a forecast from its own past needs a longer one, and never saw two Decembers: to compare with
        yield BaselineEnsemble(seed=ws.settings.seed).estimate(total, **asked)


def _short(ws: Workspace, every: pd.DataFrame) -> pd.DataFrame:
    """Campaigns that do not run for most of the history: an always-on programme is part of the base."""
    span = ws.warehouse.sql("SELECT min(week) AS first, max(week) AS last FROM sales").iloc[0]
    return every[(every["ends_on"] - every["starts_on"]) <= LONGEST * (span["last"] - span["first"])]


def _further_checks(ws: Workspace, panel: Panel, found: Lift, exclude: list[str]) -> list[Check]:
    """Doubts that need more than the fit: before the start, next door, and how large a hidden shock would have to be."""
    from liftwise.models.causal import anticipation, sensitivity, spillover

    checks = [anticipation(panel, found, exclude=exclude), sensitivity(found)]
    told = ws.warehouse.table("regions").dropna(subset=["neighbours"])
    told = told[told["region"].isin(found.treated)]
    near = {
        str(region): [name.strip() for name in str(names).split(";")]
        for region, names in zip(told["region"], told["neighbours"], strict=True)
    }
    open_to = set(panel.units) - set(found.treated) - set(exclude)
    if any(open_to & set(names) for names in near.values()):
        checks.append(spillover(panel, found, near, exclude=exclude))
    return checks


def also_treated(every: pd.DataFrame, campaign: Any) -> list[str]:
    """Regions in which another regional campaign ran meanwhile: no donors."""
    meanwhile = every[(every["starts_on"] <= campaign.ends_on) & (every["ends_on"] >= campaign.starts_on)]
    return sorted({region for names in meanwhile["treated"] for region in names} - set(campaign.treated))


def evidence(ws: Workspace) -> dict[str, Any]:
    """Table `evidence`: tests already run and campaigns judged here, pooled by subject."""
    from liftwise.models.causal import LiftEvidence, results_as_tests

    pooling = LiftEvidence()
    found = None
    for tests in (ws.warehouse.table("lift_tests"), _own_results(ws, results_as_tests)):
        if len(tests):
            found = pooling.update(tests)
    if found is None:
        raise CannotTell("there is no experiment and no campaign judged yet", fix="deliver lift_tests, or run a geo campaign")
    ws.warehouse.write("evidence", found.to_frame())
    drifting = found.details()["drifting"].sum()
    return {"subjects": len(found.posteriors), "drifting": int(drifting), "left_out": len(found.left_out)}


def _own_results(ws: Workspace, results_as_tests: Any) -> pd.DataFrame:
    """Regional campaigns judged here; those judged against their own past are too doubtful to count as tests."""
    results, known = ws.warehouse.table("lift_results"), ws.warehouse.table("lift_tests")["campaign_id"].dropna()
    own = results["method"].str.startswith(MAIN[0]) & (results["standard_error"] > 0) & ~results["test_id"].isin(known)
    usable = results[own]  # a campaign that is among the tests already would count twice
    return results_as_tests(usable, ws.warehouse.table("campaigns")) if len(usable) else usable


def components(ws: Workspace) -> dict[str, Any]:
    """Table `components`: trend, season, events, campaigns and the rest of each region's sales.

    Campaigns that run for most of the history (an always-on programme) are part of the trend: there is no time without them.
    """
    from liftwise.models.causal import Panel, decompose

    panel = Panel.of(ws.warehouse.table("sales"), unit="region", time="week", outcome="revenue")
    short = _short(ws, judgeable(ws))
    found = decompose(panel, campaigns=short.assign(regions=short["treated"].map(";".join)))
    ws.warehouse.write("components", found.to_frame())
    return {"regions": len(found.regions), "periods": len(found.periods), "campaigns": len(short), "left_out": len(panel.dropped)}


def lift_of(ws: Workspace, campaign_id: str) -> dict[str, Any]:
    """The result of one campaign, for `liftwise measure lift --campaign`.

    Raises
    ------
    InputError
        When there is no such campaign.
    CannotTell
        When it could not be judged.
    """
    known = ws.warehouse.table("campaigns", ["campaign_id"])["campaign_id"]
    if campaign_id not in set(known):
        raise InputError(f"there is no campaign {campaign_id!r}", fix=f"choose one of {', '.join(sorted(known))}")
    results = ws.warehouse.table("lift_results")
    mine = results[(results["test_id"] == campaign_id) & results["method"].str.startswith(MAIN)]
    if mine.empty:
        raise CannotTell(
            f"campaign {campaign_id!r} cannot be judged",
            fix="it must run in some regions and not in others, or for a short part of a history with a year before it",
        )
    row = mine.iloc[0]
    alone = {
        "campaign": campaign_id, "method": row["method"], "effect": row["effect"], "low": row["low"], "high": row["high"],
        "p_value": row["p_value"], "checks": json.loads(row["checks"]) if isinstance(row["checks"], str) else [],
    }  # fmt: skip
    return joint_result(ws, alone)
