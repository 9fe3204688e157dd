"""Text becomes tables: casts and rules in SQL, from the same contracts as `core.tables.check`.

Each staged file is typed in one pass, which also names the first rule a row breaks. Clean rows make the table (personal
fields already pseudonymised); broken ones go to `quarantine` with file, line, column and reason. Rows in = kept + quarantined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
import pandas as pd

from liftwise.core.contract import Column, Table
from liftwise.core.errors import InputError
from liftwise.core.tables import missing_columns, table
from liftwise.core.timegrid import TimeGrid
from liftwise.governance.privacy import Pseudonymiser, domain_of, sounds_personal
from liftwise.pipeline import reading
from liftwise.store.warehouse import TYPES, Warehouse, typed_null

MASK = "***"


@dataclass(frozen=True)
class Incoming:
    """One staged file for a table. `columns`: name → DuckDB type; `line`: SQL for a row's line; `broken`: (line, reason)."""

    source: str
    relation: str
    columns: Mapping[str, str]
    line: str
    broken: Sequence[tuple[int, str]] = ()


@dataclass(frozen=True)
class Told:
    """What the settings say of a table's files."""

    columns: Mapping[str, str]
    timezone: str = "UTC"
    decimal: str = ""


class Intake:
    """Fills source tables and the quarantine of one warehouse."""

    def __init__(self, warehouse: Warehouse, grid: TimeGrid, privacy: Pseudonymiser) -> None:
        self.warehouse, self.grid, self.privacy = warehouse, grid, privacy
        self.at = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
        self.loads: list[dict[str, object]] = []
        self.bad: list[pd.DataFrame] = []

    def load(self, name: str, incoming: Sequence[Incoming], told: Told) -> None:
        """Replace table `name` by the rows of its files.

        Raises
        ------
        InputError
            When a file lacks a required column: then nothing of the table is replaced.
        """
        contract, connection = table(name), self.warehouse.connection
        typed = [self._typed(contract, part, told, number) for number, part in enumerate(incoming)]
        names = list(dict.fromkeys([*contract.names, *self._tokens(contract), *(c for _, extra in typed for c in extra)]))
        connection.execute(f"CREATE OR REPLACE TEMP TABLE typed AS {' UNION ALL BY NAME '.join(query for query, _ in typed)}")
        self._mark_repeats(contract)
        self._quarantine(contract, incoming)
        chosen = ", ".join(_name(column) for column in names)
        self.warehouse.replace(name, f"SELECT {chosen} FROM typed WHERE problem IS NULL")
        self._count(contract, incoming, typed)
        for part in incoming:
            connection.execute(f"DROP TABLE {_name(part.relation)}")
        connection.execute("DROP TABLE typed")

    def finish(self) -> None:
        """Write `quarantine` and `loads`."""
        self.warehouse.write(
            "quarantine", pd.concat(self.bad, ignore_index=True) if self.bad else self.warehouse.table("quarantine")[:0]
        )
        self.warehouse.write("loads", pd.DataFrame(self.loads) if self.loads else self.warehouse.table("loads")[:0])

    def refuse(self, source: str, name: str, reason: str) -> None:
        """A whole file that could not be read: one line in quarantine."""
        row = {"source": source, "table": name, "reason": reason, "loaded_at": self.at}
        self.bad.append(pd.DataFrame([row]))

    # -- one file ------------------------------------------------------------------------------------------------

    def _typed(self, contract: Table, part: Incoming, told: Told, number: int) -> tuple[str, list[str]]:
        """The SELECT that types a file's rows and names what is wrong with each; and its unknown columns."""
        found = _mapped(contract, part, told)
        absent = missing_columns(contract, found)
        if absent:
            raise InputError(
                f"missing column{'s' * (len(absent) > 1)} {', '.join(absent)} of table {contract.name}", where=part.source,
                fix=f"the file has {', '.join(part.columns)}; map one with [tables.{contract.name}.columns]",
            )  # fmt: skip
        styles = reading.styles(self.warehouse.connection, part.relation, contract, found, part.columns, told.decimal)
        values, problems = [], []
        for column in contract.columns:
            value, problem = self._column(contract, column, found.get(column.name), part.columns, told, styles)
            values.append(f"{value} AS {_name(column.name)}")
            problems += problem
            if column.personal == "linkable":
                raw = found.get(column.name)
                tokens = self.privacy.tokens_sql(domain_of(column.name), reading.text(raw)) if raw else "NULL::VARCHAR[]"
                values.append(f"{tokens} AS {_name(column.name + '_tokens')}")
        extra = [name for name in part.columns if name not in found.values()]
        values += [f"{self._unknown(name)} AS {_name(name.lower())}" for name in extra]
        problem = f"CASE {' '.join(f'WHEN {when} THEN {_text(what)}' for when, what in problems)} END" if problems else "NULL"
        query = f"SELECT {', '.join(values)}, {number} AS __file, {part.line} AS __row, {problem} AS problem FROM {_name(part.relation)}"
        return query, [name.lower() for name in extra]

    def _column(
        self,
        contract: Table,
        column: Column,
        raw: str | None,
        types: Mapping[str, str],
        told: Told,
        styles: Mapping[str, reading.Style],
    ) -> tuple[str, list[tuple[str, str]]]:
        """SQL for a column's value, and (condition, "column\\treason") for each way it can be wrong."""
        in_key = column.name in contract.key and not column.required and column.kind in {"id", "text"}
        if raw is None:
            return ("'all'" if in_key else typed_null(column)), []
        value = reading.value(column, raw, types[raw], styles.get(column.name), self.grid, told.timezone)
        problems = [(when, f"{column.name}\t{reason}") for when, reason in reading.problems(column, raw, value)]
        if column.personal in ("pseudonym", "linkable"):
            value = self.privacy.sql(domain_of(column.name), value)
        elif column.personal == "free text":
            value = reading.masked(value)
        return (f"coalesce({value}, 'all')" if in_key else f"({value})::{TYPES[column.kind]}"), problems

    def _unknown(self, name: str) -> str:
        """An unknown column is kept; one that sounds personal, or holds addresses, as pseudonyms."""
        if sounds_personal(name):
            return self.privacy.sql(name.lower(), reading.text(name))
        return f"CASE WHEN contains({_name(name)}::VARCHAR, '@') THEN '{MASK}' ELSE {_name(name)}::VARCHAR END"

    @staticmethod
    def _tokens(contract: Table) -> list[str]:
        return [f"{column.name}_tokens" for column in contract.columns if column.personal == "linkable"]

    # -- what is wrong -------------------------------------------------------------------------------------------

    def _mark_repeats(self, contract: Table) -> None:
        """Rows that repeat a key seen before (in an earlier file or line) are no good; looked for only when there are any."""
        if not contract.key:
            return
        key = ", ".join(_name(column) for column in contract.key)
        count = self.warehouse.connection.execute(
            f"SELECT count(*) - count(DISTINCT hash({key})) FROM typed WHERE problem IS NULL"
        ).fetchone()
        if count is None or count[0] == 0:
            return
        reason = _text(f"{', '.join(contract.key)}\trepeats a key seen before")
        self.warehouse.connection.execute(f"""
            UPDATE typed SET problem = {reason} WHERE rowid IN (
                SELECT rowid FROM typed WHERE problem IS NULL
                QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY __file, __row) > 1)
        """)

    def _quarantine(self, contract: Table, incoming: Sequence[Incoming]) -> None:
        """Broken rows, with the record as it came; every field that is or may be personal is masked."""
        for number, part in enumerate(incoming):
            found = {source: name for name, source in _mapped(contract, part, Told({})).items()}
            safe = [name for name in part.columns if name in found and not contract.column(found[name]).personal]
            pairs = ", ".join(f"{_text(name)}, {_name(name)}::VARCHAR" for name in safe)
            hidden = "".join(f", {_text(name)}, '{MASK}'" for name in part.columns if name not in safe)
            record = f"json_object({pairs}{hidden})" if pairs else f"json_object({hidden[2:]})"
            rows = self.warehouse.sql(f"""
                SELECT bad.__row AS line, split_part(problem, chr(9), 1) AS "column", split_part(problem, chr(9), 2) AS reason,
                       {record}::VARCHAR AS record
                FROM (SELECT __row, problem FROM typed WHERE problem IS NOT NULL AND __file = {number}) bad
                JOIN (SELECT *, {part.line} AS __at FROM {_name(part.relation)}) raw ON raw.__at = bad.__row ORDER BY line
            """)
            broken = pd.DataFrame(list(part.broken), columns=["line", "reason"])
            frames = [frame for frame in (rows, broken) if len(frame)]
            if frames:
                self.bad.append(
                    pd.concat(frames, ignore_index=True).assign(source=part.source, table=contract.name, loaded_at=self.at)
                )

    def _count(self, contract: Table, incoming: Sequence[Incoming], typed: Sequence[tuple[str, list[str]]]) -> None:
        counted = self.warehouse.sql("SELECT __file, count(*) AS rows, count(problem) AS bad FROM typed GROUP BY __file")
        by_file = counted.set_index("__file")
        for number, part in enumerate(incoming):
            rows, bad = (int(by_file.at[number, column]) if number in by_file.index else 0 for column in ("rows", "bad"))
            self.loads.append({
                "source": part.source, "table": contract.name, "rows_in": rows + len(part.broken), "kept": rows - bad,
                "quarantined": bad + len(part.broken), "unknown_columns": ";".join(typed[number][1]) or None, "loaded_at": self.at,
            })  # fmt: skip


