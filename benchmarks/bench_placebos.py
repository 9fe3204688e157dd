"""All-units placebo in space: every unit fitted by all others, 90 periods before; ours shares one Gram matrix.

Peer: a loop over Clarabel (an exact conic solver, Apache-2.0), timed on a few placebos and multiplied up to all of them.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from liftwise.core.uncertainty import spawn
from liftwise.models.causal.simplex import fit_groups

PRE, SIZES, PEERED = 90, (50, 200, 500, 5000), 3


def run() -> list[dict]:
    """A row for each number of donors; seconds for all placebos."""
    rows = []
    for n in SIZES:
        values = _panel(n)
        ours, gap = _ours(values)
        exact = _clarabel(values) * n if n <= 500 else float("nan")
        rows.append(_row(n, ours, exact, f"peer: Clarabel, one placebo × {n}; our largest duality gap {gap:.1e}"))
    return rows


def _row(n: int, ours: float, peer: float, note: str) -> dict:
    return {
        "what": f"placebo of all units, {n} × {PRE}",
        "ours": ours,
        "peer": peer,
        "ratio": peer / ours,
        "unit": "s",
        "note": note,
    }


def _panel(n: int) -> np.ndarray:
    """Three common factors and noise, about a level of 10."""
    rng = spawn(n, "bench.placebos")
    return 10 + rng.normal(size=(n, 3)) @ rng.normal(size=(3, PRE)).cumsum(axis=1) * 0.3 + 0.3 * rng.normal(size=(n, PRE))


def _ours(values: np.ndarray) -> tuple[float, float]:
    """Median seconds of five runs (one at 5000), Gram matrix included, and the largest relative duality gap."""
    groups, spent, gap = np.arange(len(values))[:, None], [], 0.0
    fit_groups(np.eye(3), np.arange(3)[:, None], 2, np.eye(3))  # compiles
    for _ in range(1 if len(values) > 1000 else 5):
        began = time.perf_counter()
        centred = np.ascontiguousarray(values - values.mean(axis=0))
        gram = centred @ centred.T
        _, duality = fit_groups(gram, groups, PRE, np.ascontiguousarray(values))
        spent.append(time.perf_counter() - began)
        gap = float(duality.max()) / (np.trace(gram) / len(gram))
    return statistics.median(spent), gap


def _clarabel(values: np.ndarray) -> float:
    """Median seconds of a few placebos."""
    import clarabel
    from scipy import sparse

    told, spent = clarabel.DefaultSettings(), []
    told.verbose = False
    for unit in range(PEERED):
        donors, target = np.delete(values, unit, axis=0), values[unit]
        n = len(donors)
        began = time.perf_counter()
        quadratic = sparse.triu(sparse.csc_matrix(2 * donors @ donors.T)).tocsc()
        bounds = sparse.csc_matrix(np.vstack([np.ones(n), -np.eye(n)]))
        cones = [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(n)]
        clarabel.DefaultSolver(quadratic, -2 * donors @ target, bounds, np.array([1.0, *np.zeros(n)]), cones, told).solve()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)
