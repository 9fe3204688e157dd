"""Set-Shapley against marketing_attribution_models (PyPI, Apache-2.0), which loops over each set's subsets in Python.

Its game is the one of ours without pooling (`pool=0`): no journey here is untouched, so v(∅) = 0 on both sides. What still differs:
sets that were never seen (0 there, added up from their channels here) and channels of negative value (kept there, none here).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from bench_markov import paths
from side_by_side import Peer, Row, Timed, compare
from stopwatch import measure

from liftwise.models.attribution import Journeys, Shapley

PATHS = 1_000_000
PEER = Peer("marketing_attribution_models", ("marketing_attribution_models==2.1.1", "pyarrow"))
CASES = ((8, "channels", 3), (8, "touches", 2), (12, "channels", 1))  # channels, what is credited, pairs


def run() -> Iterator[Row]:
    """A row for each number of channels and depth of credit."""
    small, _ = paths(1_000, 8)
    Shapley().fit(small).channel_credit(small)  # compiles
    with tempfile.TemporaryDirectory() as folder:
        for channels, what, pairs in CASES:
            journeys, texts = paths(PATHS, channels)
            file = Path(folder) / "paths.parquet"
            frame = pd.DataFrame({"path": texts["path"], "converted": texts["conversions"] > 0, "times": 1})
            frame.to_parquet(file)
            named = replace(journeys, touch_ids=np.arange(len(journeys.codes)).astype(object))
            yield _row(channels, what, pairs, named, file)


def _row(channels: int, what: str, pairs: int, journeys: Journeys, file: Path) -> Row:
    def ours() -> Timed:
        return measure(lambda: _credit(what, journeys))

    row = Row(f"Shapley, {channels} channels, credit of {what}", f"{PATHS:,} paths", "marketing_attribution_models", pairs=pairs,
              note="theirs from split names, ours from codes" + (what == "touches") * "; credit of each touch and of channels")  # fmt: skip
    return compare(row, ours, lambda: PEER.run("mam_shapley", file, channels, what), _agree)


def _credit(what: str, journeys: Journeys) -> dict[str, float]:
    model = Shapley(pool=0).fit(journeys)
    if what == "touches":
        model.credit(journeys)
    credit = model.channel_credit(journeys)
    return dict(zip(credit["channel"], credit["conversions"], strict=True))


def _agree(ours: dict[str, float], theirs: dict) -> str:
    total, mine = sum(theirs["credit"].values()), sum(ours.values())
    worst = max(abs(ours[name] / mine - credit / total) for name, credit in theirs["credit"].items())
    return f"shares within {100 * worst:.2g} points"
