"""The market selection of the GeoLift walkthrough against mlsynth GEOX (MIT).

Like for like: the same panel, sizes, durations, effects, one window, fixed effects, a conformal test, a required market, a barred one and
a budget; GEOX with its augsynth engine, with and without ridge. The peer's half is ``peers/mlsynth_geox.py``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from side_by_side import REFERENCE, NotRun, Row, Timed, compare, mlsynth
from stopwatch import measure

from liftwise.models.causal import Panel
from liftwise.models.causal.markets import select_markets

SIZES, DURATIONS, EFFECTS = [2, 3, 4, 5], [10, 15], [0.0, 0.05, 0.10, 0.15, 0.20]
DATA = REFERENCE / "geolift_walkthrough" / "GeoLift_PreTest.csv.gz"
PAIRS = 1


def run() -> Iterator[Row]:
    """A row for each engine of the peer."""
    if not DATA.exists():
        raise NotRun("the reference data are not at hand (set LIFTWISE_REFERENCE_DATA)")
    frame = pd.read_csv(DATA)
    panel = Panel.of(frame, "location", "date", "Y")
    _select(panel)  # compiles
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "panel.csv"
        frame.to_csv(file, index=False)
        for engine in ("ridge", "plain"):
            yield _row(panel, file, engine)


def _row(panel: Panel, file: Path, engine: str) -> Row:
    def theirs() -> Timed:
        spent, found = mlsynth().run("mlsynth_geox", file, engine)
        return spent, found["best"]

    row = Row(
        "market selection", "2 to 5 of 40 cities × 2 durations × 5 effects", f"mlsynth GEOX, augsynth {engine}", pairs=PAIRS
    )
    return compare(row, lambda: measure(lambda: _select(panel)), theirs, _agree)


def _select(panel: Panel) -> list[str]:
    found = select_markets(
        panel, SIZES, DURATIONS, EFFECTS, include=["chicago"], forced_control=["honolulu"], budget=100_000, cost_per_unit=7.5,
        lookback=1, alpha=0.1, inference="conformal",
    )  # fmt: skip
    return [";".join(curve.markets) for curve in found.curves[:2]]


def _agree(ours: list[str], theirs: list[str]) -> str:
    return "same two best sets" if sorted(ours) == sorted(theirs) else f"ours {ours}, theirs {theirs}"
