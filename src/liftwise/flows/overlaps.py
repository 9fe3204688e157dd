"""Campaigns that ran in the same regions and weeks: judged alone, each would be given what the other brought.

They are judged together once more (`SimultaneousCampaigns`): what each brought by itself, what they brought only together, and the total;
or that they cannot be told apart. A campaign that ran everywhere is no trouble for a regional one, as its donors had it too; a regional one
is part of what a national one seems to bring.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats
from liftwise.store.workspace import Workspace

if TYPE_CHECKING:
    from liftwise.models.causal import Check, Panel

COLUMNS = ["campaigns", "part", "effect", "low", "high", "p_value", "reason"]


def write_overlaps(ws: Workspace, table: pd.DataFrame) -> dict[str, Any]:
    """Table `overlaps`, from campaigns with their `treated` regions; empty where none overlap."""
    from liftwise.models.causal import Panel, SimultaneousCampaigns

    rows: list[pd.DataFrame] = []
    told = apart = 0
    panel = Panel.of(ws.warehouse.table("sales"), unit="region", time="week", outcome="revenue")
    for group in _groups(table):
        names = [str(name) for name in group["campaign_id"]]
        start, end = max(group["starts_on"].min(), panel.periods[0]), min(group["ends_on"].max(), panel.periods[-1])
        try:
            found = SimultaneousCampaigns(seed=ws.settings.seed).estimate(panel, _on_air(panel, group), start=start, end=end)
            parts, told, apart = found.to_frame(ws.settings.measure.level), told + 1, apart + (not found.refusals)
        except (CannotTell, InputError) as reason:
            gone = dict.fromkeys(("effect", "low", "high", "p_value"), float("nan"))
            parts = pd.DataFrame([{"part": part, **gone, "reason": str(reason)} for part in (*names, "shared", "total")])
        rows.append(parts.assign(campaigns=";".join(names))[COLUMNS])
    ws.warehouse.write("overlaps", pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=COLUMNS))
    return {"overlaps": len(rows), "judged together": told, "told apart": apart}


def confounds(one: Any, other: Any) -> bool:
    """Whether `other` is counted in what `one` seems to bring: it ran meanwhile, in regions of `one`, and not alike in those beside them."""
    meanwhile = other.starts_on <= one.ends_on and other.ends_on >= one.starts_on
    if not one.treated:
        return meanwhile
    return meanwhile and bool(set(one.treated) & set(other.treated))


def _groups(table: pd.DataFrame) -> Iterable[pd.DataFrame]:
    """Campaigns that hang together by overlaps, two or more."""
    rows = list(table.itertuples())
    home = list(range(len(rows)))
    for a, b in combinations(range(len(rows)), 2):
        if confounds(rows[a], rows[b]) or confounds(rows[b], rows[a]):
            home = [home[a] if one == home[b] else one for one in home]
    for first in sorted(set(home)):
        group = table[np.array(home) == first]
        if len(group) > 1:
            yield group


def _on_air(panel: Panel, group: pd.DataFrame) -> dict[str, Floats]:
    """1 in the regions and periods with the campaign, (units, periods) each."""
    found = {}
    for one in group.itertuples():
        there = np.isin(panel.units, one.treated) if one.treated else np.ones(len(panel.units), dtype=bool)
        then = (panel.periods >= pd.Timestamp(one.starts_on)) & (panel.periods <= pd.Timestamp(one.ends_on))
        found[str(one.campaign_id)] = np.outer(there, then).astype(float)
    return found


def other_campaigns(every: pd.DataFrame, campaign: Any) -> list[Check]:
    """Doubts that other campaigns raise: of those counted in this one's number, and of those in the year that it is compared with."""
    from liftwise.models.causal import Check

    found = []
    rest = [one for one in every.itertuples() if one.campaign_id != campaign.campaign_id]
    if met := [str(one.campaign_id) for one in rest if confounds(campaign, one)]:
        sentence = (
            f"{', '.join(met)} ran meanwhile in the same regions: judged alone, this campaign is given what they brought, too."
        )
        found.append(Check("other campaigns", "fail", sentence, pd.DataFrame({"campaign_id": met})))
    ago = pd.Timedelta(weeks=52)
    window = (campaign.starts_on - ago, campaign.ends_on - ago)
    if not campaign.treated and (
        was := [str(one.campaign_id) for one in rest if one.starts_on <= window[1] and one.ends_on >= window[0]]
    ):
        sentence = f"{', '.join(was)} ran in the same season a year before: what this campaign brought is told beyond that."
        found.append(Check("a year before", "warn", sentence, pd.DataFrame({"campaign_id": was})))
    return found


def joint_result(ws: Workspace, alone: dict[str, Any]) -> dict[str, Any]:
    """The result of one campaign, with `overlaps`: the parts of those that ran meanwhile.

    A regional campaign's number becomes its part, so that no credit is given twice; none, with `reason`, where it cannot be told apart.
    A national one keeps the number of its own design, which knows the season, and the check that says what else is in it.
    """
    table = ws.warehouse.table("overlaps")
    mine = table[[alone["campaign"] in str(names).split(";") for names in table["campaigns"]]]
    if mine.empty:
        return alone
    parts = [
        {str(k): v if isinstance(v, str) or pd.notna(v) else None for k, v in row.items()} for row in mine.to_dict("records")
    ]
    part = next(row for row in parts if row["part"] == alone["campaign"])
    answer = {**alone, "overlaps": parts}
    if alone["method"].startswith("year_on_year") or (part["effect"] is None and parts[-1]["effect"] is None):
        return answer
    numbers = {name: part[name] for name in ("effect", "low", "high", "p_value")}
    return {**answer, "method": "simultaneous_campaigns", **numbers, **({"reason": part["reason"]} if part["reason"] else {})}
