"""What a chosen plan may promise, and when money may move for it.

A plan is chosen because its gain looks large, so that what it looks like is too much. Half of the draws choose and the other half say what the
choice will bring: the luck of single draws flatters nothing. The luck of the fit itself is in all draws alike; against it the expected gain is
shrunk towards none by James & Stein's (1961) factor, 1 − variance/mean² (0 where that is negative): much where the gain is hardly known, hardly
where it is known well. Where fewer than `SURE` of the judging draws gain, today's plan is kept: one that may well lose moves no money.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SURE = 7 / 8  # share of the draws that must gain, else no money moves


def settled(better: Floats, same: Floats) -> tuple[bool, Floats]:
    """Whether a choice is sure enough to move money, and the draws of its gain on today that may be told.

    better : (draws,) of the choice over what would be kept. same : of that over today (not none, when the total differs).
    """
    moves = bool((better > 0).mean() >= SURE)
    return moves, same + shrunk(better) if moves else same


def shrunk(gains: Floats) -> Floats:
    """Draws of a gain moved towards none, their spread left as it is; a loss is left alone.

    >>> shrunk(np.array([1.0, 3.0])).tolist()  # mean 2, variance 1: a quarter is taken off
    [0.5, 2.5]
    """
    mean = float(gains.mean())
    return gains - min(float(gains.var()) / mean, mean) if mean > 0 else gains
