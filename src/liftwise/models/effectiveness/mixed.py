"""Mixed effects: the log of f as a line in what is known, plus what is each creator's own, learned from all their outcomes together.

log f = base + Σ_g x_g·b_g + u_i,   b_g ~ N(0, τ_g²),   u_i ~ N(0, S).

Every group g of columns (record, contents, days …) has a prior variance of its own, found by maximising the evidence (MacKay 1992), so that
groups that say nothing are shrunk away; creators' levels are integrated out while lines are fitted (generalised least squares). Then u is
solved for all outcomes at once: whose posts reach and convert well will also sell well, as far as S says that outcomes go together and
their noise does not (multivariate empirical Bayes; Efron and Morris 1973). With few posts a creator, which is the rule, this foretells
better than nets and trees do.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from liftwise.core.uncertainty import Floats
from liftwise.models.effectiveness.design import Design, Scale
from liftwise.models.effectiveness.facts import CLOCK, PAIR, Facts
from liftwise.models.effectiveness.member import Task, Terms

ROUNDS, STEPS = 40, 150  # of a line's fixed point, and of EM, which creeps where outcomes go together
SAME = 1e-4  # change of the logs of variances below which it has settled
FREEDOM = 5.0  # of the noise, a Student t through its weights (Lange, Little and Taylor 1989)
WEEK = 8  # days from an event that have a column each; farther ones share the last
MOST = 150  # contents and series of events with a column of their own: the most frequent
FEWEST = 60  # posts for which another outcome must be known
FAR = 4.0  # residuals of other outcomes are cut at so many sd


@dataclass(frozen=True)
class Group:
    """Columns that share a prior. source : where they come from, with the word or pair that is meant. axes : what they differ by, of creator
    i, content c, event e, day t."""

    name: str
    database: str
    axes: str
    source: str
    word: str = ""


@dataclass(frozen=True)
class Columns:
    """Which columns a line has. group : (columns,) to which of `groups` each belongs. contents, series : those that have a column each."""

    contents: np.ndarray
    series: np.ndarray
    groups: tuple[Group, ...] = ()
    scales: tuple[Scale, ...] = ()
    group: np.ndarray = field(default_factory=lambda: np.zeros(0, int))

    @classmethod
    def of_rows(cls, facts: Facts, d: Design) -> Columns:
        """As the rows that are learned from ask for; groups that have no column are left out."""
        plain = cls(_often(d.c, len(facts.contents)), _often(d.s, len(facts.series)))
        numbers = [(group, plain.raw(group, facts, d)) for group in _groups(facts)]
        kept = [(group, _scale(x)) for group, x in numbers if x.shape[1]]
        groups, scales = zip(*kept, strict=True)
        return replace(
            plain, groups=groups, scales=scales, group=np.repeat(np.arange(len(kept)), [scale.width for scale in scales])
        )

    def raw(self, group: Group, facts: Facts, d: Design) -> Floats:
        """Numbers of a group, before scaling."""
        match group.source:
            case "creator":
                return facts.creator.numbers[d.i]
            case "creator's word":
                return _flags(d.i, facts.creator.words[group.word])
            case "content":
                return facts.content.numbers[d.c]
            case "contents":
                return (d.c[:, None] == self.contents).astype(float)
            case "event":
                return facts.event.numbers[d.e]
            case "event's word":
                return _flags(d.e, facts.event.words[group.word])
            case "series":
                return (d.s[:, None] == self.series).astype(float)
            case "pair":
                return d.pair[:, [PAIR.index(group.word)]]
            case "season":
                return d.clock[:, CLOCK.index("season_sin") :]
            case "days":
                day = np.clip(np.round(np.nan_to_num(d.clock[:, 0])), -WEEK, WEEK)
                return (day[:, None] == np.arange(-WEEK, WEEK + 1)).astype(float)
            case "price":
                return d.premium[:, None]
            case _:
                return d.market

    def __call__(self, facts: Facts, d: Design) -> Floats:
        """(n, columns), each centred; numbers of variance 1."""
        return np.column_stack([scale(self.raw(group, facts, d)) for scale, group in zip(self.scales, self.groups, strict=True)])


def _groups(facts: Facts) -> list[Group]:
    """What there may be to tell tuples apart."""
    return [
        Group("creator", "influencer", "i", "creator"),
        *(Group(f"creator's {word}", "influencer", "i", "creator's word", word) for word in facts.creator.words),
        Group("content", "influencer", "c", "content"),
        Group("content itself", "influencer", "c", "contents"),
        Group("event", "influencer", "et", "event"),
        *(Group(word.replace("_", " "), "influencer", "et", "event's word", word) for word in facts.event.words),
        Group("event itself", "influencer", "et", "series"),
        *(Group(word.replace("_", " "), "influencer", "ie", "pair", word) for word in PAIR),
        Group("season", "influencer", "et", "season"),
        Group("days from event", "influencer", "et", "days"),
        Group("price", "influencer", "ic", "price"),
        Group("market", "market", "et", "market"),
    ]


def _flags(asked: np.ndarray, codes: np.ndarray) -> Floats:
    """A column for each word."""
    return (codes[asked][:, None] == np.arange(int(codes.max(initial=-1)) + 1)).astype(float)


@dataclass(frozen=True)
class Line:
    """base + x·b + u_i of one outcome. covariance : of b. noise, own : variances. own_mean, own_variance : of each u_i."""

    base: float
    b: Floats
    covariance: Floats
    noise: float
    own: float
    own_mean: Floats
    own_variance: Floats

    def of(self, x: Floats) -> Floats:
        """(n,) without what is creators' own."""
        return self.base + x @ self.b


