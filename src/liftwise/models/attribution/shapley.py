"""Shapley values of the game "conversion rate by set of channels".

The game: v(S) is the conversion rate of journeys whose set of channels is exactly S; v(∅) that of journeys without a touch.
A channel's Shapley value is what it adds to v on average over all orders in which channels could join: the channel importance
of Dalessandro, Perlich, Stitelman and Provost (2012, "Causally motivated attribution for online advertising", ADKDD).

The other game in use, v(S) = conversions of all journeys whose set lies within S (Zhao, Mahboobi and Bagheri 2018, "Shapley value
methods for attribution modeling in online advertising", arXiv:1804.05327), is not offered: its Shapley value is, by that paper's
own simplified formula, every journey split evenly over its distinct channels, and journeys that did not convert play no part.

Each journey is credited by the game among its own channels only. That game is solved exactly by a subset transform: with
Harsanyi dividends d (the Möbius transform of v), channel c gets the sum of d(T) / |T| over the sets T that contain it.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import pandas as pd
from numba import njit
from scipy.special import expit

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import spawn
from liftwise.models.attribution.journeys import Floats, Ints, Journeys, channel_frame, credit_frame
from liftwise.models.attribution.stages import ForetellsStages, log_odds


class Shapley(ForetellsStages):
    """Set-Shapley on conversion rates.

    Parameters
    ----------
    most : channels of the largest set solved exactly (2^most rates); larger ones are sampled.
    permutations : orders in which a larger set is walked; half are drawn, the others are these reversed (antithetic).
    pool : journeys that the additive rate of a set weighs as much as; 0 takes the rates of sets that were seen as they are.
    seed : of the drawn orders.

    Attributes
    ----------
    channels_ : names, in the order of the arrays.
    sets_ : (sets,) channel sets that were seen, and ∅, as bits, ascending.
    rates_ : (sets,) v, conversions per journey.
    log_odds_ : (channels + 1,) of the additive model: untouched first, then what each channel adds.
    value_ : (channels,) Shapley values among all channels, conversions per journey; they sum to v(all) - v(∅).

    Notes
    -----
    Rare sets: v(S) = (conversions + pool · a) / (journeys + pool), a = the rate by a logistic model that adds up channels
    (ridge 1). A set never seen has v = a. Without any journey that was not touched, v(∅) = 0: nothing is organic.

    Credit: in a converting journey with set S, v(∅) / v(S) is organic; the rest is shared in proportion to the Shapley values
    of its channels, negative ones counting as zero, and evenly over the touches of a channel. Where v(S) ≤ v(∅), all is organic.

    Without calibration by an experiment this compares people who were touched with others who were not: a channel that follows
    people who buy anyway looks good. Frequency and order of touches play no part.

    >>> paths = Journeys.of_paths(["a", "b", "a > b"], [1, 2, 6], [1, 2, 6], [9, 8, 4])
    >>> model = Shapley(pool=0).fit(paths)
    >>> dict(zip(model.channels_, model.value_.round(3).tolist()))
    {'a': 0.25, 'b': 0.35}
    """

    method = "shapley"

    def __init__(self, *, most: int = 12, permutations: int = 512, pool: float = 20.0, seed: int = 7) -> None:
        if not 1 <= most <= 20:
            raise InputError(f"exact sets of up to {most} channels", fix="choose 1 to 20")
        if permutations < 2 or permutations % 2:
            raise InputError(f"{permutations} permutations", fix="choose an even number; each has its reverse")
        if not 0 <= pool < np.inf:
            raise InputError(f"a pool of {pool:g} journeys", fix="give 0 or a positive number")
        self.most, self.permutations, self.pool, self.seed = most, permutations, pool, seed

    def fit(
        self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None, lift: pd.DataFrame | None = None
    ) -> Self:
        """Rates by channel set; `covariates` and `lift` are not used.

        Raises
        ------
        CannotTell
            When no journey converted.
        InputError
            When there are more than 62 channels, or a touch has a code that is no channel.
        """
        arrays = journeys if isinstance(journeys, Journeys) else Journeys.of(journeys)
        arrays.require_conversions()
        self.channels_, k = arrays.channels, len(arrays.channels)
        at, sets = pd.factorize(_masks(arrays), sort=True)
        won, seen = np.bincount(at, arrays.conversions), np.bincount(at, arrays.conversions + arrays.nulls)
        sets, won, seen = sets[seen > 0], won[seen > 0], seen[seen > 0]
        self.log_odds_, plain = _additive(_members(sets, k), won, seen)
        rates = (won + self.pool * plain) / (seen + self.pool)
        empty = np.zeros(int(0 not in sets), np.int64)  # nobody without a touch: a set ∅ with rate 0
        self.sets_, self.rates_ = np.append(empty, sets), np.append(empty, rates)
        drawn = spawn(self.seed, "attribution.shapley").random((self.permutations // 2, k))
        self._orders = np.argsort(drawn, axis=1, kind="stable")
        self.value_ = self._values(np.array([(1 << k) - 1]))[0]
        return self

    def credit(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """Table `credits`; a channel that was not there when fitting is refused."""
        arrays = self._known(journeys).converting()
        return credit_frame(arrays, self._shares(arrays), self.method)

    def channel_credit(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """Table `channel_credits`: the credits of all journeys by channel."""
        sets = _by_set(self._known(journeys))
        return channel_frame(sets, self._shares(sets), self.method)

    def predict(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """journey_id, probability: v of the journey's set of channels."""
        arrays = self._known(journeys)
        at, wanted = pd.factorize(_masks(arrays), sort=True)
        return pd.DataFrame({"journey_id": arrays.ids, "probability": self._worth(wanted)[at]})

    def states(self, journeys: Journeys) -> tuple[Floats, Floats]:
        """Log-odds of v of the channels so far, (touches, 1); before any, those of v(∅)."""
        arrays = self._known(journeys)
        at, wanted = pd.factorize(_so_far(arrays.offsets, arrays.codes), sort=True)
        return log_odds(self._worth(wanted)[at])[:, None], log_odds(self.rates_[:1])

    def _known(self, journeys: pd.DataFrame | Journeys) -> Journeys:
        if not isinstance(journeys, Journeys):
            return Journeys.of(journeys, self.channels_)
        _check(journeys)
        return journeys.recoded(self.channels_)

    def _shares(self, arrays: Journeys) -> Floats:
        """Credit of each touch, (touches,), were its journey to convert."""
        at, wanted = pd.factorize(_masks(arrays), sort=True)
        times = _repeats(arrays.offsets, arrays.codes, len(self.channels_))
        return self._split(wanted)[at[arrays.owner], arrays.codes] / times

    def _split(self, wanted: Ints) -> Floats:
        """Share of a conversion that each channel of a set earns, (sets, channels)."""
        worth, positive = self._worth(wanted), np.clip(self._values(wanted), 0, None)
        earned = np.clip(worth - self.rates_[0], 0, None) / np.where(worth > 0, worth, 1)
        total = positive.sum(axis=1)
        return positive * np.divide(earned, total, out=np.zeros_like(total), where=total > 0)[:, None]

    def _worth(self, wanted: Ints) -> Floats:
        plain = expit(self.log_odds_[0] + _members(wanted, len(self.channels_)) @ self.log_odds_[1:])
        at = np.minimum(np.searchsorted(self.sets_, wanted), len(self.sets_) - 1)
        return np.where(self.sets_[at] == wanted, self.rates_[at], plain)

    def _values(self, wanted: Ints) -> Floats:
        """Shapley values of each set's own game, (sets, channels)."""
        return _solve(wanted, self.sets_, self.rates_, self.log_odds_, self.most, self._orders)


