"""Intervals of credits: what a channel's uncertainty makes of each of its touches and of its sum."""

from __future__ import annotations

import numpy as np
import pandas as pd

from liftwise.models.attribution.journeys import Floats, Ints


def ratios(effects: pd.DataFrame) -> tuple[Floats, Floats]:
    """Low and high as multiples of the credit, (channels,) each; `effects` has share, low, high of each channel."""
    share = np.maximum(effects["share"].to_numpy(), 1e-12)
    return np.maximum(effects["low"].to_numpy(), 0) / share, effects["high"].to_numpy() / share


def on_touches(credits: pd.DataFrame, codes: Ints, effects: pd.DataFrame, whole: bool) -> pd.DataFrame:
    """Table `credits` with intervals; touches come first, in the order of `codes`. `whole`: whether every channel was tested."""
    out, touches = credits.copy(), len(codes)
    (low, high), tested = ratios(effects), effects["tested"].to_numpy()
    given, rest = out["credit"].to_numpy()[:touches], len(out) - touches
    out["low"] = np.append((given * low[codes]).clip(0, 1), np.full(rest, np.nan))
    out["high"] = np.append((given * high[codes]).clip(0, 1), np.full(rest, np.nan))
    out["calibrated"] = np.append(tested[codes], np.full(rest, whole))
    return out


def on_channels(credits: pd.DataFrame, effects: pd.DataFrame, whole: bool) -> pd.DataFrame:
    """Table `channel_credits` with intervals; channels come first, in the order of `effects`, then what is organic."""
    out, (low, high) = credits.copy(), ratios(effects)
    out.loc[: len(low) - 1, "low"] = out["conversions"].to_numpy()[:-1] * low
    out.loc[: len(low) - 1, "high"] = out["conversions"].to_numpy()[:-1] * high
    out["calibrated"] = [*effects["tested"], whole]
    return out
