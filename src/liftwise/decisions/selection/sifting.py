"""The linear program over millions of candidates: solved over a few thousand, the others priced in one pass, until none would help.

At any prices of the coupling rows, Σ price·limit + the best each influencer can do alone bounds every plan from above (Lagrange). The
restricted program gives prices; what influencers would then choose enters; when nothing new enters, bound and value meet.
"""

# pyright: basic
# (numba's kernels have no types)
from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from liftwise.decisions.selection import pricing
from liftwise.decisions.selection.program import Program
from liftwise.decisions.selection.solver import Basis, Solved, model_of, solve

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
START, ADD, ROUNDS, TOLERANCE = 3_000, 4_000, 60, 1e-7
SURE = 1e3  # of the largest value: more than what anything could displace
MISSED = 1e-6  # of all floors together
AGAIN = 0.15  # cheaper by this share, and a candidate must enter: similar programs begin with these
PENALTIES = (1e2, 1e5)  # of a missed floor, in the largest value of a candidate


@dataclass(frozen=True)
class Branch:
    """A part of all plans: those with some candidates in and others out."""

    forced: tuple[int, ...] = ()
    banned: tuple[int, ...] = ()

    @contextmanager
    def bent(self, values: Floats) -> Iterator[float]:
        """`values` as they make every influencer choose so, for as long as it lasts; yields what is added to those that are in."""
        changed = [*self.forced, *self.banned]
        sure = SURE * (float(np.abs(values).max()) + 1e-9) if changed else 0.0
        were = values[changed]
        values[list(self.forced)] += sure
        values[list(self.banned)] = -sure
        try:
            yield sure
        finally:
            values[changed] = were

    def best(self, program: Program, reduced: Floats, entry: Floats) -> tuple[Floats, Ints]:
        """(influencers,) what each one's best is worth after its entry, and the candidates in it."""
        inner = program.inner
        with self.bent(reduced) as sure:
            worth, chosen = pricing.best_of_each(reduced, inner.start, inner.week, inner.cap, inner.week_cap)
        owed = np.zeros(len(worth))
        np.add.at(owed, inner.influencer(np.array(self.forced, dtype=np.int64)), sure)
        return np.maximum(worth - entry, 0.0) - owed, chosen


@dataclass(frozen=True)
class Relaxed:
    """The linear program's answer: over `columns`, of all candidates those that it takes or nearly does.

    reduced : (candidates,) value at its prices. bound : of any plan.
    entry : (influencers,) price of using an influencer at all.  missed : floors that cannot be kept, with the rows they conflict with.
    """

    answer: Solved
    columns: Ints
    reduced: Floats
    entry: Floats
    bound: float
    missed: tuple[int, ...] = ()
    against: tuple[int, ...] = ()
    rounds: int = 0
    branch: Branch = Branch()

    @property
    def kept(self) -> bool:
        """Whether the answer keeps every floor."""
        return self.answer.feasible and float(self.answer.slack.max(initial=0.0)) <= 1e-7

    def flips(self, program: Program) -> tuple[Floats, NDArray[np.bool_]]:
        """How much the bound falls when each candidate is turned over, and which are in at these prices."""
        inner = program.inner
        with self.branch.bent(self.reduced):
            return pricing.flips(self.reduced, inner.start, inner.week, inner.cap, inner.week_cap, self.entry)


def sift(
    program: Program, seconds: float, *, columns: Ints | None = None, basis: Basis | None = None, branch: Branch = Branch()
) -> Relaxed:
    """Solve the linear program. columns, basis : of an earlier, similar one, to begin with."""
    until = time.monotonic() + seconds
    largest = float(np.abs(program.value).max(initial=0.0)) + 1e-9
    first = start_of(program) if columns is None else columns
    if not (program.low > 0).any():
        return _rounds(program, first, 0.0, until, branch=branch, basis=basis)
    found = _rounds(program, first, PENALTIES[0] * largest, until, branch=branch, basis=basis)
    if not found.kept:
        found = _rounds(program, found.columns, PENALTIES[1] * largest, until, branch=branch)
    if found.kept or not found.answer.feasible:
        return found
    return _missing(program, found, until)


def _rounds(
    program: Program, columns: Ints, penalty: float, until: float, value: Floats | None = None, branch: Branch = Branch(),
    basis: Basis | None = None,
) -> Relaxed:  # fmt: skip
    inner, forced = program.inner, np.array(branch.forced, dtype=np.int64)
    columns = np.setdiff1d(np.union1d(columns, forced), np.array(branch.banned, dtype=np.int64))
    value = program.value if value is None else value
    for count in range(ROUNDS):
        model = model_of(program, columns, penalty=penalty, value=value, forced=forced)
        answer = solve(program, model, integer=False, seconds=max(until - time.monotonic(), 1.0), basis=basis)
        basis = answer.basis
        if not answer.feasible:
            return Relaxed(answer, columns, value, np.zeros(len(inner.use)), -np.inf, rounds=count, branch=branch)
        duals = _signed(program, answer.duals)
        reduced = program.priced(duals, value)
        entry, fixed = _beside(program, duals)
        worth, chosen = branch.best(program, reduced, entry)
        bound = fixed + float(worth.sum())
        scale = max(abs(answer.objective), 1e-9)
        done = bound - answer.objective <= TOLERANCE * scale
        new = columns[:0] if done else _improving(program, branch, columns, chosen, reduced, worth, entry, TOLERANCE * scale)
        if not len(new) or time.monotonic() > until or count == ROUNDS - 1:
            near = (answer.y > 0) | (reduced[columns] + AGAIN * (value[columns] - reduced[columns]) >= 0)
            answer = replace(answer, y=answer.y[near])
            return Relaxed(answer, columns[near], reduced, entry, bound, rounds=count + 1, branch=branch)
        columns = np.union1d(columns, new)
    raise AssertionError("unreachable")


