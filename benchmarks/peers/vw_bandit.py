"""Vowpal Wabbit's SquareCB: world.npz (x, p, luck) → regret as a share of uniform choice's, and seconds a decision."""

from __future__ import annotations

import sys

import numpy as np
import vowpalwabbit
from stopwatch import Spent, measure
from tell import tell

world = np.load(sys.argv[1])
x, p, luck = world["x"], world["p"], world["luck"]
rounds, arms = p.shape


def play() -> float:
    """Arms as names crossed with the context; a cost is a reward's negative."""
    policy = vowpalwabbit.Workspace("--cb_explore_adf --squarecb -q sa --quiet --random_seed 1")
    random, regret = np.random.default_rng(1), 0.0
    for t in range(rounds):
        shared = "shared |s " + " ".join(f"f{k}:{value:.5f}" for k, value in enumerate(x[t]))
        chances = np.array(policy.predict([shared, *(f"|a arm{k}" for k in range(arms))]))
        arm = int(random.choice(arms, p=chances / chances.sum()))
        regret += p[t].max() - p[t, arm]
        told = f"{arm}:{-float(luck[t] < p[t, arm])}:{chances[arm]:.6f}"
        policy.learn([shared, *(f"{told} |a arm{k}" if k == arm else f"|a arm{k}" for k in range(arms))])
    return regret / (p.max(axis=1) - p.mean(axis=1)).sum()


spent, found = measure(play)
tell(Spent(spent.cpu / rounds, spent.wall / rounds), regret=found)