@dataclass(frozen=True)
class Moments:
    """Weighted sums that a fit needs, whatever the variances. creators : (creators,) weight of each; x_of : (creators, columns)."""

    xx: Floats
    xy: Floats
    creators: Floats
    x_of: Floats
    y_of: Floats


def line(x: Floats, y: Floats, i: np.ndarray, creators: int, group: np.ndarray, weight: Floats) -> Line:
    """Fit b and u with the variances that make y most likely.

    Parameters
    ----------
    x : (n, columns). y : (n,). i : (n,) codes below `creators`. group : (columns,). weight : (n,) precision, relative.
    """
    base = float(np.average(y, weights=weight))
    y = y - base
    m = _moments(x, y, i, creators, weight)
    sizes, has = np.bincount(group), m.creators > 0
    noise = own = 0.5 * float(np.average(y**2, weights=weight)) + 1e-9
    prior = np.full(len(sizes), 0.1 * noise)
    b, u, covariance, variance = np.zeros(x.shape[1]), np.zeros(creators), np.eye(x.shape[1]), np.zeros(creators)
    before = np.zeros(2)
    for _ in range(ROUNDS):
        shrink = 1 / (m.creators + noise / own)  # u given b is shrink·(its weighted residuals)
        precision = (m.xx - (m.x_of * shrink[:, None]).T @ m.x_of) / noise
        covariance = np.linalg.inv(precision + np.diag(1 / prior[group]))
        b = covariance @ (m.xy - m.x_of.T @ (shrink * m.y_of)) / noise
        u = shrink * (m.y_of - m.x_of @ b)
        variance = noise * shrink + shrink**2 * ((m.x_of @ covariance) * m.x_of).sum(axis=1)
        used = np.maximum(sizes - np.bincount(group, np.diag(covariance)) / prior, 1e-6)
        prior = np.maximum(np.bincount(group, b**2) / used, 1e-9)
        told = max(float((1 - variance[has] / own).sum()), 1e-3)
        own = max(float((u[has] ** 2).sum()) / told, 1e-9)
        left = float((weight * (y - x @ b - u[i]) ** 2).sum())
        noise = max(left / max(len(y) - float(used.sum()) - told, 1.0), 1e-9)
        now = np.log([noise, own])
        if np.abs(now - before).max() < SAME:
            break
        before = now
    return Line(base, b, covariance, noise, own, u, np.where(has, variance, own))


