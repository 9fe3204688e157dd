"""Choosing one at a time while learning what works, with money that must last: linear Thompson sampling and shadow prices.

Each arm's reward is linear in the context; its coefficients have a normal posterior around those of all arms together (so an arm that joins
starts from what is usual), scaled by the noise learned on the way. A decision draws one score an arm from its posterior (Agrawal and Goyal 2013),
takes off what its costs are worth at the current shadow prices (`pacing`; Agrawal and Devanur 2016) and picks the best, or nobody where
none is worth its cost. The probability of that pick is an integral and is logged with its error, so that logs can be judged later
(`offpolicy`) and a policy can be replayed on a past campaign before it is switched on (`replay`).
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (numba's functions have no types)
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import spawn
from liftwise.decisions.adaptive import kernels
from liftwise.decisions.adaptive.pacing import descend, fluid_prices

if TYPE_CHECKING:
    import pandas as pd

    from liftwise.decisions.adaptive.replay import Replay

Floats = NDArray[np.float64]
WINDOW = 256  # recent contexts on which shadow prices are solved
FIRST, EVERY = 20, 100  # decisions (or rewards) between refreshes: at first, and at most
WEIGHT = 10.0  # observations that the first guess of the reward's spread is worth
NOBODY = ""


@dataclass(frozen=True)
class Choice:
    """A decision to be carried out and logged.

    arm : "" when nobody is worth the money.  propensity : probability of this choice given all that was known.  error : of the
    propensity (of its integral).  costs : committed, budget → amount.
    """

    decision: int
    arm: str
    propensity: float
    error: float
    costs: Mapping[str, float]


class PacedThompson:
    """Linear Thompson sampling under budgets.

    Parameters
    ----------
    arms : arm → costs of choosing it once (budget → amount).
    features : length of a context; an intercept is added. Contexts should be of the order of 1.
    budgets : budget → amount for `horizon` decisions; none: no pacing, and always somebody is chosen.
    pacing : "fluid" re-solves the shadow prices over recent contexts; "descent" follows their slope (as good with one budget, and clearly worse
    with several); "none" ignores them until money is out.
    link : how a reward depends on a context: "identity" for amounts, "logit" for yes (1) or no (0).
    spread : how far coefficients may lie apart, per standard deviation of the reward (identity) or in log-odds (logit).
    exploration : 1 is Thompson sampling, 0 greedy; 0.3 earned most in 20,000 decisions of ten arms and eight features.
    forget : share of what was learned that is lost with each reward (0 ≤ forget < 1), for arms that change.
    reward_sd : first guess of a reward's standard deviation; learned.

    Attributes
    ----------
    left_ : money left by budget.  prices_ : its shadow price, reward per unit.  noise_ : standard deviation of a reward around its
    expectation.  decided_, learned_, lost_ : decisions made, rewards that came, rewards that never will.

    Notes
    -----
    Rewards may come late, in any order and in batches, by decision number. Same seed and same calls give the same choices, also across
    `to_dict` → `from_dict`. After `horizon` decisions whatever money is left may be spent at once.
    """

    def __init__(
        self,
        *,
        arms: Mapping[str, Mapping[str, float]] | Sequence[str],
        features: int,
        budgets: Mapping[str, float] | None = None,
        horizon: int | None = None,
        pacing: Literal["fluid", "descent", "none"] = "fluid",
        spread: float = 1.0,
        exploration: float = 0.3,
        link: Literal["identity", "logit"] = "identity",
        forget: float = 0.0,
        reward_sd: float = 1.0,
        seed: int = 7,
    ) -> None:
        budgets = dict(budgets or {})
        if budgets and (horizon is None or horizon < 1):
            raise InputError("a budget needs the number of decisions it is for", where="horizon")
        if any(not np.isfinite(v) or v < 0 for v in budgets.values()):
            raise InputError("a budget is an amount ≥ 0", where="budgets")
        if not (0 <= forget < 1 and spread > 0 and exploration >= 0 and reward_sd > 0 and features >= 0):
            raise InputError("0 ≤ forget < 1, spread > 0, exploration ≥ 0, reward_sd > 0 and features ≥ 0 are needed")
        self.features, self.horizon, self.pacing, self.link = features, horizon, pacing, link
        self.spread, self.exploration, self.forget, self.reward_sd, self.seed = spread, exploration, forget, reward_sd, seed
        self._budgets, self._total = tuple(budgets), np.array(list(budgets.values()), dtype=np.float64)
        self._left, self._price = self._total.copy(), np.zeros(len(budgets))
        self._names: list[str] = []
        self._make_room()
        self._sums = np.zeros(4)  # of rewards learned (with forgetting): number, sum, squares, squared surprises
        self.decided_ = self.learned_ = self.lost_ = self._seen = self._fresh = 0
        self._pending: dict[int, tuple[int, Floats, Floats]] = {}
        self._refreshed = -1
        self._random = spawn(seed, "adaptive")
        self._rescale()
        for name, costs in arms.items() if isinstance(arms, Mapping) else ((arm, {}) for arm in arms):
            self.join(name, costs)

    @property
    def arms(self) -> tuple[str, ...]:
        """Those that may be chosen now."""
        return tuple(name for name, active in zip(self._names, self._active, strict=True) if active)

    @property
    def left_(self) -> dict[str, float]:
        """Money left, by budget."""
        return dict(zip(self._budgets, self._left.tolist(), strict=True))

    @property
    def prices_(self) -> dict[str, float]:
        """What a unit of each budget is worth, in reward."""
        return dict(zip(self._budgets, self._price.tolist(), strict=True))

    @property
    def pending(self) -> tuple[int, ...]:
        """Decisions whose reward has not come."""
        return tuple(self._pending)

    def _make_room(self) -> None:
        d, m = self.features + 1, len(self._budgets)
        self._active, self._cost = np.zeros(0, np.bool_), np.zeros((0, m))
        self._gram, self._inverse = np.zeros((0, d, d)), np.zeros((0, d, d))
        self._moment, self._centre, self._common = np.zeros((0, d)), np.zeros((0, d)), np.zeros(d)
        self._contexts, self._window = np.zeros((WINDOW, d)), np.zeros((WINDOW, 0, m))

    def _rescale(self) -> None:
        """Noise and ridge from what was learned; the first guess fades."""
        number, total, squares, surprise = self._sums
        variance = (WEIGHT * self.reward_sd**2 + max(squares - total**2 / max(number, 1e-9), 0.0)) / (WEIGHT + number)
        self.noise_ = float(np.sqrt((WEIGHT * self.reward_sd**2 + surprise) / (WEIGHT + number)))
        if self.link == "logit":
            self.noise_, self._ridge = 1.0, self.spread**-2
            return
        self._ridge = self.noise_**2 / (self.spread**2 * max(variance, 1e-12 * self.noise_**2))

    def join(self, arm: str, costs: Mapping[str, float] | None = None) -> None:
        """A new arm, or one that left and comes back with what was learned of it; or new costs of one that is here."""
        told = self._costs_of(costs or {}, arm)
        if not arm:
            raise InputError("an arm needs a name", where="arms")
        if arm not in self._names:
            d, m = self.features + 1, len(self._budgets)
            self._names.append(arm)
            self._active, self._cost = np.append(self._active, False), np.vstack([self._cost, np.zeros(m)])
            self._gram = np.concatenate([self._gram, np.zeros((1, d, d))])
            self._inverse = np.concatenate([self._inverse, np.eye(d)[None] / self._ridge])
            self._moment, self._centre = np.vstack([self._moment, np.zeros(d)]), np.vstack([self._centre, self._common])
            self._window = np.concatenate([self._window, np.zeros((WINDOW, 1, m))], axis=1)
            self._mean, self._sd = np.zeros(len(self._names)), np.zeros(len(self._names))
        at = self._names.index(arm)
        self._active[at], self._cost[at], self._window[:, at] = True, told, told

    def leave(self, arm: str) -> None:
        """No longer to be chosen; rewards of past choices still count."""
        self._active[self._at(arm)] = False

    def _at(self, arm: str) -> int:
        if arm not in self._names:
            raise InputError(f"there is no arm {arm!r}", where="arms")
        return self._names.index(arm)

    def _costs_of(self, costs: Mapping[str, float], where: str) -> Floats:
        unknown = set(costs) - set(self._budgets)
        told = np.array([float(costs.get(name, 0.0)) for name in self._budgets])
        if unknown or not (np.isfinite(told) & (told >= 0)).all():
            raise InputError(f"unknown budget {min(unknown)!r}" if unknown else "a cost is an amount ≥ 0", where=where)
        return told

    def choose(self, context: ArrayLike, costs: Mapping[str, Mapping[str, float]] | None = None) -> Choice:
        """Whom to choose in this context; what it costs is committed.

        Parameters
        ----------
        context : (features,), finite.
        costs : arm → costs, where they differ from the usual at this decision.
        """
        x = self._context(context)
        cost = self._cost
        if costs:
            cost = cost.copy()
            for arm, told in costs.items():
                cost[self._at(arm)] = self._costs_of(told, arm)
        self._remember(x, cost)
        if self.decided_ >= self._next_refresh():
            self._refresh()
        return self._decide(x, cost)

    def _decide(self, x: Floats, cost: Floats) -> Choice:
        toll, allowed, floor = self._stand(x, cost)
        scores = self._reward(self._mean + self._sd * self._random.standard_normal(len(self._mean)))
        scores = np.where(allowed, scores - toll, -np.inf)
        pick = int(scores.argmax()) if len(scores) else -1
        if pick < 0 or not scores[pick] > floor:
            pick = -1
        propensity, error = kernels.chance(self._mean, self._sd, toll, allowed, pick, floor, self.link == "logit")
        decision, paid = self._commit(pick, x, cost)
        told = dict(zip(self._budgets, paid.tolist(), strict=True))
        return Choice(decision, self._names[pick] if pick >= 0 else NOBODY, propensity, error, told)

    def _stand(self, x: Floats, cost: Floats) -> tuple[Floats, NDArray[np.bool_], float]:
        """Fill means and spreads of the scores at `x`; what costs are worth, who can be paid, and what must be beaten."""
        kernels.look(self._inverse, self._centre, x, self.noise_ * self.exploration, self._mean, self._sd)
        np.maximum(self._sd, 1e-12 * self.noise_, out=self._sd)
        if not len(self._budgets):
            return np.zeros(len(self._mean)), self._active, -np.inf
        return cost @ self._price, self._active & (cost <= self._left).all(axis=1), 0.0

    def _commit(self, pick: int, x: Floats, cost: Floats) -> tuple[int, Floats]:
        decision, paid = self.decided_, cost[pick] if pick >= 0 else np.zeros(len(self._budgets))
        self.decided_ += 1
        if pick >= 0:
            self._pending[decision] = (pick, x, paid)
        if len(self._budgets):
            if self.pacing == "descent":
                self._price = descend(self._price, paid, self._rate(), self._step())
            self._left = self._left - paid
        return decision, paid

    def probability(self, context: ArrayLike, arm: str) -> float:
        """That `arm` ("": nobody) would be chosen now, at its usual costs."""
        x, pick = self._context(context), self._at(arm) if arm else -1
        if self.decided_ >= self._next_refresh():
            self._refresh()
        toll, allowed, floor = self._stand(x, self._cost)
        if pick >= 0 and not allowed[pick]:
            return 0.0
        return kernels.chance(self._mean, self._sd, toll, allowed, pick, floor, self.link == "logit")[0]

    def take(self, context: ArrayLike, arm: str, reward: float = 0.0) -> None:
        """As if `arm` ("": nobody) had been chosen here and its reward had come: to begin from a past campaign, or to replay one."""
        x, pick = self._context(context), self._at(arm) if arm else -1
        self._remember(x, self._cost)
        if self.decided_ >= self._next_refresh():
            self._refresh()
        decision, _ = self._commit(pick, x, self._cost)
        if pick >= 0:
            self.learn(decision, reward)

    def rehearsal(self, steps: float, seed: int) -> PacedThompson:
        """A copy for about `steps` decisions, with budgets in the same share of what is left, and its own luck."""
        copy = self.from_dict(self.to_dict())
        copy._random, copy.seed = spawn(seed, "rehearsal"), seed
        if self.horizon is not None:
            ahead = max(self.horizon - self.decided_, 1)
            run = max(1, min(ahead, round(steps)))
            copy.horizon, copy._left = self.decided_ + run, self._left * (run / ahead)
        return copy

    def replay(self, log: pd.DataFrame, features: Sequence[str], *, level: float = 0.95) -> Replay:
        """What this policy would have earned on a logged campaign (`liftwise.decisions.adaptive.replay`)."""
        from liftwise.decisions.adaptive.replay import replay

        return replay(self, log, features, level=level, seed=self.seed)

    def _reward(self, scores: Floats) -> Floats:
        return 1 / (1 + np.exp(-np.clip(scores, -700, 700))) if self.link == "logit" else scores

    def learn(self, decision: int, reward: float, costs: Mapping[str, float] | None = None) -> None:
        """The reward of a decision has come, and its bill where it differs from what was committed."""
        at, x, paid = self._take(decision)
        if not np.isfinite(reward):
            raise InputError(f"{reward} is not a reward; say `lost` where none will come", where=f"decision {decision}")
        if costs is not None:
            self._left = self._left + paid - self._costs_of(costs, f"decision {decision}")
        if self.link == "logit" and not 0 <= reward <= 1:
            raise InputError(f"a reward of {reward} is no yes or no", where=f"decision {decision}", fix='use link="identity"')
        surprise = kernels.learn(self._gram[at], self._inverse[at], self._centre[at], x, float(reward), self.link == "logit")
        self._moment[at] += reward * x
        self._sums += (1.0, reward, reward * reward, surprise)
        self.learned_ += 1
        self._fresh += 1

    def lost(self, decision: int) -> None:
        """This decision's reward will never come. Nothing is learned: a reward that is lost because it is low must be told as what it is."""
        self._take(decision)
        self.lost_ += 1

    def _take(self, decision: int) -> tuple[int, Floats, Floats]:
        if decision not in self._pending:
            raise InputError("no reward is awaited: never made, chose nobody, or told already", where=f"decision {decision}")
        return self._pending.pop(decision)

    def _context(self, context: ArrayLike) -> Floats:
        x = np.empty(self.features + 1)
        x[0] = 1.0
        try:
            x[1:] = context
        except ValueError:
            raise InputError(f"a context has {self.features} numbers", where=f"decision {self.decided_}") from None
        if not np.isfinite(x).all():
            raise InputError("a context holds a number that is not finite", where=f"decision {self.decided_}")
        return x

    def _remember(self, x: Floats, cost: Floats) -> None:
        slot = self._seen % WINDOW
        self._contexts[slot], self._window[slot] = x, cost
        self._seen += 1

    def _next_refresh(self) -> int:
        """Decisions are refreshed at 20, 40, 60…, later each 100."""
        return self._refreshed + min(max(FIRST, self._refreshed // 10), EVERY) if self._refreshed >= 0 else 0

    def _refresh(self) -> None:
        """Forget, re-centre arms on what is common, re-invert (no error piles up), and solve for the shadow prices."""
        self._refreshed = self.decided_
        if self.forget and self._fresh:
            kept = (1.0 - self.forget) ** self._fresh
            for total in (self._gram, self._moment, self._sums):
                total *= kept
        self._fresh = 0
        self._rescale()
        ridge = self._ridge * np.eye(self.features + 1)
        logit = self.link == "logit"
        moments = np.einsum("kij,kj->ki", self._gram, self._centre) if logit else self._moment
        self._common = np.linalg.solve(self._gram.sum(axis=0) + ridge, moments.sum(axis=0))
        self._inverse = np.linalg.inv(self._gram + ridge)
        if not logit:
            self._centre = np.einsum("kij,kj->ki", self._inverse, self._moment + self._ridge * self._common)
        if len(self._budgets) and self.pacing == "fluid":
            self._solve()

    def _rate(self) -> Floats:
        return np.maximum(self._left, 0.0) / max((self.horizon or 1) - self.decided_, 1)

    def _step(self) -> float:
        """Of the descent: a reward's spread over √horizon."""
        return float(np.sqrt(self._sums[2] / self._sums[0]) if self._sums[0] else self.reward_sd) / np.sqrt(self.horizon or 1)

    def _solve(self) -> None:
        count = min(self._seen, WINDOW)
        contexts, costs = self._contexts[:count], self._window[:count]
        spread = np.einsum("nd,kde,ne->nk", contexts, self._inverse, contexts, optimize=True)
        noise = spawn(self.seed, f"pacing {self.decided_}").standard_normal(spread.shape)
        scores = self._reward(
            contexts @ self._centre.T + self.exploration * self.noise_ * np.sqrt(np.maximum(spread, 0.0)) * noise
        )
        scores[:, ~self._active] = -np.inf
        if count and self._active.any():
            self._price = fluid_prices(scores, costs, self._rate(), self._price)

    def to_dict(self) -> dict[str, Any]:
        """All of the state, in plain numbers, lists and texts (fit for JSON, exact)."""
        state = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(self).items()}
        state["_random"] = self._random.bit_generator.state
        state["_pending"] = [[decision, at, x.tolist(), paid.tolist()] for decision, (at, x, paid) in self._pending.items()]
        state["_budgets"] = list(self._budgets)
        return state

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> PacedThompson:
        """Go on from `to_dict`, also after a way through JSON."""
        made = cls(arms=(), features=state["features"])
        arms, d, m = len(state["_names"]), state["features"] + 1, len(state["_budgets"])
        shapes = {"_cost": (arms, m), "_gram": (arms, d, d), "_inverse": (arms, d, d), "_moment": (arms, d), "_centre": (arms, d),
                  "_window": (WINDOW, arms, m), "_active": (arms,), "_total": (m,), "_left": (m,), "_price": (m,), "_common": (d,),
                  "_contexts": (WINDOW, d), "_sums": (4,), "_mean": (arms,), "_sd": (arms,)}  # fmt: skip
        for name, value in json.loads(json.dumps(dict(state))).items():
            if name in shapes:
                value = np.array(value, dtype=np.bool_ if name == "_active" else np.float64).reshape(shapes[name])
            setattr(made, name, value)
        made._budgets = tuple(state["_budgets"])
        made._random = spawn(0, "adaptive")
        made._random.bit_generator.state = state["_random"]
        made._pending = {int(i): (int(at), np.array(x), np.array(paid)) for i, at, x, paid in state["_pending"]}
        return made
