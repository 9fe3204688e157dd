"""The family of mixes: one interface, and what its members share.

Every member explains revenue as a linear baseline (level, trend, season), outside effects (controls) and media. Media are `Curves`: spend
is carried over, then bent; curves are monotone and give nothing for nothing, whatever learned them. A member only says how it learns
(`_learn`, `_refit`); hold-out, rolling origins, draws and every reading are made here, once.

Effects of single channels are defined in the same way for all: `own` is what a channel does without the others (additive members) or the
mean of coming first and coming last (members that know interactions); what is left of the whole is synergy, shared in proportion to own
effects. So baseline + immediate + carried + synergy + outside is the fit, exactly.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.mix.design import Design
from liftwise.models.mix.scores import report

if TYPE_CHECKING:
    import plotly.graph_objects as go

BLOCK = 8  # periods of a bootstrap block
LAGS = 13
SPENDS = np.linspace(0, 2.5, 26)  # of a response curve, in recent mean spends
FAR = np.concatenate([np.linspace(0, 2, 41), np.linspace(2.2, 10, 40)])  # where a ceiling is looked for
RECENT = 52
NEEDED = 26  # periods to learn from


@runtime_checkable
class Mix(Protocol):
    """What every mix can be asked; see `Member` for the meaning of each answer."""

    name: str
    scores_: dict[str, float]
    notes_: tuple[str, ...]

    def fit(self, weekly: pd.DataFrame, lift: pd.DataFrame | None = None) -> Self: ...
    def predict(self) -> pd.DataFrame: ...
    def contributions(self) -> pd.DataFrame: ...
    def roi(self) -> pd.DataFrame: ...
    def responses(self) -> pd.DataFrame: ...
    def carryover(self) -> pd.DataFrame: ...
    def simulate(self, multipliers: dict[str, float]) -> pd.DataFrame: ...
    def summary(self) -> str: ...


@dataclass(frozen=True, eq=False)
class Data:
    """A design as arrays, in units of each region's mean revenue.

    base : (rows, columns), rows = regions · weeks. parts : baseline or outside, for each column. whole : (rows,) complete rows.
    y : (rows,). spend : (channels, regions, weeks) in usual spend.
    """

    design: Design
    base: Floats
    parts: tuple[str, ...]
    whole: np.ndarray
    y: Floats
    spend: Floats

    @classmethod
    def of(cls, design: Design, per_year: float) -> Data:
        """From a design; `per_year` periods make a season."""
        base, parts, whole = design.base(per_year)
        spend = np.array(list(design.scaled().values()))
        return cls(design, np.nan_to_num(base), parts, whole, np.nan_to_num(design.relative.ravel()), spend)

    @cached_property
    def digest(self) -> bytes:
        """Of everything a member may learn from."""
        arrays = (self.base, self.whole, self.y, self.spend, self.design.size)
        return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).digest()

    @property
    def shape(self) -> tuple[int, int]:
        """(regions, weeks)."""
        return self.design.target.shape

    @property
    def period(self) -> np.ndarray:
        """The week's number of each row."""
        return np.tile(np.arange(self.shape[1]), self.shape[0])

    def cleared(self, train: np.ndarray, columns: Floats) -> tuple[Floats, Floats]:
        """Columns less what the baseline explains of them on `train` (Frisch–Waugh–Lovell), and that explanation (base columns, …)."""
        solve = np.linalg.pinv(self.base[train], rcond=1e-8) @ columns[train]
        return columns - self.base @ solve, solve


