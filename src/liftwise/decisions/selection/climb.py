"""A good plan soon, where many limits are full at once: a walk over whole posts, also through plans that break rules at a price.

There branch and cut can need long for its plan. Tabu search (Glover 1989) takes the best change of one choice in every step,
better or not, and does not take it back for a few steps. Broken rows cost a price a unit, which rises while a row is broken and
falls while it is kept, so the walk goes back and forth across the limits (strategic oscillation: Glover & Kochenberger 1996; a
price for each row as in Yagiura, Ibaraki & Glover 2004). Prices begin at the linear program's.

Rows "exactly one of these" or "at most one of these" that do not overlap are no rows here: each is one choice among options.
"""

# pyright: basic
# (numba's kernels have no types)
from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from liftwise.core.uncertainty import spawn
from liftwise.decisions.selection.program import Program
from liftwise.decisions.selection.sifting import Relaxed
from liftwise.decisions.selection.solver import model_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Row = tuple[Ints, Floats, float, float, float]  # positions, factors, low, high, price
AT_ONCE = 5_000_000  # options looked at between two looks at the clock, about
TOLERANCE = 1e-9  # of the largest number of a row
# of a row's price in a step in which it is broken; it falls by as much, or less where rows are never all kept
RISE = (0.08, 0.12)
# steps without a plan that keeps all rows, until prices fall slower; faster again after each such plan
LONG, SLOWER, FASTER = 1_000, 0.8, 1.05
TABU = (3, 5, 8)  # steps in which a choice does not go back: at least, and at most between
AGAIN = 0.3  # how often the walk goes on from the best plan
DEAR = 0.1  # a row without a price begins with this share of a candidate's mean value, for its mean factor


@dataclass(frozen=True)
class Choices:
    """The program as choices among options: option k is candidate `columns[k]`.

    first, options : choice c is among `options[first[c]:first[c + 1]]`, −1 = none. value : (options,).
    row, factor : entries of option k at [start[k]:start[k + 1]].
    low, high, price : (rows,) limits, and what a unit beyond them costs to begin with.
    """

    columns: Ints
    value: Floats
    first: Ints
    options: Ints
    start: Ints
    row: Ints
    factor: Floats
    low: Floats
    high: Floats
    price: Floats

    @classmethod
    def of(cls, program: Program, root: Relaxed, columns: Ints, sure: NDArray[np.bool_]) -> Choices | None:
        """Of some candidates (sorted), with those that are `sure` in; None where these alone can never keep a row."""
        rows, n, value = _rows(program, root, columns), len(columns), program.value[columns]
        if any(np.minimum(by, 0).sum() > high or np.maximum(by, 0).sum() < low for _, by, low, high, _ in rows):
            return None
        choice, must, left = _partition(rows, sure)
        order = np.argsort(choice, kind="stable")
        first = np.append(0, np.cumsum(np.bincount(choice, minlength=len(must)) + ~must)).astype(np.int64)
        options = np.full(first[-1], -1, dtype=np.int64)
        options[first[choice[order]] + np.arange(n) - np.searchsorted(choice[order], choice[order])] = order
        at, by = (np.concatenate([np.empty(0), *(it[k] for it in left)]) for k in (0, 1))
        row = np.repeat(np.arange(len(left)), [len(it[0]) for it in left])
        by_option = np.argsort(at, kind="stable")
        start = np.append(0, np.cumsum(np.bincount(at.astype(np.int64), minlength=n))).astype(np.int64)
        low, high, price = (np.array([it[k] for it in left], dtype=np.float64) for k in (2, 3, 4))
        least = DEAR * (np.abs(value).mean() + 1e-12) / np.array([np.abs(it[1]).mean() for it in left])
        return cls(columns, value, first, options, start, row[by_option], by[by_option], low, high, np.maximum(price, least))

    def begin(self, reduced: Floats, start: Ints | None) -> Ints:
        """(choices,) option that each begins with, or −1: as in the plan, or what is best at the linear program's prices."""
        pick = np.full(len(self.first) - 1, -1, dtype=np.int64)
        planned = np.isin(self.columns, np.empty(0) if start is None else start)
        for c in range(len(pick)):
            mine = self.options[self.first[c] : self.first[c + 1]]
            worth = np.where(mine >= 0, reduced[mine] if start is None else planned[mine], 0.0)
            pick[c] = mine[-1] if worth.max() <= 0 and mine[-1] < 0 else mine[int(np.argmax(worth))]
        return pick

    def kept(self, chosen: Ints) -> bool:
        """Whether these options keep the rows, added up anew."""
        used = np.zeros(len(self.low))
        for k in chosen:
            entries = slice(self.start[k], self.start[k + 1])
            np.add.at(used, self.row[entries], self.factor[entries])
        ease = TOLERANCE * np.maximum(1.0, np.abs(used))
        return bool(((used <= self.high + ease) & (used >= self.low - ease)).all())


