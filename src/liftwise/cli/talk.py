"""How the command line talks: tables and sentences for people, JSON for machines, progress on stderr; and options that commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    import pandas as pd

    from liftwise.flows.outline import Flow
    from liftwise.store.workspace import Workspace

Where = Annotated[Path, typer.Option("--workspace", "-w", help="The workspace's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON, for machines.")]
Again = Annotated[bool, typer.Option("--again", help="Run every step, also those whose inputs did not change.")]
HERE = Path()


@contextmanager
def opened(folder: Path, mode: Literal["read", "write"] = "write") -> Iterator[Workspace]:
    from liftwise.store.workspace import Workspace

    with Workspace.open(folder, mode) as ws, progress() as heard:
        ws.progress = heard
        yield ws


@contextmanager
def progress() -> Iterator[Any]:
    """Progress on stderr: a live bar a step on a terminal, a line a finished step elsewhere."""
    import time

    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        began: dict[str, float] = {}

        def line(step: str, done: float, note: str = "") -> None:
            start = began.setdefault(step, time.perf_counter())
            if done >= 1.0:
                del began[step]
                print(f"{step:<16} {time.perf_counter() - start:6.1f} s  {note}".rstrip(), file=sys.stderr, flush=True)

        yield line
        return
    columns = (SpinnerColumn(finished_text="[green]✓"), TextColumn("{task.description:<14}"), BarColumn(20), TimeElapsedColumn(),
               TextColumn("[dim]{task.fields[note]}"))  # fmt: skip
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, Any] = {}

        def bar(step: str, done: float, note: str = "") -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=1.0, note=note)
            bars.update(tasks[step], completed=done, note=note)
            if done >= 1.0:
                del tasks[step]

        yield bar


def say(text: str) -> None:
    from rich.console import Console

    Console(soft_wrap=True, highlight=False, markup=False).print(text)


def show(frame: pd.DataFrame, title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    if frame.empty:
        return
    shown = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in frame.columns:
        numeric = frame[column].dtype.kind in "if"
        shown.add_column(str(column), justify="right" if numeric else "left", overflow="fold")
    for row in frame.itertuples(index=False):
        shown.add_row(*(cell(value) for value in row))
    Console(highlight=False).print(shown, "")


def cell(value: Any) -> str:
    import pandas as pd
    from rich.markup import escape

    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:,.10g}"
    if isinstance(value, pd.Timestamp):
        return str(value.date())
    return "" if value is None or value is pd.NA else f"{value:,}" if isinstance(value, int) else escape(str(value))


def left_out(flow: Flow) -> None:
    for step, why in flow.left_out.items():
        say(f"Left out: {step} ({why}).")


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return json.loads(frame.to_json(orient="records", date_format="iso", date_unit="s"))


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str, allow_nan=False))
