"""The warehouse: every analytic table in one DuckDB file, behind one object.

DuckDB locks its file for the writer alone. So readers never touch it: after each write session, and after each step
of a flow, the writer publishes a *snapshot* beside it (a plain copy swapped in by rename), and readers open that.
With a key both are encrypted (AES-GCM, through DuckDB's httpfs module, which is installed with liftwise and needs no network).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import duckdb
import pandas as pd

from liftwise.core.contract import Column
from liftwise.core.errors import InputError, TableError, WorkspaceError
from liftwise.core.tables import TABLES, check
from liftwise.core.timegrid import TimeGrid

TYPES = {
    "id": "VARCHAR", "text": "VARCHAR", "number": "DOUBLE", "money": "DOUBLE", "share": "DOUBLE", "score": "DOUBLE",
    "count": "BIGINT", "date": "DATE", "week": "DATE", "time": "TIMESTAMP", "flag": "BOOLEAN",
    "list": "VARCHAR[]", "vector": "FLOAT[]",
}  # fmt: skip


class Warehouse:
    """Tables by name.

    Parameters
    ----------
    path : the DuckDB file.
    key : encrypts the file at rest; a file made with a key opens with that key only.
    mode : ``"write"`` holds the file; ``"read"`` looks at the last published snapshot, also while another writes.

    Raises
    ------
    WorkspaceError
        When another process is writing (mode ``"write"``), the key is missing or wrong, or nothing was published yet.
    """

    def __init__(
        self, path: Path, key: str | None = None, mode: Literal["read", "write"] = "write", grid: TimeGrid | None = None
    ) -> None:
        self.path, self.mode, self._key, self._grid = Path(path), mode, key, grid or TimeGrid()
        self.connection = duckdb.connect(
            ":memory:", config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}
        )
        self.connection.execute("SET TimeZone = 'UTC'")
        self._spill = self.path.parent / f".spill-{os.getpid()}-{id(self)}"
        self.connection.execute(f"SET temp_directory = {_quoted(str(self._spill))}")
        self._load_cipher()
        self._attach()
        self._changed = mode == "write" and not self.snapshot.exists()

    @property
    def snapshot(self) -> Path:
        """What readers open."""
        return self.path.with_suffix(".snapshot" + self.path.suffix)

    # -- opening and closing ---------------------------------------------------------------------------------

    def _load_cipher(self) -> None:
        """Encrypted writing needs DuckDB's signed httpfs module; it comes as a wheel, so no network is used.

        What spills to disk while a query runs may hold personal data not yet pseudonymised: always encrypted.
        """
        from importlib.resources import files

        extension = next(iter(Path(str(files("duckdb_extension_httpfs"))).rglob("httpfs.duckdb_extension")))
        self.connection.execute(f"LOAD {_quoted(str(extension))}")
        self.connection.execute("SET temp_file_encryption = true")

    def _attach(self) -> None:
        target = self.snapshot if self.mode == "read" else self.path
        if self.mode == "read" and not target.exists():
            raise WorkspaceError("nothing to look at yet", where=str(self.path.parent), fix="run: liftwise refresh")
        options = [f"ENCRYPTION_KEY {_quoted(self._key)}"] if self._key else []
        options += ["READ_ONLY"] if self.mode == "read" else []
        try:
            self.connection.execute(
                f"ATTACH {_quoted(str(target))} AS warehouse" + (f" ({', '.join(options)})" if options else "")
            )
        except duckdb.Error as error:
            raise self._refusal(str(error)) from None
        self.connection.execute("USE warehouse")

    def _refusal(self, message: str) -> WorkspaceError:
        """DuckDB's reason for not opening, as one line with a way out."""
        where = str(self.path)
        if "lock" in message.lower():
            return WorkspaceError(
                "another liftwise process is writing here", where=where,
                fix="wait for it, or look with a reading command (report, export, check)",
            )  # fmt: skip
        if "encrypt" in message.lower() or "key" in message.lower():
            given = "the key in LIFTWISE_KEY does not open it" if self._key else "no key was given"
            return WorkspaceError(f"the warehouse is encrypted and {given}", where=where, fix="set LIFTWISE_KEY to its key")
        return WorkspaceError(f"cannot be opened ({message.splitlines()[0]})", where=where, fix="restore or refresh it")

    def publish(self) -> None:
        """Let readers see what is committed so far."""
        if self.mode != "write" or not self._changed:
            return
        self.connection.execute("CHECKPOINT warehouse")
        fresh = self.snapshot.with_suffix(f".{os.getpid()}.tmp")
        _copy(self.path, fresh)
        fresh.replace(self.snapshot)
        self._changed = False

    def close(self) -> None:
        """Publish and let go of the file."""
        self.publish()
        self.connection.close()
        shutil.rmtree(self._spill, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # -- reading -----------------------------------------------------------------------------------------------

    def sql(self, query: str, parameters: Sequence[Any] | dict[str, Any] | None = None) -> pd.DataFrame:
        """The result of a query, as a frame."""
        return self.connection.execute(query, parameters).df()

    def names(self) -> list[str]:
        """The tables there are."""
        found = self.connection.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'warehouse' ORDER BY 1")
        return [name for (name,) in found.fetchall()]

    def has(self, name: str) -> bool:
        """Whether there is such a table with at least one row."""
        return name in self.names() and self.rows(name) > 0

    def rows(self, name: str) -> int:
        """Number of rows."""
        count = self.connection.execute(f"SELECT count(*) FROM {_name(name)}").fetchone()
        return int(count[0]) if count else 0

    def table(self, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """A whole table, or some of its columns; an empty frame with the contract's columns when there is none yet."""
        if name not in self.names():
            if name in TABLES:
                return check(name, pd.DataFrame(columns=list(TABLES[name].names)), self._grid).clean[
                    list(columns or TABLES[name].names)
                ]
            raise TableError(f"there is no table {name!r}", fix=f"there are {', '.join(self.names()) or 'none yet'}")
        wanted = ", ".join(_name(column) for column in columns) if columns else "*"
        frame = self.sql(f"SELECT {wanted} FROM {_name(name)}")
        texts = [c.name for c in TABLES[name].columns if c.kind in {"id", "text"}] if name in TABLES else []
        return frame.astype({column: "str" for column in texts if column in frame})  # a column of nulls has no type of its own

    def fingerprint(self, name: str) -> str:
        """A hash of a table's columns and rows, whatever their order; ``""`` when there is none."""
        if name not in self.names():
            return ""
        row = self.connection.execute(
            f"SELECT count(*), coalesce(sum(hash(t)::HUGEINT), 0) % 18446744073709551557 FROM {_name(name)} t"
        ).fetchone()
        columns = self.connection.execute(f"DESCRIBE {_name(name)}").fetchall()
        shape = duckdb.execute("SELECT md5(?)", [str([column[:2] for column in columns])]).fetchone()
        assert row is not None and shape is not None
        return f"{row[0]}-{int(row[1]):x}-{shape[0][:8]}"

    # -- writing -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside happen, or none."""
        self.connection.execute("BEGIN")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def write(self, name: str, frame: pd.DataFrame) -> None:
        """Replace table `name` by `frame`, which must keep the whole of its contract.

        Raises
        ------
        TableError
            When a row breaks the contract: a layer that makes a table answers for every row of it.
        """
        checked = check(name, frame, self._grid)
        if len(checked.rejected):
            first = checked.rejected.iloc[0]
            raise TableError(
                f"{len(checked.rejected)} of {len(frame)} rows break the contract: {first['column']} {first['reason']}",
                where=name,
            )
        contract = TABLES[name]
        extra = [column for column in checked.clean.columns if column not in contract.names]
        casts = [f"{_name(c.name)}::{TYPES[c.kind]} AS {_name(c.name)}" for c in contract.columns]
        self.connection.register("incoming", checked.clean)
        try:
            self.replace(name, f"SELECT {', '.join(casts + [_name(c) for c in extra])} FROM incoming")
        finally:
            self.connection.unregister("incoming")

    def replace(self, name: str, query: str) -> None:
        """Replace table `name` by the result of a query, in one statement (so in one transaction)."""
        if self.mode == "read":
            raise WorkspaceError("opened for looking only", where=str(self.path), fix="open the workspace for writing")
        self.connection.execute(f"CREATE OR REPLACE TABLE {_name(name)} AS {query}")
        self._changed = True

    def empty(self, name: str) -> None:
        """Make table `name` with its contract's columns and no rows."""
        columns = ", ".join(f"NULL::{TYPES[column.kind]} AS {_name(column.name)}" for column in TABLES[name].columns)
        self.replace(name, f"SELECT {columns} WHERE false")

    def drop(self, name: str) -> None:
        """Remove table `name` if it is there."""
        self.connection.execute(f"DROP TABLE IF EXISTS {_name(name)}")
        self._changed = True


def _copy(source: Path, target: Path) -> None:
    """Copy in a process of its own: POSIX drops *all* of a process's locks on a file when it closes any handle to it,

    so copying here would quietly let a second writer in.
    """
    code = "import shutil, sys; shutil.copyfile(*sys.argv[1:])"
    subprocess.run([sys.executable, "-I", "-S", "-c", code, str(source), str(target)], check=True)


def typed_null(column: Column) -> str:
    """SQL for a missing value of a column's type."""
    return f"NULL::{TYPES[column.kind]}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _name(name: str) -> str:
    if "\x00" in name:
        raise InputError("a name holds a zero byte")
    return '"' + name.replace('"', '""') + '"'
