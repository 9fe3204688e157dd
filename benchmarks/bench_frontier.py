"""Fronts: ten published knapsacks with two profits (exactly, and by the hybrid search beside pymoo's plain NSGA-II), and campaigns with every kind of rule.

Hypervolumes are against the exact front, with its nadir as reference. Of campaigns no exact front is known: theirs are against what no front can exceed,
and every plan is checked by the engine's own rows (`Program.used`, and the solver for helper columns).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from side_by_side import REFERENCE, Peer, Row, Timed, compare
from stopwatch import measure
from tuple_worlds import World, world

from liftwise.core.uncertainty import spawn
from liftwise.decisions.frontier.front import Frontier, frontier
from liftwise.decisions.frontier.fronts import hypervolume
from liftwise.decisions.frontier.search import compile_kernels
from liftwise.decisions.selection.solver import model_of, solve

PEER = Peer("pymoo", ("pymoo==0.6.2",))
SECONDS = 10.0
POPULATION = 100
CAMPAIGNS = (
    ("10k", 20.0, ("roi", "brand_equity")),
    ("100k", 30.0, ("roi", "brand_equity")),
    ("10k", 30.0, ("revenue", "brand_equity", "risk")),
)


def run() -> Iterator[Row]:
    """Each knapsack exactly and by the hybrid search, then campaigns."""
    compile_kernels()
    folder = REFERENCE / "mokp_biobjective"
    fronts = pd.read_csv(folder / "exact_fronts.csv.gz")
    first = knapsack(folder / "MOKP_p-2_n-200_1.dat")
    frontier(table(*first[:2]), objectives=("z1", "z2"), budget=first[2], rules=(), risk_aversion=0.0)  # compiles
    for number in range(1, 11):
        profits, weights, capacity = knapsack(folder / f"MOKP_p-2_n-200_{number}.dat")
        exact = fronts.loc[fronts["instance"] == number, ["z1", "z2"]].to_numpy(dtype=np.float64)
        yield _exactly(number, profits, weights, capacity, exact)
        yield _beside(number, profits, weights, capacity, exact)
    for size, seconds, objectives in CAMPAIGNS:
        yield _campaign(size, seconds, objectives)


def knapsack(path: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """Profits (n, 2), weights (n,), capacity."""
    _, _, capacity, rest = path.read_text().split(None, 3)
    lists = json.loads("[" + ",".join(rest.replace("\n", " ").replace("]] [", "]], [").replace("] [", "], [").split("\n")) + "]")
    return np.array(lists[0]).T, np.array(lists[1]), float(np.floor(float(capacity)))


def table(profits: np.ndarray, weights: np.ndarray) -> pd.DataFrame:
    """A knapsack as table effectiveness: an influencer an item."""
    base = pd.DataFrame({"influencer_id": [f"item{k:03d}" for k in range(len(weights))], "content_type": "x", "event_id": "e", "days_from_event": 0.0,
                         "uncertainty": 0.0, "price": weights})  # fmt: skip
    return pd.concat([base.assign(metric=f"z{k + 1}", predicted=profits[:, k]) for k in range(2)], ignore_index=True)


def _front(profits, weights, capacity, **asked) -> np.ndarray:
    found = frontier(table(profits, weights), objectives=("z1", "z2"), budget=capacity, rules=(), risk_aversion=0.0, **asked)
    return found.points[["z1", "z2"]].to_numpy(dtype=np.float64)


def _exactly(number, profits, weights, capacity, exact) -> Row:
    spent, z = measure(lambda: _front(profits, weights, capacity, exact=True))
    same = len({tuple(row) for row in z} & {tuple(row) for row in exact})
    return Row(f"Front of a knapsack, exact, {number}", "200 items", "published front", ours=spent, pairs=1,
               agreement=f"{same} of {len(exact)} points, {len(z) - same} others")  # fmt: skip


def _beside(number, profits, weights, capacity, exact) -> Row:
    nadir = exact.min(axis=0)
    whole = hypervolume(exact, nadir)

    def ours() -> Timed:
        return measure(lambda: _front(profits, weights, capacity, exact=False, seconds=SECONDS, seed=number))

    def agree(mine, theirs) -> str:
        other = np.array(theirs["front"], dtype=np.float64).reshape(-1, 2)
        return f"hypervolume {hypervolume(mine, nadir) / whole:.4f} against {hypervolume(other, nadir) / whole:.4f} of the exact front's"

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "knapsack.npz"
        np.savez(file, profits=profits, weights=weights, capacity=capacity)
        row = Row(
            f"Front of a knapsack, hybrid, {number}", "200 items", "pymoo NSGA-II", pairs=1, note=f"{SECONDS:g} s of clock each"
        )
        return compare(row, ours, lambda: PEER.run("pymoo_nsga2", file, str(SECONDS), str(POPULATION), str(number)), agree)


def market(size: str, seed: int = 0) -> tuple[World, pd.DataFrame]:
    """A made-up market with brand equity beside revenue: some influencers are loved more than they sell."""
    made = world(size, seed)
    rng, frame = spawn(seed, f"brand equity {size}"), made.effectiveness
    who, event, content = (frame[name].cat.codes.to_numpy() for name in ("influencer_id", "event_id", "content_type"))
    loved, fits = rng.lognormal(0, 0.6, who.max() + 1), rng.lognormal(0, 0.4, (who.max() + 1, event.max() + 1))
    brand = (
        0.02
        * frame["price"].to_numpy() ** 0.9
        * loved[who]
        * fits[who, event]
        * rng.lognormal(0, 0.3, content.max() + 1)[content]
    )
    brand = brand * rng.lognormal(0, 0.05, len(frame))
    other = frame.assign(metric="brand_equity", predicted=brand, uncertainty=0.3 * brand)
    return made, pd.concat([frame.assign(metric="revenue"), other], ignore_index=True)


def _campaign(size: str, seconds: float, objectives: tuple[str, ...]) -> Row:
    made, both = market(size)
    facts = {"influencers": made.influencers, "events": made.events}
    spent, found = measure(
        lambda: frontier(both, objectives=objectives, budget=made.budget, rules=made.rules, seconds=seconds, exact=False, **facts)
    )
    return Row(f"Front of a campaign: {', '.join(objectives)}", f"{len(made.effectiveness):,} tuples", "what no front can exceed", ours=spent, pairs=1,
               agreement=f"hypervolume ≥ {found.hypervolume_bound:.3f} of it, {len(found.points)} plans, {broken(found)} break a rule")  # fmt: skip


def broken(found: Frontier) -> int:
    """How many plans break a row: those without helpers by what they use, the others by asking the solver."""
    program, count = found.engine["program"], 0
    alone = np.ones(len(program.low), dtype=bool)
    alone[program.helpers.row] = False
    for plan in found.engine["plans"]:
        used, room = program.used(plan), 1e-9 * np.maximum(1.0, np.abs(np.where(np.isfinite(program.high), program.high, 0.0)))
        over = (alone & ((used > program.high + room) | (used < program.low - room))).any()
        who = program.inner.influencer(plan)
        weeks = np.unique(who * (int(program.inner.week.max()) + 1) + program.inner.week[plan], return_counts=True)[1]
        over |= np.bincount(who).max(initial=0) > program.inner.cap or weeks.max(initial=0) > program.inner.week_cap
        count += int(over or not solve(program, model_of(program, plan, forced=plan), integer=True, seconds=5.0).feasible)
    return count
