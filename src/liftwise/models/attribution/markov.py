"""An exact Markov chain of order k, and the removal effect of each channel.

State = the last k channels; from each state a journey goes on to a channel, to conversion or to nothing. Removing channel c
sends every transition into a state whose newest channel is c to nothing (Anderl et al. 2016). A channel's credit is its
removal effect as a share of all removal effects, times the conversions. Nothing is simulated: the conversion probabilities
of all scenarios (none removed, each channel removed) are the fixed point of one sparse product, iterated until it stands still.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import pandas as pd
from numba import njit
from scipy.sparse import csr_array

from liftwise.core.errors import InputError
from liftwise.models.attribution.journeys import Floats, Ints, Journeys, channel_frame, credit_frame
from liftwise.models.attribution.stages import ForetellsStages, log_odds

TOLERANCE = 1e-11
ITERATIONS = 20_000


class Markov(ForetellsStages):
    """The chain of order `order`.

    Attributes
    ----------
    channels_ : names, in the order of the arrays.
    removal_ : (channels,) share of conversions lost when the channel is removed.
    share_ : (channels,) removal effects scaled to 1.
    conversion_ : probability that a journey converts.
    states_ : (states,) histories that were seen, the last `order` channels as digits in base channels + 1.
    absorbed_ : (states,) probability of conversion from each; visits_ : (states,) how often it was passed.

    Notes
    -----
    Credit of a touch within a journey: in proportion to the removal effects of the journey's channels, one share for each of
    their touches. Without calibration by an experiment this measures where journeys pass, not what causes them to convert.

    >>> paths = Journeys.of_paths(["a > b", "a", "b"], [1, 0, 1], [1, 0, 1], [0, 1, 1])
    >>> chain = Markov().fit(paths)
    >>> dict(zip(chain.channels_, chain.removal_.round(3).tolist()))
    {'a': 0.333, 'b': 1.0}
    >>> chain.predict(paths)["probability"].round(3).tolist()
    [0.667, 0.333, 0.667]
    """

    def __init__(self, *, order: int = 1) -> None:
        if not 1 <= order <= 6:
            raise InputError(f"a chain of order {order}", fix="choose 1 to 6")
        self.order = order

    @property
    def method(self) -> str:
        """Name in tables."""
        return f"markov_{self.order}"

    def fit(
        self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None, lift: pd.DataFrame | None = None
    ) -> Self:
        """Count transitions and solve the chain.

        Raises
        ------
        CannotTell
            When no journey converted.
        """
        arrays = journeys if isinstance(journeys, Journeys) else Journeys.of(journeys)
        arrays.require_conversions()
        self.channels_ = arrays.channels
        start, into, self.states_, self.visits_ = _chain(arrays, self.order)
        newest = (self.states_ % (len(arrays.channels) + 1)) - 1
        self.conversion_, lost, self.absorbed_ = _solve(start, into, newest, len(arrays.channels))
        self.removal_ = np.clip(lost, 0.0, 1.0)
        total = self.removal_.sum()
        self.share_ = self.removal_ / total if total > 0 else np.full(len(self.removal_), 1 / max(len(self.removal_), 1))
        return self

    def credit(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """Table `credits`; a channel that was not there when fitting is refused."""
        arrays = self._known(journeys)
        arrays.require_conversions()
        return credit_frame(arrays, self._shares(arrays), self.method)

    def channel_credit(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """Table `channel_credits`: conversions with a touch shared by removal effect; those without are `organic`."""
        arrays = self._known(journeys)
        arrays.require_conversions()
        frame = channel_frame(arrays, self._shares(arrays), self.method)
        touched = arrays.lengths > 0
        for column, total in (("conversions", arrays.conversions[touched].sum()), ("revenue", arrays.value[touched].sum())):
            frame.loc[: len(self.channels_) - 1, column] = self.share_ * total
        return frame

    def predict(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """journey_id, probability: of conversion in the end, from the journey's last channels on.

        A history that was not seen when fitting counts as the longest part of it that was, from its end (Katz 1987). Nobody
        without a touch is in the chain: their probability is not a number.
        """
        arrays = self._known(journeys)
        chance, touched = self._from_here(arrays), arrays.lengths > 0
        probability = np.full(len(arrays.ids), np.nan)
        probability[touched] = chance[arrays.offsets[1:][touched] - 1]
        return pd.DataFrame({"journey_id": arrays.ids, "probability": probability})

    def states(self, journeys: Journeys) -> tuple[Floats, Floats]:
        """Log-odds of conversion from the last channels on, (touches, 1); before any, those of all journeys."""
        return log_odds(self._from_here(self._known(journeys)))[:, None], log_odds(np.array([self.conversion_]))

    def _from_here(self, arrays: Journeys) -> Floats:
        """(touches,) probability of conversion after each touch."""
        base = len(self.channels_) + 1
        wanted, out = _encode(arrays.offsets, arrays.codes, self.order, base), np.full(len(arrays.codes), np.nan)
        for length in range(self.order, -1, -1):
            missing = np.flatnonzero(np.isnan(out))
            if not len(missing):
                break
            known, group = np.unique(self.states_ % base**length, return_inverse=True)
            mean = np.bincount(group, self.absorbed_ * self.visits_) / np.bincount(group, self.visits_)
            ends = wanted[missing] % base**length
            at = np.minimum(np.searchsorted(known, ends), len(known) - 1)
            out[missing] = np.where(known[at] == ends, mean[at], np.nan)
        return out

    def _known(self, journeys: pd.DataFrame | Journeys) -> Journeys:
        return journeys.recoded(self.channels_) if isinstance(journeys, Journeys) else Journeys.of(journeys, self.channels_)

    def _shares(self, arrays: Journeys) -> Floats:
        weight = np.maximum(self.share_, 1e-12)[arrays.codes]
        return weight / np.bincount(arrays.owner, weight, minlength=len(arrays.ids))[arrays.owner]


def _chain(arrays: Journeys, order: int) -> tuple[Floats, csr_array, Ints, Floats]:
    """Start probabilities (states,), transitions (states, states + 2: …, conversion, null), states and how often each is passed."""
    weight = arrays.conversions + arrays.nulls
    states = _encode(arrays.offsets, arrays.codes, order, len(arrays.channels) + 1)
    distinct, at = _compact(states, (len(arrays.channels) + 1) ** order)
    n = len(distinct)
    rows, columns, values, start = _count(arrays.offsets, at, weight, arrays.conversions, arrays.nulls, n)
    matrix = csr_array((values, (rows, columns)), shape=(n, n + 2))
    matrix.sum_duplicates()
    total = matrix.sum(axis=1)
    scale = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    matrix.data *= np.repeat(scale, np.diff(matrix.indptr))
    return start / start.sum(), matrix, distinct, total


def _compact(states: Ints, space: int) -> tuple[Ints, Ints]:
    """Distinct states and each touch's index among them; by a table where the space is small, else by sorting."""
    if space > max(4_000_000, 4 * len(states)):
        distinct, at = np.unique(states, return_inverse=True)
        return distinct, at.astype(np.int64)
    seen = np.zeros(space, dtype=np.bool_)
    seen[states] = True
    distinct = np.flatnonzero(seen)
    index = np.zeros(space, dtype=np.int64)
    index[distinct] = np.arange(len(distinct))
    return distinct, index[states]


