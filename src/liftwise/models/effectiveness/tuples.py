"""Tuples (influencer, content, event, day), and what each of the three databases says of them on the day they are decided.

Nothing later is used: history counts an assignment only once its outcome was observed, a trend only once its week is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

KEYS = ["influencer_id", "content_type", "event_id", "days_from_event"]
PRIOR = 5.0  # observations that a history mean is shrunk by


def feasible_tuples(influencers: pd.DataFrame, rates: pd.DataFrame, events: pd.DataFrame, *, after: date) -> pd.DataFrame:
    """Every (i, c, e, t): contents an influencer has a rate for × events to come × days from `opens_days` to `closes_days`.

    Days that lie before `after` are no longer feasible. Columns: `KEYS`, price, decided_on (= `after`).
    """
    today = pd.Timestamp(after)
    spans = events.assign(first=events["opens_days"].fillna(0).astype(int), last=events["closes_days"].fillna(0).astype(int))
    days = [
        (e.event_id, float(t))
        for e in spans.itertuples()
        for t in range(e.first, e.last + 1)
        if e.date + pd.Timedelta(days=t) >= today
    ]
    slots = pd.DataFrame(days, columns=["event_id", "days_from_event"]).astype({"event_id": "str", "days_from_event": "float64"})
    offers = rates.loc[rates["influencer_id"].isin(influencers["influencer_id"]), ["influencer_id", "content_type", "price"]]
    return offers.merge(slots, how="cross").assign(decided_on=today)


@dataclass(frozen=True)
class Databases:
    """What is known: 𝒟_I (influencers, rates, affinities), events, 𝒟_H (assignments), 𝒟_M (trends)."""

    influencers: pd.DataFrame
    events: pd.DataFrame
    assignments: pd.DataFrame
    affinities: pd.DataFrame | None = None
    trends: pd.DataFrame | None = None


def influencer_features(rows: pd.DataFrame, known: Databases) -> pd.DataFrame:
    """What 𝒟_I says: who, what, for which event, when, at which price."""
    who, what = rows[KEYS[:3]].merge(known.influencers, on="influencer_id", how="left"), _events(rows, known.events)
    out = pd.DataFrame({
        "log_followers": np.log1p(who["followers"]), "engagement_rate": who["engagement_rate"], "posts_per_week": who["posts_per_week"],
        "best_hour": who["best_hour"], "brand_alignment": who["brand_alignment"], "risk_score": who["risk_score"],
        "same_genre": (who["genre"] == what["genre"]).astype(float), "same_place": (who["location"] == what["location"]).astype(float),
        "scale": what["scale"], "days_from_event": rows["days_from_event"].to_numpy(), "log_price": np.log1p(rows["price"].to_numpy()),
    })  # fmt: skip
    turn = 2 * np.pi * what["date"].dt.day_of_year / 365.25
    out["season_sin"], out["season_cos"] = np.sin(turn), np.cos(turn)
    for column, values in (
        ("platform", who["platform"]),
        ("genre", who["genre"]),
        ("content_type", rows["content_type"].reset_index(drop=True)),
    ):
        out[column] = pd.Categorical(values)
    for dimension, values in (("genre", what["genre"]), ("location", what["location"])):
        out[f"affinity_{dimension}"] = _affinity(rows, values, known.affinities, dimension)
    return out


def market_features(rows: pd.DataFrame, known: Databases) -> pd.DataFrame:
    """What 𝒟_M says: the genre's popularity in the last complete week before the decision, and its recent move."""
    what = _events(rows, known.events)
    out = pd.DataFrame({"popularity": np.full(len(rows), np.nan), "popularity_change": np.nan})
    if known.trends is None or known.trends.empty:
        return out
    wide = known.trends.pivot_table(index="week", columns="genre", values="popularity").sort_index()
    at = wide.index.searchsorted(pd.DatetimeIndex(rows["decided_on"] - pd.Timedelta(days=7)), side="right") - 1
    column = wide.columns.get_indexer(what["genre"])
    good = (at >= 0) & (column >= 0)
    values, before = wide.to_numpy(), np.maximum(at - 4, 0)
    out.loc[good, "popularity"] = values[at[good], column[good]]
    out.loc[good, "popularity_change"] = values[at[good], column[good]] - values[before[good], column[good]]
    return out