def applies(program: Program) -> bool:
    """Whether candidates alone say what a plan uses: helpers would have to be found anew for every plan."""
    return not program.helpers.names


def climb(
    program: Program, root: Relaxed, columns: Ints, start: Ints | None, seconds: float, *, good: float = np.inf,
    steps: int = 1 << 40, seed: int = 0,
) -> tuple[Ints, float] | None:  # fmt: skip
    """The best plan found of `columns`, and its value; None where none was found or the program has helpers.

    start : a plan that keeps the rules, never made worse. good : a plan worth that much is enough. steps : of the walk, at most;
    where they end it and not the clock, the same seed gives the same plan.
    """
    until = time.monotonic() + seconds
    if not applies(program):
        return None
    columns = np.unique(columns if start is None else np.concatenate([columns, start]))
    loss, inside = root.flips(program)
    lost = np.zeros(len(program), dtype=np.bool_) if start is None else loss >= root.bound - program.value[start].sum()
    columns = columns[inside[columns] | ~lost[columns]]  # the others are in no better plan (reduced-cost fixing)
    these = Choices.of(program, root, columns, (inside & lost)[columns]) if len(columns) else None
    if these is None:
        return None
    pick = these.begin(root.reduced[columns], start)
    known = -np.inf if start is None else float(program.value[start].sum())
    best, value = pick.copy(), known
    random, price, tabu = spawn(seed, "climb"), these.price.copy(), np.zeros(len(these.options), dtype=np.int64)
    at_once, state, done = max(100, AT_ONCE // len(these.options)), np.array([1.0, 0.0]), 0
    while done < steps and value < good:
        count = min(at_once if done else 100, steps - done)
        if np.isfinite(value) and random.random() < AGAIN:
            pick[:] = best
        rise = RISE[0] * (RISE[1] / RISE[0]) ** random.random()
        longest = int(random.integers(TABU[1], TABU[2] + 1))
        value = _walk(these.value, these.first, these.options, these.start, these.row, these.factor, these.low, these.high,
                      these.price, price, pick, best, value, tabu, state, rise, longest, done, count, random)  # fmt: skip
        done += count
        if time.monotonic() > until:
            break
    chosen = best[best >= 0]
    if value == known or not these.kept(chosen):  # nothing better
        return None if start is None else (np.sort(start), known)
    return np.sort(columns[chosen]), float(program.value[columns[chosen]].sum())


def _rows(program: Program, root: Relaxed, columns: Ints) -> list[Row]:
    """Rows that `columns` could break; those with the same left side are one, those that whole posts keep anyway are left out."""
    model = model_of(program, columns)
    matrix = model.matrix.tocsr()
    found = dict[bytes, Row]()
    for r in range(len(model.low)):
        part, coupling = slice(matrix.indptr[r], matrix.indptr[r + 1]), int(model.rows[r])
        if coupling >= 0 and program.name(coupling)[0].startswith("whole posts, "):
            continue
        at, by = matrix.indices[part].astype(np.int64), matrix.data[part] * model.per[r]
        low, high = (float(end[r] * model.per[r]) for end in (model.low, model.high))
        ease = TOLERANCE * max([1.0, *np.abs(by), *(abs(end) for end in (low, high) if np.isfinite(end))])
        price = abs(float(root.answer.duals[coupling])) if coupling >= 0 else 0.0
        key = at.tobytes() + by.tobytes()
        _, _, above, below, known = found.get(key, (at, by, -np.inf, np.inf, 0.0))
        found[key] = (at, by, max(above, low - ease), min(below, high + ease), max(known, price))
    return [it for it in found.values() if np.maximum(it[1], 0).sum() > it[3] or np.minimum(it[1], 0).sum() < it[2]]


def _partition(rows: list[Row], sure: NDArray[np.bool_]) -> tuple[Ints, NDArray[np.bool_], list[Row]]:
    """Choice of each option, whether one of its options must be taken, and the rows that this does not keep.

    Rows of which one must be taken come first, then the longest."""
    choice, must, left = np.full(len(sure), -1, dtype=np.int64), list[bool](), list[Row]()
    for at, by, low, high, price in sorted(rows, key=lambda it: (it[2] <= 0, -len(it[0]))):
        one = by[0] > 0 and np.ptp(by) == 0 and 1 <= high / by[0] < 2 and low <= by[0]
        if one and (choice[at] < 0).all():
            choice[at] = len(must)
            must.append(low > 0)
        else:
            left.append((at, by, low, high, price))
    alone = np.flatnonzero(choice < 0)
    choice[alone] = len(must) + np.arange(len(alone))
    return choice, np.array(must + sure[alone].tolist(), dtype=np.bool_), left


@njit(cache=True)
def _beyond(at, low, high):  # type: ignore[no-untyped-def]
    return max(at - high, low - at, 0.0)


@njit(cache=True)
def _walk(  # type: ignore[no-untyped-def]
    value, first, options, start, row, factor, low, high, lp, price, pick, best, found, tabu, state, rise, longest, done,
    steps, random,
):  # fmt: skip
    """`steps` steps from `pick`, which is changed, as are `best`, `price`, `tabu` (until when an option is not taken) and `state`
    (prices fall by this share of `rise`, steps since all rows were kept). Returns the value of `best`; `found` is what it was."""
    used, worth = np.zeros(len(low)), 0.0
    for k in pick:
        if k >= 0:
            worth += value[k]
            for e in range(start[k], start[k + 1]):
                used[row[e]] += factor[e]
    for now in range(done, done + steps):
        most, choice, into = -np.inf, -1, -1
        for c in range(len(pick)):
            a, without = pick[c], 0.0
            if a >= 0:
                without = -value[a]
                for e in range(start[a], start[a + 1]):
                    r, left = row[e], used[row[e]] - factor[e]
                    without += price[r] * (_beyond(used[r], low[r], high[r]) - _beyond(left, low[r], high[r]))
                    used[r] = left
            for o in range(first[c], first[c + 1]):
                b, gain = options[o], without
                if b == a or tabu[o] > now:
                    continue
                if b >= 0:
                    gain += value[b]
                    for e in range(start[b], start[b + 1]):
                        r = row[e]
                        gain -= price[r] * (_beyond(used[r] + factor[e], low[r], high[r]) - _beyond(used[r], low[r], high[r]))
                if gain > most:
                    most, choice, into = gain, c, b
            if a >= 0:
                for e in range(start[a], start[a + 1]):
                    used[row[e]] += factor[e]
        if choice >= 0:
            a = pick[choice]
            for o in range(first[choice], first[choice + 1]):
                if options[o] == a:
                    tabu[o] = now + random.integers(TABU[0], longest + 1)
            if a >= 0:
                worth -= value[a]
                for e in range(start[a], start[a + 1]):
                    used[row[e]] -= factor[e]
            if into >= 0:
                worth += value[into]
                for e in range(start[into], start[into + 1]):
                    used[row[e]] += factor[e]
            pick[choice] = into
        kept = True
        for r in range(len(low)):
            broken = _beyond(used[r], low[r], high[r]) > 0.0
            kept = kept and not broken
            price[r] = min(max(price[r] * (1.0 + rise if broken else 1.0 - state[0] * rise), 0.1 * lp[r]), 1e3 * lp[r])
        state[1] = 0.0 if kept else state[1] + 1.0
        if kept:
            state[0] = min(state[0] * FASTER, 1.0)
        elif state[1] >= LONG:
            state[0], state[1] = state[0] * SLOWER, 0.0
        if kept and worth > found + 1e-9 * abs(worth):
            found = worth
            best[:] = pick
    return found
