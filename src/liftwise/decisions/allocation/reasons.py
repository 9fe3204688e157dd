"""Why money does not move, or not further, a sentence each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.decisions.allocation.winners_curse import SURE

Floats = NDArray[np.float64]
_HELD = {
    "locked": "{} stay at today's money, as asked.", "floor": "{} cannot go lower: floor.", "ceiling": "{} cannot get more: ceiling.",
    "reach": "{} cannot get more: beyond, their curves are not known.",
}  # fmt: skip


def held_back(held: Mapping[str, tuple[str, ...]]) -> list[str]:
    """What holds which channels: locked, floor, ceiling or reach → names."""
    return [_HELD[kind].format(listed(names)) for kind, names in held.items() if names]


def unsure(what: str, change: pd.Series, sure: float) -> str:
    """That the best other split or schedule was not sure enough to gain; `change` is channel → money it would have moved."""
    moves = f"most to {change.idxmax()}, least to {change.idxmin()}" if change.abs().max() >= 0.01 else "other weeks alone"
    return f"The best other {what} found ({moves}) gains in only {sure:.0%} of the draws, and a part of the way in fewer than {SURE:.1%}: no money moves."


def part_way(what: str, step: float) -> list[str]:
    """That money goes only part of the way to the best other split or schedule."""
    if step == 1:
        return []
    return [f"Money goes {step:.0%} of the way to the best {what} found: further on, fewer than {SURE:.1%} of the draws gain."]


def listed(names: tuple[str, ...]) -> str:
    """Names as a sentence has them."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
