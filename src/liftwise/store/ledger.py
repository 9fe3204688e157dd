"""The ledger: the record that cannot be rebuilt (today: plans). SQLite here, PostgreSQL by changing one URL.

SQLite runs in WAL mode with ``synchronous=FULL``: what was acknowledged survives a power cut. Rows are only ever added.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from liftwise.core.errors import TableError, WorkspaceError
from liftwise.core.tables import TABLES, check


class Ledger:
    """Tables of record by name.

    Parameters
    ----------
    url : an SQLAlchemy URL; ``sqlite:///…`` or ``postgresql+psycopg://…``.
    """

    def __init__(self, url: str) -> None:
        try:
            self.engine = sa.create_engine(url)
            if self.engine.dialect.name == "sqlite":
                event.listen(self.engine, "connect", _durable)
            with self.engine.connect() as connection:
                config = Config()
                config.set_main_option("script_location", "liftwise.store:migrations")
                config.set_main_option("path_separator", "os")
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                connection.commit()
        except (SQLAlchemyError, ModuleNotFoundError) as error:
            reason = str(error).splitlines()[0]
            raise WorkspaceError(f"the ledger cannot be opened ({reason})", fix="check [ledger_url]") from None
        self._tables = sa.MetaData()
        self._tables.reflect(self.engine)

    @classmethod
    def at(cls, path: Path) -> Ledger:
        """The SQLite ledger in that file."""
        return cls(f"sqlite:///{path}")

    def append(self, tables: Mapping[str, pd.DataFrame]) -> None:
        """Add rows to one or more tables, all or none."""
        checked = {name: _whole(name, frame) for name, frame in tables.items()}
        with self.engine.begin() as connection:
            for name, rows in checked.items():
                if rows:
                    connection.execute(sa.insert(self._tables.tables[name]), rows)

    def table(self, name: str) -> pd.DataFrame:
        """All rows of a table, in the contract's columns and types."""
        if name not in self._tables.tables:
            raise TableError(f"the ledger has no table {name!r}")
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(self._tables.tables[name])).mappings().all()
        return check(name, pd.DataFrame(rows, columns=list(TABLES[name].names))).clean

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()


def _whole(name: str, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as plain values; the contract must hold for all of them."""
    checked = check(name, frame)
    if len(checked.rejected):
        first = checked.rejected.iloc[0]
        raise TableError(f"{len(checked.rejected)} rows break the contract: {first['column']} {first['reason']}", where=name)
    clean = checked.clean[list(TABLES[name].names)]
    dates = [column.name for column in TABLES[name].columns if column.kind in {"date", "week"}]
    records = clean.astype(object).where(clean.notna(), None).to_dict("records")
    for record in records:
        for column in dates:
            record[column] = record[column].date()
    return [{str(key): _plain(value) for key, value in record.items()} for record in records]


def _plain(value: Any) -> Any:
    return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value


def _durable(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
