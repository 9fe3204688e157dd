"""measure: what the marketing caused, from journeys, from regions and from weeks; and one table of evidence."""

from __future__ import annotations

from liftwise.core.errors import InputError
from liftwise.flows import attribution, lift, mix
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
        attribution.step(flow, ws)
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
        mix.step(flow, ws, model)
    return flow
