"""Ridge mix: revenue = baseline + Σ β·Hill(adstock(spend)) + outside, β ≥ 0, carry-over and saturation tuned per channel.

Tuning shares its work. Every channel has a grid of transformed series; within each rolling-origin fold all of them are cleared of
the baseline once (Frisch–Waugh–Lovell), and then any choice of transforms is a small non-negative ridge on entries of one Gram
matrix. So thousands of choices cost less than a second, and the last `holdout` periods are never looked at.

Intervals: moving-block bootstrap of the residuals (Künsch 1989) over the transforms that did nearly as well. They are approximate,
and they do not know of confounding: spend that follows demand is seen as effect as far as the controls do not explain it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell
from liftwise.core.transforms import adstock, half_life, hill, hill_slope, lag_weights
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.mix.design import Design

if TYPE_CHECKING:
    import plotly.graph_objects as go

RETENTIONS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.85)
HALVES = (0.5, 1.0, 2.0, 6.0)  # in usual spend; 6 is nearly a straight line
SHAPES = (1.0, 2.0)
PENALTIES = (0.003, 0.03, 0.3, 3.0)
GRID = tuple((a, k, s) for a in RETENTIONS for k in HALVES for s in SHAPES)
BLOCK = 8  # periods of a bootstrap block
LAGS = 13
SPENDS = np.linspace(0, 2.5, 26)  # of a response curve, in recent mean spends
RECENT = 52
Choice = tuple[int, ...]  # index into GRID for each channel


@dataclass(frozen=True)
class Fold:
    """Gram matrices of one fold: media columns cleared of the baseline, on the past (train) and on what follows (test)."""

    gram: Floats
    cross: Floats
    test_gram: Floats
    test_cross: Floats
    test_square: float
    rows: int


class RidgeMix:
    """A mix of table `weekly`.

    Parameters
    ----------
    holdout : last periods kept aside for `scores_`.
    folds : rolling-origin folds within the rest.
    draws : for intervals.

    Attributes
    ----------
    scores_ : rmse, mae, rmse_pct, mae_pct (of a mean period) on the hold-out, and naive_rmse_pct (a year before).
    notes_ : what a reader should know of the data.
    retention_, half_, shape_ : channel → carry-over, half-saturation (in usual spend), shape.
    """

    name = "ridge"

    def __init__(self, *, seed: int = 7, holdout: int = 26, folds: int = 4, draws: int = 100, per_year: float = 52.18) -> None:
        self.seed, self.holdout, self.folds, self.draws, self.per_year = seed, holdout, folds, draws, per_year

    def fit(self, weekly: pd.DataFrame, lift: pd.DataFrame | None = None) -> Self:
        """Tune on the past, score on the hold-out, then fit all periods.

        Raises
        ------
        CannotTell
            When the data cannot carry a mix (see `Design.of`) or are too short for the hold-out.
        """
        self.design_ = Design.of(weekly, self.holdout)
        weeks = len(self.design_.weeks)
        if weeks - self.holdout < 26:
            raise CannotTell(
                f"{weeks} periods leave {weeks - self.holdout} to learn from", fix="shorten measure.holdout or add history"
            )
        self.notes_ = self.design_.notes
        self._base, self._parts, whole = self.design_.base(self.per_year)
        if whole.reshape(self.design_.target.shape)[:, : weeks - self.holdout].sum() < self._base.shape[1] + 10:
            raise CannotTell("too few complete periods for the controls", fix="drop controls with gaps")
        self._whole, self._y = whole, np.nan_to_num(self.design_.relative.ravel())
        self._media = _transformed(self.design_)
        period = np.tile(np.arange(weeks), len(self.design_.regions))
        until = weeks - self.holdout
        folds = [
            self._fold(whole & (period < start), whole & (period >= start) & (period < stop))
            for start, stop in _origins(until, self.folds)
        ]
        ranked = self._search(folds)
        self.choice_, self.penalty_ = ranked[0][1], ranked[0][2]
        self._pool = [(choice, penalty) for error, choice, penalty in ranked if error <= ranked[0][0] * 1.005][:40]
        self._score(whole & (period < until), period >= until)
        self._final(whole)
        return self

    # -- tuning ----------------------------------------------------------------------------------------------------

    def _fold(self, train: np.ndarray, test: np.ndarray) -> Fold:
        """Clear media and target of the baseline as learned on `train`."""
        solve = np.linalg.pinv(self._base[train], rcond=1e-8)
        both = np.column_stack([self._media, self._y])
        cleared_train = both[train] - self._base[train] @ (solve @ both[train])
        cleared_test = both[test] - self._base[test] @ (solve @ both[train])
        x, y, u, v = cleared_train[:, :-1], cleared_train[:, -1], cleared_test[:, :-1], cleared_test[:, -1]
        return Fold(x.T @ x, x.T @ y, u.T @ u, u.T @ v, float(v @ v), len(y))

    def _search(self, folds: list[Fold]) -> list[tuple[float, Choice, float]]:
        """Choices by their error over the folds, best first: coordinate descent from several starts."""
        rng = spawn(self.seed, "mix.search")
        channels = len(self.design_.channels)
        seen: dict[tuple[Choice, float], float] = {}

        def error(choice: Choice, penalty: float) -> float:
            key = (choice, penalty)
            if key not in seen:
                seen[key] = sum(_error(fold, _columns(choice), penalty) for fold in folds)
            return seen[key]

        middle = GRID.index((0.3, 1.0, 1.0))
        starts = [(middle,) * channels] + [tuple(rng.integers(0, len(GRID), channels).tolist()) for _ in range(2)]
        for start in starts:
            choice, penalty = start, PENALTIES[1]
            for _ in range(4):
                before = (choice, penalty)
                for channel in rng.permutation(channels):
                    options = [(*choice[:channel], option, *choice[channel + 1 :]) for option in range(len(GRID))]
                    choice = min(options, key=lambda option: error(option, penalty))
                penalty = min(PENALTIES, key=lambda option: error(choice, option))
                if (choice, penalty) == before:
                    break
        return sorted((value, choice, penalty) for (choice, penalty), value in seen.items())

    def _score(self, train: np.ndarray, test: np.ndarray) -> None:
        """Errors of the sum over regions on periods it has not seen."""
        beta, base = self._coefficients(train, self.choice_, self.penalty_)
        fitted = (self._base @ base + self._media[:, _columns(self.choice_)] @ beta).reshape(self.design_.target.shape)
        size, late = self.design_.size[:, None], test.reshape(fitted.shape)[0]
        seen = self._whole.reshape(fitted.shape) & late[None, :]
        actual = np.where(seen, self.design_.target, 0).sum(axis=0)[late]
        expected = np.where(seen, fitted * size, 0).sum(axis=0)[late]
        keep = seen.any(axis=0)[late]
        off = (actual - expected)[keep]
        mean = float(np.nansum(self.design_.target, axis=0).mean())
        rmse, mae = float(np.sqrt(np.mean(off**2))), float(np.mean(np.abs(off)))
        self.scores_ = {"rmse": rmse, "mae": mae, "rmse_pct": 100 * rmse / mean, "mae_pct": 100 * mae / mean}
        year = round(self.per_year)
        total = np.nansum(self.design_.target, axis=0)
        if len(total) > year + self.holdout:
            naive = total[-self.holdout :] - total[-self.holdout - year : -year]
            self.scores_["naive_rmse_pct"] = 100 * float(np.sqrt(np.mean(naive**2))) / mean

    # -- fitting -----------------------------------------------------------------------------------------------------

    def _coefficients(self, rows: np.ndarray, choice: Choice, penalty: float, y: Floats | None = None) -> tuple[Floats, Floats]:
        """Media coefficients (≥ 0) and those of the baseline."""
        y = self._y if y is None else y
        columns = self._media[:, _columns(choice)]
        solve = np.linalg.pinv(self._base[rows], rcond=1e-8)
        x, target = columns[rows] - self._base[rows] @ (solve @ columns[rows]), y[rows] - self._base[rows] @ (solve @ y[rows])
        beta = _nonnegative(x.T @ x, x.T @ target, penalty)
        return beta, solve @ (y[rows] - columns[rows] @ beta)

    def _final(self, rows: np.ndarray) -> None:
        """All periods, and the draws."""
        self.beta_, self._base_beta = self._coefficients(rows, self.choice_, self.penalty_)
        names = self.design_.channels
        grid = [GRID[option] for option in self.choice_]
        self.retention_ = {name: told[0] for name, told in zip(names, grid, strict=True)}
        self.half_ = {name: told[1] for name, told in zip(names, grid, strict=True)}
        self.shape_ = {name: told[2] for name, told in zip(names, grid, strict=True)}
        fitted = self._base @ self._base_beta + self._media[:, _columns(self.choice_)] @ self.beta_
        residual = np.where(rows, self._y - fitted, 0.0).reshape(self.design_.target.shape)
        rng = spawn(self.seed, "mix.draws")
        weeks = len(self.design_.weeks)
        self._drawn: list[tuple[Choice, Floats]] = []
        for _ in range(self.draws):
            starts = rng.integers(0, weeks - BLOCK + 1, -(-weeks // BLOCK))
            order = (starts[:, None] + np.arange(BLOCK)).ravel()[:weeks]
            choice, penalty = self._pool[int(rng.integers(len(self._pool)))]
            beta, _ = self._coefficients(rows, choice, penalty, fitted + residual[:, order].ravel())
            self._drawn.append((choice, beta))

    # -- reading -----------------------------------------------------------------------------------------------------

    def contributions(self) -> pd.DataFrame:
        """Table `contributions`: by week, summed over regions; the parts sum to the fit. Intervals are of channels' sums."""
        shape, size = self.design_.target.shape, self.design_.size[:, None]
        rows: list[pd.DataFrame] = []

        def add(channel: str, part: str, values: Floats, low: Floats | None = None, high: Floats | None = None) -> None:
            rows.append(pd.DataFrame({
                "model": self.name, "week": self.design_.weeks, "region": "all", "channel": channel, "part": part,
                "contribution": values, "low": np.nan if low is None else low, "high": np.nan if high is None else high,
            }))  # fmt: skip

        base = np.nan_to_num(self._base) * self._base_beta
        for part in ("baseline", "outside"):
            mine = np.array([name == part for name in self._parts])
            add(part, part, (base[:, mine].sum(axis=1).reshape(shape) * size).sum(axis=0))
        scaled = self.design_.scaled()
        for k, name in enumerate(self.design_.channels):
            total = self._media[:, _columns(self.choice_)[k]].reshape(shape) * self.beta_[k] * size
            carried = adstock(scaled[name], self.retention_[name])
            now = np.divide((1 - self.retention_[name]) * scaled[name], carried, out=np.zeros(shape), where=carried > 0)
            draws = np.array([(self._media[:, _columns(c)[k]].reshape(shape) * b[k] * size).sum(axis=0) for c, b in self._drawn])
            low, high = np.quantile(draws, [0.05, 0.95], axis=0)
            share = np.divide((total * now).sum(axis=0), total.sum(axis=0), out=np.zeros(shape[1]), where=total.sum(axis=0) > 0)
            add(name, "immediate", (total * now).sum(axis=0), low * share, high * share)
            add(name, "carried", (total * (1 - now)).sum(axis=0), low * (1 - share), high * (1 - share))
        return pd.concat(rows, ignore_index=True)

    def predict(self) -> pd.DataFrame:
        """week, region, predicted: the fit of every period, in currency."""
        fitted = np.nan_to_num(self._base) @ self._base_beta + self._media[:, _columns(self.choice_)] @ self.beta_
        values = fitted.reshape(self.design_.target.shape) * self.design_.size[:, None]
        weeks, regions = self.design_.weeks, self.design_.regions
        return pd.DataFrame(
            {"week": np.tile(weeks, len(regions)), "region": np.repeat(regions, len(weeks)), "predicted": values.ravel()}
        )

    def totals(self) -> pd.DataFrame:
        """channel × draw: revenue caused over all periods."""
        shape, size = self.design_.target.shape, self.design_.size[:, None]
        return pd.DataFrame(
            [
                [float((self._media[:, _columns(c)[k]].reshape(shape) * b[k] * size).sum()) for k in range(len(b))]
                for c, b in self._drawn
            ],
            columns=list(self.design_.channels),
        )

    def roi(self) -> pd.DataFrame:
        """channel, spend, revenue, roi with 90 % interval, marginal_roi at recent spend."""
        draws, rows = self.totals(), []
        shape, size = self.design_.target.shape, self.design_.size[:, None]
        for k, name in enumerate(self.design_.channels):
            money = float(self.design_.spend[name].sum())
            revenue = float((self._media[:, _columns(self.choice_)[k]].reshape(shape) * self.beta_[k] * size).sum())
            low, high = draws[name].quantile([0.05, 0.95])
            _, slope = self._curve(k, self.choice_[k], self.beta_[k], np.array([1.0]))
            rows.append((name, money, revenue, revenue / money, low / money, high / money, float(slope[0])))
        return pd.DataFrame(rows, columns=["channel", "spend", "revenue", "roi", "low", "high", "marginal_roi"])

    def responses(self) -> pd.DataFrame:
        """Table `responses`: revenue a period at a steady spend, from nothing to 2.5 times the recent mean, by draw."""
        rows: list[pd.DataFrame] = []
        for k, name in enumerate(self.design_.channels):
            usual = float(self.design_.spend[name][:, -RECENT:].sum(axis=0).mean())
            for draw, (choice, beta) in enumerate(self._drawn):
                revenue, slope = self._curve(k, choice[k], beta[k], SPENDS)
                rows.append(pd.DataFrame({"model": self.name, "channel": name, "region": "all", "draw": draw, "spend": SPENDS * usual,
                                          "revenue": revenue, "marginal_roi": slope}))  # fmt: skip
        return pd.concat(rows, ignore_index=True)

    def _curve(self, k: int, option: int, beta: float, times: Floats) -> tuple[Floats, Floats]:
        """Revenue and its slope by money, at multiples of the recent mean spend of channel k."""
        name = self.design_.channels[k]
        _, half, shape = GRID[option]
        recent = self.design_.spend[name][:, -RECENT:].mean(axis=1)
        scaled = self.design_.scaled()[name][:, -RECENT:].mean(axis=1)
        usual = float(recent.sum())
        at = scaled[:, None] * times
        revenue = (beta * self.design_.size[:, None] * hill(at, half, shape)).sum(axis=0)
        slope = (beta * self.design_.size[:, None] * hill_slope(at, half, shape) * scaled[:, None]).sum(axis=0)
        return revenue, slope / usual if usual > 0 else slope * 0

    def carryover(self) -> pd.DataFrame:
        """Table `carryover`."""
        rows = [
            (self.name, name, draw, lag, weight)
            for draw, (choice, _) in enumerate(self._drawn)
            for k, name in enumerate(self.design_.channels)
            for lag, weight in enumerate(lag_weights(GRID[choice[k]][0], LAGS))
        ]
        return pd.DataFrame(rows, columns=["model", "channel", "draw", "lag", "weight"])

    def simulate(self, multipliers: dict[str, float]) -> pd.DataFrame:
        """What if spend had been multiplied? channel, change of revenue over all periods (mean of the fit)."""
        shape, size, scaled = self.design_.target.shape, self.design_.size[:, None], self.design_.scaled()
        rows = []
        for k, name in enumerate(self.design_.channels):
            a, half, s = GRID[self.choice_[k]]
            then = hill(adstock(scaled[name] * multipliers.get(name, 1.0), a), half, s)
            now = self._media[:, _columns(self.choice_)[k]].reshape(shape)
            rows.append((name, float(((then - now) * self.beta_[k] * size).sum())))
        return pd.DataFrame(rows, columns=["channel", "change"])

    def summary(self) -> str:
        """For a manager."""
        best = self.roi().sort_values("revenue", ascending=False).iloc[0]
        return (
            f"{best['channel']} adds most: {best['roi']:.2f} back for each 1 spent (90 %: {best['low']:.2f} to {best['high']:.2f}), half of its "
            f"effect within {half_life(self.retention_[best['channel']]):.1f} periods. On {self.holdout} periods it had not seen the model was "
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


def _transformed(design: Design) -> Floats:
    """Every channel with every transform, (rows, channels·grid)."""
    columns: list[Any] = []
    for series in design.scaled().values():
        carried = {a: adstock(series, a) for a in RETENTIONS}
        columns += [hill(carried[a], k, s).ravel() for a, k, s in GRID]
    return np.column_stack(columns)


def _columns(choice: Choice) -> np.ndarray:
    return np.arange(len(choice)) * len(GRID) + np.asarray(choice)


def _origins(until: int, folds: int) -> list[tuple[int, int]]:
    """(start, stop) of what follows each origin: equal stretches over the later half of the past."""
    edges = np.linspace(max(until // 2, 20), until, folds + 1).astype(int)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _nonnegative(gram: Floats, cross: Floats, penalty: float) -> Floats:
    """argmin over β ≥ 0 of βᵀGβ − 2cᵀβ + λ·Σ Gₖₖβₖ²."""
    from scipy.optimize import nnls

    loaded = gram + np.diag(penalty * np.diag(gram) + 1e-9)
    root = np.linalg.cholesky(loaded)
    beta, _ = nnls(root.T, np.linalg.solve(root, cross))
    return beta


def _error(fold: Fold, columns: np.ndarray, penalty: float) -> float:
    pick = np.ix_(columns, columns)
    beta = _nonnegative(fold.gram[pick], fold.cross[columns], penalty)
    return fold.test_square - 2 * float(beta @ fold.test_cross[columns]) + float(beta @ fold.test_gram[pick] @ beta)
