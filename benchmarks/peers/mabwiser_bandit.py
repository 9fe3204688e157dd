"""mabwiser's linear Thompson sampling: world.npz (x, p, luck) → regret as a share of uniform choice's, and seconds a decision."""

from __future__ import annotations

import sys

import numpy as np
from mabwiser.mab import MAB, LearningPolicy
from stopwatch import Spent, measure
from tell import tell

world = np.load(sys.argv[1])
x, p, luck = world["x"], world["p"], world["luck"]
rounds, arms = p.shape


def play() -> float:
    """One decision at a time, its reward told at once; begins from one row of each arm without reward."""
    policy = MAB(list(range(arms)), LearningPolicy.LinTS(alpha=1.0, l2_lambda=1.0), seed=1)
    policy.fit(list(range(arms)), [0.0] * arms, np.zeros((arms, x.shape[1])))
    regret = 0.0
    for t in range(rounds):
        arm = policy.predict(x[t : t + 1])
        regret += p[t].max() - p[t, arm]
        policy.partial_fit([arm], [float(luck[t] < p[t, arm])], x[t : t + 1])
    return regret / (p.max(axis=1) - p.mean(axis=1)).sum()


spent, found = measure(play)
tell(Spent(spent.cpu / rounds, spent.wall / rounds), regret=found)
