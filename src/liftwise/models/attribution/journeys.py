"""Journeys as arrays: offsets and flat integer codes, so that no kernel ever sees a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell, InputError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Journeys:
    """Journeys in a compact form.

    Attributes
    ----------
    ids : (n,) journey_id.
    offsets : (n + 1,) touches of journey k are ``offsets[k]:offsets[k + 1]``; none for a journey without a touch.
    codes : (touches,) channel of each touch, an index into `channels`.
    touch_ids : (touches,)
    hours : (touches,) hours before the journey's end.
    conversions, value, nulls : (n,) conversions of this journey (0 or 1 for single ones), their revenue, and how often it
        did not convert (aggregated paths have counts).
    channels : names.
    """

    ids: NDArray[np.object_]
    offsets: Ints
    codes: Ints
    touch_ids: NDArray[np.object_]
    hours: Floats
    conversions: Floats
    value: Floats
    nulls: Floats
    channels: tuple[str, ...]

    @classmethod
    def of(cls, frame: pd.DataFrame, channels: Sequence[str] | None = None) -> Journeys:
        """From table `journeys`; rows may be in any order. `channels` fixes the codes (unknown ones raise).

        Raises
        ------
        InputError
            When a channel is not among `channels`: a fitted model does not know what it is worth.
        """
        frame = frame.sort_values(["journey_id", "position"], kind="stable")
        ids, first = np.unique(frame["journey_id"].to_numpy(dtype=object), return_index=True)
        touched = (frame["position"] > 0).to_numpy()
        journey = np.repeat(np.arange(len(ids)), np.diff(np.append(first, len(frame))))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(journey[touched], minlength=len(ids)))]).astype(np.int64)
        names = frame["channel"].to_numpy(dtype=object)[touched]
        known = tuple(channels) if channels is not None else tuple(sorted(set(names)))
        codes = pd.Index(known).get_indexer(pd.Index(names, dtype=object)) if len(names) else np.empty(0, np.int64)
        if (codes < 0).any():
            strange = sorted(set(names[codes < 0]))
            raise InputError(f"channels never seen when fitting: {', '.join(map(str, strange))}", fix="fit again with them")
        head = frame.iloc[first]
        converted = head["converted"].to_numpy(dtype=bool).astype(float)
        return cls(
            ids, offsets, codes.astype(np.int64), frame["touch_id"].to_numpy(dtype=object)[touched],
            frame["hours_before_end"].to_numpy(dtype=float)[touched], converted, head["revenue"].to_numpy(dtype=float) * converted,
            1 - converted, known,
        )  # fmt: skip

    @classmethod
    def of_paths(
        cls,
        paths: Sequence[str],
        conversions: Sequence[float],
        value: Sequence[float],
        nulls: Sequence[float],
        separator: str = " > ",
    ) -> Journeys:
        """From aggregated paths, such as ``"search > tv"`` with 3 conversions worth 20 and 7 that did not convert."""
        split = pd.Series(paths, dtype="str").str.split(separator, regex=False)
        lengths = split.str.len().to_numpy()
        codes, names = pd.factorize(np.concatenate(split.to_numpy()).astype(object), sort=True)
        n = len(split)
        return cls(
            np.arange(n).astype(str).astype(object), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), codes.astype(np.int64),
            np.arange(len(codes)).astype(str).astype(object), np.zeros(len(codes)), np.asarray(conversions, float),
            np.asarray(value, float), np.asarray(nulls, float), tuple(map(str, names)),
        )  # fmt: skip

    @property
    def lengths(self) -> Ints:
        """Touches of each journey."""
        return np.diff(self.offsets)

    @property
    def owner(self) -> Ints:
        """Journey of each touch."""
        return np.repeat(np.arange(len(self.ids)), self.lengths)

    def require_conversions(self) -> None:
        """Raise when there is nothing to give credit for."""
        if self.conversions.sum() <= 0:
            raise CannotTell("no journey converted", fix="deliver orders of the people who were touched")


def credit_frame(journeys: Journeys, share: Floats, method: str) -> pd.DataFrame:
    """Table `credits` of converting journeys from each touch's share; what is left to 1 is `organic`."""
    won = journeys.conversions > 0
    owner = journeys.owner
    mine = won[owner]
    given = np.bincount(owner, share, minlength=len(journeys.ids))
    rest = np.clip(1 - given, 0, 1)
    organic = won & (rest > 1e-9)
    return pd.DataFrame({
        "journey_id": np.concatenate([journeys.ids[owner[mine]], journeys.ids[organic]]),
        "touch_id": np.concatenate([journeys.touch_ids[mine], np.full(organic.sum(), "organic", dtype=object)]),
        "method": method, "credit": np.concatenate([share[mine], rest[organic]]), "low": np.nan, "high": np.nan,
        "revenue": np.concatenate([(share * journeys.value[owner])[mine], (rest * journeys.value)[organic]]), "calibrated": False,
    })  # fmt: skip


def channel_frame(journeys: Journeys, share: Floats, method: str) -> pd.DataFrame:
    """Table `channel_credits`: shares summed by channel; conversions without a touch are `organic`."""
    owner, k = journeys.owner, len(journeys.channels)
    given = np.bincount(owner, share, minlength=len(journeys.ids))
    rest = np.clip(1 - given, 0, 1)
    conversions = np.append(
        np.bincount(journeys.codes, share * journeys.conversions[owner], minlength=k), (rest * journeys.conversions).sum()
    )
    revenue = np.append(np.bincount(journeys.codes, share * journeys.value[owner], minlength=k), (rest * journeys.value).sum())
    return pd.DataFrame({
        "method": method, "channel": [*journeys.channels, "organic"], "conversions": conversions, "revenue": revenue, "low": np.nan,
        "high": np.nan, "calibrated": False,
    })  # fmt: skip
