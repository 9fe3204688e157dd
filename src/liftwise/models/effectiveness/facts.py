"""What the three databases say, as arrays: one row per creator, content and event, and functions of pairs of them.

𝒟_I: influencers, rates, affinities, audiences, embeddings; events; 𝒟_M: trends. Names of columns stay with the numbers, so that every
part of a score can be told in words. The last row of each table stands for what is not known: its code is −1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import Floats

FEWEST_SHARE = 0.02  # of rows that a word must name to be a column of its own
MOST_WORDS = 16
CLOCK = ("days_from_event", "days_away", "season_sin", "season_cos", "season_sin2", "season_cos2", "weekend")
MARKET = ("popularity", "popularity_change", "seasonal_index")
PAIR = ("affinity_genre", "affinity_location", "same_genre", "same_place", "audience_interest", "audience_region")


@dataclass(frozen=True)
class Block:
    """A table of numbers: (entities + 1, columns); NaN is what is missing, the last row what is not known at all."""

    names: tuple[str, ...]
    numbers: Floats
    words: dict[str, np.ndarray]  # codes of words, for trees

    def spread_out(self) -> Block:
        """Words as columns of 0 and 1 beside the numbers."""
        names, columns = list(self.names), [self.numbers]
        for word, codes in self.words.items():
            counts = np.bincount(codes[codes >= 0], minlength=1) if (codes >= 0).any() else np.zeros(0, int)
            often = [k for k in np.argsort(-counts, kind="stable")[:MOST_WORDS] if counts[k] >= FEWEST_SHARE * len(codes)]
            names += [f"{word} {k}" for k in often]
            columns += [(codes == k).astype(float)[:, None] for k in often]
        return Block(tuple(names), np.column_stack(columns), {})


class Facts:
    """Everything but history, by code.

    Parameters
    ----------
    influencers, rates, events, affinities, audiences, trends, embeddings : the tables of those names.
    contents : content types that past assignments name (rates may name more).
    as_of : the last moment that is known; audiences and embeddings later than it are left out.
    """

    def __init__(
        self, *, influencers: pd.DataFrame, rates: pd.DataFrame, events: pd.DataFrame, affinities: pd.DataFrame | None,
        audiences: pd.DataFrame | None, trends: pd.DataFrame | None, embeddings: pd.DataFrame | None, contents: Sequence[str],
        as_of: pd.Timestamp,
    ) -> None:  # fmt: skip
        who = influencers.drop_duplicates("influencer_id").reset_index(drop=True)
        what = events.drop_duplicates("event_id").reset_index(drop=True)
        self.influencer_ids, self.event_ids = pd.Index(who["influencer_id"]), pd.Index(what["event_id"])
        self.contents = pd.Index(sorted({*rates["content_type"].dropna(), *contents}))
        self.followers = np.append(np.log1p(who["followers"].to_numpy(dtype=float)), np.nan)
        self.followers = np.where(np.isfinite(self.followers), self.followers, np.nanmedian(self.followers))
        series = what["name"].fillna(what["event_id"]) if "name" in what else what["event_id"]
        codes, self.series = pd.factorize(series, sort=True)
        self.series_of = np.append(codes, -1)  # editions of one event share its name
        self.dates = np.append(what["date"].to_numpy(dtype="datetime64[D]"), np.datetime64("NaT", "D"))
        spans = [
            what[name].fillna(0).to_numpy(dtype=float) if name in what else np.zeros(len(what))
            for name in ("opens_days", "closes_days")
        ]
        self.opens, self.closes = spans
        self._prices(rates)
        vectors = _latest(embeddings, "entity_id", as_of, "as_of")
        self.creator = self._creator(who, _latest(audiences, "influencer_id", as_of, "observed_on"), affinities, vectors)
        self.content = Block(*_vectors(vectors, ("content", "content_type"), self.contents), {})
        self.event = self._event(what, vectors)
        self._pairs(who, what, affinities, _latest(audiences, "influencer_id", as_of, "observed_on"))
        self._trends(trends, what)

    # -- codes ---------------------------------------------------------------------------------------------------------------

    def codes(self, rows: pd.DataFrame, *, strict: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Codes of creator, content and event (edition) of each row; −1 is not known.

        Raises
        ------
        InputError
            When `strict` and a creator or an event is in no table.
        """
        i = self.influencer_ids.get_indexer(rows["influencer_id"])
        e = self.event_ids.get_indexer(rows["event_id"])
        if strict:
            for name, codes in (("influencer_id", i), ("event_id", e)):
                if (codes < 0).any():
                    who = rows[name].iloc[int(np.argmax(codes < 0))]
                    raise InputError(
                        f"nothing is known of {name} {who!r}", where="tuples", fix="fit with the table that describes it"
                    )
        return i, self.contents.get_indexer(rows["content_type"]), e

    # -- tables --------------------------------------------------------------------------------------------------------------

    def _creator(
        self, who: pd.DataFrame, audiences: pd.DataFrame | None, affinities: pd.DataFrame | None, vectors: pd.DataFrame | None
    ) -> Block:
        hour = 2 * np.pi * _number(who, "best_hour") / 24
        columns = {
            "log_followers": np.log1p(_number(who, "followers")), "engagement_rate": _number(who, "engagement_rate"),
            "log_engagement_rate": np.log(np.maximum(_number(who, "engagement_rate"), 1e-4)), "posts_per_week": np.log1p(_number(who, "posts_per_week")),
            "best_hour_sin": np.sin(hour), "best_hour_cos": np.cos(hour), "brand_alignment": _number(who, "brand_alignment"),
            "risk_score": _number(who, "risk_score"), "log_price_level": self.price_level[:-1],
        }  # fmt: skip
        for frame, value in ((audiences, "share"), (affinities, "score")):
            if frame is not None and len(frame):
                columns |= _pivot(frame, value, self.influencer_ids)
        names, extra = _vectors(vectors, ("influencer", "creator"), self.influencer_ids)
        numbers = np.column_stack([_open(np.column_stack(list(columns.values()))), extra])
        words = {name: _words(who[name]) for name in ("platform", "genre", "location", "language") if name in who}
        return Block((*columns, *names), numbers, words)

    def _event(self, what: pd.DataFrame, vectors: pd.DataFrame | None) -> Block:
        names, extra = _vectors(vectors, ("event",), self.event_ids)
        scale = _open(np.log(np.maximum(_number(what, "scale"), 1e-6))[:, None])
        words = {f"event_{name}": _words(what[name]) for name in ("genre", "location", "kind") if name in what}
        return Block(("log_scale", *names), np.column_stack([scale, extra]), words)

    def _prices(self, rates: pd.DataFrame) -> None:
        """A log price is its creator's level + its content's + the rest, which is `price_premium`."""
        i, c = self.influencer_ids.get_indexer(rates["influencer_id"]), self.contents.get_indexer(rates["content_type"])
        price = np.log1p(rates["price"].to_numpy(dtype=float))
        good = (i >= 0) & (c >= 0) & np.isfinite(price)
        i, c, price = i[good], c[good], price[good]
        general = float(price.mean()) if len(price) else 0.0
        of_content, of_creator = np.zeros(len(self.contents) + 1), np.zeros(len(self.influencer_ids) + 1)
        for _ in range(5):
            of_content[:-1] = _means(c, price - general - of_creator[i], len(self.contents))
            of_creator[:-1] = _means(i, price - general - of_content[c], len(self.influencer_ids))
        self.price_level, self._price_content, self._price_general = of_creator, of_content, general
        self.price_level = np.where(np.isin(np.arange(len(of_creator)), i), of_creator, np.nan)

    def premium(self, i: np.ndarray, c: np.ndarray, price: Floats) -> Floats:
        """How far each log price lies above what its creator and its content usually ask; (n,)."""
        usual = self._price_general + np.nan_to_num(self.price_level[i]) + self._price_content[c]
        return np.nan_to_num(np.log1p(price) - usual).clip(-3, 3)

    # -- pairs ---------------------------------------------------------------------------------------------------------------

    def _pairs(
        self, who: pd.DataFrame, what: pd.DataFrame, affinities: pd.DataFrame | None, audiences: pd.DataFrame | None
    ) -> None:
        self._genre, self._place = (np.append(what[name].astype(object).fillna(""), "") for name in ("genre", "location"))
        self._own_genre, self._own_place = (np.append(who[name].astype(object).fillna(""), "?") for name in ("genre", "location"))
        lookup = {
            "affinity_genre": (affinities, "genre", "score", self._genre), "affinity_location": (affinities, "location", "score", self._place),
            "audience_interest": (audiences, "interest", "share", self._genre), "audience_region": (audiences, "region", "share", self._place),
        }  # fmt: skip
        self._lookup: dict[str, tuple[Floats, np.ndarray]] = {}
        for name, (frame, dimension, value, wanted) in lookup.items():
            labels = pd.Index(sorted(set(wanted)))
            table = np.full((len(self.influencer_ids) + 1, len(labels)), np.nan)
            if frame is not None and len(frame):
                mine = frame[frame["dimension"] == dimension]
                i, k = self.influencer_ids.get_indexer(mine["influencer_id"]), labels.get_indexer(mine["value"])
                good = (i >= 0) & (k >= 0)
                table[i[good], k[good]] = mine[value].to_numpy(dtype=float)[good]
            self._lookup[name] = (table, labels.get_indexer(wanted))

    def pair(self, i: np.ndarray, e: np.ndarray) -> Floats:
        """(n, 6) in the order of `PAIR`: how creator and event fit; NaN where no table says."""
        found = {name: table[i, column[e]] for name, (table, column) in self._lookup.items()}
        found["same_genre"] = (self._own_genre[i] == self._genre[e]).astype(float)
        found["same_place"] = (self._own_place[i] == self._place[e]).astype(float)
        return np.column_stack([found[name] for name in PAIR])

    def clock(self, e: np.ndarray, days: Floats) -> Floats:
        """(n, 7) in the order of `CLOCK`: when, relative to the event and in the year."""
        date = self.dates[e] + np.nan_to_num(days).astype("timedelta64[D]")
        known = ~np.isnat(date)
        day = np.where(known, date.astype(np.int64), 0)
        turn = 2 * np.pi * day / 365.25
        weekend = ((day + 3) % 7 >= 5) & known  # 1 January 1970 was a Thursday
        season = [np.where(known, wave(k * turn), 0.0) for k in (1, 2) for wave in (np.sin, np.cos)]
        return np.column_stack([days, np.abs(days), *season, weekend.astype(float)])

    # -- market --------------------------------------------------------------------------------------------------------------

    def _trends(self, trends: pd.DataFrame | None, what: pd.DataFrame) -> None:
        self._weeks = np.empty(0, dtype="datetime64[D]")
        if trends is None or trends.empty:
            return
        columns = [name for name in ("popularity", "seasonal_index") if name in trends and trends[name].notna().any()]
        wide = trends.pivot_table(index="week", columns="genre", values=columns, aggfunc="mean").sort_index()
        self._weeks = wide.index.to_numpy(dtype="datetime64[D]")
        self._popular = {name: wide[name].to_numpy() for name in columns}
        self._trend_genre = {name: np.append(wide[name].columns.get_indexer(what["genre"]), -1) for name in columns}

    def market(self, e: np.ndarray, decided: np.ndarray) -> Floats:
        """(n, 3) in the order of `MARKET`: the genre in the last week that was over when it was decided."""
        out = np.full((len(e), len(MARKET)), np.nan)
        if not len(self._weeks):
            return out
        at = np.searchsorted(self._weeks, decided.astype("datetime64[D]") - np.timedelta64(7, "D"), side="right") - 1
        for name, values in self._popular.items():
            column = self._trend_genre[name][e]
            good = (at >= 0) & (column >= 0)
            now = values[at[good], column[good]]
            out[good, MARKET.index(name)] = now
            if name == "popularity":
                out[good, 1] = now - values[np.maximum(at[good] - 4, 0), column[good]]
        return out


