"""The likelihood of an additive hazard: purchases a day = exp(organic) + Σ effect of the touch's channel · exp(−age / its days).

Two kinds of journeys, two likelihoods:

- people watched for a known time until they buy or the watch ends (censored): log-hazard at each purchase, less the hazard summed
  over all time watched, in closed form (Andersen, Borgan, Gill and Keiding 1993, section VI.1);
- purchases, and moments drawn evenly from all time at risk (table `moments`): a row of either kind is a purchase with odds hazard /
  `kept`, where `kept` are the moments drawn a person and day (Hanley and Miettinen 2009).

Per-day effects are fitted in parts of the mean rate of buying, so that markets of all sizes look alike to the optimiser and the priors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from scipy.optimize import minimize

from liftwise.models.attribution.journeys import Floats, Ints, Journeys

LASTS = (0.05, 90.0)  # days within which a touch's mean life is sought
USUAL = (np.log(4.0), 1.0)  # log days, and spread, of the life that channels have in common
APART = 0.7  # spread of channels' log lives around it
CALM = 1.0  # ridge of what is known of people, scaled; the level is free
WIDEST = 30.0  # log of a hazard that no fit needs, so that no step overflows
ROWS = 8192  # journeys whose slopes are in memory at a time


@dataclass(frozen=True)
class Watch:
    """Journeys as the likelihood sees them.

    Attributes
    ----------
    design : (n, m) a constant and what is known of each person.
    days : (touches,) age at the journey's end.
    bought, size : (n,) purchases, and purchases and others, of each row.
    watched : (n,) days until the journey's end in which a purchase would have been seen; None for moments.
    kept : moments drawn a person and day; only for moments.
    """

    offsets: Ints
    codes: Ints
    days: Floats
    design: Floats
    bought: Floats
    size: Floats
    watched: Floats | None
    kept: float

    @classmethod
    def of(cls, journeys: Journeys, inputs: Floats, watched: Floats | None) -> Watch:
        """`inputs` (n, m − 1) of each person; `watched` (n,) in days."""
        return cls(
            journeys.offsets, journeys.codes, journeys.hours / 24.0, np.column_stack([np.ones(len(journeys.ids)), inputs]),
            journeys.conversions, journeys.conversions + journeys.nulls, watched, journeys.kept,
        )  # fmt: skip

    @property
    def rate(self) -> float:
        """Purchases a person and day."""
        if self.watched is not None:
            return float(self.bought.sum() / (self.size * self.watched).sum())
        return float(self.kept * self.bought.sum() / (self.size - self.bought).sum())

    def take(self, rows: Ints) -> Watch:
        """The journeys at `rows`."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        at = np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return replace(
            self, offsets=offsets, codes=self.codes[at], days=self.days[at], design=self.design[rows], bought=self.bought[rows],
            size=self.size[rows], watched=None if self.watched is None else self.watched[rows],
        )  # fmt: skip


@dataclass(frozen=True)
class Law:
    """What is fitted: organic (m,), effect (channels,) purchases a day of a fresh touch, life (channels,) log of mean days."""

    organic: Floats
    effect: Floats
    life: Floats


@dataclass(frozen=True)
class Prior:
    """Of effects in parts of the mean rate: normal, none below 0; `spread` None leaves them as the data say."""

    mean: float = 0.0
    spread: float | None = None


@dataclass(frozen=True)
class Fit:
    """A fitted law; `covariance` of (organic, effects in parts of `rate`, lives)."""

    law: Law
    rate: float
    covariance: Floats
    parts: Parts


@dataclass(frozen=True)
class Parts:
    """Share of expected purchases that each channel brings (channels,), and its slopes by the parameters (channels, parameters)."""

    share: Floats
    slopes: Floats
    information: Floats


def hazards(law: Law, watch: Watch) -> tuple[Floats, Floats, Floats, Floats]:
    """Purchases a day at the journey's end, organic and by touches, and both summed over the time watched (0 for moments); (n,) each."""
    organic = np.exp(np.minimum(watch.design @ law.organic, WIDEST))
    seen = watch.watched if watch.watched is not None else np.zeros(len(organic))
    point, area = _sums(watch.offsets, watch.codes, watch.days, seen, law.effect, np.exp(law.life))
    return organic, point, organic * seen, area


def beginning(watch: Watch, channels: int) -> Law:
    """Where a fit starts: most of buying is organic, all channels alike."""
    level = np.append(np.log(0.7 * watch.rate), np.zeros(watch.design.shape[1] - 1))
    return Law(level, np.full(channels, 0.3 * watch.rate), np.full(channels, USUAL[0]))