def history_features(rows: pd.DataFrame, known: Databases, outcome: pd.Series) -> pd.DataFrame:
    """What 𝒟_H says: shrunken means of `outcome` over past assignments of the influencer, the content, the pair, the genre."""
    past = known.assignments
    seen = past["observed_at"].fillna(past["posted_at"]).to_numpy(dtype="datetime64[us]")
    asked = rows["decided_on"].to_numpy(dtype="datetime64[us]")
    genre = dict(zip(known.events["event_id"], known.events["genre"], strict=True))
    own, theirs = past.assign(genre=past["event_id"].map(genre)), rows.assign(genre=rows["event_id"].map(genre))
    out: dict[str, np.ndarray] = {}
    for name, keys in {"influencer": ["influencer_id"], "content": ["content_type"], "pair": ["influencer_id", "content_type"],
                       "influencer_genre": ["influencer_id", "genre"]}.items():  # fmt: skip
        mean, count = past_mean(_joined(own, keys), seen, outcome.to_numpy(), _joined(theirs, keys), asked)
        out[f"{name}_mean"], out[f"{name}_count"] = mean, np.log1p(count)
    return pd.DataFrame(out)


def past_mean(
    keys: np.ndarray, seen: np.ndarray, values: np.ndarray, asked_keys: np.ndarray, asked: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of `values` with the same key that were seen strictly before each question, shrunk to the mean of all seen before.

    Returns the means and the numbers of values behind them.
    """
    order = np.argsort(seen, kind="stable")
    codes, names = pd.factorize(np.concatenate([keys, asked_keys]))
    known, wanted = codes[: len(keys)][order], codes[len(keys) :]
    seen, values = seen[order], values[order]
    everything = np.concatenate([[0.0], np.cumsum(values)])
    upto = np.searchsorted(seen, asked, side="left")
    general = np.divide(everything[upto], upto, out=np.zeros(len(asked)), where=upto > 0)
    by_key = np.argsort(known, kind="stable")
    first = np.searchsorted(known[by_key], np.arange(len(names) + 1))
    sums = np.concatenate([[0.0], np.cumsum(values[by_key])])
    # position of each question among its key's values in time: a search over (key, time) in one go
    clock = np.concatenate([seen, asked]).astype("int64")
    ticks = pd.factorize(clock, sort=True)[0].astype(np.int64)
    span = int(ticks.max(initial=0)) + 1
    line = np.sort(known.astype(np.int64) * span + ticks[: len(seen)])
    last = np.searchsorted(line, wanted.astype(np.int64) * span + ticks[len(seen) :], side="left")
    begin = first[wanted]
    last = np.maximum(last, begin)
    count = (last - begin).astype(float)
    return (sums[last] - sums[begin] + PRIOR * general) / (count + PRIOR), count


def _joined(frame: pd.DataFrame, keys: list[str]) -> np.ndarray:
    joined = frame[keys[0]].astype("str")
    for key in keys[1:]:
        joined = joined + "|" + frame[key].astype("str")
    return joined.to_numpy(dtype=object)


def _events(rows: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    return rows[["event_id"]].merge(events.drop_duplicates("event_id"), on="event_id", how="left")


def _affinity(rows: pd.DataFrame, values: pd.Series, affinities: pd.DataFrame | None, dimension: str) -> np.ndarray:
    if affinities is None:
        return np.full(len(rows), np.nan)
    mine = affinities[affinities["dimension"] == dimension].set_index(["influencer_id", "value"])["score"]
    wanted = pd.MultiIndex.from_arrays([rows["influencer_id"], values])
    return mine[~mine.index.duplicated()].reindex(wanted).to_numpy()
