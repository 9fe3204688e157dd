"""A folder of exports: found, recognised, and staged as they are; nothing is interpreted here.

`stage` reads one file into a TEMP table of text (Parquet keeps its types), in file order, with the line of each row.
A clean text file is read by DuckDB; one with broken rows is read again line by line, so that every broken row is
known with its line and reason. A file that cannot be read at all is an `InputError` of one line; the others go on.
"""

from __future__ import annotations

import contextlib
import gzip
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from liftwise.core.errors import InputError
from liftwise.sources.rows import Broken, delimited_rows, json_rows, sheet_rows

TEXT = {".csv", ".tsv", ".txt"}
JSON = {".json", ".jsonl", ".ndjson"}
KNOWN = TEXT | JSON | {".parquet", ".xlsx"}
LARGEST_EXPANSION = 200  # times the compressed size
LARGEST_EXPANDED = 8 << 30  # bytes
UNCOMMITTED = 36_028_797_018_960_000  # DuckDB counts rows from here while their transaction is open
DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class Staged:
    """A file as a TEMP table: `columns` (name → DuckDB type); `line` is SQL for a row's line; `broken` rows did not parse."""

    source: str
    relation: str
    columns: dict[str, str]
    broken: tuple[Broken, ...] = ()
    line: str = "__line"


def suffix(path: Path) -> str:
    """The ending that says how to read a file; ``.gz`` is looked through.

    >>> suffix(Path("orders.CSV.gz"))
    '.csv'
    """
    endings = [ending.lower() for ending in path.suffixes]
    return endings[-2] if len(endings) > 1 and endings[-1] == ".gz" else endings[-1] if endings else ""


def stem(path: Path) -> str:
    """A file's name without its endings."""
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return Path(name).stem


def discover(folder: Path) -> tuple[list[Path], list[InputError]]:
    """The files that can be read, in order of name, and a word on each that cannot."""
    found: list[Path] = []
    strange: list[InputError] = []
    for path in sorted(folder.iterdir() if folder.is_dir() else []):
        if path.name.startswith(".") or path.is_dir():
            continue
        if suffix(path) in KNOWN:
            found.append(path)
        else:
            strange.append(
                InputError("unknown file type", where=path.name, fix="save it as CSV, TSV, JSON, JSONL, Parquet or XLSX")
            )
    return found, strange


def stage(connection: duckdb.DuckDBPyConnection, path: Path, relation: str, *, sheet: str = "", encoding: str = "") -> Staged:
    """Read `path` into the TEMP table `relation`.

    Parameters
    ----------
    sheet : the sheet to prefer in a workbook; else its first.
    encoding : of a text file, when it is not what it looks like.

    Raises
    ------
    InputError
        When the file is empty, cut off, not what its name says, or expands too far.
    """
    if path.stat().st_size == 0:
        raise InputError("the file is empty", where=path.name, fix="export it again or remove it")
    try:
        with _plain(path) as plain:
            kind = suffix(path)
            if kind == ".parquet":
                return _stage_parquet(connection, plain, relation, path.name)
            if kind == ".xlsx":
                _refuse_bomb(plain, path.name)
                return _stage_rows(connection, relation, path.name, *sheet_rows(plain, path.name, sheet))
            with _utf8(plain, path.name, encoding) as text:
                if kind in JSON:
                    return _stage_rows(connection, relation, path.name, *json_rows(text, path.name))
                return _stage_text(connection, text, relation, path.name, "\t" if kind == ".tsv" else "")
    except (duckdb.Error, OSError, zipfile.BadZipFile, EOFError, gzip.BadGzipFile, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        reason = reason.replace(str(path), path.name)
        raise InputError(f"cannot be read ({reason[:160]})", where=path.name, fix="export it again") from None


# -- formats ------------------------------------------------------------------------------------------------------


def _stage_parquet(connection: duckdb.DuckDBPyConnection, path: Path, relation: str, source: str) -> Staged:
    from pyarrow.parquet import ParquetFile

    ParquetFile(path).close()  # a file cut short is noticed here, outside of the transaction
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {_name(relation)} AS "
        f"SELECT * EXCLUDE (file_row_number), file_row_number + 1 AS __line FROM read_parquet({_text(path)}, file_row_number = true)"
    )
    return Staged(source, relation, _columns(connection, relation))


def _stage_text(connection: duckdb.DuckDBPyConnection, path: Path, relation: str, source: str, delimiter: str) -> Staged:
    """DuckDB for a clean file; line by line for one that is not."""
    with path.open(encoding="utf-8", newline="") as stream:
        header = stream.readline()
    if not header.strip():
        raise InputError("the first line is empty", where=source, fix="put the column names there")
    delimiter = delimiter or max(DELIMITERS, key=header.count)
    names = _header(header, delimiter)
    if names is not None and _stage_clean(connection, path, relation, delimiter, names):
        return Staged(source, relation, _columns(connection, relation), line=f"rowid % {UNCOMMITTED} + 2")
    with path.open(encoding="utf-8", newline="") as stream:
        return _stage_rows(connection, relation, source, *delimited_rows(stream, delimiter))


