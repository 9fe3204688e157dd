"""Paths a second of the exact chain against ChannelAttribution (PyPI, GPL-3, in its own environment), 1 M paths."""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from liftwise.core.uncertainty import spawn
from liftwise.models.attribution import Journeys, Markov

PATHS, CHANNELS = 1_000_000, 12
PEER = Path(__file__).parents[1] / ".bench" / "channelattribution"
CODE = """
import sys, time, contextlib, io
with contextlib.redirect_stdout(io.StringIO()):
    import pandas as pd
    from ChannelAttribution import markov_model
frame, order = pd.read_parquet(sys.argv[1]), int(sys.argv[2])
began = time.perf_counter()
with contextlib.redirect_stdout(io.StringIO()):
    markov_model(frame, "path", "conversions", var_null="nulls", order=order, seed=0, ncore=1)
print(time.perf_counter() - began)
"""


def run() -> list[dict]:
    """A row for each order."""
    _install()
    journeys, texts = _paths()
    Markov().fit(journeys)  # compiles
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "paths.parquet"
        texts.to_parquet(file)
        for order, pairs in ((1, 5), (2, 3), (3, 3)):
            ours, peer = [], []
            for _ in range(pairs):
                began = time.perf_counter()
                Markov(order=order).fit(journeys)
                ours.append(time.perf_counter() - began)
                done = subprocess.run(
                    [str(PEER / "bin" / "python"), "-c", CODE, str(file), str(order)], capture_output=True, text=True, check=True
                )
                peer.append(float(done.stdout.strip().splitlines()[-1]))
            ratio = statistics.median(b / a for a, b in zip(ours, peer, strict=True))
            rows.append({"what": f"Markov, order {order}, 1 M paths", "ours": PATHS / statistics.median(ours), "peer": PATHS / statistics.median(peer),
                         "ratio": ratio, "unit": "paths/s", "note": "peer: ChannelAttribution, from its own path strings; ours from arrays"})  # fmt: skip
    return rows


def _install() -> None:
    if not (PEER / "ok").exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEER)], check=True)
        subprocess.run(
            [str(PEER / "bin" / "python"), "-m", "pip", "install", "-q", "ChannelAttribution==2.2.5", "matplotlib", "pyarrow"],
            check=True,
        )
        (PEER / "ok").touch()


def _paths() -> tuple[Journeys, object]:
    import pandas as pd

    rng = spawn(1, "bench.markov")
    lengths = np.minimum(rng.geometric(1 / 7, PATHS), 60)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    codes = rng.choice(CHANNELS, offsets[-1], p=rng.dirichlet(np.ones(CHANNELS) * 3))
    won = (rng.random(PATHS) < 0.12).astype(float)
    names = tuple(f"c{k:02d}" for k in range(CHANNELS))
    journeys = Journeys(
        np.arange(PATHS).astype(object),
        offsets,
        codes.astype(np.int64),
        np.empty(0, object),
        np.zeros(len(codes)),
        won,
        won,
        1 - won,
        names,
    )
    words = np.array(names)[codes]
    texts = [" > ".join(words[a:b]) for a, b in itertools.pairwise(offsets)]
    return journeys, pd.DataFrame({"path": texts, "conversions": won.astype(int), "nulls": (1 - won).astype(int)})
