"""All-units placebo in space: every unit fitted by all others, 90 periods before; ours shares one Gram matrix.

Peers: a loop over Clarabel (an exact conic solver) and pysyncon (PyPI, MIT, in its own environment). Each peer is timed on a few
placebos and multiplied up to all of them, since whole runs would take hours.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from liftwise.core.uncertainty import spawn
from liftwise.models.causal.simplex import fit_groups

PRE, SIZES, PEERED = 90, (50, 200, 500, 5000), 3
PEER = Path(__file__).parents[1] / ".bench" / "pysyncon"
CODE = """
import sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np, pandas as pd
from pysyncon import AugSynth, Synth
values = np.load(sys.argv[1]); times = []
for unit in range(int(sys.argv[2])):
    donors, target = np.delete(values, unit, axis=0).T, values[unit]
    began = time.perf_counter()
    Synth().fit(X0=pd.DataFrame(donors), X1=pd.Series(target), Z0=pd.DataFrame(donors), Z1=pd.Series(target), custom_V=np.full(len(target), 1 / len(target)))
    times.append(time.perf_counter() - began)
print(sorted(times)[len(times) // 2])
"""


def run() -> list[dict]:
    """A row for each number of donors and peer; seconds for all placebos."""
    _install()
    rows = []
    for n in SIZES:
        values = _panel(n)
        ours, gap = _ours(values)
        exact = _clarabel(values) * n if n <= 500 else float("nan")
        rows.append(_row(n, ours, exact, f"peer: Clarabel, one placebo × {n}; our largest duality gap {gap:.1e}"))
        if n <= 500:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "values.npy"
                np.save(file, values)
                said = subprocess.run(
                    [str(PEER / "bin" / "python"), "-c", CODE, str(file), str(PEERED)], capture_output=True, text=True, check=True
                )
            rows.append(
                _row(n, ours, float(said.stdout.strip().splitlines()[-1]) * n, f"peer: pysyncon 1.7.0, one placebo × {n}")
            )
    return [row for row in rows if row["peer"] == row["peer"] or "Clarabel" in row["note"]]


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


def _install() -> None:
    if not (PEER / "ok").exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEER)], check=True)
        subprocess.run([str(PEER / "bin" / "python"), "-m", "pip", "install", "-q", "pysyncon==1.7.0"], check=True)
        (PEER / "ok").touch()
