"""What every member of the family can do once it has learned: parts of the log of f, and what they are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from liftwise.core.uncertainty import Floats
from liftwise.models.effectiveness.design import Design
from liftwise.models.effectiveness.facts import Facts

DATABASES = ("influencer", "history", "market")


@dataclass(frozen=True)
class Task:
    """What is to be learned.

    design : all past rows, by time. target : (n,) log of the outcome per follower. weight : (n,) how much each counts.
    observed : (n,) when the outcome was known. beside : (n, others) logs of the posts' other outcomes per follower, NaN where not known.
    """

    facts: Facts
    design: Design
    target: Floats
    weight: Floats
    observed: np.ndarray
    beside: Floats
    seed: int
    threads: int = 1


@dataclass(frozen=True)
class Terms:
    """Additive terms of the log of f: `amounts` (n, terms) and `base` sum to it.

    names, databases : one for each term. spread : (n,) the member's own doubt of f, log scale. noise : (n,) its guess of the noise, log of sd.
    """

    names: tuple[str, ...]
    databases: tuple[str, ...]
    amounts: Floats
    base: float
    spread: Floats
    noise: Floats

    @property
    def total(self) -> Floats:
        """Log of f per follower; (n,)."""
        return self.base + self.amounts.sum(axis=1)

    def straightened(self, shift: Floats, slope: Floats) -> Terms:
        """Every term times `slope`; what that and `shift` do to the level is a term of its own. Both are (n,)."""
        level = shift + slope * self.base - self.base
        amounts = np.column_stack([self.amounts * slope[:, None], level])
        return replace(
            self,
            names=(*self.names, "level of unseen outcomes"),
            databases=(*self.databases, "history"),
            amounts=amounts,
            spread=self.spread * slope,
        )

    def by_database(self) -> dict[str, Floats]:
        """The three parts, each (n,)."""
        of = np.array(self.databases)
        return {name: self.amounts[:, of == name].sum(axis=1) for name in DATABASES}


class Learned(Protocol):
    """A member that has learned."""

    def terms(self, facts: Facts, design: Design) -> Terms:
        """The log of f of each row, in terms."""
        ...


class Member(Protocol):
    """A way to learn f. `choose` may look at `later` rows to set sizes; `learn` sees `rows` only."""

    name: str

    def choose(self, task: Task, rows: np.ndarray, later: np.ndarray) -> dict[str, Any]:
        """Set sizes by how well `later` rows are foretold from `rows`; says what was tried."""
        ...

    def learn(self, task: Task, rows: np.ndarray) -> Learned:
        """Learn from `rows` of the task."""
        ...


def r_squared(target: Floats, predicted: Floats) -> float:
    """1 − MSE / variance."""
    return float(1 - np.mean((target - predicted) ** 2) / max(np.var(target), 1e-12))
