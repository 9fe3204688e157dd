"""ChannelAttribution's Markov chain: paths.parquet (path, conversions, nulls) and an order → each channel's conversions."""

from __future__ import annotations

import contextlib
import io
import sys

with contextlib.redirect_stdout(io.StringIO()):  # it greets
    import pandas as pd
    from ChannelAttribution import markov_model
    from stopwatch import measure
    from tell import tell

frame, order = pd.read_parquet(sys.argv[1]), int(sys.argv[2])
with contextlib.redirect_stdout(io.StringIO()):
    spent, found = measure(lambda: markov_model(frame, "path", "conversions", var_null="nulls", order=order, seed=0, ncore=1))
tell(spent, credit=dict(zip(found["channel_name"], found["total_conversions"].astype(float), strict=True)))
