"""Selection at size: made-up markets of 10,000 to 5,000,000 ways to post with every kind of rule, the same for us and for peers.

Lognormal follower tiers, three platforms, eight regions, ten genres, prices like followers^0.8, effectiveness lognormal with an affinity of
influencer and event; the budget is 5 % of the price of everybody's dearest posts (25 % with 100 influencers). Rules: three posts an
influencer, one a week, every event covered, tier ≤ 45 % and platform ≤ 60 % of spend, mean risk, CVaR 90 over 100 scenarios of cells,
an influencer ≤ 10 % of spend, and a fifth of the creators in groups that exclude one another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import spawn
from liftwise.decisions.selection.rules import Coverage, CVaR, Diversity, Exclusive, Frequency, RiskLimit

SIZES = {"10k": (100, 10, 10), "100k": (1_000, 10, 10), "1M": (10_000, 10, 10), "5M": (25_000, 20, 10)}
CONTENTS = 5
PLATFORMS = ("instagram", "tiktok", "youtube")


@dataclass(frozen=True)
class World:
    """Table effectiveness (categorical ids), the facts, the rules and the budget."""

    effectiveness: pd.DataFrame
    influencers: pd.DataFrame
    events: pd.DataFrame
    rules: list
    budget: float


def world(size: str, seed: int) -> World:
    """A market of about `size` tuples."""
    count, events, _ = SIZES[size]
    rng = spawn(seed, f"tuples {size}")
    followers = np.exp(rng.normal(np.log(30_000), 1.5, count)).clip(1_000, 2e7)
    facts = pd.DataFrame({
        "influencer_id": [f"i{k:05d}" for k in range(count)], "followers": followers.round(),
        "platform": rng.choice(PLATFORMS, count, p=[0.45, 0.35, 0.2]), "location": [f"r{k}" for k in rng.integers(0, 8, count)],
        "genre": [f"g{k}" for k in rng.integers(0, 10, count)], "risk_score": rng.beta(2, 8, count),
    })  # fmt: skip
    edges = np.quantile(followers, [0.35, 0.6, 0.8, 0.93])
    facts["tier"] = np.array(["nano", "micro", "mid", "macro", "mega"])[np.searchsorted(edges, followers)]
    facts["cell"] = facts["tier"] + " " + facts["platform"]
    when = pd.Timestamp("2026-03-02") + pd.to_timedelta(rng.integers(0, 84, events), unit="D")
    calendar = pd.DataFrame({"event_id": [f"e{k:02d}" for k in range(events)], "date": when, "genre": [f"g{k}" for k in rng.integers(0, 10, events)],
                             "location": [f"r{k}" for k in rng.integers(0, 8, events)]})  # fmt: skip
    price, frame = _tuples(rng, followers, facts, calendar, count, events)
    dearest = price.max(axis=1)
    budget = float(round((0.25 if count <= 100 else 0.05) * 3 * dearest.sum() / 3, 2))
    losses = _losses(rng, sorted(facts["cell"].unique()))
    even = np.sort(losses.mean(axis=1))[-10:].mean()  # the tail of money spread evenly over the cells: a limit that can be kept
    rules = [
        Frequency(3), Frequency(1, "influencer-week"), Coverage("event", max(2, count // 500)), Diversity("tier", 0.45), Diversity("platform", 0.60),
        RiskLimit(0.18), CVaR(losses, float(even), by="cell"), Diversity("influencer", 0.10),
        Exclusive(_groups(rng, facts["influencer_id"])),
    ]  # fmt: skip
    return World(frame, facts, calendar, rules, budget)


def _tuples(rng, followers, facts, calendar, count, events):
    """Prices (influencers, contents) and the table."""
    price = (
        0.6 * followers[:, None] ** 0.8 * rng.lognormal(0, 0.35, (count, CONTENTS)) * np.exp(0.3 * np.arange(CONTENTS) - 0.6)
    ).round(2)
    quality = rng.lognormal(0, 0.5, count)
    fits = (facts["genre"].to_numpy()[:, None] == calendar["genre"].to_numpy()[None]) * 0.5
    affinity = np.exp(fits + rng.normal(0, 0.4, (count, events))) * rng.lognormal(0, 0.5, events)
    base = 1.4 * price**0.95 * quality[:, None] * rng.lognormal(0, 0.3, (count, CONTENTS))
    i, c, e, t = (axis.ravel() for axis in np.meshgrid(*map(np.arange, (count, CONTENTS, events, 2)), indexing="ij"))
    predicted = base[i, c] * affinity[i, e] * np.array([1.0, 0.93])[t] * rng.lognormal(0, 0.05, len(i))
    frame = pd.DataFrame({
        "influencer_id": pd.Categorical.from_codes(i.astype(np.int32), facts["influencer_id"]),
        "content_type": pd.Categorical.from_codes(c.astype(np.int8), [f"c{k}" for k in range(CONTENTS)]),
        "event_id": pd.Categorical.from_codes(e.astype(np.int8), calendar["event_id"]), "days_from_event": -3.0 * t,
        "metric": pd.Categorical.from_codes(np.zeros(len(i), dtype=np.int8), ["revenue"]), "predicted": predicted,
        "uncertainty": predicted * (0.15 + 0.35 * rng.random(count))[i], "price": price[i, c],
    })  # fmt: skip
    return price, frame


def _losses(rng, cells):
    """(scenarios, cells) share of a cell's money that is lost: a common shock, one of its own, mostly small."""
    common = rng.beta(2, 28, (100, 1))
    own = rng.beta(1.2, 14, (100, len(cells))) * rng.uniform(0.4, 1.6, len(cells))
    return pd.DataFrame((common + own).clip(0, 1), columns=cells)


def _groups(rng, ids):
    """A fifth of the creators in groups of two to four."""
    order, found = rng.permutation(len(ids))[: len(ids) // 5], []
    while len(order) >= 2:
        size = min(int(rng.integers(2, 5)), len(order))
        found.append(tuple(ids.iloc[order[:size]]))
        order = order[size:]
    return found
