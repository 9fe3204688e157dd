"""Journeys as arrays: offsets and flat integer codes, so that no kernel ever sees a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell, InputError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FEWEST = 50  # purchases and non-purchases without which nothing is learned


@dataclass(frozen=True)
class Label:
    """What else is known of a touch (content type, platform, influencer): codes (touches,), −1 where it is not, into `names`."""

    codes: Ints
    names: tuple[str, ...]


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
    facts : (n, k) what is known of the person at the journey's end, not a number where it is not.
    fact_names : names of the k facts.
    kept : share of not buying that is kept: 1 where everybody was watched to a common end, less in table `moments`.
    labels : by name, what else is known of the touches.
    dwell : (touches,) seconds that each was looked at, not a number where nobody knows; (0,) where it was never measured.
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
    facts: Floats = field(default_factory=lambda: np.empty((0, 0)))
    fact_names: tuple[str, ...] = ()
    kept: float = 1.0
    labels: Mapping[str, Label] = field(default_factory=dict)
    dwell: Floats = field(default_factory=lambda: np.empty(0))

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        channels: Sequence[str] | None = None,
        facts: pd.DataFrame | None = None,
        labels: Sequence[str] = (),
    ) -> Journeys:
        """From table `journeys` or `moments`; rows may be in any order. `channels` fixes the codes (unknown ones raise).

        Parameters
        ----------
        facts : table `journey_facts`.
        labels : columns of `frame` to keep as labels.

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
        _refuse_strange(set(names[codes < 0]))
        head = frame.iloc[first]
        converted = head["converted"].to_numpy(dtype=bool).astype(float)
        kept = float(head["kept"].iloc[0]) if "kept" in head and len(head) else 1.0
        return cls(
            ids, offsets, codes.astype(np.int64), frame["touch_id"].to_numpy(dtype=object)[touched],
            frame["hours_before_end"].to_numpy(dtype=float)[touched], converted, head["revenue"].to_numpy(dtype=float) * converted,
            1 - converted, known, *_pivot(facts, ids), kept,
            {name: _label(frame[name].to_numpy(dtype=object)[touched]) for name in labels if name in frame},
            frame["dwell_s"].to_numpy(dtype=float)[touched] if "dwell_s" in frame else np.empty(0),
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

    def take(self, rows: NDArray[np.int64]) -> Journeys:
        """The journeys at `rows`, in that order."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        at = np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return replace(
            self, ids=self.ids[rows], offsets=offsets, codes=self.codes[at], touch_ids=self.touch_ids[at], hours=self.hours[at],
            conversions=self.conversions[rows], value=self.value[rows], nulls=self.nulls[rows],
            facts=self.facts[rows] if len(self.facts) else self.facts,
            labels={name: Label(label.codes[at], label.names) for name, label in self.labels.items()},
            dwell=self.dwell[at] if len(self.dwell) else self.dwell,
        )  # fmt: skip

    def converting(self) -> Journeys:
        """The journeys that converted.

        Raises
        ------
        CannotTell
            When there is none: there is nothing to give credit for.
        """
        self.require_conversions()
        return self.take(np.flatnonzero(self.conversions > 0))

    def recoded(self, channels: tuple[str, ...]) -> Journeys:
        """The same journeys with codes into `channels`.

        Raises
        ------
        InputError
            When a channel is not among them.
        """
        if channels == self.channels:
            return self
        _refuse_strange(set(self.channels) - set(channels))
        return replace(self, codes=pd.Index(channels).get_indexer(pd.Index(self.channels))[self.codes], channels=channels)

    def require_conversions(self) -> None:
        """Raise when there is nothing to give credit for."""
        if self.conversions.sum() <= 0:
            raise CannotTell("no journey converted", fix="deliver orders of the people who were touched")


def refuse_few(size: int, bought: int, touches: int) -> None:
    """Raise CannotTell where a model that tells buyers from others has too few of either, or nobody was touched."""
    if bought == 0:
        raise CannotTell("no journey converted", fix="deliver orders of the people who were touched")
    if bought == size:
        raise CannotTell("every journey converted: nothing to compare them with", fix="deliver those who did not buy, too")
    if touches == 0:
        raise CannotTell("nobody was touched", fix="deliver touchpoints")
    if min(bought, size - bought) < FEWEST:
        few = min(bought, size - bought)
        raise CannotTell(f"only {few} journeys that did{'' if bought == few else ' not'} convert", fix=f"{FEWEST} are the least")


def _refuse_strange(strange: set[str]) -> None:
    if strange:
        names = ", ".join(sorted(map(str, strange)))
        raise InputError(f"channels never seen when fitting: {names}", fix="fit again with them")


def _pivot(facts: pd.DataFrame | None, ids: NDArray[np.object_]) -> tuple[Floats, tuple[str, ...]]:
    """Table `journey_facts` as a matrix, journeys by facts."""
    if facts is None or facts.empty:
        return np.empty((0, 0)), ()
    row = pd.Index(ids).get_indexer(pd.Index(facts["journey_id"].to_numpy(dtype=object)))
    column, names = pd.factorize(facts["name"].to_numpy(dtype=object), sort=True)
    out = np.full((len(ids), len(names)), np.nan)
    out[row[row >= 0], column[row >= 0]] = facts["value"].to_numpy(dtype=float)[row >= 0]
    return out, tuple(map(str, names))


def _label(values: NDArray[np.object_]) -> Label:
    codes, names = pd.factorize(values, sort=True)
    return Label(codes.astype(np.int64), tuple(map(str, names)))


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
