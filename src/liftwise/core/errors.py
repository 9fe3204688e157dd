"""Every error a person may meet, in one tree.

::

    LiftwiseError                 anything liftwise says no to: one line, with a way out
    ├── SettingsError             liftwise.toml or LIFTWISE_* is wrong
    ├── WorkspaceError            the workspace is missing, locked or sealed
    ├── InputError                a file, table or argument cannot be read as what it claims to be
    │   └── TableError            a frame breaks the contract of its table
    ├── CannotTell                the data cannot carry the answer: too few, too alike, no variation
    └── Infeasible                the rules of a plan contradict each other

The text of an error is one line: what is wrong, where, and how to mend it. It never holds personal data.
"""

from __future__ import annotations


class LiftwiseError(Exception):
    """One line for a person: `what` is wrong, `where`, and the `fix`.

    >>> str(LiftwiseError("the column 'week' is missing", where="sales.csv", fix="map it under [tables.sales.columns]"))
    "sales.csv: the column 'week' is missing; map it under [tables.sales.columns]"
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__((f"{where}: " if where else "") + what + (f"; {fix}" if fix else ""))


class SettingsError(LiftwiseError):
    """A setting is unknown, of the wrong type, or contradicts another."""


class WorkspaceError(LiftwiseError):
    """The workspace is missing, in use by another writer, or sealed by a key that was not given."""


class InputError(LiftwiseError):
    """A file, table or argument cannot be read as what it claims to be."""


class TableError(InputError):
    """A frame breaks the contract of its table as a whole (rows that break it go to quarantine instead)."""


class CannotTell(LiftwiseError):  # noqa: N818 - it is an answer, not a fault
    """The data cannot carry the answer: an honest result, with what would change it in `fix`."""


class Infeasible(LiftwiseError):  # noqa: N818 - named as in optimisation
    """No plan can satisfy the rules together; `rules` names those in conflict."""

    def __init__(self, what: str, *, rules: tuple[str, ...] = (), fix: str = "") -> None:
        self.rules = rules
        super().__init__(what, where=", ".join(rules), fix=fix)
