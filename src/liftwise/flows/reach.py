"""reach: whom to hire so that the most different people are reached for the money; and reach as a rule of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.pipeline.audiences import SAMPLE
from liftwise.store.workspace import Workspace

if TYPE_CHECKING:
    from liftwise.decisions.reach.audiences import Audiences
    from liftwise.decisions.reach.cover import Reach as Found
    from liftwise.decisions.selection.reach import Reach


@dataclass(frozen=True)
class Hired:
    """Whom to hire. lines : influencer_id, content_type, price, audience, adds, lost_without. unpriced : influencers of known audience without a price."""

    found: Found
    lines: pd.DataFrame
    unpriced: int

    def summary(self) -> str:
        """For a manager."""
        more = f" Left out, for want of such a price: {self.unpriced:,} of known audience." if self.unpriced else ""
        return self.found.summary() + more


def reach(ws: Workspace, budget: float, *, at_most: int | None = None, content: str | None = None) -> Hired:
    """The influencers who reach the most different people within `budget`, one post each.

    Parameters
    ----------
    at_most : how many may be hired. content : the type of post that is paid for; default, each influencer's cheapest.

    Raises
    ------
    CannotTell
        Nobody's audience or price is known.
    InputError
        Prices of several currencies, or a type of post that nobody offers.
    Infeasible
        Nobody can be paid.
    """
    from liftwise.decisions.reach.cover import maximise_reach

    audiences, offers = audiences_of(ws), _offers(ws, content)
    price = offers["price"].reindex(list(audiences.names))
    unpriced = [str(name) for name in price.index[price.isna()]]
    if len(unpriced) == len(price):
        raise CannotTell("nobody of known audience has a price", where="rates", fix="deliver prices of these influencers")
    found = maximise_reach(audiences, price, budget, at_most=at_most, forbid=unpriced)
    lines = found.to_frame()
    lines = lines.assign(content_type=offers["content_type"].reindex(lines["influencer_id"]).to_numpy())
    return Hired(found, lines[["influencer_id", "content_type", "price", "audience", "adds", "lost_without"]], len(unpriced))


def audiences_of(ws: Workspace) -> Audiences:
    """Table `audience_samples`; CannotTell where it has no rows."""
    from liftwise.decisions.reach.audiences import Audiences

    if not (ws.warehouse.has("audience_samples") and ws.warehouse.rows("audience_samples")):
        raise CannotTell("nobody's audience is known: the table has no rows", where="audience_samples",
                         fix="deliver touchpoints that name influencers, then run: liftwise refresh")  # fmt: skip
    return Audiences.of_samples(ws.warehouse.table("audience_samples"), size=SAMPLE)


def reach_rule(ws: Workspace, people: float) -> Reach:
    """A plan reaches at least so many different people of the workspace's audiences."""
    from liftwise.decisions.selection.reach import Reach

    if not (np.isfinite(people) and people >= 0):
        raise InputError(f"a reach of {people:g}", where="--min-reach", fix="give a number of people, 0 or more")
    return Reach(audiences_of(ws), people)


def _offers(ws: Workspace, content: str | None) -> pd.DataFrame:
    """Content type and price of what is paid for, by influencer."""
    rates = ws.warehouse.table("rates")
    if rates.empty:
        raise CannotTell(
            "no price is known: the table has no rows", where="rates", fix="deliver rates, then run: liftwise refresh"
        )
    if content is not None:
        known = sorted(map(str, rates["content_type"].unique()))
        if content not in known:
            raise InputError(f"nobody offers {content!r}", where="--content", fix=f"choose {', '.join(known[:8])}")
        rates = rates[rates["content_type"] == content]
    currencies = rates["currency"].dropna().unique()
    if len(currencies) > 1:
        raise InputError(
            f"prices are in {', '.join(sorted(map(str, currencies)))}", where="rates", fix="convert them to one currency"
        )
    cheapest = rates.sort_values(["price", "content_type"], kind="stable").drop_duplicates("influencer_id")
    return cheapest.assign(influencer_id=cheapest["influencer_id"].astype("str")).set_index("influencer_id")[
        ["content_type", "price"]
    ]