def _mapped(contract: Table, part: Incoming, told: Told) -> dict[str, str]:
    """Canonical column → the file's column, by the settings' mapping, else by name; case does not count."""
    have = {name.strip().lower(): name for name in part.columns}
    found = {name: have[name] for name in contract.names if name in have}
    for name, source in told.columns.items():
        if name.lower() not in contract.names:
            raise InputError(f"table {contract.name} has no column {name!r}", where=f"[tables.{contract.name}.columns]",
                             fix=f"its columns are {', '.join(contract.names)}")  # fmt: skip
        if source.strip().lower() in have:
            found[name.lower()] = have[source.strip().lower()]
    return found


def by_select(query: str, name: str, sources: Mapping[str, str]) -> pd.DataFrame:
    """The result of one SELECT over the folder's files, each a table named by its stem; nothing else can be reached.

    Parameters
    ----------
    sources : stem → DuckDB expression that reads the file.

    Raises
    ------
    InputError
        When it is not exactly one SELECT, or fails; one line that says why.
    """
    where = f"[tables.{name}] select"
    with duckdb.connect() as closed:
        closed.execute("SET TimeZone = 'UTC'")
        try:
            statements = closed.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise InputError("it must be exactly one SELECT", where=where, fix="join and unpivot within it")
            for stem, reader in sources.items():
                if stem.lower() in query.lower():
                    closed.execute(f"CREATE TABLE {_name(stem)} AS SELECT * FROM {reader}")
            closed.execute("SET enable_external_access = false")
            closed.execute("SET lock_configuration = true")
            return closed.execute(query).df()
        except duckdb.Error as error:
            reason = " ".join(str(error).split())[:240]
            raise InputError(reason, where=where, fix="correct the query") from None


def _name(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
