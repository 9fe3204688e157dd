"""How a cell is read: numbers and dates as people write them, in SQL, one style a column.

A column is read as it stands when every value can be (``1234.5``, ``2025-06-04``). Otherwise its style is decided over
all its values: a decimal comma where a value has one that cannot be a thousands mark, a date order where only one fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from liftwise.core.contract import Column, Table
from liftwise.core.tables import FALSE, NUMERIC, REASONS, TRUE
from liftwise.core.timegrid import TimeGrid

_SIGNS = r"[€$£¥₹\s''’\x{00A0}\x{202F}]|^(EUR|USD|GBP|CHF|JPY)|(EUR|USD|GBP|CHF|JPY)$"
_COMMA = r"^[-+]?(\d{1,3}(\.\d{3})+|\d+)?,(\d{1,2}|\d{4,})$|^[-+]?\d{1,3}(\.\d{3})+,\d+$|^[-+]?\d{1,3}(\.\d{3}){2,}$"
_DOT = r"^[-+]?\d*\.(\d{1,2}|\d{4,})$|^[-+]?\d{1,3}(,\d{3})+\.\d+$"
_WHOLE = {
    ",": r"[-+]?(\d{1,3}(\.\d{3})+|\d+)?(,\d+)?",
    ".": r"[-+]?(\d{1,3}(,\d{3})+|\d+)?(\.\d*)?([eE][-+]?\d+)?",
}
_DATE_STYLES = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%Y%m%d", "%d %b %Y", "%b %d, %Y")
_TIMES = ("", " %H:%M", " %H:%M:%S")


@dataclass(frozen=True)
class Style:
    """How a column's text is to be read."""

    decimal: str = ""  # "" = as it stands; else "." or ","
    date: str = ""  # "" = ISO; else a strptime pattern


def text(raw: str) -> str:
    """A cell as text without outer spaces; blank is null."""
    return f"nullif(trim({_name(raw)}::VARCHAR, ' \t\r\n'), '')"


def styles(
    connection: duckdb.DuckDBPyConnection, relation: str, contract: Table, found: Mapping[str, str], types: Mapping[str, str],
    decimal: str,
) -> dict[str, Style]:  # fmt: skip
    """The style of each column of text that cannot be read as it stands, found in one pass over the file."""
    numbers = [c for c in contract.columns if c.kind in NUMERIC and types.get(found.get(c.name, "")) == "VARCHAR"]
    dates = [c for c in contract.columns if c.kind in {"date", "week", "time"} and types.get(found.get(c.name, "")) == "VARCHAR"]
    if not numbers and not dates:
        return {}
    counts = [f"count(*) FILTER ({_plain_number(found[c.name])} IS NULL AND {text(found[c.name])} IS NOT NULL)" for c in numbers]
    counts += [f"count(*) FILTER ({_iso(found[c.name])} IS NULL AND {text(found[c.name])} IS NOT NULL)" for c in dates]
    unread = connection.execute(f"SELECT {', '.join(counts)} FROM {_name(relation)}").fetchone()
    assert unread is not None
    chosen: dict[str, Style] = {}
    for column, count in zip([*numbers, *dates], unread, strict=True):
        raw = found[column.name]
        if column.kind in NUMERIC and (count or decimal):
            chosen[column.name] = Style(decimal=decimal or _decimal(connection, relation, raw))
        elif count and column.kind not in NUMERIC:
            chosen[column.name] = Style(date=_date_style(connection, relation, raw))
    return chosen


def _decimal(connection: duckdb.DuckDBPyConnection, relation: str, raw: str) -> str:
    cleaned = f"regexp_replace({text(raw)}, '{_SIGNS}', '', 'g')"
    row = connection.execute(
        f"SELECT count(*) FILTER (regexp_matches({cleaned}, '{_COMMA}')), count(*) FILTER (regexp_matches({cleaned}, '{_DOT}')) "
        f"FROM {_name(relation)}"
    ).fetchone()
    return "," if row is not None and row[0] > row[1] else "."


def _date_style(connection: duckdb.DuckDBPyConnection, relation: str, raw: str) -> str:
    """The pattern that reads most of the values that are not ISO; none when two orders read equally many differently."""
    patterns = [day + clock for day in _DATE_STYLES for clock in _TIMES]
    counts = ", ".join(f"count(try_strptime({text(raw)}, '{pattern}'))" for pattern in patterns)
    row = connection.execute(f"SELECT {counts} FROM {_name(relation)}").fetchone()
    assert row is not None
    best = max(row)
    winners = [pattern for pattern, count in zip(patterns, row, strict=True) if count == best]
    orders = {pattern[:2] for pattern in winners if pattern[2] == "/"}
    return "" if best == 0 or len(orders) > 1 else winners[0]


def _plain_number(raw: str) -> str:
    return f"TRY_CAST(CASE WHEN contains({_name(raw)}, '_') THEN NULL ELSE {text(raw)} END AS DOUBLE)"


def _iso(raw: str, *, to: str = "TIMESTAMP") -> str:
    """ISO dates and times, and bare years; offsets are honoured."""
    cell = text(raw)
    return (
        f"CASE WHEN regexp_full_match({cell}, '\\d{{4}}') THEN TRY_CAST({cell} || '-01-01' AS {to}) "
        f"WHEN {_has_offset(raw)} "
        f"THEN timezone('UTC', TRY_CAST({cell} AS TIMESTAMPTZ))::{to} "
        f"WHEN regexp_matches({cell}, '^\\d{{4}}-\\d') THEN TRY_CAST({cell} AS {to}) END"
    )


