"""Plans of a front from a program and its objectives: exactly where that is quick or asked for, else by everything that helps in the time there is."""

# pyright: basic
# (the search's kernels have no types)
from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liftwise.core.errors import InputError
from liftwise.decisions.frontier.aims import Aims, by_boxes, in_box
from liftwise.decisions.frontier.fronts import knapsack_front
from liftwise.decisions.frontier.supports import Prober, Support, probe
from liftwise.decisions.selection.candidates import Candidates
from liftwise.decisions.selection.program import Program

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
WEIGHTS = {2: 16, 3: 48, 4: 60}  # of the objectives, asked of the engine
SMALL = 60  # candidates up to which the front is solved exactly by boxes unless told otherwise
LARGEST = 5_000  # candidates up to which it can be asked for
COARSE = 8e-3  # with three objectives or more: of their ranges, how near two plans may be
CORE = 1_500  # candidates that are searched, at least those of the engine's plans
CELLS = 30_000_000  # items × capacity of a dynamic program
CENTS = 1e-6


@cache
def compile_kernels() -> None:
    """Compile the kernels, or load them."""
    from liftwise.decisions.frontier import evolve

    evolve.compiled_once()


@dataclass(frozen=True)
class Market:
    """What a front is made of, and how long it may take."""

    these: Candidates
    program: Program
    aims: Aims
    until: float
    seconds: float
    seed: int

    def solved(self, exact: bool | None) -> tuple[list[Ints], Prober | None, bool, str]:
        """Plans, what bounds them, whether they are proven complete, and what could not be done."""
        knapsack = self.knapsack() if exact is not False and self.aims.count == 2 else None
        if knapsack is not None:
            return knapsack, None, True, ""
        if exact or (exact is None and self.aims.count == 2 and len(self.these) <= SMALL):
            if len(self.these) > LARGEST:
                raise InputError(
                    f"{len(self.these):,} ways to post are too many for an exact front", where="frontier", fix="leave exact out"
                )
            return self.boxes()
        began = time.monotonic()
        compile_kernels()  # once on a machine; it takes a while and is no part of the time asked for
        return replace(self, until=self.until + time.monotonic() - began).hybrid()

    def knapsack(self) -> list[Ints] | None:
        """One row of whole weights, two profits of whole numbers and no other rule: dynamic programming; else None."""
        program, aims, inner = self.program, self.aims, self.program.inner
        binding = np.flatnonzero(np.isfinite(program.high) | (program.low > 0))
        whole = [np.array_equal(x, np.round(x)) and (x >= 0).all() for x in (aims.gain, aims.cost)]
        crowded = max(np.diff(inner.start).max(initial=0) > inner.cap, _most_in_week(program) > inner.week_cap)
        if (
            len(binding) != 1
            or len(program.helpers.names)
            or not all(whole)
            or crowded
            or aims.ratio >= 0
            or (aims.cost <= 0).any()
        ):
            return None
        capacity = int(program.high[binding[0]] + CENTS)
        row, _, factor = program.entries(np.arange(len(program)))
        if len(factor) != len(program) or (row != binding[0]).any() or not np.array_equal(factor, aims.cost):
            return None
        if capacity >= aims.cost.sum():
            return [np.flatnonzero(aims.gain.any(axis=1))]
        if len(program) * capacity > CELLS:
            return None
        found = knapsack_front(
            aims.gain.astype(np.int64), aims.cost.astype(np.int64), capacity, np.zeros((0, len(program)), dtype=np.bool_)
        )
        return None if found is None else [np.flatnonzero(plan) for plan in found[1]]

    def boxes(self) -> tuple[list[Ints], Prober | None, bool, str]:
        """Every non-dominated point by integer programs."""
        prober, _ = probe(self.program, self.aims, 2, 0.2 * (self.until - time.monotonic()))
        assert prober.scale is not None
        whole = self.aims.ratio < 0 and np.array_equal(self.aims.gain, np.round(self.aims.gain))
        step = np.full(2, 0.5) if whole else 1e-6 * prober.scale
        found, proven = by_boxes(
            self.program, self.aims, np.arange(len(self.program)), prober.scale, step, self.until - time.monotonic()
        )
        return found, prober, proven, "" if proven else "Time was over before the front was proven to be complete."

    def hybrid(self) -> tuple[list[Ints], Prober | None, bool, str]:
        """Linear programs, their answers mended, the engine's plans, local search, integer programs in gaps, genetic search."""
        from liftwise.decisions.frontier import evolve
        from liftwise.decisions.frontier.plan_core import core_of

        aims, whole = self.aims, self.until - 0.05 * self.seconds  # the rest is for writing it down
        left = lambda share: time.monotonic() + share * (whole - time.monotonic())  # noqa: E731
        prober, asked = probe(self.program, aims, WEIGHTS.get(aims.count, 40), 0.3 * (whole - time.monotonic()))
        directions = [*asked, *prober.bends]
        columns, worths, orders = self._core(directions)
        core = core_of(self.program, columns, aims.gain[columns], aims.cost[columns], aims.ratio)
        if core is None:
            found = self._whole(prober, asked, columns, None, whole)
            return found, prober, False, "Between these plans nothing was searched: a rule needs a linear program of its own."
        spread = np.ptp(np.array([support.point for support in asked]), axis=0)
        whole_numbers = np.array_equal(aims.gain, np.round(aims.gain))
        fine = evolve.FINE if aims.count == 2 and whole_numbers else 1e-3 if aims.count == 2 else COARSE
        archive = evolve.Archive(core, fine * spread)
        self._rounded(archive, directions, columns, worths, orders)
        archive.climb([], left(0.15))
        seeds = self._whole(prober, asked, columns, archive, left(0.4 if archive.size else 0.8))
        archive.climb(orders, left(0.7))
        if aims.count == 2:
            self._gaps(archive, prober, columns, left(0.4))
        if archive.size:
            evolve.evolve(archive, orders, worths, until=whole, seed=self.seed)
        return [*(columns[plan] for plan in archive.front()[1]), *seeds], prober, False, ""

    def _whole(self, prober: Prober, asked: list[Support], columns: Ints, archive: Any, until: float) -> list[Ints]:
        """The engine's plan at each direction, ends first; it begins from the best that is known there."""
        found, p = list[Ints](), self.aims.count
        order = sorted(range(len(asked)), key=lambda k: (k >= p, k))
        for place, k in enumerate(order):
            left = until - time.monotonic()
            known = bool(found) or (archive is not None and archive.size > 0)
            seconds = (
                left if not known else left / 4 if place < p else 2.0 * left / (len(order) - place)
            )  # ends are what people look at
            if seconds <= 0.05:
                break
            plan = prober.whole(asked[k], max(seconds, 0.2), self._nearest(asked[k], columns, archive)).chosen
            if len(plan):
                found.append(plan)
                if archive is not None:
                    archive.add(np.isin(columns, plan)[None, :])
        return found

    def _nearest(self, support: Support, columns: Ints, archive: Any) -> Ints | None:
        """The plan of the archive that is worth most at these weights."""
        if archive is None or not archive.size:
            return None
        plans = archive.front()[1]
        return columns[plans[int(np.argmax(plans @ self.aims.mixed(support.weight, support.rate)[columns]))]]

    def _core(self, asked: list[Support]) -> tuple[Ints, list[Floats], list[Ints]]:
        """Candidates that cost least against some support; for each direction their worth at its prices, and their order."""
        least, used, inner = np.full(len(self.program), np.inf), [np.empty(0, dtype=np.int64)], self.program.inner
        everyone = inner.influencer(np.arange(len(self.program)))
        slot = everyone * (int(inner.week.max(initial=0)) + 1) + inner.week
        for support in asked:
            relaxed, value = support.relaxed, self.aims.mixed(support.weight, support.rate)
            taken = relaxed.columns[relaxed.answer.y > 1e-6]
            moved = float(relaxed.answer.y @ np.abs(value[relaxed.columns]))
            rival = np.zeros(int(slot.max()) + 1)  # what a post must beat: of one post a week, the best in its influencer's week
            if inner.week_cap == 1:
                np.maximum.at(rival, slot, relaxed.reduced)
            entry = np.where(inner.use >= 0, relaxed.entry, 0.0)[everyone]
            least = np.minimum(least, (np.maximum(rival[slot], entry) - relaxed.reduced) / max(moved, 1e-12))
            used.append(taken)
        needed = np.unique(np.concatenate(used))
        size = min(max(CORE, 2 * len(needed)), len(least))
        some = np.argpartition(least, size - 1)[:size] if size < len(least) else np.arange(len(least))
        columns = np.union1d(needed, some)
        worths, orders, who = [], [], inner.influencer(columns)
        for support in sorted(asked, key=lambda s: tuple(-s.point)):
            worth = support.relaxed.reduced[columns] - np.where(inner.use[who] >= 0, support.relaxed.entry[who], 0.0)
            order = np.argsort(-worth, kind="stable")
            worths.append(worth)
            orders.append(order[self.aims.mixed(support.weight, support.rate)[columns[order]] > 0])
        return columns, worths, orders

    def _rounded(self, archive: Any, asked: list[Support], columns: Ints, worths: list[Floats], orders: list[Ints]) -> None:
        """What the linear programs take for the most part, mended."""
        from liftwise.decisions.frontier.plan_core import mend

        for support, worth, order in zip(sorted(asked, key=lambda s: tuple(-s.point)), worths, orders, strict=True):
            plan = np.isin(columns, support.relaxed.columns[support.relaxed.answer.y > 0.5])
            if time.monotonic() < self.until and mend(archive.core, plan, order, worth) <= 0:
                archive.add(plan[None, :])

    def _gaps(self, archive: Any, prober: Prober, columns: Ints, until: float) -> None:
        """The widest gaps between neighbours of the front, one after another: the best plan inside, by an integer program over the core."""
        assert prober.scale is not None
        tried = set[tuple[float, ...]]()
        while time.monotonic() < until and archive.size > 1:
            z = archive.front()[0]
            apart = np.abs(np.diff(z, axis=0)) / prober.scale
            for k in np.argsort(-apart.prod(axis=1), kind="stable"):
                corner = np.array([z[k + 1, 0], z[k, 1]])
                if tuple(corner) not in tried:
                    break
            else:
                return
            tried.add(tuple(corner))
            floor = corner + 0.02 * np.abs(z[k] - z[k + 1])
            plan, _ = in_box(
                self.program, self.aims, columns, floor, prober.scale, min(until - time.monotonic(), 0.04 * self.seconds)
            )
            if plan is not None and archive.add(np.isin(columns, plan)[None, :]):
                archive.climb([], until)


def _most_in_week(program: Program) -> int:
    inner = program.inner
    key = inner.influencer(np.arange(len(program))) * (int(inner.week.max(initial=0)) + 1) + inner.week
    return int(np.unique(key, return_counts=True)[1].max(initial=0))
