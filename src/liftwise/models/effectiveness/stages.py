"""Trees in three stages: of the record, of the record beside history, and of the market on what those leave.

The first alone is what 𝒟_I says, the second less the first what knowing the history adds. The second learns the outcome itself, not what
the first leaves: trees know by heart much of what they were grown on, so little of a creator would be left to history, and what
history says depends on the record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from liftwise.core.uncertainty import Floats
from liftwise.models.effectiveness.design import Design
from liftwise.models.effectiveness.facts import CLOCK, MARKET, PAIR, Facts
from liftwise.models.effectiveness.history import HISTORY, History
from liftwise.models.effectiveness.member import DATABASES, Task, Terms
from liftwise.models.effectiveness.trees import Table, Trees, grow, library

# rounds and leaves of each stage: with many rows, with few
SIZES = {"influencer": ((400, 31), (250, 15)), "history": ((700, 31), (250, 15)), "market": ((80, 6), (60, 4))}
LINE = "plain line"  # what a ridge regression expects: trees alone need many splits for a slope
MANY = 20_000
TIMES = (1, 3)  # how often trees that foretell are grown and averaged: with many rows, with few
COMMON = 20  # posts that a content needs to be a word of its own: trees would learn rarer ones by heart
Extra = Callable[[Facts, Design], tuple[tuple[str, ...], Floats]]


def record(facts: Facts, d: Design, common: np.ndarray, ids: str = "none") -> Table:
    """What 𝒟_I says of rows: who, what, for which event, when, at which price."""
    numbers = [
        (facts.creator.names, facts.creator.numbers[d.i]), (facts.content.names, facts.content.numbers[d.c]),
        (facts.event.names, facts.event.numbers[d.e]), (PAIR, d.pair), (CLOCK, d.clock), (("price_premium",), d.premium[:, None]),
    ]  # fmt: skip
    words = {name: codes[d.i] for name, codes in facts.creator.words.items()} | {
        name: codes[d.e] for name, codes in facts.event.words.items()
    }
    words["content_type"] = np.where(common[d.c], d.c, -1)
    if ids == "native":
        words |= {"influencer_id": d.i, "event": d.s}
    return Table.of(numbers, words)


@dataclass(frozen=True)
class Stages:
    """Trees of each database, and the history they read."""

    trees: dict[str, Trees]
    base: float
    history: History
    ids: str
    common: np.ndarray
    extra: Extra | None = None

    def tables(self, facts: Facts, d: Design) -> dict[str, Table]:
        """What each stage sees."""
        return stage_tables(
            facts, d, self.history.line(facts, d), self.history.features(facts, d), self.ids, self.common, self.extra
        )

    def terms(self, facts: Facts, design: Design) -> Terms:
        """See `member.Learned`: one term a database."""
        tables = self.tables(facts, design)
        record, both, market = (self.trees[name].predict(tables[name]) for name in DATABASES)
        amounts = np.column_stack([record, both - record, market])
        return Terms(("record", "history", "market"), DATABASES, amounts, self.base, np.zeros(len(design)), np.zeros(len(design)))

    def detail(self, facts: Facts, design: Design) -> Terms:
        """One term a feature, exact; what knowing the history changes of the record's terms is one of history."""
        tables = self.tables(facts, design)
        record, both, market = (self.trees[name].contributions(tables[name]) for name in DATABASES)
        first, past = tables["influencer"].names, tables["history"].names
        own = np.array([name not in HISTORY for name in past])
        changed = both[:, :-1][:, own].sum(axis=1) - record[:, :-1].sum(axis=1)
        amounts = np.column_stack([record[:, :-1], changed, both[:, :-1][:, ~own], market[:, :-1]])
        later = [name for name in past if name in HISTORY]
        names = (*first, "record, history known", *later, *tables["market"].names)
        of = ("influencer",) * len(first) + ("history",) * (1 + len(later)) + ("market",) * len(tables["market"].names)
        base = self.base + float(both[0, -1] + market[0, -1]) if len(design) else self.base
        return Terms(names, of, amounts, base, np.zeros(len(design)), np.zeros(len(design)))

    def gain(self, facts: Facts, design: Design) -> list[tuple[str, str, float]]:
        """(database, feature, gain) in the trees that foretell."""
        return [
            ("history" if feature in HISTORY else "market" if name == "market" else "influencer", feature, float(gain))
            for name, table in self.tables(facts, design).items() if name != "influencer"
            for feature, gain in zip(table.names, self.trees[name].gain(table), strict=True)
        ]  # fmt: skip