def _has_offset(raw: str) -> str:
    """Whether a moment says itself how far it is from UTC."""
    pattern = r"\d\d(:?\d\d){0,2}(\.\d+)?\s?(Z|[+-]\d\d(:?\d\d)?)$"
    return f"(regexp_matches({text(raw)}, '{pattern}') AND length({text(raw)}) > 10)"


def value(column: Column, raw: str, kind: str, style: Style | None, grid: TimeGrid, timezone: str) -> str:
    """SQL for a cell's value in the column's kind; null where it cannot be read."""
    if column.kind in {"id", "text"}:
        return text(raw)
    if column.kind in NUMERIC:
        return _number(raw, kind, style)
    if column.kind in {"date", "week", "time"}:
        return _moment(column, raw, kind, style, grid, timezone)
    if column.kind == "flag":
        words = f"lower({text(raw)})"
        yes, no = (", ".join(f"'{word}'" for word in sorted(words_of)) for words_of in (TRUE | {"1.0"}, FALSE | {"0.0"}))
        return f"CASE WHEN {words} IN ({yes}) THEN true WHEN {words} IN ({no}) THEN false END"
    return f"TRY_CAST({_name(raw)} AS {'VARCHAR[]' if column.kind == 'list' else 'FLOAT[]'})"


def _number(raw: str, kind: str, style: Style | None) -> str:
    if kind != "VARCHAR":
        number = f"TRY_CAST({_name(raw)} AS DOUBLE)"
    elif style is None:
        number = _plain_number(raw)
    else:
        cleaned = f"regexp_replace({text(raw)}, '{_SIGNS}', '', 'g')"
        plain = f"replace(replace({cleaned}, '.', ''), ',', '.')" if style.decimal == "," else f"replace({cleaned}, ',', '')"
        number = f"TRY_CAST(CASE WHEN regexp_full_match({cleaned}, '{_WHOLE[style.decimal]}') THEN {plain} END AS DOUBLE)"
    return f"CASE WHEN isfinite({number}) THEN {number} END"


def _moment(column: Column, raw: str, kind: str, style: Style | None, grid: TimeGrid, timezone: str) -> str:
    if kind == "VARCHAR":
        moment = (
            f"coalesce({_iso(raw)}, try_strptime({text(raw)}, '{style.date}'))" if style is not None and style.date else _iso(raw)
        )
    elif kind in {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "DOUBLE", "FLOAT"}:  # a bare year
        whole = f"TRY_CAST({_name(raw)} AS BIGINT)"
        moment = (
            f"CASE WHEN {_name(raw)} = {whole} AND {whole} BETWEEN 1000 AND 9999 THEN make_date({whole}, 1, 1)::TIMESTAMP END"
        )
    elif kind == "TIMESTAMP WITH TIME ZONE":
        moment = f"timezone('UTC', {_name(raw)})"
    else:
        moment = f"TRY_CAST({_name(raw)} AS TIMESTAMP)"
    if column.kind == "time":
        if timezone != "UTC" and kind != "TIMESTAMP WITH TIME ZONE":
            local = f"timezone('UTC', timezone('{timezone}', {moment}))"
            moment = f"CASE WHEN {_has_offset(raw)} THEN {moment} ELSE {local} END" if kind == "VARCHAR" else local
        return f"CASE WHEN isfinite({moment}) THEN {moment} END"
    day = f"CAST(CASE WHEN isfinite({moment}) THEN {moment} END AS DATE)"
    return grid.sql(day) if column.kind == "week" else day


def problems(column: Column, raw: str, value_sql: str) -> list[tuple[str, str]]:
    """(condition, reason) for each rule of the column that a cell can break."""
    blank = f"{text(raw)} IS NULL" if column.kind not in {"list", "vector"} else f"{_name(raw)} IS NULL"
    found: list[tuple[str, str]] = []
    if column.required:
        found.append((blank, "is missing"))
    if column.kind not in {"id", "text"}:
        found.append((f"({value_sql}) IS NULL AND NOT ({blank})", REASONS[column.kind]))
    if column.kind == "count":
        found.append((f"({value_sql}) != floor({value_sql})", REASONS["count"]))
    if column.kind in NUMERIC:
        low, high = column.limits
        found += [(f"({value_sql}) < {low}", f"is below {low:g}")] if low is not None else []
        found += [(f"({value_sql}) > {high}", f"is above {high:g}")] if high is not None else []
    if column.choices:
        words = ", ".join(f"'{word}'" for word in (*column.choices, "all"))
        found.append((f"({value_sql}) NOT IN ({words})", f"is none of {', '.join(column.choices)}"))
    return found


def masked(expression: str) -> str:
    """`governance.privacy.mask_text`, for a DuckDB text expression."""
    masks = ((r"[\w.+-]+@[\w-]+(\.[\w-]+)+", "[mail]"), (r"(^|\W)@\w[\w.]*", r"\1[mention]"),
             (r"(^|\W)\+?\d[\d ()/-]{6,}\d", r"\1[phone]"))  # fmt: skip
    for pattern, word in masks:
        expression = f"regexp_replace({expression}, '{pattern}', '{word}', 'g')"
    return expression


def _name(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'
