"""The exact chain against ChannelAttribution (PyPI, GPL-3), which simulates it; a million paths, orders 1 to 4."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from side_by_side import Peer, Row, Timed, compare
from stopwatch import measure

from liftwise.core.uncertainty import spawn
from liftwise.models.attribution import Journeys, Markov

PATHS, CHANNELS = 1_000_000, 12
PAIRS = {1: 3, 2: 3, 3: 1, 4: 1}  # by order of the chain
PEER = Peer("ChannelAttribution", ("ChannelAttribution==2.2.5", "matplotlib", "pyarrow"))


def run() -> Iterator[Row]:
    """A row for each order."""
    journeys, texts = paths(PATHS, CHANNELS)
    Markov().fit(journeys)  # compiles
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "paths.parquet"
        texts.to_parquet(file)
        for order, pairs in PAIRS.items():
            yield _row(order, pairs, journeys, file)


def _row(order: int, pairs: int, journeys: Journeys, file: Path) -> Row:
    def ours() -> Timed:
        spent, model = measure(lambda: Markov(order=order).fit(journeys))
        return spent, dict(zip(model.channels_, model.share_, strict=True))

    row = Row(f"Markov attribution, order {order}", f"{len(journeys.ids):,} paths", "ChannelAttribution", pairs=pairs,
              note="theirs from path strings by simulation, ours from arrays, exact")  # fmt: skip
    row = compare(row, ours, lambda: PEER.run("channelattribution_markov", file, order), _agree)
    rate = len(journeys.ids) / row.ours.cpu / 1e6 if row.ours else 0.0
    return replace(row, note=f"{row.note}; ours {rate:.1f} M paths a second")


def _agree(ours: dict[str, float], theirs: dict) -> str:
    total = sum(theirs["credit"].values())
    worst = max(abs(share - theirs["credit"][name] / total) for name, share in ours.items())
    return f"shares within {100 * worst:.2g} points"


def paths(count: int, channels: int) -> tuple[Journeys, pd.DataFrame]:
    """Random journeys (touches without names), as arrays and as path strings: 7 touches on average, 12 % convert."""
    rng = spawn(1, "bench.markov")
    lengths = np.minimum(rng.geometric(1 / 7, count), 60)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    codes = rng.choice(channels, offsets[-1], p=rng.dirichlet(np.ones(channels) * 3)).astype(np.int64)
    won = (rng.random(count) < 0.12).astype(float)
    names = tuple(f"c{k:02d}" for k in range(channels))
    people, nothing = np.arange(count).astype(object), np.zeros(len(codes))
    journeys = Journeys(people, offsets, codes, np.empty(0, object), nothing, won, won, 1 - won, names)
    words = np.array(names)[codes]
    texts = [" > ".join(words[a:b]) for a, b in itertools.pairwise(offsets)]
    return journeys, pd.DataFrame({"path": texts, "conversions": won.astype(int), "nulls": (1 - won).astype(int)})
