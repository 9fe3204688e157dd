"""σ that keeps its word: normalised split conformal prediction on outcomes that the model had not seen.

The size of a residual is predicted row by row: first sd² = (a·noise^b)² + c·spread², what the member itself believes with a, b, c most
likely under a Student t; then trees on the log of the absolute residual correct it, cross-fitted by creator. The scores |residual| / size are ranked (Lei et al. 2018), apart for creators
with posts and without (Vovk 2012); the latter come from creators that were left out of the fit altogether. Ensemble spread alone
would cover 18 % where it says 90 %: it is only one of the features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats, normal_quantile, spawn
from liftwise.models.effectiveness.trees import Table, Trees, grow

LEVEL = 0.90
DOUBT = 0.2  # sd of a slope before any outcome
FREEDOM = 5.0  # of the noise
PARTS = 4  # in which creators are cross-fitted
FEWEST = 40  # residuals that a group of its own needs
SMALLEST = 1e-3  # size, log scale
NAMES = ("noise", "spread", "known", "size")


@dataclass(frozen=True)
class Unseen:
    """Outcomes foretold from before, and by whom: residual (n,), creator codes, `known` posts behind each, x (n, columns) whose first two
    are `noise` (log sd) and `spread`."""

    residual: Floats
    creator: np.ndarray
    known: Floats
    x: Table
    weight: Floats

    @property
    def warm(self) -> np.ndarray:
        """Whose creator had posts."""
        return self.known > 0


@dataclass(frozen=True)
class Straight:
    """log f = shift + slope·forecast: what unseen outcomes, weighted against selection, say of level and slope (doubly robust: it mends
    what weights in the fit left, since here all creators are pooled).
    """

    shift: float
    slope: float

    @classmethod
    def of(cls, found: Floats, target: Floats, weight: Floats) -> Straight:
        """Slope by weighted least squares drawn to 1, shift by the weighted median drawn to 0."""
        centre = np.average(found, weights=weight)
        x, effective = found - centre, weight.sum() ** 2 / (weight**2).sum()
        rest = target - found
        noise, scale = float(np.average(rest**2, weights=weight)), effective / weight.sum()
        more = scale * float((weight * x * rest).sum()) / (scale * float((weight * x**2).sum()) + noise / DOUBT**2)
        left = target - centre - (1 + more) * x
        order = np.argsort(left, kind="stable")
        middle = float(left[order][np.searchsorted(np.cumsum(weight[order]), weight.sum() / 2)])
        return cls(middle * effective / (effective + 50) - more * centre, 1 + more)


def straight(found: Floats, target: Floats, weight: Floats, warm: np.ndarray) -> dict[bool, Straight]:
    """Apart for warm and cold rows; a group that is too small takes the line of all."""
    out = {}
    for kind in (True, False):
        mine = warm == kind if (warm == kind).sum() >= FEWEST else np.ones(len(found), bool)
        out[kind] = Straight.of(found[mine], target[mine], weight[mine])
    return out


@dataclass(frozen=True)
class Belief:
    """sd² = (a·noise^b)² + c·spread²."""

    log_a: float
    b: float
    c: float

    @classmethod
    def of(cls, rest: Floats, noise: Floats, spread: Floats) -> Belief:
        """The most likely under a Student t, with normal priors that say: believe the member unless many outcomes object."""
        from scipy.optimize import minimize

        start = float(np.log(max(np.median(np.abs(rest)), 1e-4)) - np.median(noise))

        def loss(told: Floats) -> float:
            sd = cls(*told)(noise, spread)
            fit = (FREEDOM + 1) / 2 * np.log1p((rest / sd) ** 2 / FREEDOM) + np.log(sd)
            return float(fit.sum() + ((told[1] - 1) ** 2 + (told[2] - 1) ** 2) / (2 * 0.3**2))

        found = minimize(loss, [start, 1.0, 1.0], method="L-BFGS-B", bounds=[(start - 4, start + 4), (0.0, 3.0), (0.0, 6.0)])
        return cls(*(float(v) for v in found.x))

    def __call__(self, noise: Floats, spread: Floats) -> Floats:
        return np.sqrt(np.exp(2 * (self.log_a + self.b * noise)) + self.c * spread**2 + 1e-12)


@dataclass(frozen=True)
class Conformal:
    """Learned sizes, and the scores of warm and of cold rows, each with its weight."""

    trees: tuple[Trees, ...]
    scores: dict[bool, tuple[Floats, Floats]]
    belief: Belief
    coverage: float

    @classmethod
    def of(cls, unseen: Unseen, seed: int, threads: int = 1) -> Conformal:
        """From residuals of out-of-time and left-out rows."""
        rest = np.abs(unseen.residual)
        belief = Belief.of(rest, unseen.x.numbers[:, 0], unseen.x.numbers[:, 1])
        believed = belief(unseen.x.numbers[:, 0], unseen.x.numbers[:, 1])
        part = spawn(seed, "effectiveness.sizes").integers(0, PARTS, int(unseen.creator.max(initial=0)) + 2)[unseen.creator]
        wanted = np.log(np.maximum(rest, 0.02 * np.median(rest) + 1e-9)) - np.log(believed)
        trees, size = [], np.empty(len(rest))
        for k in range(PARTS):
            train, held = part != k, part == k
            rounds = int(np.clip(len(rest) // 60, 5, 80))
            tree, _ = grow("lightgbm", unseen.x.take(train), wanted[train], np.ones(train.sum()), rounds=rounds, leaves=6, rate=0.05,
                           seed=seed, threads=threads, objective="l2")  # fmt: skip
            trees.append(tree)
            size[held] = believed[held] * np.exp(tree.predict(unseen.x.take(held)))
        if _loss(rest, size) >= _loss(rest, believed):  # what trees add must foretell the size of residuals they did not see
            trees, size = [], believed
        score = rest / np.maximum(size, SMALLEST)
        scores = _groups(score, unseen.warm, unseen.weight)
        return cls(tuple(trees), scores, belief, _honest(score, unseen, seed))

    def size(self, x: Table) -> Floats:
        """Predicted size of the residual of rows; (n,)."""
        log = np.mean([tree.predict(x) for tree in self.trees], axis=0) if self.trees else 0.0
        return np.maximum(self.belief(x.numbers[:, 0], x.numbers[:, 1]) * np.exp(log), SMALLEST)

    def half(self, x: Table, warm: np.ndarray, level: float = LEVEL) -> Floats:
        """Half-width of the interval of `level`, log scale; (n,)."""
        return self.size(x) * np.where(warm, conformal(*self.scores[True], level), conformal(*self.scores[False], level))


def conformal(score: Floats, weight: Floats, level: float = LEVEL) -> float:
    """The smallest score below which `level` of the weight lies, that of one more row of mean weight counted as above (Tibshirani et al.
    2019); the ⌈(n + 1)·level⌉-th smallest where all weigh the same.
    """
    order = np.argsort(score, kind="stable")
    share = np.cumsum(weight[order]) / (weight.sum() + weight.mean())
    return float(score[order][min(int(np.searchsorted(share, level - 1e-12)), len(score) - 1)])


def interval(
    table: pd.DataFrame, level: float = LEVEL, *, smear: float = 1.0, ratio: float | None = None
) -> tuple[Floats, Floats]:
    """Low and high of each row of table `effectiveness`.

    `uncertainty` is that of a log-normal outcome with mean `predicted`: s² = log(1 + (σ/f)²), median f·exp(−smear·s²/2), and the interval
    of 90 % is median·exp(±1.645 s). `EffectivenessModel.interval` knows `smear`, and `ratio` for levels other than 90 %.
    """
    f = table["predicted"].to_numpy(dtype=float)
    relative = np.divide(table["uncertainty"].to_numpy(dtype=float), f, out=np.zeros(len(f)), where=f > 0)
    s = np.sqrt(np.log1p(relative**2))
    median, width = (
        f * np.exp(-smear * s**2 / 2),
        s * (normal_quantile(level) if ratio is None else normal_quantile(LEVEL) * ratio),
    )
    return median * np.exp(-width), median * np.exp(width)


def _loss(rest: Floats, size: Floats) -> float:
    """Mean −log likelihood of a Student t of that size, at the best common factor."""
    log = np.log(size)
    return min(
        float(((FREEDOM + 1) / 2 * np.log1p((rest / (size * k)) ** 2 / FREEDOM) + log + np.log(k)).mean())
        for k in np.geomspace(0.5, 2.0, 25)
    )


def _groups(score: Floats, warm: np.ndarray, weight: Floats) -> dict[bool, tuple[Floats, Floats]]:
    """Scores and weights of warm and cold rows; a group that is too small takes those of all."""
    out = {}
    for kind in (True, False):
        mine = warm == kind if (warm == kind).sum() >= FEWEST else np.ones(len(score), bool)
        out[kind] = (score[mine], weight[mine])
    return out


def _honest(score: Floats, unseen: Unseen, seed: int) -> float:
    """Share of one half of the creators inside intervals made of the other half, and the reverse."""
    half = spawn(seed, "effectiveness.halves").random(int(unseen.creator.max(initial=0)) + 2)[unseen.creator] < 0.5
    inside = np.zeros(len(score), bool)
    for one in (half, ~half):
        if one.all() or not one.any():
            return float("nan")
        groups = _groups(score[one], unseen.warm[one], unseen.weight[one])
        limit = np.where(unseen.warm[~one], conformal(*groups[True]), conformal(*groups[False]))
        inside[~one] = score[~one] <= limit
    return float(np.average(inside, weights=unseen.weight))
