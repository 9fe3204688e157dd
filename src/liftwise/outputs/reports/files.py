"""Write what the sections say: one page without network, one workbook, or a single table."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from liftwise.core.cells import neutralise
from liftwise.core.errors import InputError
from liftwise.core.tables import TABLES
from liftwise.outputs.reports.sections import sections
from liftwise.outputs.reports.words import short
from liftwise.store.workspace import Workspace

LINES = 60  # rows of a table that the page shows; the workbook holds all
CELLS_PER_SHEET = 1_048_575


def write_html(ws: Workspace, file: Path | None = None) -> Path:
    """The report as a single HTML file that needs no network; returns its path."""
    import jinja2
    from plotly.io import to_html
    from plotly.offline import get_plotlyjs

    loader = jinja2.PackageLoader("liftwise.outputs.reports", "templates")
    template = jinja2.Environment(loader=loader, autoescape=True).get_template("report.html")
    shown = [
        {
            "key": s.key, "title": s.title, "sentence": s.sentence, "cards": s.cards,
            "figures": [to_html(f, full_html=False, include_plotlyjs=False, div_id=f"{s.key}-{k}", config={"displaylogo": False})
                        for k, f in enumerate(s.figures)],
            "tables": [(title, _shown(frame.head(LINES)), len(frame)) for title, frame in s.tables],
        }
        for s in sections(ws)
    ]  # fmt: skip
    made = datetime.now(UTC).strftime("%d %B %Y")
    page = template.render(name=ws.settings.name, made=made, sections=shown, plotly=get_plotlyjs(), lines=LINES,
                           simulated=ws.settings.sources.simulator is not None)  # fmt: skip
    path = file or ws.folder / "reports" / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def write_xlsx(ws: Workspace, file: Path | None = None) -> Path:
    """The report's sentences and whole tables as a workbook; returns its path."""
    parts = sections(ws)
    path = file or ws.folder / "reports" / "report.xlsx"
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = [(s.title, s.sentence) for s in parts] + [
        (title, f"{value} ({note})") for s in parts for title, value, note in s.cards
    ]
    sheets = [("Summary", pd.DataFrame(facts, columns=["what", "reading"]))]
    sheets += [(title, frame) for s in parts for title, frame in s.tables]
    for name in ("contributions", "channel_credits", "allocations", "evidence"):
        if ws.warehouse.has(name):
            sheets.append((name, ws.warehouse.table(name)))
    _write_sheets(path, sheets)
    return path


def write_table(ws: Workspace, name: str, file: Path) -> tuple[Path, int]:
    """Any table as .csv, .parquet or .xlsx; returns the path and the number of rows."""
    if name not in TABLES:
        raise InputError(f"there is no table {name!r}", fix=f"choose one of {', '.join(TABLES)}")
    frame = ws.ledger.table(name) if TABLES[name].home == "ledger" else ws.warehouse.table(name)
    write_frame(frame, file, name)
    return file, len(frame)


def write_frame(frame: pd.DataFrame, file: Path, name: str = "calendar") -> None:
    """A frame as .csv, .parquet or .xlsx."""
    if file.suffix == ".csv":
        neutralise(frame).to_csv(file, index=False)
    elif file.suffix == ".parquet":
        frame.to_parquet(file, index=False)
    elif file.suffix == ".xlsx":
        _write_sheets(file, [(name, frame)])
    else:
        raise InputError(
            f"cannot write {file.suffix or 'a file without ending'}", where=str(file), fix="end it in .csv, .parquet or .xlsx"
        )


def _write_sheets(path: Path, sheets: list[tuple[str, pd.DataFrame]]) -> None:
    options = {"options": {"strings_to_formulas": False, "strings_to_urls": False, "nan_inf_to_errors": True}}
    with pd.ExcelWriter(path, engine="xlsxwriter", engine_kwargs=options) as book:
        for title, frame in sheets:
            if len(frame) > CELLS_PER_SHEET:
                raise InputError(
                    f"{title} has {len(frame):,} rows, more than a sheet holds", where=str(path), fix="export .parquet"
                )
            name = "".join(" " if c in "[]:*?/\\" else c for c in title)[:31]
            neutralise(frame).to_excel(book, sheet_name=name, index=False)
            book.sheets[name].autofit(400)
            book.sheets[name].freeze_panes(1, 0)


def _shown(frame: pd.DataFrame) -> list[list[str]]:
    """Header and rows as text."""
    return [list(map(str, frame.columns)), *([_text(value) for value in row] for row in frame.itertuples(index=False))]


def _text(value: object) -> str:
    if value is None or value is pd.NaT or (isinstance(value, float) and pd.isna(value)):
        return ""
    if isinstance(value, pd.Timestamp):
        return value.strftime("%Y-%m-%d")
    if isinstance(value, float):
        return short(value) if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
