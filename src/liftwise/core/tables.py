"""Check a frame against the contract of its table: what is clean goes on, what is not is returned with its reason.

`pipeline.intake` applies the same contracts to text in SQL; a property test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from liftwise.core.catalogue import TABLES
from liftwise.core.contract import Column, Table
from liftwise.core.errors import TableError
from liftwise.core.timegrid import TimeGrid

ALL = "all"  # what a missing optional key column means

NUMERIC = {"number", "money", "count", "share", "score"}
REASONS = {
    "number": "is not a number", "money": "is not an amount", "count": "is not a whole number", "share": "is not a number",
    "score": "is not a number", "date": "is not a date", "week": "is not a date", "time": "is not a time",
    "flag": "is neither true nor false", "list": "is not a list", "vector": "is not a list of numbers",
}  # fmt: skip
TRUE, FALSE = frozenset({"true", "t", "yes", "y", "1"}), frozenset({"false", "f", "no", "n", "0"})


@dataclass(frozen=True)
class Checked:
    """A frame split in two. `rejected` holds the rows as they came, with `row`, `column` and `reason` in front."""

    clean: pd.DataFrame
    rejected: pd.DataFrame
    unknown: tuple[str, ...] = ()


def table(name: str) -> Table:
    """The contract of that name.

    >>> table("orders").key
    ('order_id', 'product_id')
    """
    if name not in TABLES:
        raise TableError(f"there is no table {name!r}", fix=f"the tables are {', '.join(sorted(TABLES))}")
    return TABLES[name]


def missing_columns(contract: Table, present: Iterable[str]) -> list[str]:
    """Required columns that are not among `present` (case does not count)."""
    have = {name.lower() for name in present}
    return [name for name in contract.required if name not in have]


def check(name: str, frame: pd.DataFrame, grid: TimeGrid | None = None) -> Checked:
    """Hold `frame` to the contract of table `name`.

    Parameters
    ----------
    name : a table of `core.catalogue`.
    frame : any frame with at least the required columns; it is not modified.
    grid : the workspace's time grid; dates of kind *week* are moved to the first day of their period.

    Returns
    -------
    Checked
        `clean` has every column of the contract, in its order and type, then the unknown ones as they came.

    Raises
    ------
    TableError
        If a required column is missing altogether.

    >>> out = check("regions", pd.DataFrame({"Region": ["north", ""], "population": [10, 20]}))
    >>> list(out.clean["region"]), list(out.rejected["reason"])
    (['north'], ['is missing'])
    """
    contract = table(name)
    frame = frame.rename(columns={c: str(c).lower() for c in frame.columns if str(c).lower() in contract.names})
    frame = frame.reset_index(drop=True)
    absent = missing_columns(contract, frame.columns)
    if absent:
        raise TableError(
            f"missing column{'s' * (len(absent) > 1)} {', '.join(absent)}", where=name,
            fix=f"the file has {', '.join(map(str, frame.columns))}; map one with [tables.{name}.columns]",
        )  # fmt: skip
    clean: dict[str, pd.Series] = {}
    column_of = pd.Series(pd.NA, index=frame.index, dtype="str")
    reason_of = pd.Series(pd.NA, index=frame.index, dtype="str")
    for column in contract.columns:
        values, reasons = _read(column, frame.get(column.name), frame.index, grid or TimeGrid(), column.name in contract.key)
        clean[column.name] = values
        first = reasons.notna() & reason_of.isna()
        column_of[first], reason_of[first] = column.name, reasons[first]
    result = pd.DataFrame(clean, index=frame.index)
    good = reason_of.isna()
    if contract.key:
        repeated = result[good].duplicated(list(contract.key), keep="first")
        again = repeated.index[repeated]
        column_of[again], reason_of[again] = ", ".join(contract.key), "repeats a key seen before"
        good = reason_of.isna()
    unknown = tuple(str(c) for c in frame.columns if c not in contract.names)
    result = pd.concat([result, frame[[c for c in frame.columns if c not in contract.names]]], axis=1)
    rejected = frame[~good].copy()
    rejected.insert(0, "reason", reason_of[~good], allow_duplicates=True)
    rejected.insert(0, "column", column_of[~good], allow_duplicates=True)
    rejected.insert(0, "row", np.flatnonzero(~good), allow_duplicates=True)
    return Checked(result[good].reset_index(drop=True), rejected.reset_index(drop=True), unknown)


def _read(column: Column, raw: pd.Series | None, index: pd.Index, grid: TimeGrid, in_key: bool) -> tuple[pd.Series, pd.Series]:
    """Values of one column in its own type, and a reason for each that is wrong."""
    reasons = pd.Series(pd.NA, index=index, dtype="str")
    if raw is None:
        raw = pd.Series(None, index=index, dtype="object")
    empty = raw.isna() if column.kind in {"list", "vector"} else _blank(raw)
    values, wrong = _convert(column, raw.mask(empty), grid)
    reasons[wrong & ~empty] = REASONS.get(column.kind, "cannot be read")
    if column.required:
        reasons[empty] = "is missing"
    elif in_key and column.kind in {"id", "text"}:
        values = values.fillna(ALL)
    if column.kind in NUMERIC:
        low, high = column.limits
        reasons[values < (-np.inf if low is None else low)] = f"is below {low:g}" if low is not None else ""
        reasons[values > (np.inf if high is None else high)] = f"is above {high:g}" if high is not None else ""
    if column.choices:
        reasons[values.notna() & ~values.isin([*column.choices, ALL])] = f"is none of {', '.join(column.choices)}"
    return values, reasons


def _blank(raw: pd.Series) -> pd.Series:
    """Missing, or text of nothing but spaces."""
    if pd.api.types.is_numeric_dtype(raw) or pd.api.types.is_datetime64_any_dtype(raw):
        return raw.isna()
    return raw.isna() | (raw.astype("str").str.strip() == "")


def _convert(column: Column, raw: pd.Series, grid: TimeGrid) -> tuple[pd.Series, pd.Series]:
    """Values in the column's type (null where unreadable) and where they could not be read."""
    kind = column.kind
    if kind in {"id", "text"}:
        values = raw.astype("str").str.strip()
        return values, pd.Series(False, index=raw.index)
    if kind in NUMERIC:
        values = pd.to_numeric(raw, errors="coerce").astype("float64").replace([np.inf, -np.inf], np.nan)
        wrong = values.isna() | ((values % 1 != 0) if kind == "count" else False)
        if kind == "count" and not values.isna().any() and not wrong.any():
            values = values.astype("int64")
        return values, wrong
    if kind in {"date", "week", "time"}:
        values = _moments(raw)
        wrong = values.isna()
        if kind == "week":
            values = grid.floor(values)
        elif kind == "date":
            values = values.dt.normalize()
        return values.astype("datetime64[us]"), wrong
    if kind == "flag":
        words = raw.astype("str").str.strip().str.lower()
        values = pd.Series(pd.NA, index=raw.index, dtype="boolean")
        values[words.isin(TRUE | {"1.0"})], values[words.isin(FALSE | {"0.0"})] = True, False
        wrong = values.isna()
        return (values.astype(bool) if not wrong.any() else values), wrong
    is_list = raw.map(lambda value: isinstance(value, list | tuple | np.ndarray))
    return raw, ~is_list.astype(bool)