def _moments(x: Floats, y: Floats, i: np.ndarray, creators: int, weight: Floats) -> Moments:
    order = np.argsort(i, kind="stable")
    x, y, weight = x[order], y[order], weight[order]
    heavy = x * weight[:, None]
    names, starts = np.unique(i[order], return_index=True)
    x_of, y_of, total = np.zeros((creators, x.shape[1])), np.zeros(creators), np.zeros(creators)
    x_of[names], y_of[names], total[names] = (np.add.reduceat(part, starts) for part in (heavy, weight * y, weight))
    return Moments(heavy.T @ x, heavy.T @ y, total, x_of, y_of)


def together(rest: Floats, i: np.ndarray, creators: int, weight: Floats) -> tuple[Floats, Floats]:
    """Each creator's own level of the first outcome, from all outcomes: posterior mean and variance, (creators,) each.

    rest : (n, outcomes) what lines leave; NaN where an outcome is not known. EM over S and the noise's covariance, both of them full.
    """
    width = rest.shape[1]
    known = np.isfinite(rest)
    cut = FAR * np.nanstd(rest, axis=0)
    rest = np.clip(np.where(known, rest, 0.0), -cut, cut)
    patterns, of = np.unique(known, axis=0, return_inverse=True)
    of = of.ravel()
    spread = np.maximum(np.nanvar(np.where(known, rest, np.nan), axis=0), 1e-9)
    own, noise = np.diag(0.3 * spread), np.diag(0.7 * spread)
    count = np.stack([np.bincount(i[of == k], weight[of == k], minlength=creators) for k in range(len(patterns))], axis=1)
    sums = np.stack([np.column_stack([np.bincount(i[of == k], (weight * rest[:, j])[of == k], minlength=creators) for j in range(width)])
                     for k in range(len(patterns))])  # (patterns, creators, outcomes)  # fmt: skip
    has, full = count.sum(axis=1) > 0, known.all(axis=1)
    mean, covariance = np.zeros((creators, width)), np.repeat(own[None], creators, axis=0)
    for _ in range(STEPS):
        inverse = np.stack([_inverse_of(noise, pattern) for pattern in patterns])
        covariance = np.linalg.inv(np.einsum("ik,kab->iab", count, inverse) + np.linalg.inv(own))
        mean = np.einsum("iab,ib->ia", covariance, np.einsum("kib,kab->ia", sums, inverse))
        own = (mean[has].T @ mean[has] + covariance[has].sum(axis=0)) / max(int(has.sum()), 1) + 1e-9 * np.eye(width)
        left, heavy = (rest - mean[i])[full], weight[full]
        doubt = np.einsum("r,rab->ab", heavy, covariance[i[full]]) if len(left) else np.zeros((width, width))
        if len(left) > width:
            noise = ((left * heavy[:, None]).T @ left + doubt) / len(left) + 1e-9 * np.eye(width)
    return mean[:, 0], covariance[:, 0, 0]


def _inverse_of(covariance: Floats, known: np.ndarray) -> Floats:
    """Precision of what is known; nothing for the rest."""
    out = np.zeros_like(covariance)
    at = np.ix_(known, known)
    out[at] = np.linalg.inv(covariance[at])
    return out


