"""Rows a second of intake (typed, checked, pseudonymised, keys unique, written) against plain duckdb.read_csv of the same file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from side_by_side import Row, compare
from stopwatch import measure

from liftwise.core.timegrid import TimeGrid
from liftwise.core.uncertainty import spawn
from liftwise.governance.privacy import Pseudonymiser
from liftwise.pipeline.intake import Incoming, Intake, Told
from liftwise.sources import files
from liftwise.store.warehouse import Warehouse

ROWS, PAIRS = 1_000_000, 3


def run() -> list[Row]:
    """One row."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        path = folder / "touchpoints.csv"
        _touchpoints(ROWS).to_csv(path, index=False)
        row = Row(
            "intake of a CSV",
            f"{ROWS:,} touchpoints",
            "duckdb read_csv",
            pairs=PAIRS,
            note="ours also checks, pseudonymises and keeps keys unique",
        )
        return [
            compare(row, lambda: measure(lambda: _intake(path, folder)), lambda: measure(lambda: _plain(path, folder)), _agree)
        ]


def _touchpoints(rows: int) -> pd.DataFrame:
    rng = spawn(1, "bench.intake")
    who = rng.integers(0, 20_000, rows)
    return pd.DataFrame({
        "touch_id": np.char.add("t", np.arange(rows).astype(str)), "person_id": np.char.add("p", who.astype(str)),
        "occurred_at": pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.integers(0, 3e7, rows), unit="s"),
        "channel": rng.choice(["search", "display", "influencer"], rows), "region": rng.choice(["north", "south"], rows),
        "kind": "view", "dwell_s": rng.exponential(5, rows).round(1), "cost": rng.random(rows).round(4),
    })  # fmt: skip


def _intake(path: Path, folder: Path) -> int:
    target = _fresh(folder / "ours.duckdb")
    with Warehouse(target) as warehouse:
        taking = Intake(warehouse, TimeGrid(), Pseudonymiser(b"k" * 32))
        staged = files.stage(warehouse.connection, path, "staged")
        taking.load("touchpoints", [Incoming(path.name, "staged", staged.columns, staged.line)], Told({}))
        taking.finish()
        return warehouse.rows("touchpoints")


def _plain(path: Path, folder: Path) -> int:
    with duckdb.connect(str(_fresh(folder / "plain.duckdb"))) as connection:
        connection.execute(f"CREATE TABLE t AS FROM read_csv('{path}')")
        return connection.execute("SELECT count(*) FROM t").fetchall()[0][0]


def _fresh(target: Path) -> Path:
    target.unlink(missing_ok=True)
    return target


def _agree(ours: int, theirs: int) -> str:
    return "same number of rows" if ours == theirs else f"{ours:,} rows, theirs {theirs:,}"
