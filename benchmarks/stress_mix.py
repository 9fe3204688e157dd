"""The stress matrix: worlds that each break one assumption of a mix, what the estimate was, and whether it said so.

``python stress_mix.py --seeds 3 --model bayesian`` prints a row a world: verdict (the rule is in
`liftwise.sources.simulator.mix_stress`), error of all media and of the worst large channel, warnings raised. ``--model chosen`` fits all members
but the slow ones and takes the one the rule of choice takes. The last lines count false alarms on clean worlds of seeds that no check was
tuned on. No peer is run: mmm-framework (1.4.0) publishes 8 silent failures among its 14 worlds, control included.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from liftwise.core.errors import LiftwiseError
from liftwise.models.mix import BayesianMix, Mix, StructuralMix, choose, members
from liftwise.models.mix.examine import examine
from liftwise.sources.simulator.mix_stress import LARGE, WORLDS, StressWorld, overall, stress_world

FRESH = 1000  # first seed of the clean worlds that count false alarms
SLOW = ("neural", "forest", "general")


@dataclass(frozen=True)
class Outcome:
    """verdict; total, worst : relative errors of all media and of the worst large channel; warnings : kinds."""

    verdict: str
    model: str
    total: float
    worst: float
    warnings: tuple[str, ...]


def fitted(weekly: pd.DataFrame, model: str) -> Mix:
    """By name, or as the rule of choice has it."""
    if model == "bayesian":
        return BayesianMix(folds=1).fit(weekly)
    if model == "structural":
        return StructuralMix(folds=1, draws=200).fit(weekly)
    return choose([member for member in members(weekly) if member.name not in SLOW], weekly).chosen


def told(mix: Any) -> tuple[pd.DataFrame, tuple[float, float, float]]:
    """Estimates and 90 % intervals of channels and of all media over all weeks; a channel's share of synergy is in its estimate."""
    parts, roi = mix.contributions(), mix.roi()
    shared = (
        parts[parts["part"] == "synergy"].groupby("channel")["contribution"].sum().reindex(roi["channel"]).fillna(0.0).to_numpy()
    )
    estimate = roi["revenue"] + shared
    frame = pd.DataFrame({"channel": roi["channel"], "estimate": estimate, "low": roi["low"] * roi["spend"] + shared,
                          "high": roi["high"] * roi["spend"] + shared})  # fmt: skip
    low, high = (mix.totals().sum(axis=1) + shared.sum()).quantile([0.05, 0.95])
    return frame, (float(estimate.sum()), float(low), float(high))


def outcome(world: StressWorld, model: str) -> Outcome:
    """Fit, examine, judge."""
    try:
        mix = fitted(world.weekly(), model)
    except LiftwiseError as reason:
        return Outcome("flagged", model, np.nan, np.nan, (str(reason),))
    frame, total = told(mix)
    warnings = examine(mix, world.weekly()).warnings
    true = world.truth.sum()
    off = (frame.set_index("channel")["estimate"] / true - 1)[true >= LARGE * true.sum()]
    worst = float(off.loc[off.abs().idxmax()])
    return Outcome(world.verdict(frame, total, warnings), mix.name, total[0] / float(true.sum()) - 1, worst, warnings)


def main() -> None:
    """Print the matrix."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--seeds", type=int, default=3)
    ask.add_argument("--first", type=int, default=1)
    ask.add_argument("--clean", type=int, default=10, help="clean worlds for false alarms")
    ask.add_argument("--model", choices=["bayesian", "structural", "chosen"], default="chosen")
    asked = ask.parse_args()
    verdicts = dict[str, str]()
    for name in WORLDS:
        found = [outcome(stress_world(name, seed), asked.model) for seed in range(asked.first, asked.first + asked.seeds)]
        verdicts[name] = overall([one.verdict for one in found])
        print(f"{name:16s} {verdicts[name]:8s}" + " | ".join(
            f"{one.verdict} ({one.model}) media {one.total:+.0%}, worst {one.worst:+.0%}, {', '.join(one.warnings) or 'no warning'}" for one in found
        ), flush=True)  # fmt: skip
    broken = Counter(verdict for name, verdict in verdicts.items() if name != "clean")
    print(f"{sum(broken.values())} broken worlds: " + ", ".join(f"{broken[v]} {v}" for v in broken))
    alarms = [one.warnings for one in (outcome(stress_world("clean", FRESH + k), asked.model) for k in range(asked.clean))]
    kinds = Counter(kind for one in alarms for kind in one)
    print(f"clean worlds with any warning: {sum(map(bool, alarms))} of {asked.clean}; by kind {dict(kinds)}")


if __name__ == "__main__":
    main()
