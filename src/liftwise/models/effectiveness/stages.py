"""Trees in three stages, each of which sees one database and explains what the ones before leave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from liftwise.core.uncertainty import Floats
from liftwise.models.effectiveness.design import Design
from liftwise.models.effectiveness.facts import CLOCK, MARKET, PAIR, Facts
from liftwise.models.effectiveness.history import HISTORY, History
from liftwise.models.effectiveness.member import DATABASES, Task, Terms
from liftwise.models.effectiveness.trees import Table, Trees, grow, library

# rounds and leaves of each stage: with many rows, with few
SIZES = {"influencer": ((400, 31), (250, 15)), "history": ((150, 15), (80, 6)), "market": ((80, 6), (60, 4))}
MANY = 20_000
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
        return stage_tables(facts, d, self.history, self.ids, self.common, self.extra)

    def terms(self, facts: Facts, design: Design) -> Terms:
        """See `member.Learned`: one term a database."""
        tables = self.tables(facts, design)
        amounts = np.column_stack([self.trees[name].predict(tables[name]) for name in DATABASES])
        return Terms(("record", "history", "market"), DATABASES, amounts, self.base, np.zeros(len(design)), np.zeros(len(design)))

    def detail(self, facts: Facts, design: Design) -> Terms:
        """One term a feature, exact."""
        names, of, amounts, base = [], [], [], self.base
        for name, table in self.tables(facts, design).items():
            found = self.trees[name].contributions(table)
            names, of, base = [*names, *table.names], [*of, *[name] * len(table.names)], base + float(found[0, -1])
            amounts.append(found[:, :-1])
        return Terms(tuple(names), tuple(of), np.column_stack(amounts), base, np.zeros(len(design)), np.zeros(len(design)))

    def gain(self, facts: Facts, design: Design) -> list[tuple[str, str, float]]:
        """(database, feature, gain)."""
        return [
            (name, feature, float(gain)) for name, table in self.tables(facts, design).items()
            for feature, gain in zip(table.names, self.trees[name].gain(table), strict=True)
        ]  # fmt: skip


def stage_tables(
    facts: Facts, d: Design, history: History, ids: str, common: np.ndarray, extra: Extra | None
) -> dict[str, Table]:
    """What each of the three stages sees of rows."""
    first = record(facts, d, common, ids)
    if extra is not None:
        names, numbers = extra(facts, d)
        first = Table((*names, *first.names), np.column_stack([numbers, first.numbers]), (False,) * len(names) + first.words)
    past = history.features(facts, d) if ids != "none" else np.zeros((len(d), 1))
    return {"influencer": first, "history": Table.of([(HISTORY if ids != "none" else ("nothing",), past)], {}),
            "market": Table.of([(MARKET, d.market)], {})}  # fmt: skip


@dataclass
class BoostedMember:
    """Learns the stages; rounds are chosen out of time."""

    ids: str = "history"
    library: str = "lightgbm"
    extra: Extra | None = None
    rounds: dict[str, int] = field(default_factory=dict)
    name: str = "boosted"

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
        left, tables = task.target[rows] - base, stage_tables(task.facts, d, history, self.ids, common, self.extra)
        ahead, unseen = np.empty(0), {}
        if later is not None:
            ahead, unseen = (
                task.target[later] - base,
                stage_tables(task.facts, task.design.take(later), history, self.ids, common, self.extra),
            )
        trees, used = {}, {}
        for name in DATABASES:
            most, leaves = SIZES[name][len(rows) < MANY]
            trees[name], used[name] = grow(
                self.library, tables[name], left, weight, rounds=self.rounds.get(name, most), leaves=leaves, seed=task.seed, threads=task.threads,
                later=None if later is None else (unseen[name], ahead),
            )  # fmt: skip
            used[name] = max(used[name], 10)
            left = left - trees[name].predict(tables[name])
            if later is not None:
                ahead = ahead - trees[name].predict(unseen[name])
        return Stages(trees, base, history, self.ids, common, self.extra), used
