"""Linear and integer programs on HiGHS, through arrays; and sifting, which solves a large LP a few columns at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liftwise.decisions.rules import Block

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
START, ADD, ROUNDS = 4_000, 4_000, 40  # columns to begin with, to add a round at most, and rounds
EPSILON = 1e-9


@dataclass(frozen=True)
class Program:
    """max value·y, rows low ≤ A y ≤ high, y in [0, 1]. `rows`/`weights` are (columns, blocks): one entry a block, -1 = none."""

    value: Floats
    rows: Ints
    weights: Floats
    low: Floats
    high: Floats
    names: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, value: Floats, blocks: Sequence[Block]) -> Program:
        """Stack the blocks' rows."""
        first = np.concatenate([[0], np.cumsum([len(block.labels) for block in blocks])])
        rows = np.column_stack([np.where(b.group >= 0, b.group + first[k], -1) for k, b in enumerate(blocks)])
        return cls(
            value, rows.astype(np.int64), np.column_stack([block.weight for block in blocks]),
            np.concatenate([block.low for block in blocks]), np.concatenate([block.high for block in blocks]),
            tuple((block.rule, label) for block in blocks for label in block.labels),
        )  # fmt: skip

    def used(self, chosen: Ints) -> Floats:
        """Left-hand sides of all rows for the chosen columns."""
        rows, weights = self.rows[chosen].ravel(), self.weights[chosen].ravel()
        return np.bincount(rows[rows >= 0], weights[rows >= 0], minlength=len(self.low)).astype(np.float64)

    def priced(self, duals: Floats) -> Floats:
        """Value of each column less the price of what it uses; `duals` has one entry a row."""
        padded = np.append(duals, 0.0)
        return self.value - (padded[self.rows] * self.weights).sum(axis=1)


@dataclass(frozen=True)
class Solved:
    """An answer of HiGHS: y of the given columns, slack of elastic rows, duals of rows (LP), objective and bound."""

    y: Floats
    slack: Floats
    duals: Floats
    objective: float
    bound: float
    feasible: bool


def solve(program: Program, columns: Ints, *, integer: bool, seconds: float, gap: float = 0.0, start: Floats | None = None,
          penalty: float = 0.0) -> Solved:  # fmt: skip
    """Solve over some columns; with `penalty`, rows with a lower bound may be missed at that price (elastic)."""
    import highspy

    needy = np.flatnonzero(np.isfinite(program.low)) if penalty else np.empty(0, dtype=np.int64)
    n, m = len(columns) + len(needy), len(program.low)
    if n == 0:  # HiGHS has no word for a program without columns: nothing is chosen, and that keeps every row or it does not
        kept = bool(((program.low <= 0) & (program.high >= 0)).all())
        return Solved(np.zeros(0), np.zeros(0), np.zeros(m), 0.0 if kept else -np.inf, 0.0 if kept else np.inf, kept)
    rows, weights = program.rows[columns], program.weights[columns]
    has = rows >= 0
    model: Any = highspy.HighsLp()
    model.num_col_, model.num_row_, model.sense_ = n, m, highspy.ObjSense.kMaximize
    model.col_cost_ = np.concatenate([program.value[columns], np.full(len(needy), -penalty)])
    model.col_lower_, model.col_upper_ = (
        np.zeros(n),
        np.concatenate([np.ones(len(columns)), np.full(len(needy), highspy.kHighsInf)]),
    )
    model.row_lower_ = np.where(np.isfinite(program.low), program.low, -highspy.kHighsInf)
    model.row_upper_ = np.where(np.isfinite(program.high), program.high, highspy.kHighsInf)
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    counts = np.concatenate([has.sum(axis=1), np.ones(len(needy), dtype=np.int64)])
    model.a_matrix_.start_ = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    model.a_matrix_.index_ = np.concatenate([rows[has], needy]).astype(np.int32)
    model.a_matrix_.value_ = np.concatenate([weights[has], np.ones(len(needy))])
    if integer:
        whole, free = highspy.HighsVarType.kInteger, highspy.HighsVarType.kContinuous
        model.integrality_ = [whole] * len(columns) + [free] * len(needy)
    engine = _engine()
    for option, value in (
        ("output_flag", False),
        ("time_limit", max(seconds, 0.1)),
        ("mip_rel_gap", gap),
        ("random_seed", 0),
        ("threads", 1),
    ):
        engine.setOptionValue(option, value)
    engine.passModel(model)
    if start is not None:
        first: Any = highspy.HighsSolution()
        first.col_value = list(start)
        engine.setSolution(first)
    engine.run()
    info, solution = engine.getInfo(), engine.getSolution()
    feasible = info.primal_solution_status == 2
    if not feasible:
        return Solved(np.zeros(len(columns)), np.zeros(len(needy)), np.zeros(m), -np.inf, np.inf, False)
    y = np.array(solution.col_value)
    bound = float(info.mip_dual_bound) if integer else float(info.objective_function_value)
    return Solved(
        y[: len(columns)], y[len(columns) :], np.array(solution.row_dual), float(info.objective_function_value), bound, True
    )


