"""A program over some of its candidates, handed to HiGHS as arrays; with an outer watchdog, since HiGHS may overrun its own limit."""

# pyright: basic
# (HiGHS has no types)
from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix

from liftwise.decisions.selection.program import Program

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Statuses = NDArray[np.object_]  # of HiGHS, which reads and writes them one by one: they are not turned into numbers
LARGE = 1e4  # numbers above it are scaled down
GRACE = 2.0  # seconds a solver may take beyond its limit before it is left behind


@dataclass(frozen=True)
class Model:
    """max cost·x, low ≤ A x ≤ high: candidates first, then helpers, then slacks of floors. rows : coupling row of each row, −1 = inner.

    Numbers larger than `LARGE` are scaled down: tolerances of a solver are absolute, and money of millions loses digits in its presolve.
    unit : of each column. per : of each row. worth : of the objective. What the solver holds is column / unit, row / per, value / worth.
    keys : a name of each row that other models of the same program know, so that one can begin where another ended.
    """

    cost: Floats
    lower: Floats
    upper: Floats
    matrix: csc_matrix
    low: Floats
    high: Floats
    whole: NDArray[np.bool_]
    rows: Ints
    floors: Ints
    columns: Ints
    unit: Floats
    per: Floats
    worth: float
    keys: Ints


@dataclass(frozen=True)
class Basis:
    """Where a linear program ended: candidates with their status, status of helpers and slacks, rows (by key) with theirs."""

    columns: Ints
    of_columns: Statuses
    of_others: Statuses
    keys: Ints
    of_rows: Statuses

    def of(self, model: Model) -> tuple[Statuses, Statuses] | None:
        """Statuses for another model: what is new is out (a column) or slack (a row); None where helpers differ."""
        if len(self.of_others) != len(model.cost) - len(model.columns):
            return None
        from highspy import HighsBasisStatus as Status

        columns, rows = np.full(len(model.columns), Status.kLower), np.full(len(model.keys), Status.kBasic)
        for found, names, wanted, statuses in (
            (columns, self.columns, model.columns, self.of_columns),
            (rows, self.keys, model.keys, self.of_rows),
        ):
            at = (
                np.minimum(np.searchsorted(names, wanted), len(names) - 1)
                if len(names)
                else np.zeros(len(wanted), dtype=np.int64)
            )
            known = names[at] == wanted if len(names) else np.zeros(len(wanted), dtype=bool)
            found[known] = statuses[at[known]]
        return np.concatenate([columns, self.of_others]), rows


@dataclass(frozen=True)
class Solved:
    """An answer: y of the candidates, helpers, slack of each floor, duals of the coupling rows (LP), objective, valid bound.

    feasible : there is an answer at all.  complete : it is optimal (within the gap asked for).
    """

    y: Floats
    helpers: Floats
    slack: Floats
    duals: Floats
    objective: float
    bound: float
    feasible: bool
    complete: bool
    infeasible: bool = False
    basis: Basis | None = None


