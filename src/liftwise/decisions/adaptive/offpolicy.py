"""What another policy would have earned, from a log of decisions whose probabilities were kept; or that the log cannot tell.

Four estimators of E[r | target policy], with weight w = target's probability / logged propensity of what was done, q a model of the reward
fitted on other rows, and q_π its mean under the target:

- ``ipw``     mean of w·r (Horvitz and Thompson 1952)
- ``snipw``   Σ w·r / Σ w (Swaminathan and Joachims 2015)
- ``dr``      mean of q_π + w·(r − q) (Dudík, Langford and Li 2011)
- ``switch``  as dr, but rows whose weight is above a threshold are left to q (Wang, Agarwal and Dudík 2017)

The interval. A weighted sum of rare rewards is skewed, and its variance is estimated low exactly when it is itself low, so a normal interval
misses from above (one in five times at 0.5 % clicks and moderate overlap). Here it is a gamma interval (Fay and Feuer 1997), whose upper end allows
for one more reward of the size-biased mean weight, and whose variance is the mean of the sample's and the larger of that and what the weights of *all* rows
say of a reward that comes anywhere. Rewards below 0 shift it. The variance is of clusters where rows come in clusters (people).

It refuses (`CannotTell`) below `LEAST_ROWS` effective rows or `LEAST_REWARDS` effective rewards, where the weights' tail is heavier than
`HEAVIEST` (Pareto's k of Vehtari et al. 2015), where one row is most of the answer, or where the weights do not average to 1.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (plotly and scipy have no types)
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import spawn

if TYPE_CHECKING:
    import plotly.graph_objects as go

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Method = Literal["ipw", "snipw", "dr", "switch"]
METHODS: tuple[Method, ...] = ("ipw", "snipw", "dr", "switch")
LEAST_ROWS, LEAST_REWARDS = 100.0, 10.0
HEAVIEST = 0.5  # Pareto k of the weights: above it their variance is not finite
LARGEST = 0.10  # share of all weight that one row may have
OFF = 4.0  # standard errors by which mean weight may miss 1
ASSUMED = 0.20  # share of the target's weight that may be left to an assumption
FOLDS, SHRINK = 3, 20.0  # of the reward model; rows that the common model counts for in each arm's


@dataclass(frozen=True)
class Log:
    """Decisions that were made at random with known probabilities.

    reward, propensity : (n,). action : (n,) codes of arms. features : (n, d) of the context, for the reward model.
    cluster : (n,) whose rows hang together, such as a person's.
    """

    reward: Floats
    action: Ints
    propensity: Floats
    features: Floats | None = None
    cluster: NDArray[Any] | None = None

    @classmethod
    def of(
        cls,
        reward: ArrayLike,
        action: ArrayLike,
        propensity: ArrayLike,
        *,
        features: ArrayLike | None = None,
        cluster: ArrayLike | None = None,
    ) -> Log:
        """Checked; InputError names the first row that is wrong."""
        r, p = np.asarray(reward, dtype=np.float64), np.asarray(propensity, dtype=np.float64)
        a = np.asarray(action)
        x = None if features is None else np.asarray(features, dtype=np.float64).reshape(len(r), -1)
        if not (len(r) == len(p) == len(a)) or len(r) == 0:
            raise InputError(f"{len(r)} rewards, {len(a)} actions, {len(p)} propensities", where="log")
        for name, good in (("propensity outside (0, 1]", (p > 0) & (p <= 1)), ("reward that is not finite", np.isfinite(r)),
                           ("action code below 0", a >= 0), ("feature that is not finite", x is None or np.isfinite(x).all(axis=1))):  # fmt: skip
            if not np.all(good):
                raise InputError(f"a {name}", where=f"log row {int(np.argmin(good))}")
        return cls(
            r, a.astype(np.int64), p, x, None if cluster is None else np.unique(np.asarray(cluster), return_inverse=True)[1]
        )


@dataclass(frozen=True)
class OffPolicy:
    """What the target policy earns per decision.

    low, high : interval of `level`.  effective_rows : (Σw)²/Σw².  effective_rewards : the same of w·r.  largest_weight, mean_weight : of the rows
    (mean 1 when propensities are right).  tail : Pareto's k of the weights used.  assumed : share of the target's weight that was clipped or left to
    the model; there the interval supposes rewards between nothing and twice the usual.  logged : mean reward of the log.
    warnings : checks that came near to a refusal.
    """

    method: Method
    value: float
    low: float
    high: float
    level: float
    standard_error: float
    rows: int
    effective_rows: float
    effective_rewards: float
    largest_weight: float
    mean_weight: float
    tail: float
    assumed: float
    logged: float
    warnings: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """One row."""
        return pd.DataFrame([{**vars(self), "warnings": "; ".join(self.warnings)}])

    def summary(self) -> str:
        """For a manager."""
        sure = "more" if self.low > self.logged else "less" if self.high < self.logged else "not provably more or less"
        warned = f" Careful: {'; '.join(self.warnings)}." if self.warnings else ""
        return (
            f"The other policy would have earned {self.value:.4g} a decision ({self.level:.0%}: {self.low:.4g} to {self.high:.4g}), "
            f"{sure} than the {self.logged:.4g} of the log; worth {self.effective_rows:,.0f} of {self.rows:,} decisions.{warned}"
        )

    def plot(self) -> go.Figure:
        """The interval beside the log's mean."""
        import plotly.graph_objects as go

        bar = {"type": "data", "symmetric": False, "array": [self.high - self.value], "arrayminus": [self.value - self.low]}
        figure = go.Figure(go.Scatter(x=[self.value], y=[self.method], mode="markers", error_x={**bar}))
        figure.add_vline(x=self.logged, line_dash="dot", annotation_text="the log")
        return figure.update_layout(template="plotly_white", xaxis_title="reward a decision")


