"""Plans of 10,000 to 5,000,000 ways to post against solvers that are given the whole program.

Peers read the same program without the rows for whole posts that ours adds; reading the file counts (it is small beside the solve). Where a peer finds
nothing in its time, the row says so.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import NotRun, Peer, Row, Timed, compare
from stopwatch import Spent, measure
from tuple_worlds import World, world

from liftwise.decisions.selection.candidates import Candidates
from liftwise.decisions.selection.choose import Selection, select
from liftwise.decisions.selection.engine import INNER
from liftwise.decisions.selection.program import Program
from liftwise.decisions.selection.rules import Budget, Frequency
from liftwise.decisions.selection.sifting import sift
from liftwise.decisions.selection.solver import model_of, quiet

PEERS = {
    "highs": Peer("highspy", ("highspy==1.16.0",)),
    "cbc": Peer("mip", ("mip==2.0.0",)),
    "scip": Peer("pyscipopt", ("pyscipopt==6.3.0",)),
    "cpsat": Peer("ortools", ("ortools==9.15.6755",)),
}
SECONDS = 60


def run() -> Iterator[Row]:
    """The linear program, whole plans, large plans, and new budgets."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plan.mps"
        yield _linear(file)
        for seed in (0, 1, 2):
            yield from _whole("10k", seed, file, ("highs", "cbc", "scip", "cpsat"))
        yield from _whole("100k", 0, file, ("highs",))
    for size, seeds in (("100k", range(5)), ("1M", range(5)), ("5M", range(2))):
        for seed in seeds:
            yield _large(size, seed)
    yield from _again()


def plain(given: World) -> Program:
    """The program as any solver would be given it."""
    these = Candidates.of(given.effectiveness, "revenue", 0.5, influencers=given.influencers, events=given.events)
    caps = [rule for rule in given.rules if isinstance(rule, Frequency) and rule.per in INNER]
    coupling = [Budget(given.budget), *(rule for rule in given.rules if rule not in caps)]
    return Program.of(these, [block for rule in coupling for block in rule.blocks(these)], caps)


def written(program: Program, file: Path) -> float:
    """The whole program as a minimisation in MPS; what its objective must be multiplied by."""
    import highspy

    model = model_of(program, np.arange(len(program)))
    lp: Any = highspy.HighsLp()
    lp.num_col_, lp.num_row_, lp.col_cost_ = len(model.cost), len(model.low), -model.cost
    lp.col_lower_, lp.col_upper_, lp.row_lower_, lp.row_upper_ = model.lower, model.upper, model.low, model.high
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_ = model.matrix.indptr.astype(np.int32), model.matrix.indices.astype(np.int32)
    lp.a_matrix_.value_ = model.matrix.data
    lp.integrality_ = [highspy.HighsVarType.kInteger if it else highspy.HighsVarType.kContinuous for it in model.whole]
    engine = quiet()
    engine.setOptionValue("output_flag", False)
    engine.passModel(lp)
    engine.writeModel(str(file))
    return -model.worth


def _linear(file: Path) -> Row:
    program = plain(world("100k", 0))
    worth = written(program, file)
    row = Row("plan, linear program", "100,000 ways to post", "HiGHS", pairs=3)
    return compare(row, lambda: measure(lambda: sift(program, 60.0).bound), lambda: PEERS["highs"].run("plan_solvers", "highs", file, 0, 300, "lp"),
                   lambda ours, theirs: f"{abs(ours / (theirs['value'] * worth) - 1):.1g} apart")  # fmt: skip


def _whole(size: str, seed: int, file: Path, peers: tuple[str, ...]) -> Iterator[Row]:
    given = world(size, seed)
    worth = written(plain(given), file)
    for name in peers:
        row = Row(f"plan, seed {seed}, gap 0.01 %", f"{size} ways to post", PEERS[name].folder, pairs=1)
        yield compare(row, lambda: measure(lambda: _select(given)), lambda name=name: _peer(name, file), lambda ours, theirs: _agree(ours, theirs, worth))  # fmt: skip


def _peer(name: str, file: Path) -> Timed:
    spent, told = PEERS[name].run("plan_solvers", name, file, 1e-4, 2 * SECONDS, "whole", limit=4 * SECONDS)
    if told["value"] is None:
        raise NotRun(f"no plan in {spent.wall:.0f} s")
    return spent, told


def _select(given: World, seconds: float = SECONDS) -> Selection:
    return select(
        given.effectiveness,
        metric="revenue",
        budget=given.budget,
        influencers=given.influencers,
        events=given.events,
        rules=given.rules,
        seconds=seconds,
    )


def _agree(ours: Selection, theirs: dict, worth: float) -> str:
    value, bound = theirs["value"] * worth, theirs["bound"] * worth
    return f"ours {100 * (ours.value / value - 1):+.4f} %; gaps {ours.gap:.1e} and {max(0.0, bound - value) / abs(bound):.1e}"


def _large(size: str, seed: int) -> Row:
    """In a process of its own, so that its memory is its own; the market is made before and read as a user would read it."""
    code = f"import bench_selection as b; b.alone({size!r}, {seed})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path(__file__).parent, env=os.environ
    )
    if done.returncode:
        return Row("plan", size, "–", note=f"not run: {done.stderr.strip().splitlines()[-1][:160]}")
    cpu, wall, gap, posts, peak, before, wrong = done.stdout.split()
    note = f"gap {float(gap):.4%} of {posts} posts, peak {float(peak):.2f} GB ({float(before):.2f} before it began), {wrong} rules broken"
    return Row(f"plan, seed {seed}, all rules", f"{size} ways to post", "–", ours=Spent(float(cpu), float(wall)), note=note)


def alone(size: str, seed: int) -> None:
    """Print seconds, gap, posts, peak memory, and rules broken."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from plan_checker import violations

    given = world(size, seed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    spent, plan = _once(given)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    lines = given.effectiveness[given.effectiveness["influencer_id"].isin(plan.assignments["influencer_id"])]
    wrong = violations(plan, lines, given.budget, given.rules, influencers=given.influencers, events=given.events)
    print(spent.cpu, spent.wall, plan.gap, len(plan.assignments), peak, before, len(wrong))


def _once(given: World) -> tuple[Spent, Selection]:
    import time

    cpu, wall = time.process_time(), time.perf_counter()
    plan = _select(given)
    return Spent(time.process_time() - cpu, time.perf_counter() - wall), plan


def _again() -> Iterator[Row]:
    """A tenth more and a tenth less money, from the plan that is there: seconds are medians over the seeds."""
    for size, seeds in (("10k", range(3)), ("100k", range(5)), ("1M", range(5))):
        first, again, gaps = [], [], []
        for seed in seeds:
            given = world(size, seed)
            cold, plan = _once(given)
            for times in (1.1, 0.9):
                warm, new = measure(lambda times=times: plan.replan(budget=given.budget * times))  # noqa: B023
                first.append(cold)
                again.append(warm)
                gaps.append(new.gap)
        shares = [warm.cpu / cold.cpu for warm, cold in zip(again, first, strict=True)]
        note = f"share of the seconds: median {np.median(shares):.0%}, {min(shares):.0%} to {max(shares):.0%}; largest gap {max(gaps):.4%}"
        yield Row("new plan for ±10 % of the budget", f"{size} ways to post, {len(seeds)} seeds", "ours from nothing", ours=_median(again), theirs=_median(first), note=note)  # fmt: skip


def _median(spent: list[Spent]) -> Spent:
    return Spent(float(np.median([each.cpu for each in spent])), float(np.median([each.wall for each in spent])))
