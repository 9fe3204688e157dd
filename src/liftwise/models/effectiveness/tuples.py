"""Tuples (influencer, content, event, day), and means over what was seen before a day."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd

KEYS = ["influencer_id", "content_type", "event_id", "days_from_event"]
PRIOR = 5.0  # observations that a history mean is shrunk by, where outcomes do not say


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


def past_mean(
    keys: np.ndarray, seen: np.ndarray, values: np.ndarray, asked_keys: np.ndarray, asked: np.ndarray, prior: float = PRIOR,
    towards: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Mean of `values` with the same key that were seen strictly before each question, shrunk as by `prior` more values of `towards`,
    or of the mean of all seen before.

    Returns the means and the numbers of values behind them.
    """
    order = np.argsort(seen, kind="stable")
    codes, names = pd.factorize(np.concatenate([keys, asked_keys]))
    known, wanted = codes[: len(keys)][order], codes[len(keys) :]
    seen, values = seen[order], values[order]
    everything = np.concatenate([[0.0], np.cumsum(values)])
    upto = np.searchsorted(seen, asked, side="left")
    general = np.divide(everything[upto], upto, out=np.zeros(len(asked)), where=upto > 0)
    general = general if towards is None else np.full(len(asked), towards)
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
    return (sums[last] - sums[begin] + prior * general) / (count + prior), count
