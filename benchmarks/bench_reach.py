"""Reach without double counting against ranking by reach / price, at 10k influencers, 2 M people and about 37 M follows.

People live in communities; a few follow many; audiences are lognormal, 70 % from one community; prices grow with size^0.8. There is no peer: apricot-select
knows no prices per item, submodlib has no distribution for this Python; so the plain alternative (rank, then buy) and the proven bound are beside it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from side_by_side import Row
from stopwatch import measure

from liftwise.core.uncertainty import spawn
from liftwise.decisions.reach.cover import Audiences, maximise_reach, reach_of

INFLUENCERS, PEOPLE, FOLLOWS, COMMUNITIES = 10_000, 2_000_000, 37_000_000, 200
SHARES = (0.005, 0.01, 0.02)  # of what all influencers together cost
SAMPLE = 0.1
SEEDS = (101, 102, 103)


def run() -> Iterator[Row]:
    """A row for each seed and budget: complete audiences, then the plan of a 10 % sample."""
    tiny = market(1, 200, 5_000, 40_000)
    maximise_reach(*tiny, 50.0)  # compiles
    maximise_reach(sampled(tiny[0], 1), tiny[1], 50.0)
    for seed in SEEDS:
        audiences, prices = market(seed)
        some = sampled(audiences, seed)
        for share in SHARES:
            yield from _rows(audiences, some, prices, share, seed)


def market(
    seed: int, influencers: int = INFLUENCERS, people: int = PEOPLE, follows: int = FOLLOWS
) -> tuple[Audiences, pd.Series]:
    """Audiences and prices."""
    random = spawn(seed, "reach bench")
    cut = np.sort(random.integers(0, people, COMMUNITIES - 1))
    first, last = np.append(0, cut), np.append(cut, people)
    size = np.exp(random.normal(0, 1.3, influencers))
    size = np.minimum(1.15 * follows * size / size.sum(), people / 8).astype(np.int64) + 5
    home = random.integers(0, COMMUNITIES, influencers)
    rows = list[np.ndarray]()
    for i in range(influencers):
        width = last[home[i]] - first[home[i]]
        own = min(int(0.7 * size[i]), int(0.6 * width))
        away = random.integers(0, COMMUNITIES, size[i] - own)
        near = first[home[i]] + (width * random.random(own) ** 1.7).astype(np.int64)  # the active come first in a community
        far = first[away] + ((last[away] - first[away]) * random.random(len(away)) ** 1.7).astype(np.int64)
        rows.append(np.unique(np.concatenate([near, far])).astype(np.int32))
    starts = np.append(0, np.cumsum([len(row) for row in rows])).astype(np.int64)
    names = tuple(f"i{k:05d}" for k in range(influencers))
    prices = 0.5 * np.diff(starts) ** 0.8 * np.exp(random.normal(0, 0.4, influencers))
    return Audiences(names, starts, np.concatenate(rows), people, np.ones(influencers)), pd.Series(prices, names)


def sampled(audiences: Audiences, seed: int) -> Audiences:
    """A tenth of the people, the same in all audiences."""
    keep = spawn(seed, "sample").random(audiences.size) < SAMPLE
    return audiences.only(keep, SAMPLE)


def ranked(audiences: Audiences, prices: pd.Series, budget: float) -> list[str]:
    """Bought in the order of reach / price while money lasts, as if audiences did not overlap."""
    chosen, paid = list[str](), prices.to_numpy()
    for k in np.argsort(-audiences.audience / paid):
        if paid[k] <= budget:
            chosen.append(audiences.names[k])
            budget -= paid[k]
    return chosen


def _rows(audiences: Audiences, some: Audiences, prices: pd.Series, share: float, seed: int) -> Iterator[Row]:
    budget = share * float(prices.sum())
    spent, plan = measure(lambda: maximise_reach(audiences, prices, budget))
    plain = reach_of(audiences, ranked(audiences, prices, budget)).reach
    size = f"{len(audiences.people) / 1e6:.1f} M follows, {share:.1%} of all prices, seed {seed}"
    yield Row("reach: plan and bound", size, "ranking by reach / price", ours=spent,
              agreement=f"true reach {plan.reach / plain:.3f}× of it; bound {plan.gap:.1%} above",
              note=f"{len(plan.chosen)} chosen; adding up overstates {plan.plan.double_counting:.2f}×")  # fmt: skip
    spent, guess = measure(lambda: maximise_reach(some, prices, budget))
    truth = reach_of(audiences, guess.chosen).reach
    yield Row("reach from a 10 % sample", size, "all people", ours=spent,
              agreement=f"{truth / plan.reach:.2%} of its reach; estimate {guess.reach / truth - 1:+.2%} off (± {1.96 * guess.standard_error / truth:.2%})",
              note=f"without taking off what choosing flattered {guess.plan.reach / truth - 1:+.2%}")  # fmt: skip