@dataclass(frozen=True)
class _Parts:
    """Of an estimate: value, each row's influence on it, residuals, weights used, mean-model rows, and share left to assumption."""

    value: float
    influence: Floats
    residual: Floats
    weight: Floats
    base: Floats
    assumed: float


def evaluate(
    log: Log,
    target: ArrayLike,
    *,
    method: Method = "dr",
    level: float = 0.95,
    clip: float | None = None,
    model: ArrayLike | None = None,
    refuse: bool = True,
    seed: int = 7,
) -> OffPolicy:
    """The mean reward of the policy `target` on the contexts of `log`.

    Parameters
    ----------
    target : (n, arms) probabilities; for ipw and snipw also (n,), of what was done.
    clip : largest weight kept; none by default. What it takes away widens the interval.
    model : (n, arms) predicted rewards, not fitted on these rows; default: ridge for each arm, shrunk to that of all, fitted on other rows.
    refuse : False returns what there is, refusals among the warnings (to look at, not to decide by).

    Raises
    ------
    InputError
        Shapes or probabilities that cannot be.
    CannotTell
        Overlap is too small; the figures are in the message.
    """
    if method not in METHODS:
        raise InputError(f"no estimator {method!r}", where="method", fix=f"one of {', '.join(METHODS)}")
    probability, chances = _target(log, target, method)
    weight = chances / log.propensity
    used = weight if clip is None else np.minimum(weight, clip)
    q = _model(log, probability, model, seed) if probability is not None and method in ("dr", "switch") else None
    parts = _estimate(log, used, method, probability, q)
    lost = max(0.0, 1.0 - float(used.mean())) if clip is not None else 0.0
    return _answer(log, parts, weight, lost, method, level, refuse)


def compare(log: Log, target: ArrayLike, *, level: float = 0.95, clip: float | None = None, seed: int = 7) -> pd.DataFrame:
    """All four estimators side by side; those that refuse say why in column `refused`."""
    rows = list[pd.DataFrame]()
    for method in METHODS:
        told = evaluate(log, target, method=method, level=level, clip=clip, refuse=False, seed=seed)
        try:
            evaluate(log, target, method=method, level=level, clip=clip, seed=seed)
            why = ""
        except CannotTell as error:
            why = error.what
        rows.append(told.to_frame().assign(refused=why))
    return pd.concat(rows, ignore_index=True)


def _target(log: Log, target: ArrayLike, method: str) -> tuple[Floats | None, Floats]:
    """All probabilities where given, and those of what was done."""
    told = np.asarray(target, dtype=np.float64)
    if not (np.isfinite(told).all() and (told >= 0).all() and (told <= 1 + 1e-9).all()) or len(told) != len(log.reward):
        raise InputError("one probability in [0, 1] is needed for each row of the log", where="target")
    if told.ndim == 1:
        if method in ("dr", "switch"):
            raise InputError(f"{method} needs the probabilities of all arms (n, arms)", where="target")
        return None, told
    if log.action.max() >= told.shape[1]:
        raise InputError(f"the log has arm {log.action.max()}, the target {told.shape[1]} arms", where="target")
    off = np.abs(told.sum(axis=1) - 1) > 1e-6
    if off.any():
        raise InputError("probabilities of a row do not add up to 1", where=f"target row {int(off.argmax())}")
    return told, told[np.arange(len(told)), log.action]