def fit(watch: Watch, prior: Prior, start: Law) -> Fit:
    """Most likely law given the prior, by L-BFGS with exact slopes."""
    rate, m, k = watch.rate, len(start.organic), len(start.effect)
    bounds = [(None, None)] * m + [(0.0, None)] * k + [tuple(np.log(LASTS))] * k
    units = max(float(watch.bought.sum()), 1.0)

    def loss(at: Floats) -> tuple[float, Floats]:
        law = _law(at, m, k, rate)
        value, slope = _likelihood(law, watch)
        slope[m : m + k] *= rate
        more, tilt = _penalty(at, m, k, prior)
        return (value + more) / units, (slope + tilt) / units

    at = np.concatenate([start.organic, start.effect / rate, start.life])
    found = minimize(loss, at, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500, "ftol": 1e-11, "gtol": 1e-7})
    law = _law(found.x, m, k, rate)
    parts = tally(law, watch, rate)
    return Fit(law, rate, np.linalg.inv(parts.information + _curve(m, k, prior)), parts)


def tally(law: Law, watch: Watch, rate: float) -> Parts:
    """Expected purchases by channel and their slopes; the information of the parameters."""
    m, k = len(law.organic), len(law.effect)
    size = m + 2 * k
    brought, total, slopes, whole, information = np.zeros(k), 0.0, np.zeros((k, size)), np.zeros(size), np.zeros((size, size))
    for part in _blocks(watch):
        organic, point, base, area = hazards(law, part)
        hazard = organic + point
        fresh, aging, summed, lasting = _by_channel(law, part)
        own, more = law.effect * fresh, np.hstack([organic[:, None] * part.design, rate * fresh, aging])
        if part.watched is not None:
            pull = part.bought / hazard**2
            information += more.T @ (pull[:, None] * more)
            own, more = law.effect * summed, np.hstack([base[:, None] * part.design, rate * summed, lasting])
            brought += part.size @ own
            total += float(part.size @ (base + area))
            slopes[np.arange(k), m + np.arange(k)] += rate * (part.size @ summed)
            slopes[np.arange(k), m + k + np.arange(k)] += part.size @ lasting
            whole += part.size @ more
            continue
        odds = hazard + part.kept
        pull = part.size * part.kept / (hazard * odds**2)
        information += more.T @ (pull[:, None] * more)
        brought += (part.size / odds) @ own
        total += float((part.size * hazard / odds).sum())
        slopes[np.arange(k), m + np.arange(k)] += rate * ((part.size / odds) @ fresh)
        slopes[np.arange(k), m + k + np.arange(k)] += (part.size / odds) @ aging
        slopes -= own.T @ ((part.size / odds**2)[:, None] * more)
        whole += (part.size * part.kept / odds**2) @ more
    share = brought / total
    return Parts(share, (slopes - share[:, None] * whole) / total, information)


def stands(law: Law, watch: Watch) -> float:
    """Share of what touches claim that stands on journeys not used for `law`: 1 − (error / slope)², 0 where the slope is not above 0.

    Hazard = a · organic + c · touches, most likely a and c (Newton's method).
    """
    organic, point, base, area = hazards(law, watch)
    columns, sums = np.column_stack([organic, point]), np.column_stack([base, area])
    if not point.any():
        return 0.0
    at, curve = np.array([1.0, 0.5]), np.eye(2)
    for _ in range(60):
        hazard = columns @ at
        if watch.watched is not None:
            slope = (watch.bought / hazard) @ columns - watch.size @ sums
            curve = columns.T @ ((watch.bought / hazard**2)[:, None] * columns)
        else:
            slope = (watch.bought / hazard - watch.size / (hazard + watch.kept)) @ columns
            pull = watch.size * watch.kept / (hazard * (hazard + watch.kept) ** 2)
            curve = columns.T @ (pull[:, None] * columns)
        step = np.linalg.solve(curve, slope)
        while ((columns @ (at + step)) <= 0).any():  # a hazard below 0 is none
            step = step / 2
        at = at + step
        if np.abs(step).max() < 1e-8:
            break
    error = float(np.sqrt(np.linalg.inv(curve)[1, 1]))
    return max(0.0, 1.0 - (error / at[1]) ** 2) if at[1] > 0 else 0.0


def _law(at: Floats, m: int, k: int, rate: float) -> Law:
    return Law(at[:m], at[m : m + k] * rate, at[m + k :])