def model_of(
    program: Program, columns: Ints, *, penalty: float = 0.0, value: Floats | None = None, forced: Ints | None = None
) -> Model:
    """The program over `columns`; with `penalty`, floors (rows with a positive lower limit) may be missed at that price."""
    row, at, factor = program.entries(columns)
    helpers = program.helpers
    n, m, k = len(columns), len(program.low), len(helpers.names)
    floors = np.flatnonzero(program.low > 0) if penalty else np.empty(0, dtype=np.int64)
    inner_row, inner_at, inner_factor, inner_high, inner_keys = _inner_rows(program, columns)
    rows = np.concatenate([row, helpers.row, floors, m + inner_row])
    ats = np.concatenate([at, n + helpers.column, n + k + np.arange(len(floors)), inner_at])
    factors = np.concatenate([factor, helpers.factor, np.ones(len(floors)), inner_factor])
    low = np.concatenate([program.low, np.full(len(inner_high), -np.inf)])
    high = np.concatenate([program.high, inner_high])
    upper = _upper(program, columns)
    there = np.bincount(np.concatenate([row, floors, m + inner_row]), minlength=len(low)) > 0
    ends = helpers.factor[:, None] * np.column_stack([helpers.low, upper])[helpers.column]
    least, most = (np.bincount(helpers.row, end, minlength=len(low)) for end in (ends.min(axis=1), ends.max(axis=1)))
    there |= (low > least) | (high < most)  # rows without candidates that helpers alone cannot break are left out
    kept = np.flatnonzero(there)
    within = new_index(kept, len(low))[rows] >= 0
    rows, ats, factors = rows[within], ats[within], factors[within]
    matrix = csc_matrix((factors, (new_index(kept, len(low))[rows], ats)), shape=(len(kept), n + k + len(floors)))
    worth = program.value if value is None else value
    cost = np.concatenate([worth[columns], helpers.value, np.full(len(floors), -penalty)])
    lower = np.concatenate(
        [np.zeros(n) if forced is None else np.isin(columns, forced).astype(np.float64), helpers.low, np.zeros(len(floors))]
    )
    above = np.concatenate([np.ones(n), upper, np.full(len(floors), np.inf)])
    whole = np.concatenate([np.ones(n, dtype=bool), helpers.binary, np.zeros(len(floors), dtype=bool)])
    bounds = np.concatenate([np.ones(n), np.maximum(np.abs(helpers.low), np.abs(helpers.high)), np.ones(len(floors))])
    unit = np.where(whole, 1.0, np.maximum(1.0, bounds / LARGE))
    largest = float(np.abs(cost[:n]).max(initial=0.0))
    return scaled(Model(cost, lower, above, matrix, low[kept], high[kept], whole, np.where(kept < m, kept, -1), floors, columns, unit,
                        np.ones(len(kept)), max(1.0, largest / LARGE), np.concatenate([np.arange(m), m + inner_keys])[kept]))  # fmt: skip


def scaled(model: Model) -> Model:
    """In units in which no number is large."""
    row, column = model.matrix.indices, np.repeat(np.arange(len(model.cost)), np.diff(model.matrix.indptr))
    factor = model.matrix.data * model.unit[column]
    bounds = np.where(np.isfinite(model.upper), np.maximum(np.abs(model.lower), np.abs(model.upper)) / model.unit, 1.0)
    largest = np.maximum(*(np.where(np.isfinite(end), np.abs(end), 0.0) for end in (model.low, model.high)))
    np.maximum.at(largest, row, np.abs(factor) * np.maximum(bounds, 1e-12)[column])
    per = np.maximum(1.0, largest / LARGE)
    matrix = csc_matrix((factor / per[row], row, model.matrix.indptr), shape=model.matrix.shape)
    return replace(
        model, cost=model.cost * model.unit / model.worth, lower=model.lower / model.unit, upper=model.upper / model.unit,
        matrix=matrix, low=model.low / per, high=model.high / per, per=per,
    )  # fmt: skip


def new_index(kept: Ints, count: int) -> Ints:
    """Old index → new index, −1 for those that are not kept."""
    new = np.full(count, -1, dtype=np.int64)
    new[kept] = np.arange(len(kept))
    return new


def _upper(program: Program, columns: Ints) -> Floats:
    """Upper bounds of helpers; an influencer without a candidate at hand is not used."""
    upper, inner = program.helpers.high.copy(), program.inner
    here = np.zeros(len(inner.use), dtype=bool)
    here[inner.influencer(columns)] = True
    upper[inner.use[(inner.use >= 0) & ~here]] = 0.0
    return upper


