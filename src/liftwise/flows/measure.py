"""measure: what the marketing caused, from journeys, from regions and from weeks; and one table of evidence."""

from __future__ import annotations

from typing import Any

import pandas as pd

from liftwise.core.errors import InputError
from liftwise.flows import lift
from liftwise.flows.outline import Flow
from liftwise.store.workspace import Workspace

PARTS = ("attribution", "lift", "mix")


def measure(ws: Workspace, only: str | None = None, *, again: bool = False, model: str | None = None) -> Flow:
    """Attribution, lift, evidence and mix; `only` names one of them.

    `model` names the mix whose readings are written, in place of the one that the rule chooses (`liftwise.models.mix.choose`).
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
            "lift", lambda: lift.campaigns(ws), needs=["campaigns", "sales"], writes=["lift", "lift_results", "overlaps"],
            parameters={"level": told.level, "seed": ws.settings.seed},
        )  # fmt: skip
        flow.step("evidence", lambda: lift.evidence(ws), reads=["lift_tests", "lift_results", "campaigns"], writes=["evidence"])
        flow.step(
            "components", lambda: lift.components(ws), needs=["sales"], reads=["sales", "campaigns", "events"],
            writes=["components"], parameters={"seed": ws.settings.seed},
        )  # fmt: skip
    if only in (None, "mix"):
        flow.step(
            "mix", lambda: _mix(ws, model), needs=["weekly", "spend"], writes=["contributions", "responses", "carryover", "fits"],
            parameters={"holdout": told.holdout, "seed": ws.settings.seed, "model": model or ""},
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


def _mix(ws: Workspace, model: str | None) -> dict[str, Any]:
    from liftwise.models.mix import adequacy, choose, members

    told = {"holdout": ws.settings.measure.holdout, "per_year": ws.settings.grid.per_year}
    weekly, tests = ws.warehouse.table("weekly"), ws.warehouse.table("lift_tests")
    found = adequacy(weekly, **told)
    candidates = members(weekly, also=model, seed=ws.settings.seed, **told)
    made = choose(candidates, weekly, None if tests.empty else tests, heard=lambda done, name: ws.progress("mix", done, name))
    shown = made.chosen if model is None else made.member(model)
    ws.warehouse.write("contributions", shown.contributions())
    ws.warehouse.write("responses", shown.responses())
    ws.warehouse.write("carryover", shown.carryover())
    ws.warehouse.write("fits", made.to_frame().assign(chosen=lambda table: table["model"] == shown.name))
    scores = {str(name): float(value) for name, value in shown.scores_.items()}
    doubts = {f"data {k}": line for k, line in enumerate(found.findings, 1)}
    failed = {f"not fitted, {name}": reason for name, reason in made.failed.items()}
    return {"model": shown.name, "why": made.why, **scores, **doubts, **failed}