def _moments(raw: pd.Series) -> pd.Series:
    """Dates and times in UTC without a zone; a bare year is its first day."""
    if pd.api.types.is_datetime64_any_dtype(raw):
        moments = raw
    elif pd.api.types.is_numeric_dtype(raw):
        years = raw.where((raw % 1 == 0) & raw.between(1000, 9999)).astype("Int64").astype("str")
        moments = pd.to_datetime(years, format="%Y", errors="coerce")
    else:
        words = raw.astype("str").str.strip()
        words = words.where(words.str.match(r"\d{4}(-\d|$)", na=False))
        moments = pd.to_datetime(words, errors="coerce", format="ISO8601", utc=True)
    if isinstance(moments.dtype, pd.DatetimeTZDtype):
        moments = moments.dt.tz_convert("UTC").dt.tz_localize(None)
    return moments.astype("datetime64[us]")


def to_markdown() -> str:
    """The page of tables, generated: `docs/tables.md`."""
    lines = ["# The tables", "", "Generated from `liftwise.core.catalogue`; do not edit. Required columns are **bold**.", ""]
    for contract in TABLES.values():
        lines += [f"## {contract.name}", "", f"{contract.doc} Made by: {contract.made_by}; kept in the {contract.home}.", ""]
        if contract.key:
            lines += [f"Key: {', '.join(contract.key)}", ""]
        lines += ["| column | kind | unit | personal | values | note |", "|---|---|---|---|---|---|"]
        lines += [_markdown_row(column) for column in contract.columns]
        lines.append("")
    return "\n".join(lines)


def _markdown_row(column: Column) -> str:
    low, high = column.limits
    span = ", ".join(column.choices) or (
        "" if low is None and high is None else f"{low:g} to {high:g}" if high is not None else f"≥ {low:g}"
    )
    name = f"**{column.name}**" if column.required else column.name
    return f"| {name} | {column.kind} | {column.unit} | {column.personal} | {span} | {column.note} |"


if __name__ == "__main__":
    from pathlib import Path

    (Path(__file__).parents[3] / "docs" / "tables.md").write_text(to_markdown(), encoding="utf-8")
