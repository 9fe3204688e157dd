"""A survey panel whose members' touches are known: what they answer about the brand when asked a few times.

Whether somebody says yes depends on what they really saw, each touch fading by half in three weeks, on the person, and on chance.
They are asked at moments that no touch has chosen. Some are asked in the shop's newsletter, some in the app, so that their answers
meet their touches only through what links accounts. Its random stream is its own: without the panel the market is the same.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats
from liftwise.sources.simulator.campaigns import Campaigns
from liftwise.sources.simulator.creators import TYPES
from liftwise.sources.simulator.market import HOURS, NAMES, Market
from liftwise.sources.simulator.people import SPREAD, People
from liftwise.sources.simulator.touches import INFLUENCER, Touches

PANEL, AT_MOST = 1_500, 1 / 3  # people asked, and the share of all that they are at most
TIMES, FIRST = 6, 5  # how often each is asked, from which week on
HALF = 21 * 24.0  # hours
PERSON, LOYAL = 0.6, 0.3  # sd of what is the person's own, and what one sd of propensity to buy adds, log-odds
SCALE = (-1.5, 0.0, 1.2, 2.4)  # where a five-point scale steps from 0 over 25, 50, 75 to 100
START = {"awareness": -0.9, "consideration": -1.3, "purchase_intent": -1.6}
ADDS = {
    "awareness": {"story": 0.3, "reel": 0.6, "tutorial": 0.5, "demo": 0.4, "review": 0.4, "carousel": 0.2, "awareness_film": 1.5,
                  "paid_social": 0.25, "display": 0.2, "search": 0.1, "email": 0.0, "retargeting": 0.1},
    "consideration": {"story": 0.1, "reel": 0.3, "tutorial": 1.3, "demo": 0.8, "review": 0.8, "carousel": 0.2, "awareness_film": 0.2,
                      "paid_social": 0.1, "display": 0.05, "search": 0.25, "email": 0.15, "retargeting": 0.1},
    "purchase_intent": {"story": 0.2, "reel": 0.2, "tutorial": 0.4, "demo": 0.8, "review": 1.1, "carousel": 0.1, "awareness_film": 0.0,
                        "paid_social": 0.1, "display": 0.0, "search": 0.25, "email": 0.2, "retargeting": 0.15},
}  # fmt: skip
"""Log-odds that a fresh touch adds: influencers' by content type, others by channel."""


def answers(
    rng: np.random.Generator, some: People, seen: Touches, plan: Campaigns, world: Market, everybody: int
) -> pd.DataFrame:
    """Table `panel_answers` of a chunk of people, of `everybody` in all.

    Awareness and consideration are answered by yes and no, the intent to buy on a scale of five.
    """
    n = len(some.z)
    members = np.sort(rng.permutation(n)[: max(1, round(n * min(PANEL / everybody, AT_MOST)))])
    hour = rng.uniform(FIRST * HOURS, world.shape[1] * HOURS, (len(members), TIMES))
    own = LOYAL * some.z[members] / SPREAD + rng.normal(0, PERSON, len(members))
    content = np.where(seen.channel == INFLUENCER, plan.posts.content[seen.post], len(TYPES) + seen.channel - 1)
    account = [f"{'shop' if number % 2 else 'app'}-{number}" for number in some.numbers[members]]
    frames = []
    for metric, start in START.items():
        worth = np.array([ADDS[metric].get(name, 0.0) for name in (*TYPES, *NAMES[1:])])[content]
        leans = start + own[:, None] + _lasting(seen, members, hour, worth) + rng.logistic(size=hour.shape)
        score = 25.0 * np.searchsorted(SCALE, leans) if metric == "purchase_intent" else np.where(leans > 0, 100.0, 0.0)
        frames.append(pd.DataFrame({
            "person_id": np.repeat(np.array(account, dtype=object), TIMES),
            "answered_at": (world.start + pd.to_timedelta(hour.ravel(), unit="h")).as_unit("us").floor("s"),
            "metric": metric, "score": score.ravel(), "brand": "ours",
        }))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def truth() -> pd.DataFrame:
    """metric, name, effect: what a fresh touch adds."""
    return pd.DataFrame([(metric, name, worth) for metric, adds in ADDS.items() for name, worth in adds.items()],
                        columns=["metric", "name", "effect"])  # fmt: skip


def _lasting(seen: Touches, members: np.ndarray, hour: Floats, worth: Floats) -> Floats:
    """What is left of earlier touches when each of `members` is asked, (members, times)."""
    row = np.searchsorted(members, seen.person).clip(max=len(members) - 1)
    mine = np.flatnonzero(members[row] == seen.person)
    since = hour[row[mine]] - seen.hour[mine][:, None]
    left = np.where(since > 0, worth[mine][:, None] * 0.5 ** (np.maximum(since, 0) / HALF), 0.0)
    total = np.zeros(hour.shape)
    np.add.at(total, row[mine], left)
    return total