def _likelihood(law: Law, watch: Watch) -> tuple[float, Floats]:
    """Minus the log-likelihood, and its slopes by (organic, effect, life)."""
    organic, point, base, area = hazards(law, watch)
    hazard = organic + point
    if watch.watched is not None:
        value = float((watch.size * (base + area)).sum() - watch.bought @ np.log(hazard))
        at_end, over_time = -watch.bought / hazard, watch.size
        seen = watch.watched
    else:
        value = float(watch.size @ np.log(hazard + watch.kept) - watch.bought @ np.log(hazard))
        at_end, over_time = watch.size / (hazard + watch.kept) - watch.bought / hazard, np.zeros(len(hazard))
        seen = over_time
    effect, life = _slopes(watch.offsets, watch.codes, watch.days, seen, law.effect, np.exp(law.life), at_end, over_time)
    return value, np.concatenate([(at_end * organic + over_time * base) @ watch.design, effect, life])


def _penalty(at: Floats, m: int, k: int, prior: Prior) -> tuple[float, Floats]:
    """Minus the log of the prior, and its slopes."""
    curve = _curve(m, k, prior)
    off = at.copy()
    off[0], off[m : m + k], off[m + k :] = 0.0, at[m : m + k] - prior.mean, at[m + k :] - USUAL[0]
    tilt = curve @ off
    return float(off @ tilt / 2), tilt


def _curve(m: int, k: int, prior: Prior) -> Floats:
    """Precision of the prior. Lives share a mean that is itself drawn: covariance APART² on the diagonal, and the mean's everywhere."""
    curve = np.zeros((m + 2 * k, m + 2 * k))
    curve[np.arange(1, m), np.arange(1, m)] = CALM
    if prior.spread is not None:
        curve[np.arange(m, m + k), np.arange(m, m + k)] = prior.spread**-2
    curve[m + k :, m + k :] = np.linalg.inv(APART**2 * np.eye(k) + USUAL[1] ** 2)
    return curve


def _blocks(watch: Watch) -> Iterator[Watch]:
    n = len(watch.bought)
    for start in range(0, n, ROWS):
        yield watch.take(np.arange(start, min(start + ROWS, n)))


def _by_channel(law: Law, watch: Watch) -> tuple[Floats, Floats, Floats, Floats]:
    """(n, channels) Σ of what is left of touches and its slope by life times effect, at the end; the same over the time watched."""
    n, k = len(watch.bought), len(law.effect)
    owner = np.repeat(np.arange(n), np.diff(watch.offsets))
    lasts, cell = np.exp(law.life)[watch.codes], owner * k + watch.codes
    left = np.exp(-watch.days / lasts)

    def summed(values: Floats) -> Floats:
        return np.bincount(cell, values, minlength=n * k).reshape(n, k)

    effect = law.effect[watch.codes]
    fresh, aging = summed(left), summed(effect * left * watch.days / lasts)
    if watch.watched is None:
        return fresh, aging, fresh, aging
    early = np.maximum(watch.days - watch.watched[owner], 0.0)  # age when the watch began, of touches before it
    first = np.exp(-early / lasts)
    area, lasting = lasts * (first - left), effect * (first * (lasts + early) - left * (lasts + watch.days))
    return fresh, aging, summed(area), summed(lasting)


@njit(cache=True)
def _sums(offsets, codes, days, watched, effect, lasts):  # pragma: no cover - compiled
    """Hazard by touches at each journey's end, and summed over the time watched."""
    point, area = np.zeros(len(offsets) - 1), np.zeros(len(offsets) - 1)
    for j in range(len(point)):
        for i in range(offsets[j], offsets[j + 1]):
            c = codes[i]
            left = np.exp(-days[i] / lasts[c])
            point[j] += effect[c] * left
            if watched[j] > 0:
                first = np.exp(-max(days[i] - watched[j], 0.0) / lasts[c])
                area[j] += effect[c] * lasts[c] * (first - left)
    return point, area


@njit(cache=True)
def _slopes(offsets, codes, days, watched, effect, lasts, at_end, over_time):  # pragma: no cover - compiled
    """Σ at_end · d hazard + over_time · d summed hazard, by effect and by log life."""
    by_effect, by_life = np.zeros(len(effect)), np.zeros(len(effect))
    for j in range(len(offsets) - 1):
        for i in range(offsets[j], offsets[j + 1]):
            c = codes[i]
            last = lasts[c]
            left = np.exp(-days[i] / last)
            by_effect[c] += at_end[j] * left
            by_life[c] += at_end[j] * effect[c] * left * days[i] / last
            if watched[j] > 0:
                early = max(days[i] - watched[j], 0.0)
                first = np.exp(-early / last)
                by_effect[c] += over_time[j] * last * (first - left)
                by_life[c] += over_time[j] * effect[c] * (first * (last + early) - left * (last + days[i]))
    return by_effect, by_life