def _inner_rows(program: Program, columns: Ints) -> tuple[Ints, Ints, Floats, Floats, Ints]:
    """Caps per influencer and per influencer-week where the candidates at hand could break them, or where `use` must follow."""
    inner, n = program.inner, len(columns)
    who = inner.influencer(columns)
    weeks = int(inner.week.max(initial=0)) + 1
    rows, ats, factors, highs, keys = [], [], [], [], []
    first = 0
    for offset, group, owner_of, cap in (
        (0, who, lambda g: g, inner.cap),
        (len(inner.use), who * weeks + inner.week[columns], lambda g: g // weeks, inner.week_cap),
    ):
        names, code, counts = np.unique(group, return_inverse=True, return_counts=True)
        use = inner.use[owner_of(names)]
        here = (counts > cap) | (use >= 0)
        new = np.full(len(names), -1, dtype=np.int64)
        new[here] = first + np.arange(here.sum())
        mine = np.flatnonzero(here[code])
        rows.append(new[code[mine]])
        ats.append(mine)
        factors.append(np.ones(len(mine)))
        limit = np.minimum(cap, counts[here]).astype(np.float64)
        tied = use[here] >= 0
        rows.append(new[here][tied])
        ats.append(n + use[here][tied])
        factors.append(-limit[tied])
        highs.append(np.where(tied, 0.0, limit))
        keys.append(offset + names[here])
        first += int(here.sum())
    return np.concatenate(rows), np.concatenate(ats), np.concatenate(factors), np.concatenate(highs), np.concatenate(keys)


@dataclass
class Watch:
    """What a running solver has told so far: its best answer and bound."""

    best: Floats | None = None
    value: float = -np.inf
    bound: float = np.inf
    stop: threading.Event = field(default_factory=threading.Event)


def solve(
    program: Program, model: Model, *, integer: bool, seconds: float, gap: float = 0.0, start: Floats | None = None,
    told: Callable[[float, float], None] | None = None, good: float = np.inf, basis: Basis | None = None,
    options: dict[str, Any] | None = None,
) -> Solved:  # fmt: skip
    """Solve; `told(value, bound)` is called as an integer program gets better.

    start : (candidates,) a plan to begin with. good : an integer program stops when it has a plan worth that much.
    basis : where a similar linear program ended.
    """
    if len(model.cost) == 0:
        kept = bool(((model.low <= 0) & (model.high >= 0)).all())
        nothing = np.zeros(0)
        value = 0.0 if kept else -np.inf
        return Solved(nothing, nothing, nothing, np.zeros(len(program.low)), value, 0.0, kept, kept, not kept)
    engine, watch = _engine(model, integer, seconds, gap, options), Watch()
    if integer:
        _listen(engine, model.worth, watch, told, good)
        if start is not None:
            _begin(engine, start)
    elif basis is not None:
        _continue(engine, basis.of(model))
    worker = threading.Thread(target=engine.run, daemon=True)
    worker.start()
    worker.join(seconds + GRACE)
    if worker.is_alive():
        watch.stop.set()
        worker.join(GRACE)
    if worker.is_alive():  # it does not listen (presolve): what it has told is the answer
        return _of_watch(program, model, watch)
    return _answer(program, model, engine, integer)


def _engine(model: Model, integer: bool, seconds: float, gap: float, options: dict[str, Any] | None) -> Any:
    import highspy

    engine = quiet()
    told = {"output_flag": False, "time_limit": max(seconds, 0.1), "mip_rel_gap": gap, "mip_abs_gap": 0.0, "random_seed": 0, "threads": 1,
            **(options or {})}  # fmt: skip
    for option, value in told.items():
        engine.setOptionValue(option, value)
    matrix, whole = model.matrix, model.whole & integer
    engine.passModel(
        len(model.cost), len(model.low), matrix.nnz, int(highspy.MatrixFormat.kColwise), int(highspy.ObjSense.kMaximize), 0.0,
        model.cost, model.lower, model.upper, model.low, model.high, matrix.indptr.astype(np.int32), matrix.indices.astype(np.int32),
        matrix.data, whole.astype(np.int32),
    )  # fmt: skip
    return engine


def quiet() -> Any:
    """A HiGHS that keeps quiet. Its first one in a process greets on file descriptor 1, which belongs to the caller's output."""
    import highspy

    held, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        return highspy.Highs()
    finally:
        os.dup2(held, 1)
        os.close(held)
        os.close(nowhere)


def _listen(engine: Any, worth: float, watch: Watch, told: Callable[[float, float], None] | None, good: float) -> None:
    def better(event: Any) -> None:
        out = event.data_out
        watch.best, watch.value, watch.bound = (
            np.array(out.mip_solution),
            out.objective_function_value * worth,
            out.mip_dual_bound * worth,
        )
        if told is not None:
            told(watch.value, watch.bound)
        if watch.value >= good:
            watch.stop.set()

    def asked(event: Any) -> None:
        watch.bound = min(watch.bound, event.data_out.mip_dual_bound * worth)
        event.data_in.user_interrupt = watch.stop.is_set()

    engine.cbMipImprovingSolution += better
    engine.cbMipInterrupt += asked


def _begin(engine: Any, start: Floats) -> None:
    """A plan to begin with: candidates are given, HiGHS completes the helpers itself."""
    engine.setSolution(len(start), np.arange(len(start), dtype=np.int32), np.asarray(start, dtype=np.float64))


def _continue(engine: Any, statuses: tuple[Statuses, Statuses] | None) -> None:
    """Begin at a basis; one that does not fit is mended by HiGHS (`alien`)."""
    import highspy

    if statuses is None:
        return
    basis: Any = highspy.HighsBasis()
    basis.col_status, basis.row_status = (part.tolist() for part in statuses)
    basis.valid, basis.alien = True, True
    engine.setBasis(basis)


def _ended(model: Model, engine: Any) -> Basis | None:
    basis = engine.getBasis()
    if not basis.valid:
        return None
    columns, rows = (np.array(part, dtype=np.object_) for part in (basis.col_status, basis.row_status))
    n = len(model.columns)
    return Basis(model.columns, columns[:n], columns[n:], model.keys, rows)


def _answer(program: Program, model: Model, engine: Any, integer: bool) -> Solved:
    import highspy

    info, solution, status = engine.getInfo(), engine.getSolution(), engine.getModelStatus()
    impossible = status in (highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible)
    complete = status == highspy.HighsModelStatus.kOptimal
    n, k = len(model.columns), len(program.helpers.names)
    if info.primal_solution_status != 2:
        bound = float(info.mip_dual_bound) * model.worth if integer and not impossible else np.inf
        return _none(program, model, bound, impossible)
    x = np.array(solution.col_value) * model.unit
    duals = np.zeros(len(program.low))
    if not integer:
        coupled = model.rows >= 0
        duals[model.rows[coupled]] = (np.array(solution.row_dual) / model.per)[coupled] * model.worth
    value = float(info.objective_function_value) * model.worth
    bound = float(info.mip_dual_bound) * model.worth if integer else value
    basis = None if integer else _ended(model, engine)
    return Solved(x[:n], x[n : n + k], x[n + k :], duals, value, bound, True, complete, basis=basis)


def _of_watch(program: Program, model: Model, watch: Watch) -> Solved:
    n, k = len(model.columns), len(program.helpers.names)
    if watch.best is None or len(watch.best) != len(model.cost):
        return _none(program, model, watch.bound, False)
    x = watch.best * model.unit
    return Solved(x[:n], x[n : n + k], x[n + k :], np.zeros(len(program.low)), watch.value, watch.bound, True, False)


def _none(program: Program, model: Model, bound: float, impossible: bool) -> Solved:
    n, k = len(model.columns), len(program.helpers.names)
    return Solved(
        np.zeros(n),
        np.zeros(k),
        np.zeros(len(model.floors)),
        np.zeros(len(program.low)),
        -np.inf,
        bound,
        False,
        False,
        impossible,
    )
