"""Sequential choice against mabwiser's linear Thompson sampling and Vowpal Wabbit's SquareCB, against the clairvoyant where money is short, and
the coverage of off-policy intervals.

Seeds below 100 were used while this was made; those here were not.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.optimize import linprog, minimize_scalar
from side_by_side import Peer, Row, Timed, compare
from stopwatch import Spent, measure

from liftwise.core.errors import CannotTell
from liftwise.core.uncertainty import spawn
from liftwise.decisions.adaptive.offpolicy import METHODS, Log, evaluate
from liftwise.decisions.adaptive.thompson import PacedThompson

MABWISER = Peer("mabwiser", ("mabwiser==2.7.4",))
VW = Peer("vowpalwabbit", ("vowpalwabbit==9.11.9", "numpy"))
ARMS, FEATURES, ROUNDS = 10, 8, 20_000
WORLDS = {
    "plain": (-1.0, 0.0),
    "rare rewards": (-3.0, 0.0),
    "better arms dearer": (-1.0, 2.0),
}  # mean log-odds, power of price in quality
UNSEEN = range(101, 107)
LOGS = 100


def run() -> Iterator[Row]:
    """Speed and regret beside peers, value under a budget, several budgets, and coverage."""
    for rounds, peer, script, limit in ((3_000, MABWISER, "mabwiser_bandit", 3), (10_000, VW, "vw_bandit", 3)):
        yield _beside(rounds, peer, script, limit)
    for name in WORLDS:
        yield _paced(name, 1)
    yield _paced("plain", 3)
    yield from _coverage()


def world(seed: int, kind: str = "plain", rounds: int = ROUNDS, budgets: int = 1) -> dict[str, np.ndarray]:
    """Logistic rewards of ten arms in eight features, prices, and money for a part of what choosing at random would cost."""
    base, power = WORLDS[kind]
    random = spawn(seed, "bandit world")
    x = random.normal(size=(rounds, FEATURES))
    p = 1 / (1 + np.exp(-(x @ (1.2 * random.normal(size=(FEATURES, ARMS))) / np.sqrt(FEATURES) + random.normal(base, 0.5, ARMS))))
    cost = np.exp(random.normal(0, 0.8, (ARMS, budgets))) * ((p.mean(axis=0) / p.mean()) ** power)[:, None]
    money = random.uniform(0.1, 0.4) * rounds * cost.mean(axis=0) * random.uniform(0.7, 1.3, budgets)
    return {"x": x, "p": p, "cost": cost, "money": money, "luck": random.random(rounds)}


def play(w: dict[str, np.ndarray], seed: int, **options: object) -> tuple[float, float]:
    """Σ of the expected rewards of the arms chosen, and Σ of what the best arms have, with rewards told at once."""
    names = [f"m{k}" for k in range(w["cost"].shape[1])] if options.get("pacing", "") else []
    arms = {str(k): dict(zip(names, map(float, row), strict=False)) for k, row in enumerate(w["cost"])}
    policy = PacedThompson(arms=arms, features=w["x"].shape[1], budgets=dict(zip(names, map(float, w["money"]), strict=False)),
                           horizon=len(w["x"]), seed=seed, **options)  # fmt: skip
    earned = 0.0
    for x, p, luck in zip(w["x"], w["p"], w["luck"], strict=True):
        choice = policy.choose(x)
        if choice.arm:
            arm = int(choice.arm)
            earned += p[arm]
            policy.learn(choice.decision, float(luck < p[arm]))
    return earned, float(w["p"].max(axis=1).sum())


def fluid(w: dict[str, np.ndarray]) -> float:
    """What one earns who knows all chances, money shared out over contexts at will: the linear program, by its dual."""
    p, cost, money = w["p"], w["cost"], w["money"]
    if cost.shape[1] == 1:
        return float(minimize_scalar(lambda y: y * money[0] + np.maximum((p - y * cost[:, 0]).max(axis=1), 0).sum(),
                                     bounds=(0, 3 / cost.min()), method="bounded", options={"xatol": 1e-7}).fun)  # fmt: skip
    return _cuts(p, cost, money)


def _cuts(p: np.ndarray, cost: np.ndarray, money: np.ndarray) -> float:
    """Kelley's cutting planes for several budgets."""
    m = len(money)
    planes, levels, best = list[np.ndarray](), list[float](), np.inf
    price = np.zeros(m)
    for _ in range(200):
        worth = p - cost @ price
        pick = np.where(worth.max(axis=1) > 0, worth.argmax(axis=1), -1)
        chosen = pick >= 0
        value = float(price @ money + worth[chosen, pick[chosen]].sum())
        slope = money - cost[pick[chosen]].sum(axis=0)
        best = min(best, value)
        planes.append(np.append(slope, -1.0))
        levels.append(float(slope @ price - value))
        found = linprog(
            np.append(np.zeros(m), 1.0), A_ub=np.array(planes), b_ub=levels, bounds=[(0, 1 / cost.min())] * m + [(0, None)]
        )
        if best - found.fun < 1e-4 * best:
            break
        price = found.x[:m]
    return best