def _check(arrays: Journeys) -> None:
    if len(arrays.channels) > 62:  # a set is the bits of one integer
        raise InputError(f"{len(arrays.channels)} channels are too many for sets of channels", fix="group them into at most 62")
    if len(arrays.codes) and not 0 <= arrays.codes.min() <= arrays.codes.max() < len(arrays.channels):
        raise InputError("a touch has a code that is no channel", fix="give each touch an index into `channels`")


def _masks(arrays: Journeys) -> Ints:
    """Each journey's set of channels as bits, (journeys,)."""
    _check(arrays)
    return _bits(arrays.offsets, arrays.codes)


def _members(sets: Ints, channels: int) -> Floats:
    """1 where a channel is in a set, (sets, channels)."""
    return (sets[:, None] >> np.arange(channels) & 1).astype(float)


def _by_set(arrays: Journeys) -> Journeys:
    """One journey for each set that converted: each of its channels once, the conversions and values summed."""
    arrays.require_conversions()
    won = arrays.conversions > 0
    at, sets = pd.factorize(_masks(arrays)[won], sort=True)
    row, codes = np.nonzero(_members(sets, len(arrays.channels)))
    offsets = np.append(0, np.cumsum(np.bincount(row, minlength=len(sets))))
    conversions, value, nulls = (np.bincount(at, of[won]) for of in (arrays.conversions, arrays.value, arrays.nulls))
    names = np.empty(len(codes), object)
    return Journeys(sets.astype(object), offsets, codes, names, np.zeros(len(codes)), conversions, value, nulls, arrays.channels)


