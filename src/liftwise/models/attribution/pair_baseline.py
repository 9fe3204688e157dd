"""The logistic baseline that pairs and sequences are judged against, and what the judging needs.

Organic log-odds and, for each channel, its fresh touches and log(1 + fresh touches): saturation is in, order and gaps are not.
Further columns are judged by efficient scores (Rao 1948; Bickel et al. 1993), see `interactions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csc_array
from scipy.special import expit, ndtr

from liftwise.core.errors import CannotTell, InputError
from liftwise.models.attribution.journeys import Floats, Ints, Journeys

RATE = 0.10  # false discovery rate
EVENTS = 10.0  # expected purchases, and non-purchases, that a cell's weights must be worth
OWN = 1e-3  # share of a column's information that the baseline must leave to it
RIDGE = 1e-3  # keeps a fit finite where a column explains every purchase; far below any information that counts
STEPS = 40


@dataclass(frozen=True)
class Data:
    """Checked arrays; touches by journey, oldest first, rows deciding between touches at the same hour."""

    offsets: Ints
    codes: Ints
    hours: Floats
    fresh: Floats
    organic: Floats
    bought: Floats
    size: Floats
    names: tuple[str, ...]

    @classmethod
    def of(cls, journeys: Journeys, fresh: Floats, organic: Floats) -> Data:
        fresh, organic, hours = (np.asarray(a, float) for a in (fresh, organic, journeys.hours))
        n, touches = len(journeys.ids), len(journeys.codes)
        if fresh.shape != (touches,) or organic.shape != (n,):
            raise InputError(
                f"fresh {fresh.shape} and organic {organic.shape}", fix=f"give one value a touch ({touches}) and a journey ({n})"
            )
        if not (np.isfinite(fresh).all() and (fresh >= 0).all() and np.isfinite(organic).all() and np.isfinite(hours).all()):
            raise InputError(
                "what is left of a touch, organic log-odds or hours are not numbers, or below 0", fix="leave such journeys out"
            )
        if len(np.unique(journeys.codes)) < 2:
            raise CannotTell("fewer than two kinds of touches", fix="deliver journeys with more than one channel or content type")
        journeys.require_conversions()
        if journeys.nulls.sum() <= 0:
            raise CannotTell("every journey converted", fix="deliver journeys that did not convert as well")
        owner = journeys.owner
        order = np.lexsort((-hours, owner))
        return cls(
            journeys.offsets, journeys.codes[order], hours[order], fresh[order], organic, journeys.conversions,
            journeys.conversions + journeys.nulls, journeys.channels,
        )  # fmt: skip

    @cached_property
    def stock(self) -> Floats:
        """(n, channels) fresh touches."""
        n, k = len(self.organic), len(self.names)
        owner = np.repeat(np.arange(n), np.diff(self.offsets))
        return np.bincount(owner * k + self.codes, self.fresh, minlength=n * k).reshape(n, k)

    @cached_property
    def place(self) -> Ints:
        """Column of each channel among the baseline's (−1: no touch)."""
        used = self.stock.max(axis=0) > 0
        return np.where(used, 2 + 2 * (np.cumsum(used) - 1), -1)

    @cached_property
    def base(self) -> Floats:
        """(n, 2 + 2 × channels with touches): 1, organic, and each channel's fresh touches and their log1p."""
        x = self.stock[:, self.place >= 0]
        both = np.stack([x, np.log1p(x)], axis=2).reshape(len(x), -1)
        spread = np.ptp(self.organic) > 0
        return np.column_stack([np.ones(len(x)), self.organic - self.organic.mean() if spread else np.zeros(len(x)), both])


@dataclass(frozen=True)
class Fit:
    """Logistic fit of the baseline and of columns that were found."""

    data: Data
    extra: csc_array
    beta: Floats
    p: Floats
    weight: Floats
    inverse: Floats

    def scores(self, columns: csc_array) -> tuple[Floats, Floats, Floats]:
        """(own information, score, information shared with the fit's columns) of further columns."""
        heavy = _scaled(columns, self.weight)
        own = np.bincount(column_of(columns), heavy.data * columns.data, minlength=width_of(columns))
        score = columns.T @ (self.data.bought - self.data.size * self.p)
        cross = heavy.T @ self.data.base
        if width_of(self.extra):
            cross = np.hstack([cross, (heavy.T @ self.extra).toarray()])
        return own, score, cross

    def block(self, columns: csc_array) -> Floats:
        """Information among a few columns."""
        return (_scaled(columns, self.weight).T @ columns).toarray()


