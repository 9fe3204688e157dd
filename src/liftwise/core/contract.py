"""What a table promises: its columns, their kinds and units, its key, and which of them are personal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["id", "text", "number", "money", "count", "share", "score", "date", "week", "time", "flag", "list", "vector"]
"""
id      text that names something; never empty         week    first day of a period on the time grid
text    any text                                       date    a calendar day
number  a finite float                                 time    a moment, in UTC
money   a finite float in the workspace's currency     flag    true or false
count   a whole number, 0 or more                      list    texts
share   0 to 1                                         vector  floats
score   0 to 100
"""

Personal = Literal["", "pseudonym", "linkable", "free text"]
"""
pseudonym   replaced by a keyed pseudonym on the way in
linkable    the same, and keyed n-gram tokens beside it (`<column>_tokens`) so that typos can still be linked
free text   mentions, addresses and numbers inside it are masked on the way in
"""

LIMITS: dict[str, tuple[float | None, float | None]] = {"count": (0, None), "share": (0, 1), "score": (0, 100)}


@dataclass(frozen=True)
class Column:
    """One column of a table. `low` and `high` are inclusive; `choices` closes the set of values."""

    name: str
    kind: Kind
    required: bool = False
    unit: str = ""
    personal: Personal = ""
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    note: str = ""

    @property
    def limits(self) -> tuple[float | None, float | None]:
        """Smallest and largest value allowed, from the kind and the column's own bounds."""
        low, high = LIMITS.get(self.kind, (None, None))
        return (low if self.low is None else self.low), (high if self.high is None else self.high)


@dataclass(frozen=True)
class Table:
    """A table's contract. `layer` says who makes it; `home` where it lives."""

    name: str
    doc: str
    made_by: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    home: Literal["warehouse", "ledger"] = "warehouse"

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        assert len(set(names)) == len(names), f"{self.name}: a column is declared twice"
        assert set(self.key) <= set(names), f"{self.name}: the key names an unknown column"

    def column(self, name: str) -> Column:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        """All column names, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def required(self) -> tuple[str, ...]:
        """The columns that must be present and filled."""
        return tuple(column.name for column in self.columns if column.required)

    @property
    def is_source(self) -> bool:
        """Whether files may deliver it."""
        return self.made_by == "sources"
