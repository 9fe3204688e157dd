"""Which outcomes are foretold from what came before them: later weeks, and creators that are left out altogether."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from liftwise.core.uncertainty import spawn

MANY = 20_000  # rows from which one fold says enough
LATER = (0.09, 0.40)  # share of rows that are foretold: with many, with few
OUT = 0.15  # share of creators that are left out
RECENT = 3.0  # times as long back that left-out creators' rows are foretold
FEW_FOLDS = 4
FEWEST = 25  # rows to learn from and rows to foretell


@dataclass(frozen=True)
class Fold:
    """Rows to learn from, rows to foretell (later ones of creators that were seen, then rows of creators that were not)."""

    rows: np.ndarray
    later: np.ndarray


def folds(posted: np.ndarray, observed: np.ndarray, creator: np.ndarray, seed: int) -> list[Fold]:
    """Of rows sorted by `posted`; one of many rows, four with growing pasts of few. Only what was observed by then is learned from."""
    n = len(posted)
    count = 1 if n >= MANY else FEW_FOLDS
    first = int(n * (1 - LATER[n < MANY]))
    edges = np.linspace(first, n, count + 1).astype(int)
    rng, out = spawn(seed, "effectiveness.folds"), []
    position = np.arange(n)
    for k in range(count):
        left = rng.random(int(creator.max(initial=0)) + 2)[creator] < OUT
        start, end = edges[k], edges[k + 1]
        rows = np.flatnonzero((position < start) & (observed < posted[start]) & ~left)
        back = max(0, int(end - RECENT * (end - start)))
        later = np.flatnonzero(((position >= start) & (position < end)) | (left & (position >= back) & (position < end)))
        if len(rows) >= FEWEST and len(later) >= FEWEST:
            out.append(Fold(rows, later))
    return out
