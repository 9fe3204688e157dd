"""From the linear program's bound to a plan of whole posts that is proven close to the best.

Two searches that help one another. A small tree splits all plans on the dearest post that the linear program takes in part, and sifts both sides:
its leaves bound every plan. An integer program over the candidates that cost least against these leaves (the *core*) finds plans. A plan
that uses a candidate outside the core is worth at most its leaf's bound less what forcing that candidate in costs, so core and rest
together bound all plans; candidates that could not be in a better plan are never looked at again (reduced-cost fixing). Where the core is everything
and still hard, a walk along the limits (`climb`) finds the plan that branch and cut goes on from.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell, Infeasible
from liftwise.decisions.selection.climb import applies, climb
from liftwise.decisions.selection.program import Program
from liftwise.decisions.selection.sifting import Branch, Relaxed, sift
from liftwise.decisions.selection.solver import model_of, solve

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
KEPT = 10_000  # candidates a leaf remembers, about, those that cost least
SPARSE = 17  # every so many is looked at to see what the KEPT-th costs
FREE = 100  # candidates of the first core
NEAR = 1e-3  # of the bound: a plan that close is near it
ENOUGH = (
    8  # times as many candidates as planned are taken near the bound, where they are all that could still be in a better plan
)
SPLITS, STALLED = 24, 3  # of the tree, and how many without use before it stops (one where each must price very many)
MANY = 200_000
LONG = 5.0  # seconds: a shorter search is not divided
SOON, WALK = 0.1, 0.15  # of the time: a program looked at whole and not solved so soon is hard; a walk looks for a plan as long
PLAIN = {"mip_allow_restart": False, "mip_heuristic_run_rens": False}  # cores are small: to begin again costs more than it brings
Told = Callable[[float, float], None]


@dataclass(frozen=True)
class Found:
    """The best plan known, its value, and a bound of every plan."""

    chosen: Ints
    value: float
    bound: float

    @property
    def gap(self) -> float:
        """(bound − value) / |bound|."""
        return max(0.0, self.bound - self.value) / max(abs(self.bound), 1e-9)


@dataclass(frozen=True)
class Leaf:
    """A part of all plans: its bound, who is `chosen` at its prices, and the candidates (about `KEPT`) that cost least to turn over; the others
    cost at least `rest`."""

    relaxed: Relaxed
    chosen: Ints
    candidates: Ints
    loss: Floats
    rest: float

    @classmethod
    def of(cls, program: Program, relaxed: Relaxed) -> Leaf:
        """Look at all candidates once; what the linear program says of each is not kept."""
        loss, inside = relaxed.flips(program)
        relaxed = replace(relaxed, reduced=np.empty(0))
        chosen = np.flatnonzero(inside)
        if len(loss) <= KEPT:
            order = np.argsort(loss, kind="stable")
            return cls(relaxed, chosen, order, loss[order], np.inf)
        sample = loss[::SPARSE]
        cut = float(np.partition(sample, len(sample) * KEPT // len(loss))[len(sample) * KEPT // len(loss)])
        near = loss <= cut
        least = np.flatnonzero(near)
        order = least[np.argsort(loss[least], kind="stable")]
        return cls(relaxed, chosen, order, loss[order], float(loss[~near].min(initial=np.inf)))

    @property
    def bound(self) -> float:
        """No plan of this part is worth more."""
        return self.relaxed.bound

    def against(self, chosen: Ints) -> tuple[Ints, Floats]:
        """What it costs here when a candidate is not as in `chosen`: nothing where it is not so here anyway."""
        differ = np.setxor1d(self.chosen, chosen, assume_unique=True)
        return np.concatenate([differ, self.candidates]), np.concatenate([np.zeros(len(differ)), self.loss])


def search(
    program: Program,
    root: Relaxed,
    *,
    gap: float,
    seconds: float,
    start: Ints | None = None,
    told: Told | None = None,
) -> Found:
    """The best plan of whole posts. start : a plan to begin with where it is near the bound, and to fall back on (it must keep the rules).

    Raises
    ------
    Infeasible
        When no plan exists.
    CannotTell
        When none was found in the time given.
    """
    until = time.monotonic() + seconds
    leaves, bound = _grow(program, [Leaf.of(program, root)], -np.inf, gap, until), root.bound
    best: Ints = np.empty(0, dtype=np.int64)
    value: float = -np.inf
    known = -np.inf if start is None else float(program.value[start].sum())
    if start is not None and bound - known <= NEAR * abs(
        bound
    ):  # a worse one would only keep cores far from where better ones are
        best, value = start, known
    size, empty, walks = FREE, False, seconds >= LONG and applies(program)
    while True:
        leaves = [leaf for leaf in leaves if leaf.bound > value]
        bound = min(bound, max([leaf.bound for leaf in leaves], default=value))
        if not leaves:  # no part of all plans holds a better one
            empty = not np.isfinite(value)
            break
        if told is not None and np.isfinite(value):
            told(value, bound)
        left = until - time.monotonic()
        if _close(value, bound, gap) or (left <= 0.2 and np.isfinite(value)):
            break
        tried, fixed = _core(program, leaves, size, value, gap, best)
        columns = np.union1d(tried, fixed)
        everything = len(tried) == len(program)
        patience = (SOON if walks else 1.0) * left if everything else max((0.6 if np.isfinite(value) else 0.25) * left, 1.0)
        begin = np.isin(columns, best).astype(np.float64) if np.isfinite(value) else None
        model = model_of(program, columns, forced=fixed)
        good = bound - gap * abs(bound)  # a plan worth that much is close enough
        answer = solve(
            program, model, integer=True, seconds=patience, gap=gap / 4, start=begin, told=told, good=good, options=PLAIN
        )
        if answer.feasible and answer.objective > value:
            best, value = columns[answer.y > 0.5], float(program.value[columns[answer.y > 0.5]].sum())
        inside = answer.bound if answer.feasible else bound
        bound = min(bound, max(inside, value, _elsewhere(leaves, tried, fixed)))
        empty = answer.infeasible and everything
        if everything and walks and not (answer.complete or answer.infeasible or _close(value, bound, gap)):
            walks, left = False, until - time.monotonic()
            walked = climb(program, root, columns, best if np.isfinite(value) else None, WALK * left, good=good)
            if walked is not None:
                best, value = walked
            continue
        if everything or (left <= 0.2 and not np.isfinite(value)):
            break
        size *= 2
        leaves = _grow(program, leaves, value, gap, until)
    if start is not None and known > value:
        best, value = start, known
    elif empty:
        raise Infeasible("no plan keeps the rules with whole posts", fix="relax a rule")
    if not np.isfinite(value):
        raise CannotTell(
            "no plan was found in the time given, and it is not proven that there is none",
            fix="give more seconds or relax a rule",
        )
    return Found(np.sort(best), value, max(bound, value))


def _close(value: float, bound: float, gap: float) -> bool:
    return bool(np.isfinite(value)) and bound - value <= gap * max(abs(bound), 1e-9)


def _core(program: Program, leaves: list[Leaf], size: int, value: float, gap: float, plan: Ints) -> tuple[Ints, Ints]:
    """The `size` candidates that cost least to turn over (or all that could still be so in a better plan, where these are few), with those
    in which the plan at hand differs; and those that are in for good. All others are out.

    Of very many candidates, small posts would be all that costs least, and they cannot make up for a large one: half are taken by what they cost
    for their worth, and fewer do."""
    best = max(leaves, key=lambda leaf: leaf.bound)
    who, regret = (
        np.concatenate(parts)
        for parts in zip(
            *((at, loss + best.bound - leaf.bound) for leaf in leaves for at, loss in [leaf.against(best.chosen)]), strict=True
        )
    )
    order = np.lexsort((regret, who))
    who, regret = who[order], regret[order]
    first = np.append(True, who[1:] != who[:-1])[: len(who)]
    who, regret = who[first], regret[first]
    free = who[regret < best.bound - value - 0.5 * gap * abs(best.bound)]
    near = best.bound - value <= NEAR * abs(best.bound)
    if not 0 < len(free) <= (ENOUGH if near else 2) * size:
        costs, each = [regret], size
        if len(program) > MANY:
            costs, each = [regret, regret / (np.abs(program.value[who]) + 1e-9)], size // 3
        free = np.unique(np.concatenate([who[np.argsort(cost, kind="stable")[:each]] for cost in costs]))
    if np.isfinite(value):
        free = np.union1d(free, np.setxor1d(plan, best.chosen, assume_unique=True))
    return free, np.setdiff1d(best.chosen, free, assume_unique=True)


def _elsewhere(leaves: list[Leaf], free: Ints, fixed: Ints) -> float:
    """A bound of plans in which a candidate that is not free is not as it was fixed."""
    worst = -np.inf
    for leaf in leaves:
        differ = np.setdiff1d(np.setxor1d(leaf.chosen, fixed, assume_unique=True), free, assume_unique=True)
        if len(differ):
            worst = max(worst, leaf.bound)
            continue
        outside = ~np.isin(leaf.candidates, free)
        worst = max(worst, leaf.bound - min(float(leaf.loss[outside].min(initial=np.inf)), leaf.rest))
    return worst


def _grow(program: Program, leaves: list[Leaf], value: float, gap: float, until: float) -> list[Leaf]:
    """Split the leaf with the highest bound until its bound is close to the plan or splitting no longer helps."""
    stalled = STALLED if len(program) <= MANY else 1
    seen = [max([leaf.bound for leaf in leaves], default=value)]
    for _ in range(SPLITS if leaves else 0):
        at = max(range(len(leaves)), key=lambda k: leaves[k].bound)
        if _close(value, leaves[at].bound, gap) or time.monotonic() > until:
            break
        split = _split(program, leaves[at], until)
        if split is None:
            break
        leaves = [*leaves[:at], *leaves[at + 1 :], *(leaf for leaf in split if leaf.bound > value)]
        if not leaves:
            break
        seen.append(max(leaf.bound for leaf in leaves))
        if len(seen) > stalled and seen[-1 - stalled] - seen[-1] < 0.5 * gap * abs(seen[-1]):
            break
    return leaves


def _split(program: Program, leaf: Leaf, until: float) -> list[Leaf] | None:
    """Both sides of the dearest post that is taken in part; None where there is none."""
    relaxed = leaf.relaxed
    y = relaxed.answer.y
    partly = np.flatnonzero((y > 1e-6) & (y < 1 - 1e-6))
    if not len(partly):
        return None
    columns = relaxed.columns[partly]
    weight = np.abs(program.value[columns]) * np.minimum(y[partly], 1 - y[partly])
    on, was = int(columns[int(np.argmax(weight))]), relaxed.branch
    found = list[Leaf]()
    for branch in (Branch((*was.forced, on), was.banned), Branch(was.forced, (*was.banned, on))):
        side = sift(
            program, max(until - time.monotonic(), 1.0), columns=relaxed.columns, basis=relaxed.answer.basis, branch=branch
        )
        if side.missed or side.answer.infeasible:
            continue
        if not side.answer.feasible:  # out of time: nothing is proven of this side
            return None
        found.append(Leaf.of(program, side))
    return found