def _beside(rounds: int, peer: Peer, script: str, pairs: int) -> Row:
    w = world(111, rounds=rounds)
    play(world(1, rounds=200), 1)  # compiles
    uniform = float((w["p"].max(axis=1) - w["p"].mean(axis=1)).sum())

    def ours() -> Timed:
        spent, (earned, best) = measure(lambda: play(w, 7))
        return Spent(spent.cpu / rounds, spent.wall / rounds), (best - earned) / uniform

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "world.npz"
        np.savez(file, **w)
        row = Row("bandit without budget: a decision and its reward", f"{ARMS} arms × {FEATURES} features, {rounds:,} rounds", peer.folder,
                  pairs=pairs, note="ours logs the probability of each choice too")  # fmt: skip
        return compare(
            row, ours, lambda: peer.run(script, file), lambda o, t: f"regret / uniform's: {o:.3f} and {t['regret']:.3f}"
        )


def _paced(kind: str, budgets: int) -> Row:
    shares: dict[str, list[float]] = {"fluid": [], "descent": [], "none": [], "logit": []}
    spent = list[Spent]()
    for seed in UNSEEN:
        w = world(seed, kind, budgets=budgets)
        best = fluid(w)
        for pacing in shares:
            options = {"pacing": "fluid", "link": "logit"} if pacing == "logit" else {"pacing": pacing}
            cpu, wall = time.process_time(), time.perf_counter()
            shares[pacing].append(play(w, seed, **options)[0] / best)
            if pacing == "fluid":
                spent.append(Spent((time.process_time() - cpu) / ROUNDS, (time.perf_counter() - wall) / ROUNDS))
    told = "; ".join(f"{name} {np.mean(v):.3f} ({min(v):.3f}–{max(v):.3f})" for name, v in shares.items())
    times = np.array(shares["fluid"]) / np.array(shares["none"])
    each = Spent(float(np.median([s.cpu for s in spent])), float(np.median([s.wall for s in spent])))
    return Row(f"bandit with {budgets} budget{'s' * (budgets > 1)}, {kind}: a decision", f"{ROUNDS:,} rounds, {len(UNSEEN)} seeds", "the fluid optimum of the clairvoyant",
               ours=each, agreement=f"of its value: {told}", note=f"{np.mean(times):.2f}× unpaced (least {times.min():.2f}×)")  # fmt: skip


def logged(seed: int, rate: float, sharp: float, rows: int, uniform: bool) -> tuple[Log, np.ndarray, np.ndarray]:
    """A log of a softmax policy `sharp` in its habits, the target's chances, and the expected rewards."""
    fixed, random = spawn(77, f"habits {sharp}"), spawn(seed, f"log {rate} {sharp} {uniform}")
    taste, habit, base = fixed.normal(size=(5, ARMS)), fixed.normal(size=(5, ARMS)), fixed.normal(0, 0.5, ARMS)
    x = random.normal(size=(rows, 5))
    liked = x @ taste / np.sqrt(5) + base
    p = 1 / (1 + np.exp(-(np.log(rate / (1 - rate)) - 0.5 + 0.8 * liked)))
    chance, target = np.exp(sharp * x @ habit / np.sqrt(5)), np.ones((rows, ARMS)) if uniform else np.exp(2 * liked)
    chance, target = (z / z.sum(axis=1, keepdims=True) for z in (chance, target))
    action = np.minimum((chance.cumsum(axis=1) < random.random((rows, 1))).sum(axis=1), ARMS - 1)
    at = np.arange(rows)
    reward = (random.random(rows) < p[at, action]).astype(float)
    return Log.of(reward, action, chance[at, action], features=x), target, p


def _coverage() -> Iterator[Row]:
    for uniform in (True, False):
        for rate in (0.005, 0.05, 0.3):
            inside, asked = {m: list[bool]() for m in METHODS}, 0
            seconds = Spent(0.0, 0.0)
            for sharp in (0.3, 0.7, 1.0, 1.4):
                _, chances, means = logged(999_999, rate, sharp, 400_000, uniform)
                truth = float((chances * means).sum(axis=1).mean())
                for seed in range(LOGS):
                    log, target, _ = logged(20_000 + seed, rate, sharp, 10_000, uniform)
                    asked += 1
                    cpu, wall = time.process_time(), time.perf_counter()
                    for method in METHODS:
                        try:
                            told = evaluate(log, target, method=method)
                            inside[method].append(told.low <= truth <= told.high)
                        except CannotTell:
                            pass
                    seconds = Spent(seconds.cpu + time.process_time() - cpu, seconds.wall + time.perf_counter() - wall)
            told = "; ".join(f"{m} {np.mean(v):.3f} (answered {len(v) / asked:.0%})" for m, v in inside.items())
            each = Spent(seconds.cpu / asked / len(METHODS), seconds.wall / asked / len(METHODS))
            yield Row(f"off-policy interval of 95 %: {'uniform' if uniform else 'greedy'} target, {rate:.1%} rewards", "10,000 rows, 4 overlaps",
                      f"the truth, {asked:,} logs", ours=each, agreement=f"covers: {told}")  # fmt: skip
