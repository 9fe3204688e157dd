"""What 𝒟_H says of a tuple on the day it is decided: shrunken means over earlier outcomes, each beyond what a plain line expects.

Outcomes are first freed of what the record, the content and the season explain (ridge regression): raw means would credit a creator with
the contents they happened to be asked for. How far a mean is drawn to the general one follows from how much its outcomes differ within and
between keys (one-way analysis of variance; Searle, Casella and McCulloch 1992, §3.6): channels whose posts resemble one another are
believed after one post. Numbers of outcomes enter as reliability n / (n + prior), which does not drift with time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.effectiveness.design import Design, Scale
from liftwise.models.effectiveness.facts import Facts
from liftwise.models.effectiveness.member import Task
from liftwise.models.effectiveness.tuples import PRIOR, past_mean

RIDGE = 20.0
PRIORS = (0.2, 50.0)  # observations that a mean may be shrunk by
PARTS = 10  # of rows, whose creators' means leave out their own part
REPEATED = 30  # outcomes beyond the first of their key that tell of its shrinkage
NAMES = ("creator", "content", "series", "creator_content", "creator_series", "creator_genre")
HISTORY = tuple(f"{name}_{what}" for name in NAMES for what in ("before", "known"))


@dataclass(frozen=True)
class Line:
    """What a ridge regression expects of the record, the content, the event, price and season.

    without : (n,) what it would expect of each row that it was learned from, had it not seen that row.
    """

    scale: Scale
    often: np.ndarray
    slopes: Floats
    without: Floats

    @classmethod
    def of(cls, facts: Facts, d: Design, y: Floats, weight: Floats) -> Line:
        """Learn it."""
        counts = np.bincount(d.c[d.c >= 0], minlength=len(facts.contents))
        often = np.flatnonzero(counts >= max(20, 0.002 * len(d)))[:80]
        raw = _plain(facts, d, often)
        scale = Scale.of(raw)
        x = np.column_stack([np.ones(len(raw)), scale(raw)])
        penalty = RIDGE * np.eye(x.shape[1])
        penalty[0, 0] = 0.0
        weighted = weight[:, None] * x
        inverse = np.linalg.inv(x.T @ weighted + penalty + 1e-9 * np.eye(x.shape[1]))
        slopes = inverse @ (weighted.T @ y)
        leverage = np.minimum(((weighted @ inverse) * x).sum(axis=1), 0.9)
        return cls(scale, often, slopes, y - (y - x @ slopes) / (1 - leverage))

    def __call__(self, facts: Facts, d: Design) -> Floats:
        """(n,)."""
        return self.slopes[0] + self.scale(_plain(facts, d, self.often)) @ self.slopes[1:]


@dataclass(frozen=True)
class History:
    """Outcomes known so far, beyond what a line expects."""

    design: Design
    rest: Floats
    observed: np.ndarray
    line: Line
    priors: tuple[float, ...] = (PRIOR,) * len(NAMES)

    @classmethod
    def of(cls, task: Task, rows: np.ndarray) -> History:
        """From `rows` of the task."""
        design, y = task.design.take(rows), task.target[rows]
        line = Line.of(task.facts, design, y, task.weight[rows])
        rest = y - line.without
        priors = tuple(shrinkage(_key(name, task.facts, design), rest) for name in NAMES)
        return cls(design, rest, task.observed[rows], line, priors)

    def features(self, facts: Facts, design: Design) -> Floats:
        """(n, 12) in the order of `HISTORY`: nothing that was observed on or after the day of decision."""
        out = []
        for name, prior in zip(NAMES, self.priors, strict=True):
            own, asked = _key(name, facts, self.design), _key(name, facts, design)
            mean, count = past_mean(
                own, self.observed, self.rest, asked, design.decided, prior, towards=0.0
            )  # a general mean would tell the day
            out += [mean, count / (count + prior)]
        return np.column_stack(out)

    def around(self, facts: Facts, seed: int) -> Floats:
        """The same of the rows that it was made of, (n, 12), with means of a creator over all parts of the rows but their own: as many
        outcomes stand behind rows that are learned from as behind those that are asked later.

        Parts, and not all rows but one: the mean of the others would say of a much-used key, to the last digit, what its own outcome is.
        """
        out, part = self.features(facts, self.design), spawn(seed, "effectiveness.parts").integers(0, PARTS, len(self.rest))
        for k, (name, prior) in enumerate(zip(NAMES, self.priors, strict=True)):
            if name.startswith("creator"):
                codes = pd.factorize(_key(name, facts, self.design))[0]
                mine = codes * PARTS + part
                count = (np.bincount(codes)[codes] - np.bincount(mine)[mine]).astype(float)
                total = np.bincount(codes, self.rest)[codes] - np.bincount(mine, self.rest)[mine]
                out[:, 2 * k], out[:, 2 * k + 1] = total / (count + prior), count / (count + prior)
        return out


def shrinkage(keys: np.ndarray, rest: Floats) -> float:
    """Variance within keys by that between them: how many outcomes a mean is shrunk by."""
    codes, names = pd.factorize(keys)
    n, groups = len(rest), len(names)
    if n - groups < REPEATED or groups < 3:
        return PRIOR
    count = np.bincount(codes)
    mean = np.bincount(codes, rest) / count
    within = float(((rest - mean[codes]) ** 2).sum()) / (n - groups)
    size = (n - float((count.astype(float) ** 2).sum()) / n) / (groups - 1)
    between = (float((count * (mean - rest.mean()) ** 2).sum()) / (groups - 1) - within) / size
    return float(np.clip(within / max(between, 1e-9), *PRIORS))


def _key(name: str, facts: Facts, d: Design) -> np.ndarray:
    """One whole number for each (creator, content …)."""
    contents, series = len(facts.contents) + 1, len(facts.series) + 1
    i, c, s = d.i.astype(np.int64), d.c.astype(np.int64), d.s.astype(np.int64)
    genre = facts.event.words["event_genre"][d.e].astype(np.int64)
    return {"creator": i, "content": c, "series": s, "creator_content": i * contents + c, "creator_series": i * series + s,
            "creator_genre": i * (int(facts.event.words["event_genre"].max(initial=0)) + 2) + genre}[name]  # fmt: skip


def _plain(facts: Facts, d: Design, often: np.ndarray) -> Floats:
    """What the line sees; contents that are used `often` are columns."""
    blocks = [
        facts.creator.spread_out().numbers[d.i],
        facts.content.numbers[d.c],
        facts.event.spread_out().numbers[d.e],
        d.pair,
        d.clock,
    ]
    return np.column_stack([*blocks, d.premium, d.c[:, None] == often])