def _number(frame: pd.DataFrame, name: str) -> Floats:
    return frame[name].to_numpy(dtype=float) if name in frame else np.full(len(frame), np.nan)


def _words(values: pd.Series) -> np.ndarray:
    return np.append(pd.factorize(values, sort=True)[0], -1)


def _open(numbers: Floats) -> Floats:
    """One more row, of what is not known."""
    return np.vstack([numbers, np.full((1, numbers.shape[1]), np.nan)])


def _means(codes: np.ndarray, values: Floats, size: int) -> Floats:
    count = np.bincount(codes, minlength=size)
    return np.bincount(codes, values, minlength=size) / np.maximum(count, 1)


def _latest(frame: pd.DataFrame | None, who: str, as_of: pd.Timestamp, when: str) -> pd.DataFrame | None:
    """What was known at `as_of`, the last of each entity."""
    if frame is None or frame.empty or when not in frame:
        return frame
    keys = [name for name in (who, "entity", "dimension", "value") if name in frame]
    known = frame[frame[when].isna() | (pd.to_datetime(frame[when]) <= as_of)]
    return known.sort_values(when, kind="stable").drop_duplicates(keys, keep="last")


def _pivot(frame: pd.DataFrame, value: str, ids: pd.Index) -> dict[str, Floats]:
    """A column for each (dimension, value) that enough creators have."""
    i = ids.get_indexer(frame["influencer_id"])
    label, names = pd.factorize(value + " " + frame["dimension"].astype("str") + " " + frame["value"].astype("str"), sort=True)
    good = i >= 0
    table = np.full((len(ids), len(names)), np.nan)
    table[i[good], label[good]] = frame[value].to_numpy(dtype=float)[good]
    often = [k for k in range(len(names)) if np.isfinite(table[:, k]).sum() >= max(2, FEWEST_SHARE * len(ids))]
    return {str(names[k]): table[:, k] for k in often[:60]}


def _vectors(frame: pd.DataFrame | None, entities: tuple[str, ...], ids: pd.Index) -> tuple[tuple[str, ...], Floats]:
    """Embeddings of `entities` in the order of `ids`, with the row of what is not known."""
    mine = None if frame is None else frame[frame["entity"].isin(entities)]
    if mine is None or mine.empty:
        return (), np.empty((len(ids) + 1, 0))
    stacked = np.array([np.asarray(vector, dtype=float) for vector in mine["vector"]])
    out = np.full((len(ids) + 1, stacked.shape[1]), np.nan)
    at = ids.get_indexer(mine["entity_id"])
    out[at[at >= 0]] = stacked[at >= 0]
    return tuple(f"{entities[0]} embedding {k}" for k in range(stacked.shape[1])), out
