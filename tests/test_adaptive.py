"""Sequential choice: budgets last, propensities are what they say, lateness and restarts change nothing, replays tell the truth."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize_scalar

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import spawn
from liftwise.decisions.adaptive import kernels
from liftwise.decisions.adaptive.pacing import fluid_prices
from liftwise.decisions.adaptive.thompson import PacedThompson

Floats = np.ndarray


class World:
    """Contexts, chances of a reward, and prices: logistic, as arms of a campaign."""

    def __init__(self, seed: int, rounds: int, arms: int = 6, features: int = 4, budgets: int = 1) -> None:
        random = spawn(seed, "adaptive world")
        self.x = random.normal(size=(rounds, features))
        self.p = 1 / (1 + np.exp(-(self.x @ random.normal(size=(features, arms)) * 0.8 + random.normal(-1, 0.5, arms))))
        self.cost = np.exp(random.normal(0, 0.8, (arms, budgets)))
        self.money = 0.25 * rounds * self.cost.mean(axis=0)
        self.luck = random.random(rounds)

    def policy(self, budget: bool = True, **options: object) -> PacedThompson:
        names = [f"m{k}" for k in range(self.cost.shape[1])] if budget else []
        arms = {f"a{k}": dict(zip(names, map(float, row), strict=False)) for k, row in enumerate(self.cost)}
        return PacedThompson(arms=arms, features=self.x.shape[1], budgets=dict(zip(names, map(float, self.money), strict=False)),
                             horizon=len(self.x), **options)  # fmt: skip

    def play(self, policy: PacedThompson, rounds: range | None = None, late: int = 0) -> tuple[float, list[str]]:
        """Expected reward earned, and the arms; rewards come `late` rounds later, last first."""
        earned, chosen, waiting = 0.0, list[str](), list[tuple[int, float]]()
        for t in rounds or range(len(self.x)):
            choice = policy.choose(self.x[t])
            chosen.append(choice.arm)
            if choice.arm:
                arm = int(choice.arm[1:])
                earned += self.p[t, arm]
                waiting.append((choice.decision, float(self.luck[t] < self.p[t, arm])))
            if len(waiting) > late:
                for decision, reward in reversed(waiting):
                    policy.learn(decision, reward)
                waiting.clear()
        return earned, chosen

    def best(self) -> float:
        """The fluid optimum of one who knows all chances: the least of the dual, which is convex in the price (one budget)."""

        def dual(price: float) -> float:
            return price * self.money[0] + np.maximum((self.p - price * self.cost[:, 0]).max(axis=1), 0).sum()

        return float(minimize_scalar(dual, bounds=(0, 3 / self.cost.min()), method="bounded", options={"xatol": 1e-6}).fun)


@pytest.mark.parametrize("pacing", ["fluid", "descent"])
@pytest.mark.parametrize("link", ["identity", "logit"])
def test_money_lasts_and_earns_nearly_the_best(pacing: str, link: str) -> None:
    shares, unpaced = [], []
    for seed in (21, 22):
        world = World(seed, 4000)
        policy = world.policy(pacing=pacing, link=link)
        shares.append(world.play(policy)[0] / world.best())
        assert 0 <= policy.left_["m0"] < 0.02 * world.money[0]
        unpaced.append(world.play(world.policy(pacing="none"))[0] / world.best())
    assert np.mean(shares) > 0.88 and np.mean(shares) > 1.8 * np.mean(unpaced)


def test_several_budgets_never_overdrawn() -> None:
    world = World(5, 1500, budgets=3)
    policy = world.policy()
    _, chosen = world.play(policy)
    spent = sum(world.cost[int(arm[1:])] for arm in chosen if arm)
    np.testing.assert_allclose(list(policy.left_.values()), world.money - spent)
    assert min(policy.left_.values()) >= 0 and min(np.array(list(policy.left_.values())) / world.money) < 0.05


@given(st.integers(0, 10_000), st.integers(1, 3))
@settings(max_examples=25)
def test_shadow_prices_solve_the_linear_program(seed: int, budgets: int) -> None:
    random = spawn(seed, "fluid")
    rewards, costs, n = random.random((60, 4)), np.exp(random.normal(size=(4, budgets))), 60
    rate = costs.mean(axis=0) * random.uniform(0.1, 0.9, budgets)
    price = fluid_prices(rewards, np.broadcast_to(costs, (60, 4, budgets)), rate, np.zeros(budgets))
    once = np.kron(np.eye(n), np.ones((1, 4)))
    best = (
        -linprog(-rewards.ravel(), A_ub=np.vstack([once, np.tile(costs.T, n)]), b_ub=np.concatenate([np.ones(n), n * rate])).fun
        / n
    )
    dual = price @ rate + np.maximum((rewards - costs @ price).max(axis=1), 0).mean()
    assert best - 1e-9 <= dual <= 1.03 * best


@given(st.integers(0, 10_000), st.booleans(), st.booleans())
@settings(max_examples=30)
def test_propensities_are_frequencies(seed: int, logit: bool, paid: bool) -> None:
    random = spawn(seed, "chance")
    mean, sd = random.normal(size=6), np.exp(random.normal(-1.5, 1.5, 6))
    toll, allowed = random.random(6) * 0.5 * paid, random.random(6) < 0.8
    floor = 0.0 if paid else -np.inf
    scores = mean + sd * random.standard_normal((40_000, 6))
    worth = np.where(allowed, (1 / (1 + np.exp(-scores)) if logit else scores) - toll, -np.inf)
    picks = np.where(worth.max(axis=1) > floor, worth.argmax(axis=1), -1)
    told = np.array(
        [kernels.chance(mean, sd, toll, allowed, pick, floor, logit) for pick in range(-1, 6) if pick < 0 or allowed[pick]]
    )
    seen = np.array([(picks == pick).mean() for pick in range(-1, 6) if pick < 0 or allowed[pick]])
    if paid or allowed.any():
        tolerance = 5 * np.sqrt(told[:, 0] * (1 - told[:, 0]) / 40_000) + 1e-4 + told[:, 1]
        start = 0 if paid else 1
        assert (np.abs(told[:, 0] - seen) < tolerance)[start:].all()
        assert told[start:, 0].sum() == pytest.approx(1, abs=1e-3 + told[:, 1].sum())
        assert told[:, 1].max() < 0.01


def test_learning_is_ridge_regression_whatever_the_order() -> None:
    made = []
    for order in (range(60), range(59, -1, -1)):
        policy = PacedThompson(arms=["only"], features=2, seed=3)
        x, r = spawn(1, "x").normal(size=(60, 2)), spawn(1, "r").normal(size=60)
        decisions = [policy.choose(row).decision for row in x]
        for k in order:
            policy.learn(decisions[k], r[k])
        policy._refresh()
        made.append(policy)
    first, second = made
    np.testing.assert_allclose(first._centre, second._centre, atol=1e-12)
    z = np.hstack([np.ones((60, 1)), x])
    ridge = first._ridge * np.eye(3)
    common = np.linalg.solve(z.T @ z + ridge, z.T @ r)
    np.testing.assert_allclose(first._centre[0], np.linalg.solve(z.T @ z + ridge, z.T @ r + ridge @ common), atol=1e-10)
    assert first.noise_ == pytest.approx(r.std(), rel=0.15)


def test_late_and_lost_rewards() -> None:
    world = World(7, 3000)
    on_time, late = world.play(world.policy())[0], world.play(world.policy(), late=150)[0]
    assert late > 0.9 * on_time
    policy = world.policy()
    choices = [policy.choose(world.x[t]) for t in range(50)]
    hired = [choice for choice in choices if choice.arm]
    for choice in hired[::2]:
        policy.lost(choice.decision)
    assert policy.lost_ == len(hired[::2]) and policy.learned_ == 0
    policy.learn(hired[1].decision, 1.0, costs={"m0": 0.5})
    committed = sum(choice.costs["m0"] for choice in choices)
    assert policy.left_["m0"] == pytest.approx(world.money[0] - committed + hired[1].costs["m0"] - 0.5)
    for decision in (hired[0].decision, hired[1].decision, 999):
        with pytest.raises(InputError, match="no reward is awaited"):
            policy.learn(decision, 1.0)


@pytest.mark.parametrize("options", [{}, {"pacing": "descent", "forget": 0.001}, {"link": "logit"}])
def test_goes_on_after_a_restart_as_if_nothing_had_been(options: dict[str, object]) -> None:
    world = World(9, 600)
    whole, half = world.policy(**options), world.policy(**options)
    _, straight = world.play(whole)
    _, begun = world.play(half, range(300))
    half.choose(world.x[300])
    again = PacedThompson.from_dict(json.loads(json.dumps(half.to_dict())))
    same = PacedThompson.from_dict(half.to_dict())
    for policy in (half, again, same):
        policy.learn(policy.pending[-1], 1.0) if policy.pending else None
    results = [world.play(policy, range(301, 600))[1] for policy in (half, again, same)]
    assert straight[:300] == begun and results[0] == results[1] == results[2]
    assert json.dumps(half.to_dict()) == json.dumps(again.to_dict())


def test_arms_join_and_leave() -> None:
    world = World(11, 2000)
    policy = world.policy(budget=False)
    world.play(policy, range(800))
    policy.leave("a2")
    _, chosen = world.play(policy, range(800, 1000))
    assert "a2" not in chosen and "a2" not in policy.arms
    policy.join("new")
    hits = 0
    for t in range(1000, 1600):
        choice = policy.choose(world.x[t])
        hits += choice.arm == "new"
        policy.learn(choice.decision, 1.0 if choice.arm == "new" else 0.0)
    assert hits > 300
    policy.join("a2")
    assert "a2" in policy.arms
    with pytest.raises(InputError, match="no arm 'ghost'"):
        policy.leave("ghost")


def test_forgetting_follows_a_change() -> None:
    def after_change(forget: float) -> float:
        policy, luck, hits = PacedThompson(arms=["a", "b"], features=0, forget=forget, seed=5), spawn(2, "change"), 0
        for t in range(4000):
            choice = policy.choose([])
            good = (choice.arm == "a") == (t < 2500)
            policy.learn(choice.decision, float(luck.random() < (0.7 if good else 0.3)))
            hits += good and t >= 2500
        return hits / 1500

    assert after_change(0.005) > 0.85 > after_change(0.0)


def logged(world: World, seed: int) -> pd.DataFrame:
    """A campaign that was run by habit."""
    random, rows, arms = spawn(seed, "logged"), *world.p.shape
    chance = np.exp(0.4 * world.x @ spawn(3, "habit").normal(size=(world.x.shape[1], arms)))
    chance /= chance.sum(axis=1, keepdims=True)
    arm = np.minimum((chance.cumsum(axis=1) < random.random((rows, 1))).sum(axis=1), arms - 1)
    reward = (random.random(rows) < world.p[np.arange(rows), arm]).astype(float)
    frame = pd.DataFrame(world.x, columns=[f"x{k}" for k in range(world.x.shape[1])])
    return frame.assign(arm=[f"a{k}" for k in arm], reward=reward, propensity=chance[np.arange(rows), arm])


@pytest.mark.parametrize("budget", [False, True])
def test_a_replay_tells_what_the_policy_then_earns(budget: bool) -> None:
    world = World(13, 4000, arms=4, features=2)
    policy = world.policy(budget)
    before = json.dumps(policy.to_dict())
    told = policy.replay(logged(world, 1), ["x0", "x1"])
    assert json.dumps(policy.to_dict()) == before, "a rehearsal leaves no trace"
    steps, earned = int(told.steps), []
    for seed in range(10):
        fresh = policy.rehearsal(steps, 100 + seed)
        start = 300 * seed
        earned.append(world.play(fresh, range(start, min(start + steps, 4000)))[0] / min(steps, 4000 - start))
    assert told.low < np.mean(earned) < told.high
    assert told.high - told.low < 0.6 * told.value
    if budget:
        assert 0.7 < told.spent["m0"] <= 1
    assert "decisions of its learning" in told.summary() and len(told.plot().data) == 1 and len(told.to_frame()) == 1
    assert policy.replay(logged(world, 1), ["x0", "x1"]) == told


def test_a_replay_that_cannot_tell_says_so() -> None:
    world = World(13, 4000, arms=4, features=2)
    log, policy = logged(world, 1), world.policy(False)
    with pytest.raises(CannotTell, match="a replay would accept"):
        policy.replay(log.head(150), ["x0", "x1"])
    with pytest.raises(CannotTell, match="what the log never did"):
        kept = log[log["arm"] != "a1"]
        policy.replay(kept, ["x0", "x1"])
    with pytest.raises(InputError, match="'propensity' is missing"):
        policy.replay(log.drop(columns="propensity"), ["x0", "x1"])
    with pytest.raises(InputError, match="no arm 'ghost'"):
        policy.replay(log.assign(arm="ghost"), ["x0", "x1"])


def test_bad_input_is_named() -> None:
    policy = PacedThompson(arms={"a": {"m": 1.0}}, features=2, budgets={"m": 10.0}, horizon=20, link="logit")
    with pytest.raises(InputError, match="decision 0: a context has 2 numbers"):
        policy.choose([1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="not finite"):
        policy.choose([1.0, np.nan])
    with pytest.raises(InputError, match="unknown budget 'other'"):
        policy.choose([0.0, 0.0], costs={"a": {"other": 1.0}})
    with pytest.raises(InputError, match="a cost is an amount"):
        policy.join("b", {"m": -1.0})
    with pytest.raises(InputError, match="needs the number of decisions"):
        PacedThompson(arms=["a"], features=1, budgets={"m": 1.0})
    choice = next(choice for choice in (policy.choose([0.0, 0.0]) for _ in range(20)) if choice.arm)
    with pytest.raises(InputError, match="no yes or no"):
        policy.learn(choice.decision, 5.0)