def stage_tables(
    facts: Facts, d: Design, line: Floats, past: Floats, ids: str, common: np.ndarray, extra: Extra | None
) -> dict[str, Table]:
    """What each of the three stages sees of rows of which a plain line expects `line`, with that `past`."""
    first = record(facts, d, common, ids)
    first = Table((LINE, *first.names), np.column_stack([line, first.numbers]), (False, *first.words))
    if extra is not None:
        names, numbers = extra(facts, d)
        first = Table((*names, *first.names), np.column_stack([numbers, first.numbers]), (False,) * len(names) + first.words)
    both = first
    if ids != "none":
        both = Table((*HISTORY, *first.names), np.column_stack([past, first.numbers]), (False,) * len(HISTORY) + first.words)
    return {"influencer": first, "history": both, "market": Table.of([(MARKET, d.market)], {})}


@dataclass
class BoostedMember:
    """Learns the stages; rounds are chosen out of time."""

    ids: str = "history"
    library: str = "lightgbm"
    extra: Extra | None = None
    rounds: dict[str, int] = field(default_factory=dict)
    name: str = "boosted"
    screens: ClassVar[bool] = False  # whether what is learned is a sum of small arrays (see `grid`)

    def choose(self, task: Task, rows: np.ndarray, later: np.ndarray) -> dict[str, Any]:
        """Rounds of each stage, by when `later` rows gain no more."""
        if self.library != "lightgbm":
            return {}
        self.rounds = {}
        _, self.rounds = self._grow(task, rows, later)
        return {f"{self.name}, rounds of {name}": float(rounds) for name, rounds in self.rounds.items()}

    def learn(self, task: Task, rows: np.ndarray) -> Stages:
        """See `member.Member`."""
        return self._grow(task, rows, None)[0]

    def _grow(self, task: Task, rows: np.ndarray, later: np.ndarray | None) -> tuple[Stages, dict[str, int]]:
        library(self.library)
        d, weight, history = task.design.take(rows), task.weight[rows], History.of(task, rows)
        base = float(np.average(task.target[rows], weights=weight))
        size = len(task.facts.contents) + 1
        common = np.bincount(d.c % size, minlength=size) >= COMMON
        past = history.around(task.facts, task.seed) if len(rows) < MANY else history.features(task.facts, d)
        left, tables = (
            task.target[rows] - base,
            stage_tables(task.facts, d, history.line.without, past, self.ids, common, self.extra),
        )
        ahead, unseen = np.empty(0), {}
        if later is not None:
            asked = task.design.take(later)
            unseen = Stages({}, base, history, self.ids, common, self.extra).tables(task.facts, asked)
            ahead = task.target[later] - base
        trees, used = {}, {}
        for name in DATABASES:
            if name == "history" and self.ids == "none":
                trees[name], used[name] = trees["influencer"], used["influencer"]
            else:
                most, leaves = SIZES[name][len(rows) < MANY]
                trees[name], used[name] = grow(
                    self.library, tables[name], left, weight, rounds=self.rounds.get(name, most), leaves=leaves, seed=task.seed,
                    threads=task.threads, times=TIMES[len(rows) < MANY] if name == "history" else 1, later=None if later is None else (unseen[name], ahead),
                )  # fmt: skip
                used[name] = max(used[name], 10)
            if name == "history":  # the market explains what both leave
                left = left - trees[name].predict(tables[name])
                if later is not None:
                    ahead = ahead - trees[name].predict(unseen[name])
        return Stages(trees, base, history, self.ids, common, self.extra), used
