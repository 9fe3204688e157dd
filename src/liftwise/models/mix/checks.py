"""What a mix left unexplained, and what would explain it: tests of added columns that any fitted mix can be put to.

`Ground` sets revenue (national, relative to its mean) against trend, season, controls and what the mix says each channel did, each with a free
factor, under first-order autoregressive errors (Cochrane & Orcutt 1949). A check asks whether further columns explain what is left: past spend
(carry-over), bent spend (saturation), *future* spend (cause and effect the wrong way round, or both driven by demand), products, time, a step.
Each check is one test of its best group of columns, however many there are: the largest share explained, against its distribution under normal
errors in the same design (parametric simulation, so that searching is paid for).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.mix.design import Design
from liftwise.models.mix.family import Mix

DRAWS = 2000  # of the errors, for the distribution of the largest
LASTS = 20  # periods in which a lasting effect is half over
EDGE = 0.1  # share of the periods before the first and after the last break looked for


@dataclass(frozen=True, eq=False)
class Ground:
    """National series over whole periods. y : (t,) relative revenue. base : (t, columns). media : (t, channels) by the mix, in the same unit.
    spend, carried : (t, channels) in usual spend, as spent and carried over as the mix has it. at : (t,) place in the calendar. fitted : (t,) by the mix.
    """

    weeks: pd.DatetimeIndex
    channels: tuple[str, ...]
    y: Floats
    base: Floats
    media: Floats
    spend: Floats
    carried: Floats
    at: np.ndarray
    fitted: Floats
    mean: float
    per_year: float

    @classmethod
    def of(cls, mix: Mix, weekly: pd.DataFrame) -> Ground:
        """From a fitted mix and the table it was fitted to.

        Raises
        ------
        CannotTell
            When fewer than 30 periods are whole in all regions.
        """
        holdout, per_year = int(getattr(mix, "holdout", 26)), float(getattr(mix, "per_year", 52.18))
        design = Design.of(weekly, holdout)
        n, t = design.target.shape
        columns, _, whole = design.base(per_year)
        weight = design.size / design.size.sum()
        base = np.einsum("r,rtc->tc", weight, columns.reshape(n, t, -1))[:, n - 1 :]  # regions' levels are one level here
        keep = whole.reshape(n, t).all(axis=0)
        if keep.sum() < 30:
            raise CannotTell(f"{keep.sum()} whole periods; the checks need 30", fix="fill gaps in sales and controls")
        parts_of = mix.contributions()
        media = parts_of[parts_of["part"].isin(["immediate", "carried"])].pivot_table(
            index="week", columns="channel", values="contribution", aggfunc="sum"
        )
        names = design.channels
        media = media.reindex(index=design.weeks, columns=list(names)).fillna(0.0).to_numpy()
        fitted = mix.predict().groupby("week")["predicted"].sum().reindex(design.weeks).to_numpy()
        mean = float(design.target.sum(axis=0)[keep].mean())
        spend = np.array([np.einsum("r,rt->t", weight, x) for x in design.scaled().values()]).T
        lags = (
            mix.carryover()
            .groupby(["channel", "lag"])["weight"]
            .mean()
            .unstack("lag")
            .reindex(list(names))
            .fillna(0.0)
            .to_numpy()
        )
        carried = np.array([np.convolve(x, weight)[:t] for x, weight in zip(spend.T, lags, strict=True)]).T
        return cls(design.weeks[keep], names, design.target.sum(axis=0)[keep] / mean, base[keep],
                   media[keep] / mean, spend[keep], carried[keep], np.arange(t)[keep], fitted[keep] / mean, mean, per_year)  # fmt: skip

    @cached_property
    def told(self) -> Floats:
        """Columns of the null: base and media."""
        return np.column_stack([self.base, self.media])

    @cached_property
    def left(self) -> Floats:
        """(t,) revenue less base and media, each with its best factor."""
        return _residual(self.told, self.y)

    @cached_property
    def rho(self) -> float:
        """Lag-one correlation of what is left; its downward bias made good (Kendall 1954, to first order)."""
        first = float(self.left[1:] @ self.left[:-1] / max(self.left @ self.left, 1e-300))
        size, used = len(self.y), np.linalg.matrix_rank(self.told)
        return float(np.clip(first + (used / 2 + 3 * first) / size, 0.0, 0.95)) if first > 0 else 0.0

    def white(self, columns: Floats) -> Floats:
        """Errors made independent."""
        first = columns[:1] * np.sqrt(1 - self.rho**2)
        return np.concatenate([first, columns[1:] - self.rho * columns[:-1]])

    def scales(self) -> tuple[Floats, Floats]:
        """Factor that the data alone would put on each channel's effect, and its standard error."""
        x, y = self.white(self.told), self.white(self.y)
        inverse = np.linalg.pinv(x.T @ x, rcond=1e-10, hermitian=True)
        beta = inverse @ (x.T @ y)
        free = max(len(y) - np.linalg.matrix_rank(x), 1)
        error = np.sqrt(np.diag(inverse) * ((y - x @ beta) ** 2).sum() / free)
        k = len(self.channels)
        return beta[-k:], error[-k:]

    def best(self, groups: Mapping[str, Floats], also: Floats | None = None) -> tuple[str, float, float]:
        """Which group of columns explains most of what is left, its p-value among them all, and the share it explains.

        groups : label → (t, d), the same d in each. also : columns to hold fixed besides.
        """
        held = self.told if also is None else np.column_stack([self.told, also])
        return searched(self.white(self.y), self.white(held), {label: self.white(columns) for label, columns in groups.items()})


