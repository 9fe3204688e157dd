"""Plans that must reach so many different people, at 2,000 influencers, 10 contents, 3 events and 4 M follows of 400,000 people.

There is no peer: the plan without the rule and the most that can be reached for the money are beside it. Audiences and prices are those of
`bench_reach`; a post's value grows less than its price and differs much, so that the most valuable plan reaches few.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from bench_reach import market as reach_market
from side_by_side import Row
from stopwatch import measure

from liftwise.core.uncertainty import spawn
from liftwise.decisions.reach.audiences import Audiences
from liftwise.decisions.reach.cover import maximise_reach, reach_of
from liftwise.decisions.selection.choose import select
from liftwise.decisions.selection.reach import Reach
from liftwise.decisions.selection.rules import Coverage, Frequency

RULES = [Frequency(3), Frequency(1, "influencer-week"), Coverage("event", 5)]
PARTS = (0.3, 0.7)  # of the way from the reach of the best plan to the most that can be reached
SEEDS, SECONDS = (101, 102, 103), 60.0


def run() -> Iterator[Row]:
    """A row for each seed and level."""
    for seed in SEEDS:
        audiences, frame, events, budget = market(seed)
        given = {"effectiveness": frame, "metric": "revenue", "budget": budget, "events": events}
        free = select(**given, rules=RULES)
        least = reach_of(audiences, sorted(set(free.assignments["influencer_id"]))).reach
        most = maximise_reach(audiences, frame.groupby("influencer_id")["price"].min(), budget)
        for part in PARTS:
            rule = Reach(audiences, least + part * (most.reach - least))
            spent, plan = measure(lambda rule=rule, given=given: select(**given, rules=[*RULES, rule], seconds=SECONDS))
            reached = reach_of(audiences, sorted(set(plan.assignments["influencer_id"]))).reach
            yield Row("plan that must reach", f"{len(frame):,} ways to post, {rule.at_least:,.0f} people, seed {seed}", "the plan without the rule",
                      ours=spent, agreement=f"reaches {reached:,.0f} (without {least:,.0f}, at most {most.bound:,.0f}); proven gap {plan.gap:.2%}",
                      note=f"{plan.value / free.value:.3f} of the value without the rule")  # fmt: skip


def market(
    seed: int, influencers: int = 2_000, contents: int = 10, events: int = 3, people: int = 400_000, follows: int = 4_000_000
) -> tuple[Audiences, pd.DataFrame, pd.DataFrame, float]:
    """Audiences, ways to post, events, and a budget of 2 % of what one post of everybody costs."""
    audiences, price = reach_market(seed, influencers, people, follows)
    random = spawn(seed, "reach rule bench")
    who, what, when = (axis.ravel() for axis in np.meshgrid(*map(np.arange, (influencers, contents, events)), indexing="ij"))
    paid = (price.to_numpy()[:, None] * random.lognormal(0, 0.3, (influencers, contents))).round(2)
    worth = paid**0.8 * random.lognormal(0, 0.6, (influencers, contents))
    predicted = worth[who, what] * random.lognormal(0, 0.4, (influencers, events))[who, when]
    frame = pd.DataFrame({
        "influencer_id": np.array(audiences.names, dtype=object)[who], "content_type": np.char.add("c", what.astype(str)),
        "event_id": np.char.add("e", when.astype(str)), "days_from_event": 0.0, "metric": "revenue", "predicted": predicted,
        "uncertainty": 0.2 * predicted, "price": paid[who, what],
    })  # fmt: skip
    dates = pd.Timestamp("2026-01-05") + pd.to_timedelta(10 * np.arange(events), unit="D")
    return (
        audiences,
        frame,
        pd.DataFrame({"event_id": [f"e{k}" for k in range(events)], "date": dates}),
        0.02 * float(price.sum()),
    )
