"""Short sequences of touches that lift or waste: purchases of the journeys that hold one, beside what its parts would give."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import csc_array

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import normal_quantile
from liftwise.models.attribution.journeys import Floats, Ints, Journeys
from liftwise.models.attribution.pair_baseline import OWN, Data, discoveries, fit_baseline, seen_enough, two_sided

MOTIFS = ("sequence", "length", "journeys", "observed", "expected", "lift", "low", "high", "p_value", "label")


def motifs(
    journeys: Journeys,
    fresh: Floats,
    organic: Floats,
    *,
    length: int = 3,
    least: int = 200,
    within: float = np.inf,
    level: float = 0.90,
) -> pd.DataFrame:
    """Sequences of touches in a row: purchases of the journeys that hold one, and what the sum of its parts would give.

    Of 2 to `length` touches, no more than `within` hours from the first to the last.

    `lift` = observed / expected, where expected is the additive baseline with the sequence's own part taken out of it (one efficient
    step); `label` is ``lifts`` or ``wastes`` where Benjamini and Hochberg's rule finds it at 10 %, else ``as its parts``. A sequence
    counts however long ago it was, which dilutes what fades: `pairs` sees more. One that lifts will lift the longer ones around it.
    """
    if not 2 <= length <= 5:
        raise InputError(f"sequences of {length} touches", fix="choose 2 to 5")
    z = normal_quantile(level)
    data = Data.of(journeys, fresh, organic)
    fit = fit_baseline(data, None)
    base = len(data.names) + 1
    held, keys = _sequences(data, length, base, within)
    _, enough = seen_enough(data, held, fit, least)
    held, keys = held[:, np.flatnonzero(enough)], keys[enough]
    own, score, cross = fit.scores(held)
    left = own - np.einsum("kp,pq,kq->k", cross, fit.inverse, cross)
    told = left > OWN * own
    keys, own, score, left, held = keys[told], own[told], score[told], left[told], held[:, np.flatnonzero(told)]
    step = score / left
    observed, expected = held.T @ data.bought, held.T @ (data.size * fit.p) - step * (own - left)
    with np.errstate(invalid="ignore", divide="ignore"):
        lift = np.where(expected > 0, observed / expected, np.nan)
        error = (left / np.maximum(observed, 0.5) + (own - left) / expected) / np.sqrt(left)  # of log lift, by the delta method
    p = two_sided(score / np.sqrt(left))
    marked = discoveries(p)
    words = np.where(~marked, "as its parts", np.where(step > 0, "lifts", "wastes"))
    digits = [[int(key) // base**power % base for power in range(length - 1, -1, -1)] for key in keys]
    table = pd.DataFrame({
        "sequence": [" > ".join(data.names[d - 1] for d in row if d) for row in digits],
        "length": np.array([sum(d > 0 for d in row) for row in digits], dtype=np.int64),
        "journeys": held.T @ data.size, "observed": observed, "expected": expected, "lift": lift, "low": lift * np.exp(-z * error),
        "high": lift * np.exp(z * error), "p_value": p, "label": words.astype(object),
    })  # fmt: skip
    return table.sort_values(["p_value", "sequence"], kind="stable", ignore_index=True)[list(MOTIFS)]


def _sequences(data: Data, length: int, base: int, within: float) -> tuple[csc_array, Ints]:
    """(n, sequences) 1 where a journey holds the sequence, and the sequences as digits, 0 for none."""
    owner = np.repeat(np.arange(len(data.organic)), np.diff(data.offsets))
    key, rows, keys = data.codes + 1, [], []
    for back in range(1, length):
        key = key[1:] + (data.codes[: len(data.codes) - back] + 1) * base**back
        whole = (owner[back:] == owner[: len(owner) - back]) & (data.hours[: len(owner) - back] - data.hours[back:] <= within)
        rows.append(owner[back:][whole])
        keys.append(key[whole])
    row, key = np.concatenate(rows), np.concatenate(keys)
    distinct, at = np.unique(key, return_inverse=True)
    both = np.unique(at * len(data.organic) + row)
    row, column = both % len(data.organic), both // len(data.organic)
    return csc_array((np.ones(len(both)), (row, column)), shape=(len(data.organic), len(distinct))), distinct
