"""The parts of a regional campaign: what it brought in each of its regions, judged alone and for all of them together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from liftwise.core.errors import CannotTell, InputError
from liftwise.flows.lift import also_treated, judgeable
from liftwise.store.workspace import Workspace

if TYPE_CHECKING:
    from liftwise.models.causal.launch import LaunchParts


def parts_of(ws: Workspace, campaign_id: str) -> LaunchParts:
    """A lift by region; regions that cannot be judged are in `refused`.

    Raises
    ------
    InputError
        When no such campaign began while sales were seen.
    CannotTell
        When it ran everywhere, or no region can be judged.
    """
    from liftwise.models.causal import CalibratedControl, Lift, Panel
    from liftwise.models.causal.launch import LaunchParts

    every = judgeable(ws)
    mine: list[Any] = [one for one in every.itertuples() if one.campaign_id == campaign_id]
    if not mine:
        raise InputError(f"there is no campaign {campaign_id!r} that began while sales were seen", fix="see the table campaigns")
    campaign = mine[0]
    if not campaign.treated:
        raise CannotTell(
            f"campaign {campaign_id!r} ran everywhere: no region shows what another would have been", fix="run a geo test"
        )
    panel = Panel.of(ws.warehouse.table("sales"), unit="region", time="week", outcome="revenue")
    others = also_treated(every, campaign)
    lifts: dict[str, Lift] = {}
    refused: dict[str, str] = {}
    for region in campaign.treated:
        exclude = [*others, *(name for name in campaign.treated if name != region)]
        try:
            lifts[region] = CalibratedControl(seed=ws.settings.seed).estimate(
                panel, treated=[region], start=campaign.starts_on, end=campaign.ends_on, exclude=exclude
            )
        except CannotTell as reason:
            refused[region] = str(reason)
    if not lifts:
        raise CannotTell(f"of no region can be told what it did: {next(iter(refused.values()))}")
    return LaunchParts(lifts, refused)
