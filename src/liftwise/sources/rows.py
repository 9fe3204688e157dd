"""Rows of files that need care: delimited text with broken rows, JSON, sheets. Each gives names, rows, lines, broken."""

from __future__ import annotations

import csv
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, TextIO

from liftwise.core.errors import InputError

Cells = list[str | None]
Rows = tuple[list[str], list[Cells], list[int], list["Broken"]]
RESTARTS, LONG = 50, 1000  # after so many stray quotes that swallow so many lines, every line stands for itself

csv.field_size_limit(min(sys.maxsize, 2**31 - 1))


@dataclass(frozen=True)
class Broken:
    """A row that is not one; its text stays in the file (it may hold personal data)."""

    line: int
    reason: str


def delimited_rows(stream: TextIO, delimiter: str) -> Rows:
    """Rows of delimited text with the line each begins on; blank lines are no rows."""
    lines = stream.read().splitlines(keepends=True)
    first = next((k for k, line in enumerate(lines) if line.strip().strip(delimiter).strip()), None)
    if first is None:
        return [], [], [], []
    header = next(csv.reader([lines[first]], delimiter=delimiter))
    rows: list[Cells] = []
    at: list[int] = []
    broken: list[Broken] = []
    for row, line in _parse(lines, first + 1, delimiter, len(header)):
        if isinstance(row, str):
            broken.append(Broken(line, row))
        elif len(row) == len(header):
            rows.append([cell if cell != "" else None for cell in row])
            at.append(line)
        elif any(cell.strip() for cell in row):
            broken.append(Broken(line, f"has {len(row)} fields where the first line has {len(header)}"))
    return header, rows, at, broken


def _parse(lines: list[str], start: int, delimiter: str, width: int) -> Iterator[tuple[list[str] | str, int]]:
    """(fields or the reason why not, first line) of each row from line index `start`.

    A cell may hold line breaks. But a row over several lines that has the wrong number of fields, or never ends, is a stray
    quote: its first line is broken and the reading starts again on the next, so that a quote cannot swallow good rows.
    """
    restarts = 0
    while start < len(lines):
        source = itertools.islice(lines, start, len(lines) if restarts < RESTARTS else start + 1)
        reader = csv.reader(source, delimiter=delimiter, strict=True)
        done = 0  # lines behind the last whole row
        try:
            for row in reader:
                if reader.line_num - done > 1 and len(row) != width and row:
                    raise csv.Error("unexpected end")
                if row:
                    yield row, start + done + 1
                done = reader.line_num
            start += max(done, 1)
        except csv.Error as error:
            unclosed = "unexpected end" in str(error)
            yield "a quote is opened and never closed" if unclosed else "a quote stands where none may be", start + done + 1
            restarts += unclosed and reader.line_num - done > LONG
            start += done + 1


def json_rows(path: Path, source: str) -> Rows:
    """Objects of a JSON array, or one a line; nested values stay JSON."""
    text = path.read_text(encoding="utf-8")
    if text.lstrip()[:1] == "[":
        try:
            items: list[Any] = json.loads(text)
        except ValueError as error:
            raise InputError(f"not valid JSON ({error})", where=source, fix="it may be cut off: export it again") from None
        numbered = list(enumerate(items, 1))
        return _objects(numbered, [])
    broken: list[Broken] = []
    numbered = []
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            numbered.append((line, json.loads(content)))
        except (ValueError, RecursionError):
            broken.append(Broken(line, "is not valid JSON"))
    return _objects(numbered, broken)


def _objects(numbered: list[tuple[int, Any]], broken: list[Broken]) -> Rows:
    good = [(line, item) for line, item in numbered if isinstance(item, dict)]
    broken = broken + [Broken(line, "is not a JSON object") for line, item in numbered if not isinstance(item, dict)]
    names = list(dict.fromkeys(str(name) for _, item in good for name in item))
    if not names and broken:
        names = ["record"]
    rows: list[Cells] = [[_cell(item.get(name)) for name in names] for _, item in good]
    return names, rows, [line for line, _ in good], broken


def sheet_rows(path: Path, source: str, sheet: str) -> Rows:
    """Rows of a workbook's sheet: the one of that name (whatever its case), else the first."""
    import openpyxl

    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as error:
        raise InputError(f"not a workbook ({type(error).__name__})", where=source, fix="save it as .xlsx again") from None
    try:
        named = {name.lower(): name for name in book.sheetnames}
        cells = book[named.get(sheet.lower(), book.sheetnames[0])].iter_rows(values_only=True)
        filled = ((line, list(row)) for line, row in enumerate(cells, 1) if any(cell is not None for cell in row))
        first = next(filled, None)
        if first is None:
            raise InputError("the sheet is empty", where=source, fix="put the column names in its first row")
        names = ["" if cell is None else str(cell) for cell in first[1]]
        while names and not names[-1].strip():
            names.pop()
        rows: list[Cells] = []
        lines: list[int] = []
        broken: list[Broken] = []
        for line, row in filled:
            if any(cell is not None for cell in row[len(names) :]):
                broken.append(Broken(line, f"has {len(row)} fields where the first line has {len(names)}"))
                continue
            rows.append([_cell(cell) for cell in row[: len(names)]] + [None] * (len(names) - len(row)))
            lines.append(line)
        return names, rows, lines, broken
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"the workbook is damaged ({type(error).__name__})", where=source, fix="save it again") from None
    finally:
        book.close()


def _cell(value: Any) -> str | None:
    """A value as the text a person would have typed."""
    if value is None or isinstance(value, str):
        return value.replace("\0", "") if value else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime | date | time):
        return value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False, default=str)
