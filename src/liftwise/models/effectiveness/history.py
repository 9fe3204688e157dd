"""What 𝒟_H says of a tuple on the day it is decided: shrunken means over earlier outcomes, each beyond what a plain line expects.

Outcomes are first freed of what the record, the content and the season explain (ridge regression): raw means would credit a creator with
the contents they happened to be asked for. Numbers of outcomes enter as reliability n / (n + 5), which does not drift with time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from liftwise.core.uncertainty import Floats
from liftwise.models.effectiveness.design import Design, Scale
from liftwise.models.effectiveness.facts import Facts
from liftwise.models.effectiveness.member import Task
from liftwise.models.effectiveness.tuples import PRIOR, past_mean

RIDGE = 20.0
NAMES = ("creator", "content", "series", "creator_content", "creator_series", "creator_genre")
HISTORY = tuple(f"{name}_{what}" for name in NAMES for what in ("before", "known"))


@dataclass(frozen=True)
class History:
    """Outcomes known so far, beyond what a line expects."""

    design: Design
    rest: Floats
    observed: np.ndarray

    @classmethod
    def of(cls, task: Task, rows: np.ndarray) -> History:
        """From `rows` of the task."""
        design, y = task.design.take(rows), task.target[rows]
        x = _plain(task.facts, design)
        scale = Scale.of(x)
        x = np.column_stack([np.ones(len(x)), scale(x)])
        weight = task.weight[rows][:, None]
        penalty = RIDGE * np.eye(x.shape[1])
        penalty[0, 0] = 0.0
        line = np.linalg.solve(x.T @ (weight * x) + penalty + 1e-9 * np.eye(x.shape[1]), x.T @ (weight[:, 0] * y))
        return cls(design, y - x @ line, task.observed[rows])

    def features(self, facts: Facts, design: Design) -> Floats:
        """(n, 12) in the order of `HISTORY`: nothing that was observed on or after the day of decision."""
        out = []
        for name in NAMES:
            own, asked = _key(name, facts, self.design), _key(name, facts, design)
            mean, count = past_mean(own, self.observed, self.rest, asked, design.decided)
            out += [mean, count / (count + PRIOR)]
        return np.column_stack(out)


def _key(name: str, facts: Facts, d: Design) -> np.ndarray:
    """One whole number for each (creator, content …)."""
    contents, series = len(facts.contents) + 1, len(facts.series) + 1
    i, c, s = d.i.astype(np.int64), d.c.astype(np.int64), d.s.astype(np.int64)
    genre = facts.event.words["event_genre"][d.e].astype(np.int64)
    return {"creator": i, "content": c, "series": s, "creator_content": i * contents + c, "creator_series": i * series + s,
            "creator_genre": i * (int(facts.event.words["event_genre"].max(initial=0)) + 2) + genre}[name]  # fmt: skip


def _plain(facts: Facts, d: Design) -> Floats:
    """What the line sees: the record, contents as columns where they are few, the event, price, season."""
    blocks = [
        facts.creator.spread_out().numbers[d.i],
        facts.content.numbers[d.c],
        facts.event.spread_out().numbers[d.e],
        d.pair,
        d.clock,
    ]
    counts = np.bincount(d.c[d.c >= 0], minlength=len(facts.contents))
    often = np.flatnonzero(counts >= max(20, 0.002 * len(d)))[:80]
    return np.column_stack([*blocks, d.premium, d.c[:, None] == often])
