"""Rules of a plan, as small objects that compile to rows of the program.

A rule puts candidates into groups and bounds a weighted sum of the chosen ones in each: a `Block`. Frequency, coverage and
budget are all of that form, and so are later rules; the engine knows nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """Rows ``low ≤ Σ weight·y ≤ high``, one for each group.

    group : (candidates,) row of each candidate, -1 for none. labels, low, high : one a row.
    """

    rule: str
    labels: Sequence[str]
    group: Ints
    weight: Floats
    low: Floats
    high: Floats


class Rule(Protocol):
    """Anything that compiles to a block; `everything` lists the values a column can take also where no candidate has them."""

    def block(self, candidates: pd.DataFrame, everything: pd.DataFrame | None) -> Block:
        """The rule's rows for these candidates."""
        ...


@dataclass(frozen=True)
class Budget:
    """All posts together cost at most `total`."""

    total: float

    def block(self, candidates: pd.DataFrame, everything: pd.DataFrame | None) -> Block:
        """One row over prices."""
        price = candidates["price"].to_numpy(dtype=np.float64)
        group = np.zeros(len(candidates), dtype=np.int64)
        return Block("budget", ["total"], group, price, np.array([-np.inf]), np.array([self.total]))


@dataclass(frozen=True)
class Frequency:
    """At most `max_posts` for each influencer, or for each influencer in a week."""

    max_posts: int = 3
    per: Literal["influencer", "influencer-week"] = "influencer"

    def block(self, candidates: pd.DataFrame, everything: pd.DataFrame | None) -> Block:
        """One row an influencer (and week)."""
        if self.max_posts < 1:
            raise InputError(
                f"at most {self.max_posts} posts", where="Frequency", fix="allow at least one, or exclude the influencer"
            )
        names = candidates["influencer_id"].astype("str")
        if self.per == "influencer-week":
            names = names + " in " + candidates["week"].astype("str")
        codes, labels = pd.factorize(names)
        top = np.full(len(labels), float(self.max_posts))
        return Block(f"frequency per {self.per}", [str(label) for label in labels], np.asarray(codes, dtype=np.int64),
                     np.ones(len(candidates)), np.full(len(labels), -np.inf), top)  # fmt: skip


@dataclass(frozen=True)
class Coverage:
    """At least `at_least` posts for each event, or each genre or location of events."""

    by: Literal["event", "genre", "location"] = "event"
    at_least: int = 1

    def block(self, candidates: pd.DataFrame, everything: pd.DataFrame | None) -> Block:
        """One row a value; a value that no candidate has cannot be covered and makes the plan infeasible."""
        column = "event_id" if self.by == "event" else self.by
        if column not in candidates:
            raise InputError(f"coverage by {self.by} needs the events", where="Coverage", fix="pass events=")
        wanted = candidates[column] if everything is None or column not in everything else everything[column]
        labels = sorted({str(value) for value in wanted.dropna()})
        group = pd.Index(labels).get_indexer(pd.Index(candidates[column].astype("str")))
        low = np.full(len(labels), float(self.at_least))
        return Block(f"coverage by {self.by}", labels, np.asarray(group, dtype=np.int64), np.ones(len(candidates)), low,
                     np.full(len(labels), np.inf))  # fmt: skip