@njit(cache=True)
def _encode(offsets: Ints, codes: Ints, order: int, base: int) -> Ints:  # pragma: no cover - compiled
    """Each touch's state: the last `order` channels as digits in `base` (0 = none yet)."""
    states = np.empty(len(codes), np.int64)
    top = base ** (order - 1)
    for k in range(len(offsets) - 1):
        state = 0
        for j in range(offsets[k], offsets[k + 1]):
            state = (state % top) * base + codes[j] + 1
            states[j] = state
    return states


@njit(cache=True)
def _count(offsets: Ints, at: Ints, weight: Floats, conversions: Floats, nulls: Floats, n: int):  # pragma: no cover - compiled
    """Weighted transitions as triplets, summed in a table where that is small; and starts."""
    start = np.zeros(n)
    dense = n * (n + 2) <= 4_000_000
    table = np.zeros((n, n + 2)) if dense else np.zeros((1, 1))
    size = 0 if dense else len(at) + 2 * (len(offsets) - 1)
    rows, columns, values = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size)
    used = 0
    for k in range(len(offsets) - 1):
        first, last = offsets[k], offsets[k + 1]
        if first == last:
            continue
        start[at[first]] += weight[k]
        for j in range(first, last - 1):
            if dense:
                table[at[j], at[j + 1]] += weight[k]
            else:
                rows[used], columns[used], values[used] = at[j], at[j + 1], weight[k]
                used += 1
        final = at[last - 1]
        if dense:
            table[final, n] += conversions[k]
            table[final, n + 1] += nulls[k]
        else:
            rows[used], columns[used], values[used] = final, n, conversions[k]
            rows[used + 1], columns[used + 1], values[used + 1] = final, n + 1, nulls[k]
            used += 2
    if dense:
        full_rows, full_columns = np.nonzero(table)
        full_values = np.empty(len(full_rows))
        for m in range(len(full_rows)):
            full_values[m] = table[full_rows[m], full_columns[m]]
        return full_rows.astype(np.int64), full_columns.astype(np.int64), full_values, start
    return rows[:used], columns[:used], values[:used], start


def _solve(start: Floats, matrix: csr_array, newest: Ints, channels: int) -> tuple[float, Floats, Floats]:
    """Probability of conversion with nothing removed, the share of it lost by removing each channel, and that from each state.

    p = A p + b for all scenarios at once, columns 0 (none removed) and 1…K; in scenario c, p of states whose newest channel
    is c is zero. The iteration only grows, so it stops when no entry moves by more than `TOLERANCE`.
    """
    n = len(newest)
    through, hit = matrix[:, :n].tocsr(), matrix[:, [n]].toarray().ravel()
    alive = np.ones((n, channels + 1))
    alive[np.arange(n), newest + 1] = 0.0
    p = hit[:, None] * alive
    for _ in range(ITERATIONS):
        after = (through @ p + hit[:, None]) * alive
        moved = np.abs(after - p).max(initial=0.0)
        p = after
        if moved < TOLERANCE:
            break
    reached = start @ p
    base = float(reached[0])
    return base, (1.0 - reached[1:] / base if base > 0 else np.zeros(channels)), p[:, 0]