def searched(y: Floats, held: Floats, groups: Mapping[str, Floats]) -> tuple[str, float, float]:
    """The same for any series with independent errors, (t,), and columns held fixed, (t, columns)."""
    basis = _span(held)
    error = y - basis @ (basis.T @ y)
    noise = spawn(7, "mix.checks").normal(size=(len(y), DRAWS))
    noise -= basis @ (basis.T @ noise)
    size, null = float((error**2).sum()), (noise**2).sum(axis=0)
    shares, most = dict[str, float](), np.zeros(DRAWS)
    for label, columns in groups.items():
        extra = _span(columns - basis @ (basis.T @ columns), like=columns)
        shares[label] = float(((extra.T @ error) ** 2).sum()) / max(size, 1e-300)
        most = np.maximum(most, ((extra.T @ noise) ** 2).sum(axis=0) / null)
    label = max(shares, key=shares.__getitem__)
    return label, float((1 + (most >= shares[label]).sum()) / (1 + DRAWS)), shares[label]


# -- checks: name → groups of columns -----------------------------------------------------------------------------------


def jointly(ground: Ground, groups: Mapping[str, Floats]) -> tuple[str, float, float]:
    """Best group as in `Ground.best`, or all together where that says more: many small misfits are one large one (Bonferroni for the two)."""
    best, whole = ground.best(groups), ground.best({"all channels": np.column_stack(list(groups.values()))})
    return min(((label, min(2 * p, 1.0), share) for label, p, share in (best, whole)), key=lambda row: row[1])


def past(ground: Ground, lags: range) -> Floats:
    """Spend of all channels some periods before, (t, channels, lags); the mean where there is none. Negative lags look ahead."""
    return np.stack([_shifted(ground.spend, lag) for lag in lags], axis=2)


def saturation(ground: Ground) -> dict[str, Floats]:
    """How far spend, carried over, lies below its first quartile or above its third."""
    x, edges = ground.carried, np.quantile(ground.carried, [0.25, 0.75], axis=0)
    return {
        name: np.maximum(np.column_stack([edges[0, k] - x[:, k], x[:, k] - edges[1, k]]), 0.0)
        for k, name in enumerate(ground.channels)
    }


def carry_over(ground: Ground) -> dict[str, Floats]:
    """Spend of 2–3 and of 4–6 periods ago."""
    lagged = past(ground, range(2, 7))
    return {
        name: np.column_stack([lagged[:, k, :2].sum(axis=1), lagged[:, k, 2:].sum(axis=1)])
        for k, name in enumerate(ground.channels)
    }


