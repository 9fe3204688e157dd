"""The exact chain against ChannelAttribution (PyPI, GPL-3), which simulates it."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from side_by_side import Peer, Row, Timed, compare
from stopwatch import measure

from liftwise.core.uncertainty import spawn
from liftwise.models.attribution import Journeys, Markov

PATHS, CHANNELS = 300_000, 12
PAIRS = {1: 3, 2: 1, 3: 1}  # by order of the chain
PEER = Peer("ChannelAttribution", ("ChannelAttribution==2.2.5", "matplotlib", "pyarrow"))


def run() -> Iterator[Row]:
    """A row for each order."""
    journeys, texts = _paths()
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

    row = Row(f"Markov attribution, order {order}", f"{PATHS:,} paths", "ChannelAttribution", pairs=pairs,
              note="theirs from path strings by simulation, ours from arrays, exact")  # fmt: skip
    return compare(row, ours, lambda: PEER.run("channelattribution_markov", file, order), _agree)


def _agree(ours: dict[str, float], theirs: dict) -> str:
    total = sum(theirs["credit"].values())
    worst = max(abs(share - theirs["credit"][name] / total) for name, share in ours.items())
    return f"shares within {100 * worst:.2g} points"


def _paths() -> tuple[Journeys, pd.DataFrame]:
    rng = spawn(1, "bench.markov")
    lengths = np.minimum(rng.geometric(1 / 7, PATHS), 60)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    codes = rng.choice(CHANNELS, offsets[-1], p=rng.dirichlet(np.ones(CHANNELS) * 3)).astype(np.int64)
    won = (rng.random(PATHS) < 0.12).astype(float)
    names = tuple(f"c{k:02d}" for k in range(CHANNELS))
    people, nothing = np.arange(PATHS).astype(object), np.zeros(len(codes))
    journeys = Journeys(people, offsets, codes, np.empty(0, object), nothing, won, won, 1 - won, names)
    words = np.array(names)[codes]
    texts = [" > ".join(words[a:b]) for a, b in itertools.pairwise(offsets)]
    return journeys, pd.DataFrame({"path": texts, "conversions": won.astype(int), "nulls": (1 - won).astype(int)})