def _engine() -> Any:
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


def sift(program: Program, seconds: float) -> tuple[Solved, Ints, Floats, float]:
    """The LP over all columns by solving it over some and pricing the rest until none improves.

    Returns
    -------
    the last restricted answer, its columns, the reduced values of ALL columns, and a valid upper bound of the LP.
    The bound is Lagrangian: duals' cost of the rows plus every column at its best, so it holds also when stopped early.
    """
    import time

    until = time.monotonic() + seconds
    n = len(program.value)
    penalty = float(np.abs(program.value).sum() + 1.0) if n < 1000 else float(np.abs(program.value).max() * 1000 + 1.0)
    columns = _first(program)
    while True:
        answer = solve(program, columns, integer=False, seconds=max(1.0, until - time.monotonic()), penalty=penalty)
        reduced = program.priced(answer.duals)
        limits = np.where(answer.duals > 0, program.high, program.low)
        rows_cost = float((answer.duals * np.where(np.abs(answer.duals) > EPSILON, limits, 0.0)).sum())
        bound = rows_cost + float(np.maximum(reduced, 0).sum())
        outside = np.setdiff1d(np.flatnonzero(reduced > 1e-7 * (1 + abs(answer.objective))), columns, assume_unique=True)
        if not len(outside) or time.monotonic() > until:
            return answer, columns, reduced, bound
        new = outside[np.argsort(-reduced[outside], kind="stable")[:ADD]]
        columns = np.sort(np.concatenate([columns, new]))


def _first(program: Program) -> Ints:
    """Columns to begin with: the best by value for their weight in the first block, and the best few of every row with a floor."""
    n = len(program.value)
    if n <= START:
        return np.arange(n, dtype=np.int64)
    worth = program.value / np.maximum(program.weights[:, 0], EPSILON)
    by_worth = np.argsort(-worth, kind="stable")
    chosen = [by_worth[: START // 2]]
    needy = set(np.flatnonzero(np.isfinite(program.low)).tolist())
    for block in range(program.rows.shape[1]):
        group = program.rows[by_worth, block]
        mine = by_worth[np.isin(group, list(needy))]
        rank = _rank(program.rows[mine, block])
        chosen.append(mine[rank < 20])
    return np.unique(np.concatenate(chosen)).astype(np.int64)


def _rank(group: Ints) -> Ints:
    """0, 1, 2 … within each group, in the given order."""
    order = np.argsort(group, kind="stable")
    sorted_group = group[order]
    starts = np.flatnonzero(np.r_[True, sorted_group[1:] != sorted_group[:-1]]) if len(group) else np.empty(0, dtype=np.int64)
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(starts, np.diff(np.append(starts, len(group))))
    return rank