@dataclass(frozen=True)
class Mixed:
    """A line, and creators' own levels. noise : (2,) log sd of the noise = noise[0] + noise[1]·(log followers − their mean `size`)."""

    columns: Columns
    line: Line
    own: Floats
    own_variance: Floats
    noise: Floats
    size: float

    def terms(self, facts: Facts, design: Design) -> Terms:
        """See `member.Learned`: one term a group, and the creator's own."""
        names = (*(group.name for group in self.columns.groups), "creator's own")
        parts = [
            self._some(facts, design.take(rows)) for rows in np.array_split(np.arange(len(design)), len(design) // 100_000 + 1)
        ]
        amounts, spread = (np.concatenate(part) for part in zip(*parts, strict=True))
        noise = self.noise[0] + self.noise[1] * (design.size - self.size)
        return Terms(
            names, (*(group.database for group in self.columns.groups), "history"), amounts, self.line.base, spread, noise
        )

    def _some(self, facts: Facts, d: Design) -> tuple[Floats, Floats]:
        x = self.columns(facts, d)
        starts = np.searchsorted(self.columns.group, np.arange(len(self.columns.groups)))
        each = np.add.reduceat(x * self.line.b, starts, axis=1)
        doubt = ((x @ self.line.covariance) * x).sum(axis=1) + self.own_variance[d.i]
        return np.column_stack([each, self.own[d.i]]), np.sqrt(np.maximum(doubt, 0.0))

    def along(self, facts: Facts, d: Design, axes: str) -> Floats:
        """(n,) sum of the terms that differ by `axes` alone; what `d` says beyond these does not matter."""
        parts = [
            scale(self.columns.raw(group, facts, d)) @ self.line.b[self.columns.group == k]
            for k, (group, scale) in enumerate(zip(self.columns.groups, self.columns.scales, strict=True)) if group.axes == axes
        ]  # fmt: skip
        return np.sum(parts, axis=0) if parts else np.zeros(len(d))


@dataclass(frozen=True)
class MixedMember:
    """Learns the lines of all outcomes, then creators' own levels. alone : look at no other outcome than the one that is asked for."""

    name: str = "mixed"
    screens: ClassVar[bool] = True  # whether what is learned is a sum of small arrays (see `grid`)
    alone: bool = False

    def choose(self, task: Task, rows: np.ndarray, later: np.ndarray) -> dict[str, Any]:
        """Nothing to choose: the evidence sets all sizes."""
        return {}

    def learn(self, task: Task, rows: np.ndarray) -> Mixed:
        """See `member.Member`."""
        d, y, given = task.design.take(rows), task.target[rows], task.weight[rows]
        columns = Columns.of_rows(task.facts, d)
        x, creators = columns(task.facts, d), len(task.facts.influencer_ids) + 1
        i = d.i % creators
        first = line(x, y, i, creators, columns.group, given)
        left = y - first.of(x) - first.own_mean[i]
        size, noise = _noise(left, d.size)
        sd = np.exp(noise[0] + noise[1] * (d.size - size))
        precise = given * np.exp(-2 * noise[1] * (d.size - size))
        trust = (FREEDOM + 1) / (FREEDOM + (left / sd) ** 2)
        found = line(x, y, i, creators, columns.group, precise * trust)
        rests = [y - found.of(x)]
        for other in () if self.alone else task.beside[rows].T:
            known = np.isfinite(other)
            if known.sum() < FEWEST:
                continue
            told = line(x[known], other[known], i[known], creators, columns.group, precise[known])
            rests.append(np.where(known, other - told.of(x), np.nan))
        own, variance = together(np.column_stack(rests), i, creators, precise)
        return Mixed(columns, found, own, variance, noise, size)


def _noise(left: Floats, size: Floats) -> tuple[float, Floats]:
    """Mean log followers, and the line of the log sd of what is left over them."""
    centre = float(size.mean())
    log = np.log(np.abs(left) + 0.05 * np.std(left) + 1e-9)
    x = size - centre
    slope = float((x * (log - log.mean())).sum() / ((x**2).sum() + len(x) * 0.1))
    return centre, np.array([np.log(max(float(np.std(left)), 1e-6)), slope])


def _scale(x: Floats) -> Scale:
    """Numbers to variance 1; flags are centred only, so that rare words are shrunk more."""
    scale = Scale.of(x)
    return replace(scale, spread=np.ones_like(scale.spread)) if np.isin(x, (0.0, 1.0)).all() else scale


def _often(codes: np.ndarray, size: int) -> np.ndarray:
    """The codes that occur most often, in order."""
    count = np.bincount(codes[codes >= 0], minlength=size)
    order = np.argsort(-count, kind="stable")[:MOST]
    return np.sort(order[count[order] > 1])
