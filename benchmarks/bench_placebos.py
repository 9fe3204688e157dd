"""All-units placebo in space: every unit fitted by all others, 90 periods before; ours shares one Gram matrix.

Against a loop over Clarabel (an exact conic solver, Apache-2.0), pysyncon 1.7.0 (MIT; SLSQP) and mlsynth (MIT; its own solver of all
placebos together, and its whole estimate with placebo inference). Answers agree when the squared errors do: on the simplex they have one
minimum, and what lies above it was not solved. A peer that would take too long is timed on a few placebos and multiplied up; the row says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from side_by_side import Peer, Row, Timed, compare, mlsynth
from stopwatch import Spent, measure

from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.causal import Panel, SyntheticControl
from liftwise.models.causal.simplex import fit_groups

PRE, POST = 90, 15
CLARABEL = {50: 50, 200: 10, 500: 3, 5000: 1}  # units → placebos that are timed
PYSYNCON_PLACEBOS = {50: 50, 200: 3}
PYSYNCON = Peer("pysyncon", ("pysyncon==1.7.0",))
MLSYNTH, PATIENCE = (50, 200, 500), 60  # units; seconds of processor


def run() -> Iterator[Row]:
    """A row for each peer and number of units; seconds for all placebos."""
    fit_groups(np.eye(3), np.arange(3)[:, None], 2, np.eye(3))  # compiles
    ours = {n: _remembered(n) for n in CLARABEL}
    with tempfile.TemporaryDirectory() as folder:
        before = {n: _saved(_panel(n)[:, :PRE], Path(folder) / f"{n}.npy") for n in ours}
        for n, count in CLARABEL.items():
            yield _part(n, count, "Clarabel loop", ours[n], partial(_clarabel, _panel(n)[:, :PRE], count))
        for n, count in PYSYNCON_PLACEBOS.items():
            yield _part(n, count, "pysyncon Synth", ours[n], partial(PYSYNCON.run, "pysyncon_weights", before[n], count))
        for n in MLSYNTH:
            theirs = partial(mlsynth().run, "mlsynth_weights", before[n], limit=PATIENCE)
            yield compare(_row(n, "mlsynth solver", 1 if n > 50 else 3), ours[n], theirs, _squares)
        for n in MLSYNTH[:2]:
            yield _whole(n, Path(folder))


def _row(n: int, peer: str, pairs: int, note: str = "") -> Row:
    return Row("placebo of all units", f"{n} × {PRE}", peer, pairs=pairs, note=note)


def _part(n: int, count: int, peer: str, ours: Callable[[], Timed], theirs: Callable[[], Timed]) -> Row:
    """A peer that fits `count` of the `n` placebos."""

    def all_of_them() -> Timed:
        spent, found = theirs()
        return Spent(spent.cpu * n / count, spent.wall * n / count), found

    note = "" if count == n else f"theirs: {count} placebo{'s' * (count > 1)} × {n / count:.4g}"
    return compare(_row(n, peer, 1 if n > 50 else 3, note), ours, all_of_them, _squares)


def _whole(n: int, folder: Path) -> Row:
    """The public call, from a table: reading it, the weights, all placebos, a p-value."""
    values = _panel(n + 1)
    names, times = np.repeat([f"u{k:04d}" for k in range(n + 1)], PRE + POST), np.tile(np.arange(PRE + POST), n + 1)
    frame = pd.DataFrame({"unit": names, "time": times, "y": values.ravel()})

    def once() -> float:
        panel = Panel.of(frame, "unit", "time", "y")
        return SyntheticControl(level="outcome").estimate(panel, treated="u0000", start=PRE).effect / POST

    def agree(ours: float, theirs: dict) -> str:
        return f"effect within {abs(theirs['effect'] / ours - 1):.0e}"

    once()  # compiles
    file = _saved(values, folder / "whole.npy")
    row = Row("estimate with placebo inference", f"{n} × {PRE}", "mlsynth VanillaSC", pairs=1 if n > 50 else 3,
              note="ours also cross-fits every placebo's error (6 fits of each) and runs its checks")  # fmt: skip
    return compare(row, lambda: measure(once), lambda: mlsynth().run("mlsynth_estimate", file, PRE, limit=PATIENCE), agree)


def _panel(n: int) -> Floats:
    """Three common factors and noise, about a level of 10."""
    rng, periods = spawn(n, "bench.placebos"), PRE + POST
    return 10 + rng.normal(size=(n, 3)) @ rng.normal(size=(3, periods)).cumsum(axis=1) * 0.3 + 0.3 * rng.normal(size=(n, periods))


def _saved(values: Floats, file: Path) -> Path:
    np.save(file, np.ascontiguousarray(values))
    return file


def _remembered(n: int) -> Callable[[], Timed]:
    """Ours, Gram matrix included: squared error of every placebo and the largest duality gap; thousands are timed once for all peers."""
    values, found = np.ascontiguousarray(_panel(n)[:, :PRE]), []

    def once() -> tuple[Floats, float]:
        centred = np.ascontiguousarray(values - values.mean(axis=0))
        gaps, duality = fit_groups(centred @ centred.T, np.arange(n)[:, None], PRE, values)
        return np.sum(gaps**2, axis=1), float(duality.max()) / float(np.mean(np.sum(centred**2, axis=1)))

    def ours() -> Timed:
        if not found or n < 1000:
            found.append(measure(once))
        return found[-1]

    return ours


def _squares(ours: tuple[Floats, float], theirs: dict) -> str:
    """How far their squared errors are above ours, which our own duality gap certifies."""
    other = np.array(theirs["objectives"])
    above = other / ours[0][: len(other)] - 1
    return f"their squared errors {above.min():+.0e} to {above.max():+.0e} of ours; our gap {ours[1]:.0e}"


def _clarabel(values: Floats, count: int) -> Timed:
    """The first `count` placebos, one problem each."""
    spent, weights = measure(lambda: [_conic(np.delete(values, unit, axis=0), values[unit]) for unit in range(count)])
    gaps = [values[unit] - found @ np.delete(values, unit, axis=0) for unit, found in enumerate(weights)]
    return spent, {"objectives": [float(gap @ gap) for gap in gaps]}


def _conic(donors: Floats, target: Floats) -> Floats:
    """Weights by the quicker of two forms: a dense Gram matrix for few donors; for many, residuals as variables keep it sparse."""
    import clarabel
    from scipy import sparse

    (n, t), told = donors.shape, clarabel.DefaultSettings()
    told.verbose = False
    ones, signs = sparse.csc_matrix(np.ones((1, n))), -sparse.identity(n)
    if n <= 5 * t:  # measured: 42 and 84 ms at 200 donors, 252 and 236 ms at 500, 75 and 4 s at 5000
        quadratic, linear = sparse.triu(sparse.csc_matrix(2 * donors @ donors.T)).tocsc(), -2 * donors @ target
        bounds, aim, equalities = sparse.vstack([ones, signs]).tocsc(), np.array([1.0, *np.zeros(n)]), 1
    else:
        quadratic, linear = sparse.block_diag([sparse.csc_matrix((n, n)), 2 * sparse.identity(t)]).tocsc(), np.zeros(n + t)
        bounds = sparse.bmat([[ones, None], [sparse.csc_matrix(donors.T), sparse.identity(t)], [signs, None]]).tocsc()
        aim, equalities = np.array([1.0, *target, *np.zeros(n)]), 1 + t
    cones = [clarabel.ZeroConeT(equalities), clarabel.NonnegativeConeT(n)]
    return np.array(clarabel.DefaultSolver(quadratic, linear, bounds, aim, cones, told).solve().x)[:n]