def _scaled(columns: csc_array, weight: Floats) -> csc_array:
    """Rows times weight."""
    return csc_array((columns.data * weight[columns.indices], columns.indices, columns.indptr), shape=columns.shape)


def width_of(columns: csc_array) -> int:
    return len(columns.indptr) - 1


def column_of(columns: csc_array) -> Ints:
    """Column of each entry."""
    return np.repeat(np.arange(width_of(columns)), np.diff(columns.indptr))


def fit_baseline(data: Data, extra: csc_array | None, start: Floats | None = None) -> Fit:
    """Newton's method with halved steps."""
    base, y, size = data.base, data.bought, data.size
    more = extra if extra is not None else csc_array((len(y), 0))
    m = base.shape[1]
    wide = width_of(more)
    beta = np.zeros(m + wide)
    beta[0] = np.log(y.sum() / (size - y).sum())
    if start is not None:
        beta[: len(start)] = start

    def predictor(at: Floats) -> Floats:
        return base @ at[:m] + (more @ at[m:] if wide else 0.0)

    def loss(eta: Floats, at: Floats) -> float:
        return float((size * np.logaddexp(0.0, eta) - y * eta).sum() + 0.5 * RIDGE * at @ at)

    eta = predictor(beta)
    now = loss(eta, beta)
    for _ in range(STEPS):
        information, gradient, _, _ = _curvature(base, more, eta, y, size, beta)
        step = np.linalg.solve(information, gradient)
        if gradient @ step < 1e-9 * max(1.0, abs(now)) * 1e-3:
            break
        scale = 1.0
        for _ in range(30):
            ahead = predictor(beta + scale * step)
            then = loss(ahead, beta + scale * step)
            if then <= now:
                break
            scale /= 2
        else:
            break
        beta, eta, now = beta + scale * step, ahead, then
    information, _, p, weight = _curvature(base, more, eta, y, size, beta)
    return Fit(data, more, beta, p, weight, np.linalg.inv(information))


def _curvature(
    base: Floats, more: csc_array, eta: Floats, y: Floats, size: Floats, beta: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Information, gradient, probabilities and weights."""
    p = expit(eta)
    weight, rest = size * p * (1 - p), y - size * p
    information, gradient = base.T @ (weight[:, None] * base), base.T @ rest
    if width_of(more):
        heavy = _scaled(more, weight)
        shared = heavy.T @ base
        information = np.block([[information, shared.T], [shared, (heavy.T @ more).toarray()]])
        gradient = np.append(gradient, more.T @ rest)
    return information + RIDGE * np.eye(len(beta)), gradient - RIDGE * beta, p, weight


def seen_enough(data: Data, columns: csc_array, fit: Fit, least: int) -> tuple[Floats, np.ndarray]:
    """Journeys of each column, and whether they, and the purchases its weights are worth, suffice."""
    ones = csc_array((np.ones(len(columns.data)), columns.indices, columns.indptr), shape=columns.shape)
    squared = csc_array((columns.data**2, columns.indices, columns.indptr), shape=columns.shape)
    count, total, square = ones.T @ data.size, columns.T @ data.size, squared.T @ data.size
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (columns.T @ (data.size * fit.p)) / total
        worth = total**2 / square * np.minimum(share, 1 - share)
    return count, (count >= least) & (np.nan_to_num(worth) >= EVENTS)


def told_apart(columns: csc_array, fit: Fit) -> np.ndarray:
    """Whether the fit's columns leave something of a column."""
    own, _, cross = fit.scores(columns)
    return own - np.einsum("kp,pq,kq->k", cross, fit.inverse, cross) > OWN * own


def discoveries(p: Floats) -> np.ndarray:
    """Benjamini and Hochberg's rule."""
    if not len(p):
        return np.zeros(0, dtype=bool)
    order = np.sort(p)
    under = np.flatnonzero(order <= RATE * np.arange(1, len(p) + 1) / len(p))
    return p <= (order[under[-1]] if len(under) else -1.0)


def two_sided(z: Floats) -> Floats:
    return 2 * ndtr(-np.abs(z))