def lasting(ground: Ground) -> dict[str, Floats]:
    """Spend of the quarters before, fading by half in `LASTS` periods."""
    keep = 0.5 ** (1 / LASTS)
    weight = keep ** np.arange(4 * LASTS)
    slow = [np.convolve(x - x.mean(), weight / weight.sum())[: len(x)] for x in ground.spend.T]
    return {name: column[:, None] for name, column in zip(ground.channels, slow, strict=True)}


def lead(ground: Ground) -> tuple[dict[str, Floats], Floats]:
    """Spend of the next two periods; beside spend now and of the three before."""
    ahead = past(ground, range(-2, 0))
    return {name: ahead[:, k] for k, name in enumerate(ground.channels)}, past(ground, range(4)).reshape(len(ground.y), -1)


def slow(ground: Ground) -> dict[str, Floats]:
    """The part of each channel's effect that moves over quarters: should count as much as the rest (Mundlak 1978)."""
    knots = max(len(ground.y) // 13, 3)
    low = _hats(ground.at, knots)
    return {name: _fit(low, ground.media[:, [k]]) for k, name in enumerate(ground.channels)}


def quick_share(ground: Ground) -> Floats:
    """Share of what is known of each channel's effect that its movements within quarters give, (channels,); the rest rests on slow ones."""
    low = _hats(ground.at, max(len(ground.y) // 13, 3))
    out = np.empty(len(ground.channels))
    for k, column in enumerate(ground.media.T):
        others = np.column_stack([ground.base, np.delete(ground.media, k, axis=1)])
        whole, quick = (float((_residual(held, column) ** 2).sum()) for held in (others, np.column_stack([others, low])))
        out[k] = quick / whole if whole > 1e-12 * float(column @ column) else 0.0
    return out


def changing(ground: Ground) -> dict[str, Floats]:
    """Effects times the time."""
    when = ground.at / ground.at[-1] - 0.5
    return {name: (ground.media[:, k] * when)[:, None] for k, name in enumerate(ground.channels)}


def synergy(ground: Ground) -> dict[str, Floats]:
    """Products of two channels' spend, carried over; extremes count as 2.5 standard deviations."""
    x, names = ground.carried, ground.channels
    x = np.clip((x - x.mean(axis=0)) / x.std(axis=0), -2.5, 2.5)
    return {f"{names[i]} and {names[j]}": (x[:, i] * x[:, j])[:, None] for i in range(len(names)) for j in range(i)}


def multiplicative(ground: Ground) -> dict[str, Floats]:
    """Media times demand without them."""
    demand = _fit(ground.base, (ground.y - ground.media.sum(axis=1))[:, None])[:, 0]
    media = ground.media.sum(axis=1)
    return {"all channels": ((demand - demand.mean()) * media)[:, None]}


def season(ground: Ground) -> dict[str, Floats]:
    """The third to sixth sine wave of a year."""
    angle = 2 * np.pi * ground.at[:, None] / ground.per_year * np.arange(3, 7)
    return {"the year": np.column_stack([np.sin(angle), np.cos(angle)])}


def breaks(ground: Ground) -> dict[str, Floats]:
    """A step and a bend at any period."""
    size = len(ground.y)
    first = max(int(EDGE * size), 8)
    after = ground.at[:, None] - ground.at[None, :]
    return {str(ground.weeks[at].date()): np.column_stack([after[:, at] >= 0, np.maximum(after[:, at], 0) / size]).astype(float)
            for at in range(first, size - first)}  # fmt: skip


def weeks(ground: Ground) -> dict[str, Floats]:
    """Single periods."""
    return {str(week.date()): column[:, None] for week, column in zip(ground.weeks, np.eye(len(ground.y)), strict=True)}


def autocorrelation(ground: Ground, lags: int = 6) -> float:
    """p-value of Ljung and Box's (1978) statistic of what is left, by simulation in the same design."""
    basis = _span(ground.told)
    noise = spawn(7, "mix.checks").normal(size=(len(ground.y), DRAWS))
    noise -= basis @ (basis.T @ noise)

    def statistic(e: Floats) -> Floats:
        return np.sum([((e[lag:] * e[:-lag]).sum(axis=0) / (e**2).sum(axis=0)) ** 2 for lag in range(1, lags + 1)], axis=0)

    return float((1 + (statistic(noise) >= statistic(ground.left)).sum()) / (1 + DRAWS))


def variance(ground: Ground) -> tuple[str, float, float]:
    """Whether the size of what is left goes with time, with media or with the fit (after Glejser 1969, on ranks)."""
    size = np.abs(ground.white(ground.left))
    ranks = size.argsort().argsort() / len(size)
    fit = ground.y - ground.left
    groups = {"time": ground.at / ground.at[-1], "media": ground.media.sum(axis=1), "revenue": fit}
    return searched(ranks, np.ones((len(size), 1)), {name: column[:, None] for name, column in groups.items()})


def follows_demand(ground: Ground) -> tuple[str, float, float]:
    """Does spend answer to what the fit left unexplained in the periods before? (channel, p-value over all channels, share explained)."""
    left, logs = ground.left[:, None], np.log(ground.spend + 0.05)
    told = 1.0 * _shifted(left, 1) + 0.6 * _shifted(left, 2) + 0.4 * _shifted(left, 3)
    found = []
    for k, name in enumerate(ground.channels):
        own = np.column_stack([_shifted(logs[:, [k]], lag) for lag in (1, 2, 3)])
        found.append((name, *searched(logs[:, k], np.column_stack([ground.base, own]), {name: told})[1:]))
    name, p, share = min(found, key=lambda row: row[1])
    return name, min(p * len(found), 1.0), share


def common_driver(ground: Ground) -> tuple[tuple[str, str], float, float]:
    """Which two channels move together most from period to period, beyond calendar, controls and their own past? (pair, p-value over all pairs, correlation)."""
    from scipy.stats import t

    logs, names = np.log(ground.spend + 0.05), ground.channels
    own = [np.column_stack([ground.base, *(_shifted(logs[:, [k]], lag) for lag in (1, 2, 3))]) for k in range(len(names))]
    news = np.column_stack([_residual(held, logs[:, k]) for k, held in enumerate(own)])
    together = {
        (names[i], names[j]): float(news[:, i] @ news[:, j]) / max(float(np.linalg.norm(news[:, i]) * np.linalg.norm(news[:, j])), 1e-300)
        for i in range(len(names)) for j in range(i)
    }  # fmt: skip
    if not together or max(together.values()) <= 0:
        return ("", ""), 1.0, 0.0
    pair = max(together, key=together.__getitem__)
    r, free = together[pair], max(len(news) - own[0].shape[1] - 1, 1)
    p = float(t.sf(r * np.sqrt(free / max(1 - r**2, 1e-12)), free))
    return pair, min(p * len(together), 1.0), r


# -- columns ------------------------------------------------------------------------------------------------------------


def _span(columns: Floats, like: Floats | None = None) -> Floats:
    """Orthonormal columns that span the same; what is next to nothing beside `like` is nothing."""
    size = np.sqrt((columns**2 if like is None else like**2).sum(axis=0))
    scaled = columns / np.where(size > 0, size, 1.0)
    left, values, _ = np.linalg.svd(scaled, full_matrices=False)
    return left[:, values > 1e-6]


def _fit(columns: Floats, y: Floats) -> Floats:
    basis = _span(columns)
    return basis @ (basis.T @ y)


def _residual(columns: Floats, y: Floats) -> Floats:
    return y - _fit(columns, y)


def _shifted(x: Floats, lag: int) -> Floats:
    """(t, …) as it was `lag` rows ago (ahead, when negative); the mean where there is none."""
    out = np.roll(x, lag, axis=0)
    out[: max(lag, 0)] = x.mean(axis=0)
    out[len(x) + min(lag, 0) :] = x.mean(axis=0)
    return out


def _hats(at: np.ndarray, knots: int) -> Floats:
    """Piecewise linear functions of time, (t, knots)."""
    place = np.linspace(at[0], at[-1], knots)
    return np.maximum(1 - np.abs(at[:, None] - place) / (place[1] - place[0]), 0.0)
