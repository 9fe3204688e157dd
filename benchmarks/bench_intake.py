"""Rows a second of intake (typed, checked, pseudonymised, keys unique, written) against plain duckdb.read_csv of the same file."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from liftwise.core.timegrid import TimeGrid
from liftwise.core.uncertainty import spawn
from liftwise.governance.privacy import Pseudonymiser
from liftwise.pipeline.intake import Incoming, Intake, Told
from liftwise.sources import files
from liftwise.store.warehouse import Warehouse

ROWS = 1_000_000


def run() -> list[dict]:
    """One row."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        path = folder / "touchpoints.csv"
        _touchpoints(ROWS).to_csv(path, index=False)
        ours, peer = [], []
        for turn in range(5):
            ours.append(_intake(path, folder / f"ours{turn}.duckdb"))
            peer.append(_plain(path, folder / f"plain{turn}.duckdb"))
        ratio = statistics.median(a / b for a, b in zip(ours, peer, strict=True))
    return [{"what": "intake, 1 M touchpoints of CSV (seconds: lower is better)", "ours": statistics.median(ours), "peer": statistics.median(peer),
             "ratio": ratio, "unit": "s", "note": "peer: CREATE TABLE AS FROM read_csv; target at most 3"}]  # fmt: skip


def _touchpoints(rows: int) -> pd.DataFrame:
    rng = spawn(1, "bench.intake")
    who = rng.integers(0, 20_000, rows)
    return pd.DataFrame({
        "touch_id": np.char.add("t", np.arange(rows).astype(str)), "person_id": np.char.add("p", who.astype(str)),
        "occurred_at": pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.integers(0, 3e7, rows), unit="s"),
        "channel": rng.choice(["search", "display", "influencer"], rows), "region": rng.choice(["north", "south"], rows),
        "kind": "view", "dwell_s": rng.exponential(5, rows).round(1), "cost": rng.random(rows).round(4),
    })  # fmt: skip


def _intake(path: Path, target: Path) -> float:
    began = time.perf_counter()
    with Warehouse(target) as warehouse:
        taking = Intake(warehouse, TimeGrid(), Pseudonymiser(b"k" * 32))
        staged = files.stage(warehouse.connection, path, "staged")
        taking.load("touchpoints", [Incoming(path.name, "staged", staged.columns, staged.line)], Told({}))
        taking.finish()
        assert warehouse.rows("touchpoints") == ROWS
        spent = time.perf_counter() - began
    return spent


def _plain(path: Path, target: Path) -> float:
    began = time.perf_counter()
    with duckdb.connect(str(target)) as connection:
        connection.execute(f"CREATE TABLE t AS FROM read_csv('{path}')")
    return time.perf_counter() - began