def _signed(program: Program, duals: Floats) -> Floats:
    """Prices without the solver's last digits on the wrong side: only limits that exist can cost."""
    none = ((duals > 0) & ~np.isfinite(program.high)) | ((duals < 0) & ~np.isfinite(program.low))
    return np.where(none, 0.0, duals)


def _beside(program: Program, duals: Floats) -> tuple[Floats, float]:
    """Price of using each influencer, and what limits and helpers bring at these prices."""
    helpers, inner = program.helpers, program.inner
    limits = np.where(duals > 0, program.high, program.low)
    priced = np.abs(duals) > 0
    fixed = float((duals[priced] * limits[priced]).sum()) if priced.any() else 0.0
    left = helpers.priced(duals) if len(helpers.names) else np.zeros(0)
    tied = inner.use >= 0
    entry = np.zeros(len(inner.use))
    entry[tied] = -left[inner.use[tied]]
    free = np.ones(len(left), dtype=bool)
    free[inner.use[tied]] = False
    best = np.where(left > 0, left * helpers.high, left * helpers.low)
    return entry, fixed + float(best[free].sum())


def _improving(
    program: Program, branch: Branch, columns: Ints, chosen: Ints, reduced: Floats, worth: Floats, entry: Floats, tolerance: float
) -> Ints:
    """What influencers would choose and the restricted program does not have, where it makes them better off; the best first."""
    inner = program.inner
    inside = np.full(len(program), -1.0)
    inside[columns] = reduced[columns]
    gain = worth - branch.best(program, inside, entry)[0]
    helped = gain > tolerance / max(len(gain), 1)
    new = np.setdiff1d(chosen, columns, assume_unique=True)
    who = inner.influencer(new)
    new, who = new[helped[who]], who[helped[who]]
    if len(new) > ADD:
        new = new[np.argsort(-gain[who], kind="stable")[:ADD]]
    return new


def start_of(program: Program) -> Ints:
    """Candidates to begin with: what influencers would choose at a few prices of money around the one that spends the budget, and for each
    floor its cheapest and its best."""
    n = len(program)
    if n <= START:
        return np.arange(n, dtype=np.int64)
    return np.unique(np.concatenate([*_around_the_price(program), *_of_floors(program)])).astype(np.int64)


def _around_the_price(program: Program) -> list[Ints]:
    """One price for the first row (the budget), by bisection on a sample of influencers; then all influencers near it."""
    inner, row = program.inner, 0
    block, limit = program.blocks[row], float(program.high[row])
    times = program.times[row]
    weight = np.ones(len(program)) if times is None else times
    if len(block.labels) > 1 or not np.isfinite(limit):
        return [np.argsort(-program.value, kind="stable")[:START].astype(np.int64)]

    def at(price: float) -> Ints:
        return pricing.best_of_each(program.value - price * weight, inner.start, inner.week, inner.cap, inner.week_cap)[1]

    low, high = 0.0, float((program.value / np.maximum(weight, 1e-12)).max(initial=0.0))
    chosen = at(low)
    if weight[chosen].sum() > limit:
        for _ in range(16):
            middle = 0.5 * (low + high)
            chosen = at(middle)
            spent = weight[chosen].sum()
            low, high = (middle, high) if spent > limit else (low, middle)
            if 0.98 * limit <= spent <= limit:
                break
    price = 0.5 * (low + high)
    return [at(price), at(0.85 * price), at(1.2 * price)] if price > 0 else [chosen]


def _of_floors(program: Program, each: int = 12) -> list[Ints]:
    """For each row with a floor, the candidates that give most of it for their price, and the most valuable ones."""
    found = []
    price = np.ones(len(program)) if program.times[0] is None else np.maximum(program.times[0], 1e-12)
    for k, block in enumerate(program.blocks):
        floor = program.low[program.first[k] : program.first[k + 1]] > 0
        if not floor.any():
            continue
        group = np.where(np.append(floor, False)[block.row], block.row, -1)[program.codes[k]]
        gives = 1.0 if block.scale is None else block.scale[program.codes[k]]
        for score in (gives / price, program.value / price):
            first = pricing.leading(score, group, len(floor), each)
            found.append(first[first >= 0])
    return found


def _missing(program: Program, found: Relaxed, until: float) -> Relaxed:
    """Floors were missed even at a forbidding price: minimise what is missed alone (phase one), with exact pricing (Farkas).

    Only a bound below nothing proves that no plan can keep them; without it `found` stands, whose bound holds all the same.
    """
    proof = _rounds(program, found.columns, 1.0, max(until, time.monotonic() + 5.0), np.zeros(len(program)), found.branch)
    if not proof.answer.feasible or proof.bound > -MISSED:
        return found
    floors = np.flatnonzero(program.low > 0)
    missed = floors[proof.answer.slack > 1e-7]
    against = np.setdiff1d(np.flatnonzero(np.abs(proof.answer.duals) > 1e-7), missed)
    return replace(found, missed=tuple(map(int, missed)), against=tuple(map(int, against)))