class Curves(ABC):
    """How media act, in relative revenue for spend in usual units: monotone, and nothing from nothing."""

    step: ClassVar[float] = 0.001  # by which spend is moved to read a slope

    @abstractmethod
    def carried(self, spend: Floats) -> Floats:
        """Spend (channels, regions, weeks) carried over: (channels, forms, regions, weeks); steady spend keeps its level."""

    @abstractmethod
    def own(self, carried: Floats) -> Floats:
        """Effect of each channel, (channels, regions, weeks)."""

    def synergy(self, carried: Floats) -> Floats:
        """What channels do together beyond their own effects, (regions, weeks)."""
        return np.zeros(carried.shape[2:])

    def lags(self, spend: Floats) -> Floats:
        """Share of an effect that falls 0, 1, … periods later, (channels, LAGS): spend doubled in single periods, well apart."""
        weeks = np.arange(spend.shape[-1])
        now = self.own(self.carried(spend))
        out = np.zeros((len(spend), LAGS))
        for first in (0, LAGS // 2):
            hit = (weeks % LAGS == first) & (weeks < weeks[-1] - LAGS)
            usual = spend.mean(axis=-1, keepdims=True)
            more = self.own(self.carried(spend + usual * hit)) - now
            for lag in range(LAGS):
                out[:, lag] += np.maximum(more[:, :, np.flatnonzero(hit) + lag].sum(axis=(1, 2)), 0.0)
        total = out.sum(axis=1, keepdims=True)
        return np.divide(out, total, out=np.eye(1, LAGS).repeat(len(spend), axis=0), where=total > 0)


@dataclass(frozen=True, eq=False)
class Learned:
    """gamma : of the base's columns. curves : of media. rest : (rows,) what a member foresees beyond both (of the baseline)."""

    gamma: Floats
    curves: Curves
    rest: Floats | None = None
    tuning: Any = None

    def predict(self, data: Data) -> Floats:
        """(rows,) relative revenue."""
        carried = self.curves.carried(data.spend)
        media = self.curves.own(carried).sum(axis=0) + self.curves.synergy(carried)
        return data.base @ self.gamma + media.ravel() + (0.0 if self.rest is None else self.rest)


_LEARNED: dict[tuple[Any, ...], Learned] = {}  # the same data and rows teach the same thing
KEPT = 24


class Member(ABC):
    """A mix of table `weekly`.

    Parameters
    ----------
    holdout : last periods kept aside for `scores_`.
    folds : rolling origins within the rest.
    draws : for intervals (moving-block bootstrap of the residuals, Künsch 1989, unless the member knows better).
    per_year : periods in a year.

    Attributes
    ----------
    scores_ : rmse, mae, rmse_pct, mae_pct (of a mean period), crps, coverage (of 90 % intervals) on the hold-out, naive_rmse_pct (a year
        before), and the same over rolling origins as rolling_….
    fold_errors_ : national errors after each origin, in currency.
    notes_ : what a reader should know of the data.

    Intervals are approximate, and they do not know of confounding: spend that follows demand is seen as effect as far as the controls do
    not explain it.
    """

    name: ClassVar[str]
    monotone: ClassVar[bool] = True  # media effects never fall with spend: may move a budget
    shared: ClassVar[bool] = False  # other members start from it, and it depends on seed, folds and data alone

    def __init__(self, *, seed: int = 7, holdout: int = 26, folds: int = 4, draws: int = 24, per_year: float = 52.18) -> None:
        self.seed, self.holdout, self.folds, self.draws, self.per_year = seed, holdout, folds, draws, per_year

    # -- what a member says --------------------------------------------------------------------------------------------

    @abstractmethod
    def _learn(self, data: Data, train: np.ndarray) -> Learned:
        """Tune and fit on the rows `train`, seeing no other revenue."""

    def _refit(self, data: Data, train: np.ndarray, learned: Learned) -> Learned:
        """Fit again with the tuning of `learned`."""
        return self._learn(data, train)

    def _draw(self, data: Data, train: np.ndarray, learned: Learned, rng: np.random.Generator) -> list[Curves]:
        """Curves that the data cannot tell from the fit."""
        return [self._refit(drawn, train, learned).curves for drawn in self._resampled(data, train, learned, rng)]

    def _resampled(self, data: Data, train: np.ndarray, learned: Learned, rng: np.random.Generator) -> Iterator[Data]:
        """The data as they might have been: the fit and blocks of its residuals."""
        fitted, weeks = learned.predict(data), data.shape[1]
        residual = np.where(train, data.y - fitted, 0.0).reshape(data.shape)
        for _ in range(self.draws):
            starts = rng.integers(0, weeks - BLOCK + 1, -(-weeks // BLOCK))
            order = (starts[:, None] + np.arange(BLOCK)).ravel()[:weeks]
            yield replace(data, y=fitted + residual[:, order].ravel())

    # -- fitting -------------------------------------------------------------------------------------------------------

    def learn(self, data: Data, train: np.ndarray) -> Learned:
        """What the member learns from `train`; remembered where other members start from it."""
        if not self.shared:
            return self._learn(data, train)
        key = (self.name, self.seed, self.folds, data.digest, hashlib.sha256(train.tobytes()).digest())
        if key not in _LEARNED:
            while len(_LEARNED) >= KEPT:
                _LEARNED.pop(next(iter(_LEARNED)))
            _LEARNED[key] = self._learn(data, train)
        return _LEARNED[key]

    def fit(self, weekly: pd.DataFrame, lift: pd.DataFrame | None = None) -> Self:
        """Score on rolling origins and on the hold-out, then fit all periods with the tuning found before the hold-out.

        Raises
        ------
        CannotTell
            When the data cannot carry a mix (see `Design.of`) or are too short for the hold-out.
        """
        self.design_ = Design.of(weekly, self.holdout)
        self.notes_ = self.design_.notes
        data, weeks = Data.of(self.design_, self.per_year), len(self.design_.weeks)
        if weeks - self.holdout < NEEDED:
            raise CannotTell(
                f"{weeks} periods leave {weeks - self.holdout} to learn from", fix="shorten measure.holdout or add history"
            )
        if data.whole.reshape(data.shape)[:, : weeks - self.holdout].sum() < data.base.shape[1] + 10:
            raise CannotTell("too few complete periods for the controls", fix="drop controls with gaps")
        self._data = data
        until, period = weeks - self.holdout, data.period
        self.fold_errors_ = [self._off(self.learn(data, data.whole & (period < start)), start, stop)
                             for start, stop in origins(until, self.folds)]  # fmt: skip
        past = self.learn(data, data.whole & (period < until))
        self._score(self._off(past, until, weeks))
        self.learned_ = self._refit(data, data.whole, past)
        self.__dict__.pop("curves_", None)  # of an earlier fit
        return self

    @cached_property
    def curves_(self) -> list[Curves]:
        """Draws of the curves, made when first asked for: a member that is only scored needs none."""
        return self._draw(self._data, self._data.whole, self.learned_, spawn(self.seed, f"mix.{self.name}.draws"))

    def _off(self, learned: Learned, start: int, stop: int) -> Floats:
        """National errors of the periods start ≤ t < stop, over the regions seen in each."""
        data = self._data
        seen = data.whole.reshape(data.shape)[:, start:stop]
        off = ((data.y - learned.predict(data)).reshape(data.shape) * self.design_.size[:, None])[:, start:stop]
        return np.where(seen, off, 0.0).sum(axis=0)[seen.any(axis=0)]

    def _score(self, late: Floats) -> None:
        total = np.nansum(self.design_.target, axis=0)
        mean, year = float(total.mean()), round(self.per_year)
        self.scores_ = report(self.fold_errors_, late, mean)
        if len(total) > year + self.holdout:
            naive = total[-self.holdout :] - total[-self.holdout - year : -year]
            self.scores_["naive_rmse_pct"] = 100 * float(np.sqrt(np.mean(naive**2))) / mean

    # -- reading -------------------------------------------------------------------------------------------------------

    @property
    def _size(self) -> Floats:
        return self.design_.size[:, None]

    def _effects(self, curves: Curves, spend: Floats) -> tuple[Floats, Floats]:
        """Own effects (channels, weeks) and synergy (weeks,), in currency, over all regions."""
        carried = curves.carried(spend)
        return (curves.own(carried) * self._size).sum(axis=1), (curves.synergy(carried) * self._size).sum(axis=0)

    def contributions(self) -> pd.DataFrame:
        """Table `contributions`: by week, summed over regions; the parts sum to the fit. Intervals are of channels' own effects."""
        data, learned, rows = self._data, self.learned_, list[pd.DataFrame]()

        def add(channel: str, part: str, amount: Floats, low: Floats | float = np.nan, high: Floats | float = np.nan) -> None:
            rows.append(pd.DataFrame({"model": self.name, "week": self.design_.weeks, "region": "all", "channel": channel, "part": part,
                                      "contribution": amount, "low": low, "high": high}))  # fmt: skip

        base = data.base * learned.gamma
        for part in ("baseline", "outside"):
            mine = base[:, np.array([name == part for name in data.parts])].sum(axis=1)
            if part == "baseline" and learned.rest is not None:
                mine = mine + learned.rest
            add(part, part, (mine.reshape(data.shape) * self._size).sum(axis=0))
        own, synergy = self._effects(learned.curves, data.spend)
        low, high = np.quantile([self._effects(curves, data.spend)[0] for curves in self.curves_], [0.05, 0.95], axis=0)
        now = _immediate(data.spend, learned.curves.lags(data.spend), self._size)
        share = np.divide(own, own.sum(axis=0), out=np.full_like(own, 1 / len(own)), where=own.sum(axis=0) > 0)
        for k, name in enumerate(self.design_.channels):
            add(name, "immediate", own[k] * now[k], low[k] * now[k], high[k] * now[k])
            add(name, "carried", own[k] * (1 - now[k]), low[k] * (1 - now[k]), high[k] * (1 - now[k]))
            if synergy.any():
                add(name, "synergy", synergy * share[k])
        return pd.concat(rows, ignore_index=True)

    def predict(self) -> pd.DataFrame:
        """week, region, predicted: the fit of every period, in currency."""
        fitted = self.learned_.predict(self._data).reshape(self._data.shape) * self._size
        weeks, regions = self.design_.weeks, self.design_.regions
        return pd.DataFrame(
            {"week": np.tile(weeks, len(regions)), "region": np.repeat(regions, len(weeks)), "predicted": fitted.ravel()}
        )

    def totals(self) -> pd.DataFrame:
        """draw × channel: revenue each channel caused by itself over all periods."""
        return pd.DataFrame([self._effects(curves, self._data.spend)[0].sum(axis=1) for curves in self.curves_],
                            columns=list(self.design_.channels))  # fmt: skip

    def roi(self) -> pd.DataFrame:
        """A row a channel, money per period where not said otherwise.

        channel, spend, revenue (own effect over all periods), roi with its 90 % interval (low, high), marginal_roi at recent spend, recent
        (today's point), half_saturation and saturation (spend that gives 50 % and 90 % of the most the channel gives up to ten times recent
        spend; `extrapolated` when saturation lies above all spend seen), half_life (periods until half of an effect is over).
        """
        draws, lags, rows = self.totals(), self.learned_.curves.lags(self._data.spend), []
        own = self._effects(self.learned_.curves, self._data.spend)[0].sum(axis=1)
        for k, name in enumerate(self.design_.channels):
            money = self.design_.spend[name].sum(axis=0)
            low, high = draws[name].quantile([0.05, 0.95]) / money.sum()
            recent = float(money[-RECENT:].mean())
            curve = self._response(self.learned_.curves, k, FAR)
            half, most = (float(FAR[np.argmax(curve >= share * curve[-1])]) * recent for share in (0.5, 0.9))
            _, slope = self._curve(self.learned_.curves, k, np.array([1.0]))
            rows.append((name, money.sum(), own[k], own[k] / money.sum(), low, high, float(slope[0]), recent, half, most,
                         most > money.max(), _half_life(lags[k])))  # fmt: skip
        return pd.DataFrame(rows, columns=["channel", "spend", "revenue", "roi", "low", "high", "marginal_roi", "recent",
                                           "half_saturation", "saturation", "extrapolated", "half_life"])  # fmt: skip

    def _response(self, curves: Curves, k: int, times: Floats) -> Floats:
        """Revenue a period when channel k steadily spends `times` its recent mean and the others stay where they are."""
        recent = self._data.spend[:, :, -RECENT:].mean(axis=2)
        level = np.repeat(recent[:, :, None], len(times) + 1, axis=2)
        level[k] = recent[k][:, None] * np.append(times, 0.0)
        forms = curves.carried(level[:, :, :1]).shape[1]  # steady spend is carried at its own level
        carried = np.repeat(level[:, None], forms, axis=1)
        total = ((curves.own(carried).sum(axis=0) + curves.synergy(carried)) * self._size).sum(axis=0)
        return total[:-1] - total[-1]

    def _curve(self, curves: Curves, k: int, times: Floats) -> tuple[Floats, Floats]:
        """Revenue and its slope by money."""
        step = curves.step
        low, high = np.maximum(times - step, 0.0), times + step
        values = self._response(curves, k, np.concatenate([times, low, high]))
        here, before, after = np.split(values, 3)
        usual = float(self.design_.spend[self.design_.channels[k]][:, -RECENT:].sum(axis=0).mean())
        return here, (after - before) / ((high - low) * usual) if usual > 0 else np.zeros_like(here)

    def responses(self) -> pd.DataFrame:
        """Table `responses`: revenue a period at a steady spend, from nothing to 2.5 times the recent mean, by draw."""
        rows: list[pd.DataFrame] = []
        for k, name in enumerate(self.design_.channels):
            usual = float(self.design_.spend[name][:, -RECENT:].sum(axis=0).mean())
            for draw, curves in enumerate(self.curves_):
                revenue, slope = self._curve(curves, k, SPENDS)
                rows.append(pd.DataFrame({"model": self.name, "channel": name, "region": "all", "draw": draw, "spend": SPENDS * usual,
                                          "revenue": revenue, "marginal_roi": slope}))  # fmt: skip
        return pd.concat(rows, ignore_index=True)

    def carryover(self) -> pd.DataFrame:
        """Table `carryover`."""
        names = self.design_.channels
        weights = [curves.lags(self._data.spend) for curves in self.curves_]
        rows = [(self.name, name, draw, lag, weight) for draw, drawn in enumerate(weights)
                for name, mine in zip(names, drawn, strict=True) for lag, weight in enumerate(mine)]  # fmt: skip
        return pd.DataFrame(rows, columns=["model", "channel", "draw", "lag", "weight"])

    def simulate(self, multipliers: dict[str, float]) -> pd.DataFrame:
        """What if spend had been multiplied? A row a channel, and one for synergy where there is any.

        channel, change of revenue over all periods with its 90 % interval (low, high), extrapolated (some week's spend would be above
        all seen).

        Raises
        ------
        InputError
            With a channel that is not in the mix, or a negative multiplier.
        """
        names, data = self.design_.channels, self._data
        unknown = sorted(set(multipliers) - set(names))
        if unknown or min(multipliers.values(), default=1.0) < 0:
            raise InputError(
                f"no channel {', '.join(unknown)} in the mix" if unknown else "spend cannot be multiplied by less than 0",
                fix=f"use {', '.join(names)} with factors from 0 up",
            )
        times = np.array([multipliers.get(name, 1.0) for name in names])

        def change(curves: Curves) -> Floats:
            then, now = (self._effects(curves, spend) for spend in (data.spend * times[:, None, None], data.spend))
            return np.append((then[0] - now[0]).sum(axis=1), (then[1] - now[1]).sum())

        mean = change(self.learned_.curves)
        low, high = np.quantile([change(curves) for curves in self.curves_], [0.05, 0.95], axis=0)
        out = pd.DataFrame({"channel": [*names, "synergy"], "change": mean, "low": low, "high": high,
                            "extrapolated": [*(times > 1), False]})  # fmt: skip
        return out if self.learned_.curves.synergy(self.learned_.curves.carried(data.spend)).any() else out.iloc[:-1]

    def summary(self) -> str:
        """For a manager."""
        best = self.roi().sort_values("revenue", ascending=False).iloc[0]
        return (
            f"{best['channel']} adds most: {best['roi']:.2f} back for each 1 spent (90 %: {best['low']:.2f} to {best['high']:.2f}), half of its "
            f"effect within {best['half_life']:.1f} periods. On {self.holdout} periods it had not seen the model was "
            f"{self.scores_['rmse_pct']:.1f} % off."
        )

    def plot(self) -> go.Figure:
        """Contributions of channels over time."""
        import plotly.graph_objects as go

        parts = self.contributions()
        figure = go.Figure()
        for name in self.design_.channels:
            mine = parts[parts["channel"] == name].groupby("week")["contribution"].sum()
            figure.add_scatter(x=mine.index, y=mine, name=name, stackgroup="media", mode="none")
        return figure.update_layout(template="plotly_white")


def origins(until: int, folds: int) -> list[tuple[int, int]]:
    """(start, stop) of what follows each origin: equal stretches over the later half of the past."""
    edges = np.linspace(max(until // 2, 20), until, folds + 1).astype(int)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def nonnegative(gram: Floats, cross: Floats, penalty: float) -> Floats:
    """argmin over β ≥ 0 of βᵀGβ − 2cᵀβ + λ·Σ Gₖₖβₖ²."""
    from scipy.optimize import nnls

    loaded = gram + np.diag(penalty * np.diag(gram) + 1e-9)
    root = np.linalg.cholesky(loaded)
    beta, _ = nnls(root.T, np.linalg.solve(root, cross))
    return beta


def _immediate(spend: Floats, lags: Floats, size: Floats) -> Floats:
    """Share of each week's effect that this week's spend has, (channels, weeks)."""
    weighed = spend * size
    carried = sum(
        lags[:, lag, None, None] * np.pad(weighed, ((0, 0), (0, 0), (lag, 0)))[:, :, : spend.shape[2]] for lag in range(LAGS)
    )
    now, all_of_it = (lags[:, :1] * weighed.sum(axis=1)), np.asarray(carried).sum(axis=1)
    return np.divide(now, all_of_it, out=np.zeros_like(now), where=all_of_it > 0)


def _half_life(lags: Floats) -> float:
    """Periods until half of an effect is over, between whole ones in a straight line; `LAGS` when later."""
    done = np.concatenate([[0.0], np.cumsum(lags)])
    return float(np.interp(0.5, done, np.arange(len(done)))) if done[-1] >= 0.5 else float(LAGS)