def _model(log: Log, probability: Floats, model: ArrayLike | None, seed: int) -> Floats:
    """(n, arms) expected rewards, from rows of other clusters."""
    if model is not None:
        told = np.asarray(model, dtype=np.float64)
        if told.shape != probability.shape or not np.isfinite(told).all():
            raise InputError(
                f"predictions have shape {told.shape}, the target {probability.shape}, and all must be finite", where="model"
            )
        return told
    n, arms = probability.shape
    x = np.ones((n, 1))
    if log.features is not None:
        scaled = (log.features - log.features.mean(axis=0)) / np.maximum(log.features.std(axis=0), 1e-12)
        x = np.hstack([x, scaled])
    units = np.arange(n) if log.cluster is None else log.cluster
    fold = spawn(seed, "offpolicy folds").permutation(int(units.max()) + 1)[units] % FOLDS
    q, ridge = np.zeros((n, arms)), np.eye(x.shape[1])
    for k in range(FOLDS):
        of_others, here = fold != k, fold == k
        z, r, a = x[of_others], log.reward[of_others], log.action[of_others]
        common = np.linalg.solve(z.T @ z + ridge, z.T @ r)
        for arm in range(arms):
            its = z[a == arm]
            own = np.linalg.solve(its.T @ its + SHRINK * ridge, its.T @ r[a == arm] + SHRINK * common)
            q[here, arm] = x[here] @ own
    return np.clip(q, log.reward.min(), log.reward.max())


def _estimate(log: Log, weight: Floats, method: Method, probability: Floats | None, q: Floats | None) -> _Parts:
    r, n = log.reward, len(log.reward)
    nothing = np.zeros(n)
    if method == "ipw":
        value = float((weight * r).mean())
        return _Parts(value, weight * r - value, r, weight, nothing, 0.0)
    if method == "snipw":
        value, mean = float((weight * r).sum() / max(weight.sum(), 1e-300)), max(float(weight.mean()), 1e-300)
        return _Parts(value, weight * (r - value) / mean, r - value, weight / mean, nothing, 0.0)
    assert probability is not None and q is not None
    base, residual = (probability * q).sum(axis=1), r - q[np.arange(n), log.action]
    if method == "dr":
        return _robust(base, residual, weight, 0.0)
    usual = abs(float((weight * r).sum() / max(weight.sum(), 1e-300)))
    best, least = _robust(base, residual, weight, 0.0), np.inf
    for threshold in (*np.quantile(weight, [0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999]), np.inf):
        kept = np.where(weight <= threshold, weight, 0.0)
        lost = max(0.0, 1.0 - float(kept.mean())) if (kept < weight).any() else 0.0
        tried = _robust(base, residual, kept, lost)
        error = float(tried.influence.var()) / n + (lost * usual) ** 2
        if error < least:
            best, least = tried, error
    return best


def _robust(base: Floats, residual: Floats, weight: Floats, assumed: float) -> _Parts:
    rows = base + weight * residual
    value = float(rows.mean())
    return _Parts(value, rows - value, residual, weight, base, assumed)


def _answer(log: Log, parts: _Parts, weight: Floats, lost: float, method: Method, level: float, refuse: bool) -> OffPolicy:
    w, r, n = parts.weight, log.reward, len(log.reward)
    assumed = parts.assumed + lost
    variance = _variance(log, parts)
    low, high = _interval(parts.value, variance, w, r, level)
    usual = abs(float((w * r).sum() / max(w.sum(), 1e-300)))
    if method == "ipw" and r.min() >= 0:
        high += 2 * assumed * usual  # what was clipped away earned something
    else:
        low, high = low - assumed * usual, high + assumed * usual
    low = max(low, min(0.0, float(r.min())))
    rewards = w * (r - min(0.0, float(r.min())))
    figures = {
        "effective_rows": _effective(w), "effective_rewards": _effective(rewards), "largest_weight": float(weight.max()),
        "mean_weight": float(weight.mean()), "tail": tail(w), "assumed": assumed,
    }  # fmt: skip
    spread = _sampled(log, weight - weight.mean())[0]
    wrong, near = _checks(figures, w, float(np.sqrt(spread)), _sampled(log, parts.influence)[1])
    if wrong and refuse:
        raise CannotTell(
            f"the log cannot tell what that policy earns: {'; '.join(wrong)}",
            fix="log a policy that tries more, or ask about one nearer to the log's",
        )
    return OffPolicy(method, parts.value, low, high, level, float(np.sqrt(variance)), n, logged=float(r.mean()),
                     warnings=(*wrong, *near), **figures)  # fmt: skip


