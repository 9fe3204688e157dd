"""Objectives of a plan, plans that have at least so much of each, and all that no other dominates: box by box.

References
----------
Dinkelbach (1967), Management Science 13(7), for the ratio. Hamacher, Pedersen and Ruzika (2007), Operations Research Letters 35(3), for fronts by boxes.
"""

# pyright: basic
# (the engine's kernels have no types)
from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from liftwise.decisions.selection.program import Program
from liftwise.decisions.selection.rules import Block
from liftwise.decisions.selection.solver import model_of, solve

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
EXACT = {"mip_feasibility_tolerance": 1e-9, "primal_feasibility_tolerance": 1e-9}


@dataclass(frozen=True)
class Aims:
    """Objectives, all to be maximised: gain (n, p) adds up over posts; objective `ratio` (or −1) is Σ gain / Σ cost.

    least, most : what a plan costs at least and at most.
    """

    gain: Floats
    cost: Floats
    ratio: int
    least: float
    most: float

    @property
    def count(self) -> int:
        """Number of objectives."""
        return self.gain.shape[1]

    def values(self, chosen: Ints, share: Floats | None = None) -> Floats:
        """(p,) objectives of a plan, or of parts of posts."""
        share = np.ones(len(chosen)) if share is None else share
        total = share @ self.gain[chosen]
        if self.ratio >= 0:
            cost = float(share @ self.cost[chosen])
            total[self.ratio] = total[self.ratio] / cost if cost > 0 else -np.inf
        return total

    def mixed(self, weight: Floats, rate: float) -> Floats:
        """(n,) worth of each candidate at weights, with `rate` in place of the ratio."""
        worth = self.gain @ weight
        return worth - weight[self.ratio] * rate * self.cost if self.ratio >= 0 else worth

    def lifted(self, ratio: Floats, rate: float) -> Floats:
        """What a plan of this ratio has at least of Σ gain − rate · Σ cost."""
        return (ratio - rate) * np.where(ratio >= rate, self.least, self.most)


def with_floors(program: Program, aims: Aims, floor: Floats, scale: Floats) -> Program:
    """The program whose plans have at least `floor` (p,) of the objectives; −∞ asks nothing. Rows are in units of `scale`."""
    asked = np.flatnonzero(np.isfinite(floor))
    blocks, times, low = list(program.blocks), list(program.times), list(program.low)
    for k in asked:
        ratio = k == aims.ratio
        row = (aims.gain[:, k] - floor[k] * aims.cost) / (scale[k] * aims.most) if ratio else aims.gain[:, k] / scale[k]
        least = 0.0 if ratio else float(floor[k] / scale[k])
        blocks.append(
            Block(
                "at least so much", [str(k)], "all", np.zeros(1, dtype=np.int32), np.array([least]), np.array([np.inf]), times=row
            )
        )
        times.append(row)
        low.append(least)
    more = len(asked)
    return replace(
        program, blocks=tuple(blocks), times=tuple(times), codes=(*program.codes, *[np.zeros(len(program), dtype=np.int32)] * more), low=np.array(low),
        high=np.append(program.high, np.full(more, np.inf)), first=np.append(program.first, program.first[-1] + 1 + np.arange(more)),
    )  # fmt: skip


def in_box(program: Program, aims: Aims, columns: Ints, floor: Floats, scale: Floats, seconds: float) -> tuple[Ints | None, bool]:
    """A plan of these candidates with at least `floor` of the objectives that none dominates, or None; and whether that is proven.

    With a ratio, the rate follows the answer while both objectives may only rise; when it moves no more, nothing dominates the answer.
    """
    until, best = time.monotonic() + seconds, None
    rate = float(floor[aims.ratio]) if aims.ratio >= 0 and np.isfinite(floor[aims.ratio]) else 0.0
    weight = 1.0 / scale
    if aims.ratio >= 0:
        weight[aims.ratio] /= aims.most
    for turn in range(60):
        if turn and time.monotonic() > until:
            break
        limited, value = with_floors(program, aims, floor, scale), aims.mixed(weight, rate)
        answer = solve(
            limited,
            model_of(limited, columns, value=value),
            integer=True,
            seconds=max(until - time.monotonic(), 0.1),
            options=EXACT,
        )
        if not answer.feasible:
            return best, answer.infeasible and best is None
        best = np.sort(columns[answer.y > 0.5])
        if not answer.complete:
            return best, False
        after = aims.values(best)
        if aims.ratio < 0 or after[aims.ratio] <= rate + 1e-9 * scale[aims.ratio]:
            return best, True
        floor, rate = after - 1e-9 * scale, float(after[aims.ratio])
    return best, False


def by_boxes(program: Program, aims: Aims, columns: Ints, scale: Floats, step: Floats, seconds: float) -> tuple[list[Ints], bool]:
    """Plans at every non-dominated point of two objectives, by boxes: each is asked for its best plan and split at it, until all are empty.

    step : (2,) points nearer than this are one. Returns the plans and whether the front is proven complete.
    """
    until, found, boxes, proven = time.monotonic() + seconds, list[Ints](), [np.full(2, -np.inf)], True
    while boxes:
        if time.monotonic() > until:
            return found, False
        floor = boxes.pop()
        plan, sure = in_box(program, aims, columns, floor, scale, until - time.monotonic())
        proven &= sure
        if plan is None:
            continue
        found.append(plan)
        z = aims.values(plan)
        boxes.append(np.array([z[0] + step[0], floor[1]]))
        boxes.append(np.array([floor[0], z[1] + step[1]]))
    return found, proven
