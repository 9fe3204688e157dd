"""Who was tried with what: inverse propensity weights for past assignments that were not drawn at random.

Marketers try good matches, so what was seen says too little of bad ones. Each row is weighted by (share with which its content and event are
tried by anybody) / (chance that this creator was given them): stabilised weights (Robins, Hernán and Brumback 2000), all 1 where matches
were random. The chance is what was logged, or else estimated: trees tell real rows from rows whose (content, event) were dealt anew
(density ratio by classification; Sugiyama, Suzuki and Kanamori 2012), out of fold. Weights are clipped and their effective number told.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.effectiveness.design import Design
from liftwise.models.effectiveness.facts import PAIR, Facts
from liftwise.models.effectiveness.trees import Table, grow

WAYS = ("auto", "logged", "estimated", "none")
MOST = 5.0  # times the mean that a row may weigh
LOGGED = 0.8  # share of rows that must carry a propensity for it to be used
FOLDS = 3
TELLS = 0.53  # AUC from which the choice of matches differs from chance
ROWS = 40_000  # that the estimate is learned from at most


@dataclass(frozen=True)
class Selection:
    """weight : (n,) with mean 1. how : logged, estimated or none. effective : rows that count, (Σw)² / Σw². auc : how far choice differs from chance."""

    weight: Floats
    how: str
    effective: float
    clipped: float
    auc: float

    def summary(self) -> str:
        """For a manager."""
        if self.how == "none":
            return "Past matches look as though they were tried at random."
        source = "the logged chances of being tried" if self.how == "logged" else "an estimate of the chances of being tried"
        return f"Good matches were tried more often; weighted by {source}, {len(self.weight):,} assignments count as {self.effective:,.0f}."


def selection(way: str, facts: Facts, design: Design, propensity: Floats | None, seed: int, threads: int = 1) -> Selection:
    """Weights of past rows.

    Raises
    ------
    InputError
        On an unknown way, on "logged" without propensities, or on one that is not above 0.
    """
    if way not in WAYS:
        raise InputError(f"unknown correction of selection {way!r}", fix=f"choose {', '.join(WAYS)}")
    logged = np.full(len(design), np.nan) if propensity is None else propensity
    if (logged <= 0).any():
        raise InputError(
            "an assignment that was made has propensity 0", where="assignments", fix="deliver the chance with which it was chosen"
        )
    share = float(np.isfinite(logged).mean())
    if way == "logged" and share < LOGGED:
        raise InputError(
            f"{share:.0%} of the assignments have a propensity", where="assignments", fix="choose selection='estimated'"
        )
    if way == "none":
        return Selection(np.ones(len(design)), "none", float(len(design)), 0.0, float("nan"))
    if share >= LOGGED and way != "estimated":
        usual = _usual(facts, design)
        ratio = np.where(np.isfinite(logged), usual / logged, 1.0)
        return _clipped(ratio, "logged", float("nan"))
    ratio, auc = _estimate(facts, design, seed, threads)
    if auc < TELLS:
        return Selection(np.ones(len(design)), "none", float(len(design)), 0.0, auc)
    return _clipped(ratio, "estimated", auc)


def _usual(facts: Facts, d: Design) -> Floats:
    """How often anybody is given this content and, independently, this series of events."""
    content, series = d.c % (len(facts.contents) + 1), d.s % (len(facts.series) + 1)
    shares = [np.bincount(codes)[codes] / len(d) for codes in (content, series)]
    return shares[0] * shares[1]


def _clipped(ratio: Floats, how: str, auc: float) -> Selection:
    weight = ratio / ratio.mean()
    clipped = float((weight > MOST).mean())
    weight = np.minimum(weight, MOST)
    weight = weight / weight.mean()
    return Selection(weight, how, float(weight.sum() ** 2 / (weight**2).sum()), clipped, auc)


def _estimate(facts: Facts, design: Design, seed: int, threads: int) -> tuple[Floats, float]:
    """Density ratio of dealt to real rows for each real row, and the AUC of telling them apart; both out of fold."""
    rng = spawn(seed, "effectiveness.propensity")
    n = len(design)
    dealt = rng.permutation(n)
    real, other = _table(facts, design, np.arange(n)), _table(facts, design, dealt)
    fold = rng.integers(0, FOLDS, n)
    log_odds, reverse = np.empty(n), np.empty(n)
    for k in range(FOLDS):
        train = np.flatnonzero(fold != k)
        train = rng.permutation(train)[:ROWS]
        both = Table(real.names, np.vstack([real.numbers[train], other.numbers[train]]), real.words)
        label = np.repeat([1.0, 0.0], len(train))
        trees, _ = grow(
            "lightgbm",
            both,
            label,
            np.ones(len(label)),
            rounds=80,
            leaves=15,
            rate=0.08,
            seed=seed,
            threads=threads,
            objective="binary",
        )
        held = fold == k
        for out, table in ((log_odds, real), (reverse, other)):
            chance = np.clip(trees.predict(table.take(held)), 1e-4, 1 - 1e-4)
            out[held] = np.log(chance / (1 - chance))
    return np.exp(-log_odds), _auc(log_odds, reverse)


def _table(facts: Facts, d: Design, dealt: np.ndarray) -> Table:
    """Creators of rows with the content and event of the rows `dealt` to them."""
    numbers = [(facts.creator.names, facts.creator.numbers[d.i]), (facts.content.names, facts.content.numbers[d.c[dealt]]),
               (PAIR, facts.pair(d.i, d.e[dealt]))]  # fmt: skip
    words = {name: codes[d.i] for name, codes in facts.creator.words.items()}
    words |= {name: codes[d.e[dealt]] for name, codes in facts.event.words.items()}
    return Table.of(numbers, {**words, "content_type": d.c[dealt], "event": d.s[dealt]})


def _auc(one: Floats, other: Floats) -> float:
    """Chance that a value of `one` lies above a value of `other` (Mann and Whitney 1947)."""
    both = np.concatenate([one, other])
    ranks = np.empty(len(both))
    _, codes, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[codes]
    return float((ranks[: len(one)].sum() - len(one) * (len(one) + 1) / 2) / (len(one) * len(other)))
