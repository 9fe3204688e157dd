"""The table `responses` as arrays: spend grids and revenue by channel and draw, checked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell, InputError

Floats = NDArray[np.float64]
FEWEST = 4  # draws: half of them choose, half of them judge


def curves_of(responses: pd.DataFrame, channels: Sequence[str]) -> tuple[Floats, Floats]:
    """Spend grids (channels, points) and revenue (channels, draws, points); a draw's number is the same world in each channel.

    Regions are summed.

    Raises
    ------
    InputError
        For several models or currencies, a number that is missing or infinite, or negative spend.
    CannotTell
        With fewer than four draws, or grids of unequal length.
    """
    for column in ("model", "currency"):
        if column in responses and (several := sorted(map(str, responses[column].dropna().unique())))[1:]:
            fix = "convert all to one" if column == "currency" else "pass the rows of one"
            raise InputError(f"the response curves mix {' and '.join(several)}", where=f"column {column}", fix=fix)
    which, names = pd.factorize(responses["channel"])
    code = np.asarray(pd.Index(channels).get_indexer(pd.Index([str(name) for name in names])))[which]
    rows = (code >= 0) & (which >= 0)
    channel, draw = code[rows], np.asarray(pd.factorize(responses["draw"].to_numpy()[rows], sort=True)[0], dtype=np.intp)
    spend, revenue = (responses[name].to_numpy(dtype=np.float64)[rows] for name in ("spend", "revenue"))
    _refuse(channel, draw, spend, revenue, channels)
    order = np.lexsort((spend, channel * (int(draw.max()) + 1) + draw))
    channel, draw, spend, revenue = channel[order], draw[order], spend[order], revenue[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(channel) != 0) | (np.diff(draw) != 0) | (np.diff(spend) != 0)
    if not new.all():
        starts = np.flatnonzero(new)
        channel, draw, spend, revenue = channel[starts], draw[starts], spend[starts], np.add.reduceat(revenue, starts)
    draws = int(draw.max()) + 1
    points = len(spend) // (len(channels) * draws)
    told = np.bincount(channel * draws + draw, minlength=len(channels) * draws)
    if draws < FEWEST or (told != points).any() or points < 2:
        raise CannotTell(
            "response curves need four draws and the same number of points in each channel", fix="draw the curves again"
        )
    shape = (len(channels), draws, points)
    grids = spend.reshape(shape)
    if (grids != grids[:, :1]).any():
        raise CannotTell("response curves need the same spend in each draw of a channel", fix="draw the curves again")
    return np.ascontiguousarray(grids[:, 0]), revenue.reshape(shape)


def _refuse(channel: NDArray[np.intp], draw: NDArray[np.intp], spend: Floats, revenue: Floats, channels: Sequence[str]) -> None:
    seen = np.bincount(channel, minlength=len(channels)) > 0
    if not seen.all():
        raise InputError(
            f"no response curve or spend for {', '.join(name for name, told in zip(channels, seen, strict=True) if not told)}"
        )
    for bad, what in (
        (~np.isfinite(spend) | ~np.isfinite(revenue) | (draw < 0), "a missing or infinite number in the response curve of"),
        (spend < 0, "negative spend in the response curve of"),
    ):
        if bad.any():
            raise InputError(
                f"{what} {channels[int(channel[np.argmax(bad)])]}", fix="draw the curves again, or leave that channel out"
            )