def _effective(weights: Floats) -> float:
    """Kish's effective number."""
    squares = float((weights * weights).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def _variance(log: Log, parts: _Parts) -> float:
    """Of the estimate: the mean of the sample's, and the larger of it and what all weights say of a residual that comes anywhere."""
    n, w = len(log.reward), parts.weight
    sample, design = _sampled(log, parts.influence)
    squares = float((w * parts.residual**2).sum()) / max(float(w.sum()), 1e-300)
    spread = float((w * w).mean()) * squares - float((w * parts.residual).mean()) ** 2
    anywhere = (float(parts.base.var()) + spread) / n * design
    return (sample + max(sample, anywhere)) / 2


def _sampled(log: Log, influence: Floats) -> tuple[float, float]:
    """Variance of a mean of (n,) influences, and how many times it is that of independent rows (at least 1: Kish's design effect)."""
    n = len(influence)
    rows = float(influence @ influence) / n / max(n - 1, 1)
    if log.cluster is None:
        return rows, 1.0
    sums = np.bincount(log.cluster, weights=influence)
    sample = float(sums @ sums) / n**2 * len(sums) / max(len(sums) - 1, 1)
    return sample, max(1.0, sample / max(rows, 1e-300))


def _interval(value: float, variance: float, w: Floats, r: Floats, level: float) -> tuple[float, float]:
    """Fay and Feuer's gamma interval, shifted to the lowest reward."""
    from scipy.special import gammaincinv

    least = min(0.0, float(r.min()))
    above, sized = r - least, float((w * (r - least)).sum())
    if sized <= 0 or variance <= 0 or value <= least:
        return value, value
    one = (
        float((w * w).sum()) / float(w.sum()) ** 2 * float((w * above**2).sum()) / sized
    )  # one more reward, as the weights have them
    tail_share, mean = (1 - level) / 2, value - least
    low = float(gammaincinv(mean**2 / variance, tail_share)) * variance / mean
    mean, variance = mean + one, variance + one**2
    high = float(gammaincinv(mean**2 / variance, 1 - tail_share)) * variance / mean
    return least + low, least + high


def tail(weights: Floats) -> float:
    """Pareto's k of the largest weights (Zhang and Stephens 2009, with the prior of Vehtari et al. 2015); 0 where they are all alike.

    Above 1/2 the variance of a weighted mean is not finite, above 0.7 its error can no longer be told.
    """
    count = int(min(0.2 * len(weights), 3 * np.sqrt(len(weights))))
    if count < 5:
        return 0.0
    largest = np.sort(weights)[-count - 1 :]
    over = largest[1:] - largest[0]
    over = over[over > 1e-12 * largest[-1]]
    if len(over) < 5:
        return 0.0
    m = len(over)
    grid = 30 + int(np.sqrt(m))
    theta = 1 / over[-1] + (1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3 * over[int(m / 4 + 0.5) - 1])
    shape = np.log1p(-theta[:, None] * over).mean(axis=1)
    likelihood = m * (np.log(-theta / shape) - shape - 1)
    odds = np.exp(likelihood - likelihood.max())
    k = float(np.log1p(-float(theta @ odds / odds.sum()) * over).mean())
    return (m * k + 5.0) / (m + 10)


def _checks(figures: dict[str, float], used: Floats, error: float, design: float) -> tuple[list[str], list[str]]:
    """What forbids an answer, and what comes near to it. `error`: of the mean weight; `design`: rows that say as much as one alone."""
    share = float(used.max() / max(used.sum(), 1e-300))
    off = abs(figures["mean_weight"] - 1) / max(error, 1e-12)
    rows, rewards = figures["effective_rows"] / design, figures["effective_rewards"] / design
    tested = (
        (rows / LEAST_ROWS, f"effective sample size {rows:,.0f} (at least {LEAST_ROWS:.0f})"),
        (rewards / LEAST_REWARDS, f"effective rewards {rewards:.1f} (at least {LEAST_REWARDS:.0f})"),
        (HEAVIEST / max(figures["tail"], 1e-9), f"tail index of the weights {figures['tail']:.2f} (at most {HEAVIEST})"),
        (LARGEST / max(share, 1e-9), f"one row has {share:.0%} of all weight (largest {figures['largest_weight']:,.0f})"),
        (OFF / max(off, 1e-9), f"mean weight {figures['mean_weight']:.3f} is {off:.1f} standard errors from 1: propensities do not fit"),
        (ASSUMED / max(figures["assumed"], 1e-9), f"{figures['assumed']:.0%} of the target's weight rests on an assumption"),
    )  # fmt: skip
    return [text for room, text in tested if room < 1], [text for room, text in tested if 1 <= room < 1.2]