def _stage_clean(connection: duckdb.DuckDBPyConnection, path: Path, relation: str, delimiter: str, names: list[str]) -> bool:
    """Try the fast way; false when a row is broken or a field holds a line break, so that lines must be counted one by one.

    Broken rows are passed over here rather than raised, since an error would end the transaction that the load runs in.
    """
    columns = ", ".join(f"{_text(name)}: 'VARCHAR'" for name in names)
    try:
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_name(relation)} AS SELECT * FROM read_csv({_text(path)}, auto_detect = false, "
            f"header = true, delim = {_text(delimiter)}, quote = '\"', escape = '\"', columns = {{{columns}}}, "
            "null_padding = false, strict_mode = true, ignore_errors = true)"
        )
    except duckdb.Error:
        return False
    rows = connection.execute(f"SELECT count(*) FROM {_name(relation)}").fetchone()
    assert rows is not None
    return rows[0] == _lines(path) - 1


def _stage_rows(
    connection: duckdb.DuckDBPyConnection, relation: str, source: str, names: list[str], rows: list[list[str | None]],
    lines: list[int], broken: list[Broken],
) -> Staged:  # fmt: skip
    """Rows of text that Python has read."""
    import pyarrow as pa

    if not names:
        raise InputError("no column names were found", where=source, fix="put them in the first line")
    turned: list[Any] = list(zip(*rows, strict=True)) if rows else [[] for _ in names]
    arrays = [pa.array(list(values), pa.string()) for values in turned] + [pa.array(lines, pa.int64())]
    table = pa.Table.from_arrays(arrays, names=[*_unique(names), "__line"])
    connection.register("staging", table)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {_name(relation)} AS SELECT * FROM staging")
    connection.unregister("staging")
    return Staged(source, relation, _columns(connection, relation), tuple(broken))


# -- getting at the bytes -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _plain(path: Path) -> Iterator[Path]:
    """The file itself, or a ``.gz`` expanded into a private folder, as far as is reasonable."""
    if path.suffix.lower() != ".gz":
        yield path
        return
    limit = min(LARGEST_EXPANDED, max(path.stat().st_size * LARGEST_EXPANSION, 1 << 20))
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "plain"
        with gzip.open(path) as packed, target.open("wb") as out:
            size = 0
            while block := packed.read(1 << 20):
                size += len(block)
                if size > limit:
                    raise _bomb(path.name)
                out.write(block)
        yield target


def _refuse_bomb(path: Path, source: str) -> None:
    """A workbook is a zip: look at what it claims to hold before expanding any of it."""
    with zipfile.ZipFile(path) as archive:
        expanded = sum(entry.file_size for entry in archive.infolist())
    if expanded > LARGEST_EXPANDED or expanded > max(path.stat().st_size * LARGEST_EXPANSION, 1 << 20):
        raise _bomb(source)


def _bomb(source: str) -> InputError:
    return InputError("it expands to far more than its size", where=source, fix="if it is honest, save it as CSV or Parquet")


@contextlib.contextmanager
def _utf8(path: Path, source: str, encoding: str) -> Iterator[Path]:
    """The file in UTF-8: itself when it is, else converted into a private folder."""
    found = encoding or _encoding(path)
    if found == "utf-8":
        yield path
        return
    try:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "text"
            with path.open(encoding=found, newline="") as stream, target.open("w", encoding="utf-8", newline="") as out:
                while block := stream.read(1 << 20):
                    if "\0" in block:
                        raise InputError("it holds zero bytes: not a text file", where=source, fix="export it again as text")
                    out.write(block)
            yield target
    except (UnicodeError, LookupError) as error:
        raise InputError(
            f"it is not {found} text ({error})"[:200], where=source, fix="set its encoding under [tables.…]"
        ) from None


def _encoding(path: Path) -> str:
    """By its mark, else UTF-8 when every byte is, else Windows-1252 (latin-1 where that has holes)."""
    import codecs

    with path.open("rb") as stream:
        start = stream.read(4)
        for mark, name in ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
            if start.startswith(mark):
                return name
        stream.seek(0)
        decoder, holes, zero = codecs.getincrementaldecoder("utf-8")(), False, False
        good = True
        while block := stream.read(1 << 20):
            zero = zero or b"\0" in block
            holes = holes or any(byte in block for byte in (b"\x81", b"\x8d", b"\x8f", b"\x90", b"\x9d"))
            if good:
                try:
                    decoder.decode(block)
                except UnicodeDecodeError:
                    good = False
    return "utf-8" if good and not zero else "latin-1" if holes or zero else "cp1252"


def _lines(path: Path) -> int:
    """Lines that are not blank at the end; a last line need not end in a line break."""
    count, last = 0, b""
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")


def _header(line: str, delimiter: str) -> list[str] | None:
    import csv

    try:
        names = next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return _unique([name.strip() for name in names])


def _unique(names: list[str]) -> list[str]:
    """Names without repeats or blanks, whatever their case."""
    seen: dict[str, int] = {"__line": 0}
    result: list[str] = []
    for position, name in enumerate(names, 1):
        name = name.strip() or f"column_{position}"
        count = seen.get(name.lower(), -1) + 1
        seen[name.lower()] = count
        result.append(f"{name}_{count + 1}" if count else name)
    return result


def _columns(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    described = connection.execute(f"DESCRIBE {_name(relation)}").fetchall()
    return {row[0]: row[1] for row in described if row[0] != "__line"}


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _name(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'
