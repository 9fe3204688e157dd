"""Ways to find a mix wrong: a channel that cannot have worked, and another window of time.

A placebo channel is a real channel's spend in another order of years: the same look, no effect. What a mix gives it is what it gives for
nothing. A window shift drops the latest periods; a contribution that leaps then was never known.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import spawn
from liftwise.models.mix.family import Mix

BLOCK = 4  # periods that stay together in a placebo


def placebo(make: Callable[[], Mix], weekly: pd.DataFrame, *, seed: int = 7) -> pd.DataFrame:
    """Share of media revenue that a shuffled copy of the largest channel gets: channel, like, share, fair (an equal part).

    `make` gives an unfitted mix.
    """
    media = weekly[weekly["role"] == "channel"]
    like = str(media.groupby("name")["value"].sum().idxmax())
    mine = media[media["name"] == like]
    weeks = np.sort(mine["week"].unique())
    rng = spawn(seed, "mix.placebo")
    blocks = [weeks[k : k + BLOCK] for k in range(0, len(weeks), BLOCK)]
    order = np.concatenate([blocks[k] for k in rng.permutation(len(blocks))])
    false = mine.assign(name="placebo", week=mine["week"].map(dict(zip(weeks, order, strict=True))))
    told = make().fit(pd.concat([weekly, false], ignore_index=True)).roi().set_index("channel")["revenue"]
    share = float(told["placebo"] / told.sum()) if "placebo" in told and told.sum() > 0 else 0.0
    return pd.DataFrame({"channel": ["placebo"], "like": [like], "share": [share], "fair": [1 / max(len(told), 1)]})


def stability(make: Callable[[], Mix], weekly: pd.DataFrame, *, shift: int = 13) -> pd.DataFrame:
    """What each channel returns with and without the latest `shift` periods: channel, roi, before, low, high, stable.

    stable : the earlier value lies within the 90 % interval of today's, or within a fifth of it.
    """
    weeks = np.sort(weekly["week"].unique())
    now = make().fit(weekly).roi().set_index("channel")
    then = make().fit(weekly[weekly["week"] < weeks[-shift]]).roi().set_index("channel")["roi"].reindex(now.index)
    inside = ((then >= now["low"]) & (then <= now["high"])) | ((then - now["roi"]).abs() <= 0.2 * now["roi"].abs())
    return pd.DataFrame({"channel": now.index, "roi": now["roi"].to_numpy(), "before": then.to_numpy(), "low": now["low"].to_numpy(),
                         "high": now["high"].to_numpy(), "stable": inside.to_numpy()})  # fmt: skip
