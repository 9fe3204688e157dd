"""refresh: files → tables → people, habits, journeys, moments, audiences, features, and what is wrong with any of it."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from liftwise.core.errors import InputError
from liftwise.core.settings import TableSettings
from liftwise.core.tables import TABLES
from liftwise.flows.outline import Flow
from liftwise.governance.privacy import Pseudonymiser, open_key
from liftwise.pipeline import audiences, features, habits, health, identity, intake, journeys, moments
from liftwise.sources import files
from liftwise.store.workspace import Workspace

SOURCES = [name for name, contract in TABLES.items() if contract.is_source]


def refresh(ws: Workspace, *, again: bool = False) -> Flow:
    """Bring every table up to date with the files in `data/`; steps whose inputs did not change are skipped."""
    flow = Flow(ws, "refresh", again)
    simulate(flow)
    key = ws.settings.privacy_key.get_secret_value() if ws.settings.privacy_key else None
    privacy = open_key(ws.folder, key)
    mapped = {name: table.model_dump() for name, table in ws.settings.tables.items()}
    found, strange = files.discover(ws.data)
    if not found and not strange:
        raise InputError(f"no files in {ws.data}", fix="put your exports there, one per table (docs/tables.md)")
    flow.step(
        "intake", lambda: read(ws, privacy, found, strange), files=found, writes=["loads", "quarantine", *SOURCES],
        parameters={"tables": mapped, "time": ws.settings.time.model_dump(), "key": privacy.pseudonym("check", "key")},
    )  # fmt: skip
    store = ws.warehouse
    flow.step("identity", lambda: identity.resolve(store), reads=["identifiers"], writes=["people"])
    told, people = ws.settings.journeys, ["orders", "people", "identifiers"]
    days, ratio = told.lookback_days, told.moments_per_purchase
    flow.step("habits", lambda: habits.build(store), needs=["orders"], reads=[*people, "products"], writes=["habits"])
    flow.step(
        "journeys", lambda: journeys.build(store, days), needs=["orders"], writes=["journeys"], parameters={"lookback_days": days},
        reads=[*people, "touchpoints", "covariates", "habits"],
    )  # fmt: skip
    flow.step(
        "moments", lambda: moments.build(store, days, ratio), needs=["orders"],
        reads=[*people, "touchpoints", "covariates", "habits", "panel_answers", *moments.BRANDED],
        writes=["moments", "journey_facts", "answer_moments"], parameters={"lookback_days": days, "moments_per_purchase": ratio},
    )  # fmt: skip
    flow.step(
        "audiences", lambda: audiences.sample(store), needs=["touchpoints"], reads=["touchpoints", "people"],
        writes=["audience_samples", "audience_overlap"],
    )  # fmt: skip
    flow.step(
        "features", lambda: features.build(store), needs=["influencers"], writes=["features"],
        reads=["influencers", "posts", "post_metrics", "assignments", "audiences", "orders", "touchpoints", "sales"],
    )  # fmt: skip
    flow.step(
        "weekly", lambda: features.weekly(store, ws.settings.grid), needs=["sales"],
        reads=["sales", "spend", "factors", "competitors"], writes=["weekly"],
    )  # fmt: skip
    flow.step(
        "health",
        lambda: health.build(store, ws.settings.grid),
        reads=["loads", "quarantine", "weekly", "spend", "sales", "panel_answers", "answer_moments", *people, "touchpoints", "covariates"],
        writes=["health"],
    )  # fmt: skip
    return flow


def simulate(flow: Flow) -> None:
    """Make the files of a simulated market, if the settings ask for one and they are not there."""
    market = flow.ws.settings.sources.simulator
    if market is None:
        return
    from liftwise.sources import simulator

    ws = flow.ws
    sizes = market.model_dump()

    def work() -> dict[str, Any]:
        return dict(
            simulator.generate(ws.data, ws.truth, progress=lambda note, done: ws.progress("simulate", done * 0.99, note), **sizes)
        )

    flow.step("simulate", work, parameters=sizes, again=not (ws.truth / "parameters.parquet").exists())


def read(ws: Workspace, privacy: Pseudonymiser, found: Sequence[Path], strange: Sequence[InputError]) -> dict[str, Any]:
    """Every source table from its files."""
    taking = intake.Intake(ws.warehouse, ws.settings.grid, privacy)
    used: set[Path] = set()
    for k, name in enumerate(SOURCES):
        told = ws.settings.tables.get(name, TableSettings())
        mine = _files_of(name, told, found)
        used.update(mine)
        ws.warehouse.drop(name)
        ws.progress("intake", k / len(SOURCES), name if mine or told.select else "")
        if told.select:
            used.update(path for path in found if re.search(rf"\b{re.escape(files.stem(path))}\b", told.select))
            _take_select(ws, taking, name, told, found)
        elif mine:
            _take_files(ws, taking, name, told, mine)
    for error in strange:
        taking.refuse(error.where, "", f"{error.what}; {error.fix}")
    for path in found:
        if path not in used:
            taking.refuse(path.name, "", "belongs to no table; name it like one or map it with [tables.…] files")
    taking.finish()
    loads = ws.warehouse.table("loads")
    return {"files": len(loads), "rows": int(loads["rows_in"].sum()), "quarantined": int(loads["quarantined"].sum())}


def _files_of(name: str, told: TableSettings, found: Sequence[Path]) -> list[Path]:
    """The files of a table: by its patterns, else by its name."""
    if told.files:
        return [path for path in found if any(fnmatch.fnmatch(path.name.lower(), pattern.lower()) for pattern in told.files)]
    return [path for path in found if files.stem(path).lower() == name]


def _take_files(ws: Workspace, taking: intake.Intake, name: str, told: TableSettings, mine: Sequence[Path]) -> None:
    incoming: list[intake.Incoming] = []
    for number, path in enumerate(mine):
        try:
            staged = files.stage(ws.warehouse.connection, path, f"staged_{number}", sheet=name, encoding=told.encoding)
        except InputError as error:
            taking.refuse(path.name, name, f"{error.what}; {error.fix}")
            continue
        broken = [(row.line, row.reason) for row in staged.broken]
        incoming.append(intake.Incoming(staged.source, staged.relation, staged.columns, staged.line, broken))
    _load(taking, name, told, incoming)


def _take_select(ws: Workspace, taking: intake.Intake, name: str, told: TableSettings, found: Sequence[Path]) -> None:
    """A table made by one SELECT over the files."""
    readers = {files.stem(path): reader for path in found if (reader := _reader(path))}
    try:
        frame = intake.by_select(told.select or "", name, readers)
    except InputError as error:
        taking.refuse(error.where, name, f"{error.what}; {error.fix}")
        return
    ws.warehouse.connection.register("selected", frame)
    ws.warehouse.connection.execute(
        "CREATE OR REPLACE TEMP TABLE staged_0 AS SELECT *, row_number() OVER () AS __line FROM selected"
    )
    ws.warehouse.connection.unregister("selected")
    columns = {row[0]: row[1] for row in ws.warehouse.connection.execute("DESCRIBE staged_0").fetchall() if row[0] != "__line"}
    _load(taking, name, told, [intake.Incoming(f"[tables.{name}] select", "staged_0", columns, "__line")])


def _load(taking: intake.Intake, name: str, told: TableSettings, incoming: Sequence[intake.Incoming]) -> None:
    if not incoming:
        return
    try:
        taking.load(name, incoming, intake.Told(told.columns, told.timezone, told.decimal))
    except InputError as error:
        taking.refuse(error.where, name, f"{error.what}; {error.fix}")


def _reader(path: Path) -> str:
    """DuckDB's own reader of a file, for a select; a workbook cannot be read that way."""
    readers = {".csv": "read_csv", ".tsv": "read_csv", ".txt": "read_csv", ".parquet": "read_parquet", ".json": "read_json",
               ".jsonl": "read_json", ".ndjson": "read_json"}  # fmt: skip
    reader = readers.get(files.suffix(path))
    quoted = json.dumps(str(path))[1:-1].replace("'", "''")
    return f"{reader}('{quoted}')" if reader else ""