def _additive(members: Floats, won: Floats, seen: Floats) -> tuple[Floats, Floats]:
    """Log-odds (channels + 1,) of a ridge logistic model around the overall rate, by Newton's method; and its rates by set."""
    design = np.column_stack([np.ones(len(members)), members])
    start = np.zeros(design.shape[1])
    start[0] = np.log((won.sum() + 0.5) / (seen.sum() - won.sum() + 0.5))
    log_odds = start.copy()
    for _ in range(100):
        rate = expit(design @ log_odds)
        slope = design.T @ (won - seen * rate) - (log_odds - start)
        curve = design.T @ ((seen * rate * (1 - rate))[:, None] * design) + np.eye(len(start))
        step = np.linalg.solve(curve, slope)
        log_odds += step * min(1.0, 2 / np.abs(step).max(initial=1e-300))  # a cap, so that no step leaps over the top
        if np.abs(step).max() < 1e-9:
            break
    return log_odds, expit(design @ log_odds)


@njit(cache=True)
def _bits(offsets: Ints, codes: Ints) -> Ints:  # pragma: no cover - compiled
    masks = np.zeros(len(offsets) - 1, np.int64)
    for k in range(len(masks)):
        for j in range(offsets[k], offsets[k + 1]):
            masks[k] |= np.int64(1) << codes[j]
    return masks


@njit(cache=True)
def _so_far(offsets: Ints, codes: Ints) -> Ints:  # pragma: no cover - compiled
    """Channels up to each touch as bits, (touches,)."""
    sets = np.zeros(len(codes), np.int64)
    for k in range(len(offsets) - 1):
        mask = np.int64(0)
        for j in range(offsets[k], offsets[k + 1]):
            mask |= np.int64(1) << codes[j]
            sets[j] = mask
    return sets


@njit(cache=True)
def _repeats(offsets: Ints, codes: Ints, channels: int) -> Floats:  # pragma: no cover - compiled
    """How often the channel of each touch is in its journey, (touches,)."""
    count, times = np.zeros(channels), np.empty(len(codes))
    for k in range(len(offsets) - 1):
        for j in range(offsets[k], offsets[k + 1]):
            count[codes[j]] += 1
        for j in range(offsets[k], offsets[k + 1]):
            times[j] = count[codes[j]]
        for j in range(offsets[k], offsets[k + 1]):
            count[codes[j]] = 0
    return times


@njit(cache=True)
def _solve(wanted, sets, rates, log_odds, most, orders):  # pragma: no cover - compiled
    channels = len(log_odds) - 1
    values = np.zeros((len(wanted), channels))
    for m in range(len(wanted)):
        inside = np.array([c for c in range(channels) if wanted[m] >> c & 1], dtype=np.int64)
        if len(inside) <= most:
            _exact(inside, sets, rates, log_odds, values[m])
        else:
            _sampled(wanted[m], sets, rates, log_odds, orders, values[m])
    return values


@njit(cache=True)
def _look(mask, plain, sets, rates):  # pragma: no cover - compiled
    """v of one set: as seen, else by its additive log-odds `plain`."""
    at = np.searchsorted(sets, mask)
    if at < len(sets) and sets[at] == mask:
        return rates[at]
    return 1 / (1 + np.exp(-plain))


@njit(cache=True)
def _exact(inside, sets, rates, log_odds, values):  # pragma: no cover - compiled
    """All subsets' v, turned into dividends in place; each dividend is shared evenly by its set."""
    n = len(inside)
    masks, plain, size = np.zeros(1 << n, np.int64), np.full(1 << n, log_odds[0]), np.zeros(1 << n)
    dividend = np.empty(1 << n)
    dividend[0] = rates[0]
    for i in range(n):
        for t in range(1 << i):  # every subset of the first i channels, joined by channel i
            s = t | 1 << i
            masks[s], plain[s] = masks[t] | np.int64(1) << inside[i], plain[t] + log_odds[inside[i] + 1]
            size[s], dividend[s] = size[t] + 1, _look(masks[s], plain[s], sets, rates)
    for i in range(n):
        for s in range(1 << n):
            if s >> i & 1:
                dividend[s] -= dividend[s ^ 1 << i]
    for s in range(1, 1 << n):
        for i in range(n):
            if s >> i & 1:
                values[inside[i]] += dividend[s] / size[s]


@njit(cache=True)
def _sampled(whole, sets, rates, log_odds, orders, values):  # pragma: no cover - compiled
    """Mean marginal v over the drawn orders of all channels, kept to those in the set, and over their reverses."""
    drawn, channels = orders.shape
    for p in range(2 * drawn):
        mask, plain, before = np.int64(0), log_odds[0], rates[0]
        for i in range(channels):
            c = orders[p // 2, i if p % 2 == 0 else channels - 1 - i]
            if whole >> c & 1:
                mask, plain = mask | np.int64(1) << c, plain + log_odds[c + 1]
                after = _look(mask, plain, sets, rates)
                values[c] += (after - before) / (2 * drawn)
                before = after
