"""What a fitted mix can be asked: what each channel brought, brings now and would bring, each with its interval.

Readings are the same for every member, because all of them are made from curves: those of the fit, and draws of those that the data
cannot tell from it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.mix.learned import LAGS

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from liftwise.models.mix.design import Design
    from liftwise.models.mix.learned import Curves, Data, Learned

SPENDS = np.linspace(0, 2.5, 26)  # of a response curve, in recent mean spends
FAR = np.concatenate([np.linspace(0, 2, 41), np.linspace(2.2, 10, 40)])  # where a ceiling is looked for
RECENT = 52
AT_ONCE = 2_000_000  # numbers that are bent in one go
ENDS = [0.05, 0.95]


class Readings(ABC):
    """Tables and sentences of a fitted `Member`."""

    name: str
    seed: int
    holdout: int
    design_: Design
    learned_: Learned
    scores_: dict[str, float]
    folds: int
    fold_errors_: list[Floats]
    holdout_errors_: Floats
    _data: Data

    @abstractmethod
    def _draw(self, data: Data, train: np.ndarray, learned: Learned, rng: np.random.Generator) -> list[Curves]:
        """Curves that the data cannot tell from the fit."""

    @cached_property
    def curves_(self) -> list[Curves]:
        """Draws of the curves, made when first asked for: a member that is only scored needs none."""
        return self._draw(self._data, self._data.whole, self.learned_, spawn(self.seed, f"mix.{self.name}.draws"))

    @property
    def _size(self) -> Floats:
        return self.design_.size[:, None]

    def _effects(self, curves: Curves, spend: Floats) -> tuple[Floats, Floats]:
        """Own effects (channels, weeks) and synergy (weeks,), in currency, over all regions."""
        carried = curves.carried(spend)
        return (curves.own(carried) * self._size).sum(axis=1), (curves.synergy(carried) * self._size).sum(axis=0)

    @cached_property
    def _drawn(self) -> Floats:
        """Effects as it was, (draws, channels, weeks), and in the last row of channels the synergy."""
        effects = (self._effects(curves, self._data.spend) for curves in self.curves_)
        return np.array([np.vstack([own, synergy]) for own, synergy in effects])

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
        low, high = interval(self._drawn[:, :-1], own)
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

    def forecasts(self) -> pd.DataFrame:
        """Table `mix_forecasts`: model, week, part (origin or hold-out), actual, predicted from before it, over all regions seen.

        low, high : on the hold-out, 90 % by the errors after the rolling origins. No rows when the fit was not `scored`.
        """
        data, until = self._data, len(self.design_.weeks) - self.holdout
        seen = data.whole.reshape(data.shape)
        actual = np.where(seen, np.nan_to_num(self.design_.target), 0.0).sum(axis=0)
        spans = [*zip(origins(until, self.folds), self.fold_errors_, strict=False), ((until, len(actual)), self.holdout_errors_)]
        rows = []
        for (start, stop), off in spans:
            at = np.arange(start, stop)[seen[:, start:stop].any(axis=0)]
            if len(off):
                rows.append(pd.DataFrame({"model": self.name, "week": self.design_.weeks[at], "part": "origin" if stop <= until else "holdout",
                                          "actual": actual[at], "predicted": actual[at] - off}))  # fmt: skip
        if not rows:
            return pd.DataFrame(columns=["model", "week", "part", "actual", "predicted", "low", "high"])
        out, (low, high) = pd.concat(rows, ignore_index=True), np.quantile(np.concatenate(self.fold_errors_), ENDS)
        late = out["part"] == "holdout"
        return out.assign(low=(out["predicted"] + low).where(late), high=(out["predicted"] + high).where(late))

    def totals(self) -> pd.DataFrame:
        """draw × channel: revenue each channel caused by itself over all periods."""
        return pd.DataFrame(self._drawn[:, :-1].sum(axis=2), columns=list(self.design_.channels))

    def returns(self) -> pd.Series:
        """Channel → roi, as in `roi` but without what needs draws."""
        own = self._effects(self.learned_.curves, self._data.spend)[0].sum(axis=1)
        money = np.array([self.design_.spend[name].sum() for name in self.design_.channels])
        return pd.Series(own / money, index=list(self.design_.channels))

    def roi(self) -> pd.DataFrame:
        """A row a channel, money per period where not said otherwise.

        channel, spend, revenue (own effect over all periods), roi with its 90 % interval (low, high), marginal_roi at recent spend, recent
        (today's point), half_saturation and saturation (spend that gives 50 % and 90 % of the most the channel gives up to ten times recent
        spend; `extrapolated` when saturation lies above all spend seen), half_life (periods until half of an effect is over).
        """
        draws, lags, rows = self.totals(), self.learned_.curves.lags(self._data.spend), []
        curves, returns = self._steady(self.learned_.curves, FAR), self.returns()
        slopes = self._curve(self.learned_.curves, np.array([1.0]))[1][:, 0]
        for k, name in enumerate(self.design_.channels):
            money = self.design_.spend[name].sum(axis=0)
            low, high = interval(draws[name].to_numpy() / money.sum(), returns[name])
            recent, curve = float(money[-RECENT:].mean()), curves[k]
            half, most = (float(FAR[np.argmax(curve >= share * curve[-1])]) * recent for share in (0.5, 0.9))
            rows.append((name, money.sum(), returns[name] * money.sum(), returns[name], low, high, float(slopes[k]), recent, half, most,
                         most > money.max(), _half_life(lags[k])))  # fmt: skip
        return pd.DataFrame(rows, columns=["channel", "spend", "revenue", "roi", "low", "high", "marginal_roi", "recent",
                                           "half_saturation", "saturation", "extrapolated", "half_life"])  # fmt: skip

    def _steady(self, curves: Curves, times: Floats) -> Floats:
        """Revenue a period when one channel steadily spends `times` its recent mean and the others stay where they are, (channels, times)."""
        recent = self._data.spend[:, :, -RECENT:].mean(axis=2)
        plans = np.append(times, 0.0)
        forms = curves.carried(recent[:, :, None]).shape[1]  # steady spend is carried at its own level
        size, out = recent.size * forms * len(plans), list[Floats]()
        for some in np.array_split(np.arange(len(recent)), max(1, min(len(recent), -(-len(recent) * size // AT_ONCE)))):
            level = np.repeat(np.repeat(recent[:, :, None, None], len(some), axis=2), len(plans), axis=3)
            level[some, :, np.arange(len(some))] = recent[some][:, :, None] * plans
            carried = np.repeat(level.reshape(*recent.shape, -1)[:, None], forms, axis=1)
            out.append((curves.media(carried) * self._size).sum(axis=0).reshape(len(some), -1))
        total = np.concatenate(out)
        return total[:, :-1] - total[:, -1:]

    def _curve(self, curves: Curves, times: Floats) -> tuple[Floats, Floats]:
        """Revenue and its slope by money, (channels, times) each."""
        step = curves.step
        low, high = np.maximum(times - step, 0.0), times + step
        here, before, after = np.split(self._steady(curves, np.concatenate([times, low, high])), 3, axis=1)
        moved = (high - low) * self._usual[:, None]
        return here, np.divide(after - before, moved, out=np.zeros_like(here), where=moved > 0)

    @property
    def _usual(self) -> Floats:
        """Recent money a period, by channel."""
        return np.array([money[:, -RECENT:].sum(axis=0).mean() for money in self.design_.spend.values()])

    def responses(self) -> pd.DataFrame:
        """Table `responses`: revenue a period at a steady spend, from nothing to 2.5 times the recent mean, by draw."""
        names, draws, points = self.design_.channels, len(self.curves_), len(SPENDS)
        read = np.array([self._curve(curves, SPENDS) for curves in self.curves_])  # (draws, 2, channels, points)
        revenue, slope = read.transpose(1, 2, 0, 3).reshape(2, -1)
        spend = np.repeat(self._usual[:, None] * SPENDS, draws, axis=0).ravel()
        return pd.DataFrame({"model": self.name, "channel": np.repeat(names, draws * points), "region": "all",
                             "draw": np.tile(np.repeat(np.arange(draws), points), len(names)), "spend": spend, "revenue": revenue,
                             "marginal_roi": slope})  # fmt: skip

    def carryover(self) -> pd.DataFrame:
        """Table `carryover`."""
        weights, names = np.array([curves.lags(self._data.spend) for curves in self.curves_]), self.design_.channels
        draws = len(weights)
        return pd.DataFrame({"model": self.name, "channel": np.tile(np.repeat(names, LAGS), draws),
                             "draw": np.repeat(np.arange(draws), len(names) * LAGS), "lag": np.tile(np.arange(LAGS), draws * len(names)),
                             "weight": weights.ravel()})  # fmt: skip

    def summary(self) -> str:
        """For a manager."""
        best, off = self.roi().sort_values("revenue", ascending=False).iloc[0], self.scores_.get("rmse_pct")
        return (
            f"{best['channel']} adds most: {best['roi']:.2f} back for each 1 spent (90 %: {best['low']:.2f} to {best['high']:.2f}), half of its "
            f"effect within {best['half_life']:.1f} periods."
            + (f" On {self.holdout} periods it had not seen the model was {off:.1f} % off." if off is not None else "")
        )

    def plot(self) -> go.Figure:
        """Contributions over time."""
        from liftwise.models.mix.plots import over_time

        return over_time(self.contributions())


def interval(drawn: Floats, fit: Floats | float) -> tuple[Floats, Floats]:
    """90 % of the draws (along axis 0), and wide enough to hold the fit: draws of a skewed effect may leave it at their edge."""
    low, high = np.quantile(drawn, ENDS, axis=0)
    return np.minimum(low, fit), np.maximum(high, fit)


def origins(until: int, folds: int) -> list[tuple[int, int]]:
    """(start, stop) of what follows each origin: equal stretches over the later half of the past."""
    edges = np.linspace(max(until // 2, 20), until, folds + 1).astype(int)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


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
