"""Baseline ensemble: what a series would have done, as four forecasters who have been judged on the past say together.

Exponential smoothing (Holt-Winters, damped), seasonal decomposition with a regression on outside factors, boosted trees on lags, season
and factors, and the seasonal naive forecast. At each of up to 12 earlier dates (*origins*) all are fitted on what was known then and
judged on the periods that followed, as long as those asked for now. Their weights are those ≥ 0, of sum 1, whose mix would have erred
least (exact stacking). No member's forecast at an origin depends on anything after it, and each origin is judged with the weights
that the *other* origins give: what was fitted to it earns no credit.

Intervals are conformal: the quantile of the rolling-origin errors, in units of the error usual at that distance. The effect of a
campaign is tested by placebo dates: its total against the totals of the same length found at the origins, where nothing happened, each in
units of how much the series moved before it. Windows that overlap are not independent, so Student's t gets as many degrees of
freedom as windows fit side by side.

References
----------
Hyndman and Athanasopoulos (2021), Forecasting: principles and practice, 5.10 (rolling origin), 8 (Holt-Winters), 6.6 (STL); Breiman
(1996), Machine Learning 24, for stacking; Angelopoulos and Bates (2023), FnT ML 16(4), for conformal quantiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats, normal_quantile
from liftwise.models.causal.baseline_members import MEMBERS
from liftwise.models.causal.checks import Check
from liftwise.models.causal.inference import StudentTest
from liftwise.models.causal.lift import Lift
from liftwise.models.causal.simplex import simplex_least_squares
from liftwise.models.causal.structural import Window, read_factors, read_window, window_check
from liftwise.models.causal.words import amount

if TYPE_CHECKING:
    import plotly.graph_objects as go

LEAST_TRAINING = 24  # periods, for the first origin
ORIGINS = 12  # at most
LEAST_WINDOWS = 3  # side by side, for a test


class BaselineEnsemble:
    """Forecasts with honest intervals, and the effect of a campaign that ran everywhere.

    Parameters
    ----------
    horizon : periods to forecast at most; the origins are judged on as many.
    season : periods after which the pattern repeats; None reads it off the dates (7 for days, 52 for weeks, 12 for months). It is left out
        where it has not been seen twice and a forecast more.
    seed : for the boosted trees.

    Attributes
    ----------
    weights_ : share of each member.
    errors_ : root mean squared rolling-origin error of each member and of the ensemble.
    origins_ : frame origin, period, step, actual, forecast and one column for each member.

    Examples
    --------
    >>> weeks = pd.date_range("2025-01-06", periods=70, freq="W-MON")
    >>> sales = pd.Series(100 + np.arange(70.0) % 2, index=weeks, name="sales")
    >>> model = BaselineEnsemble(horizon=2, season=2).fit(sales)
    >>> [round(value) for value in model.predict(2).mean]
    [100, 101]
    """

    def __init__(self, *, horizon: int = 8, season: int | None = None, seed: int = 7) -> None:
        if horizon < 1:
            raise InputError(f"a horizon of {horizon} periods forecasts nothing", fix="give 1 or more")
        if season is not None and season < 2:
            raise InputError(
                f"a season of {season} periods does not repeat", fix="give 2 or more, or None to read it off the dates"
            )
        self.horizon, self.season, self.seed = horizon, season, seed

    method = "baseline_ensemble"

    def fit(self, series: pd.Series, factors: pd.DataFrame | None = None) -> BaselineEnsemble:
        """Learn from all periods of `series`; `factors` by period, known in all of them.

        Raises
        ------
        InputError
            For factors with other periods or with holes.
        CannotTell
            For a series with missing periods, that never moves, or that is too short: 24 periods and two horizons.
        """
        window = read_window(series, series.index.max(), None, 3)
        window = Window(
            window.name, window.amounts, window.periods, len(window.periods), False
        )  # nothing is judged: all is before
        known, left_out = read_factors(factors, window)
        self._columns = [] if factors is None else [c for c in factors.columns if c not in left_out]
        return self._learn(window, known, self.horizon)

    def predict(self, periods: int | Sequence[Any] | pd.Index, factors: pd.DataFrame | None = None) -> Forecast:
        """The next periods: their number, or themselves; `factors` must be known in them.

        Raises
        ------
        InputError
            Before `fit`, for more than `horizon` periods, periods that do not follow the series, or factors that lack them.
        """
        if not hasattr(self, "weights_"):
            raise InputError("the ensemble has not been fitted", fix="call fit first")
        when = self._next(periods)
        ahead = np.empty((len(when), 0))
        if self._columns:
            if factors is None or not set(self._columns) <= set(factors.columns):
                raise InputError(
                    f"the forecast needs {', '.join(map(str, self._columns))}", fix="give these factors for the periods ahead"
                )
            rows = factors[self._columns].reindex(when)
            if rows.isna().any(axis=None):
                raise InputError("the factors lack some of the periods ahead", fix="give every factor in every period forecast")
            ahead = rows.to_numpy(float)
        made = self._forecast(self._window.amounts, np.vstack([self._known, ahead]), len(when))
        return Forecast(self._window.name, when, made @ self.weights_.to_numpy(), self._spread[: len(when)], self._scores)

    def estimate(self, series: pd.Series, factors: pd.DataFrame | None = None, *, start: Any, end: Any = None) -> Lift:
        """The effect from the period holding `start` to the one holding `end` (default: the last), tested by placebo dates.

        The factors must be such as the campaign does not move, known in all periods. `horizon` plays no part here.

        Raises
        ------
        InputError
            For dates outside the series, or factors with other periods or with holes.
        CannotTell
            As for `fit`, or with fewer than 3 windows as long as the campaign before it.
        """
        window = read_window(series, start, end)
        judged, pre = len(window.during), window.first
        known, left_out = read_factors(factors, window)
        worker = BaselineEnsemble(horizon=judged, season=self.season, seed=self.seed)
        past = Window(window.name, window.before, window.periods[:pre], pre, False)
        worker._learn(past, known[:pre], judged, windows=LEAST_WINDOWS)
        made = worker._forecast(window.before, known, judged) @ worker.weights_.to_numpy()
        would = np.concatenate([worker._fitted(), made])
        gap = window.amounts - would
        now = _movement(window.before)
        total, each = worker._errors.sum(axis=1) / worker._moves, worker._errors / worker._moves[:, None]
        df = worker._windows

        def period_test(k: int) -> StudentTest | None:
            return StudentTest(float(gap[k]), now * _rms(each[:, k - pre]), df) if k >= pre else None

        checks = (
            worker._dates(float(gap[pre:].sum()) / now, total), worker._members(), _left_out(left_out), window_check(window),
        )  # fmt: skip
        fitted = gap[:pre][~np.isnan(gap[:pre])]
        return Lift(
            effect=float(gap[pre:].sum()), treated=(window.name,), outcome=window.name, method=self.method,
            weights=pd.Series(dtype=float, name="weight"), actual=pd.Series(window.amounts, index=window.periods, name="actual"),
            counterfactual=pd.Series(would, index=window.periods, name="counterfactual"), pre_periods=pre, pre_rmspe=_rms(fitted),
            checks=tuple(check for check in checks if check), test=StudentTest(float(gap[pre:].sum()), now * _rms(total), df),
            period_test=period_test,
        )  # fmt: skip

    # --- learning

    def _learn(self, window: Window, known: Floats, horizon: int, windows: int = 2) -> BaselineEnsemble:
        y, n = window.amounts, len(window.amounts)
        if n < LEAST_TRAINING + windows * horizon:
            raise CannotTell(
                f"{n} periods are too few to judge forecasts of {horizon}",
                fix=f"deliver at least {LEAST_TRAINING + windows * horizon}",
            )
        if not y.any() or np.ptp(y) <= 1e-12 * np.abs(y).max():
            raise CannotTell(f"{window.name} never moves", fix="check the data")
        wanted = self.season or season_of(window.periods)
        self._wanted, self._used = wanted, wanted if n >= 2 * wanted + 4 + windows * horizon else 0
        self._window, self._known = window, known
        first = max(LEAST_TRAINING, 2 * self._used + 4)
        self._windows = (n - first) // horizon
        origins = np.unique(np.linspace(first, n - horizon, min(ORIGINS, n - horizon - first + 1)).round().astype(int))
        made = np.stack(
            [self._forecast(y[:origin], known[: origin + horizon], horizon) for origin in origins]
        )  # (origins, h, members)
        actual = np.stack([y[origin : origin + horizon] for origin in origins])
        self._moves = np.array([_movement(y[:origin]) for origin in origins])
        self._weigh(origins, made, actual)
        return self

    def _weigh(self, origins: Any, made: Floats, actual: Floats) -> None:
        """Weights of all origins for the future; for each origin, those of the others, so that it is judged by what it did not teach."""
        scaled, aim = made / self._moves[:, None, None], actual / self._moves[:, None]  # an origin of wild times counts no more
        rows = np.arange(len(origins))
        others = np.array([_stack(scaled[rows != row], aim[rows != row]) for row in rows])
        said = np.einsum("ohm,om->oh", made, others)
        names = pd.Index(list(MEMBERS), name="member")
        self.weights_ = pd.Series(_stack(scaled, aim), index=names, name="weight")
        self._errors = actual - said  # (origins, horizon)
        rms = np.sqrt(((actual[:, :, None] - made) ** 2).mean(axis=(0, 1)))
        self.errors_ = pd.Series([*rms, _rms(self._errors)], index=pd.Index([*names, "ensemble"], name="member"), name="rmse")
        self._spread = np.maximum.accumulate(np.sqrt((self._errors**2).mean(axis=0))) + 1e-300  # farther is never surer
        self._scores = np.sort(np.abs(self._errors / self._spread).ravel())
        steps = np.arange(actual.shape[1])
        shown = (origins[:, None] + steps).ravel()
        frame = {"origin": self._window.periods[np.repeat(origins, len(steps)) - 1], "period": self._window.periods[shown]}
        table = pd.DataFrame(
            {**frame, "step": np.tile(steps + 1, len(origins)), "actual": actual.ravel(), "forecast": said.ravel()}
        )
        self.origins_ = table.assign(**{name: made[:, :, k].ravel() for k, name in enumerate(names)})

    def _forecast(self, y: Floats, known: Floats, horizon: int) -> Floats:
        """(horizon, members) from the past alone: `known` ends with the last period forecast."""
        return np.column_stack([member(y, known, self._used, horizon, self.seed) for member in MEMBERS.values()])

    def _fitted(self) -> Floats:
        """What the nearest origin before said of each period; not a number before the first origin."""
        near = self.origins_.sort_values(["period", "step"]).drop_duplicates("period").set_index("period")["forecast"]
        return near.reindex(self._window.periods).to_numpy()

    def _next(self, periods: int | Sequence[Any] | pd.Index) -> pd.Index:
        last = self._window.periods[-1]
        ahead = pd.Index([last + step for step in _steps(self._window.periods, self.horizon)])
        wanted = ahead[:periods] if isinstance(periods, int) else pd.Index(periods)
        count = periods if isinstance(periods, int) else len(wanted)
        if not 1 <= count <= self.horizon:
            raise InputError(
                f"{count} periods are not between 1 and the horizon of {self.horizon}", fix="fit with a longer horizon"
            )
        if not (wanted == ahead[:count]).all():
            raise InputError(
                f"the periods must follow the series: the next is {str(ahead[0])[:10]}", fix="forecast from there on"
            )
        return ahead[:count]

    # --- checks

    def _dates(self, now: float, placebo: Floats) -> Check:
        """The placebo dates behind the test."""
        beyond = int(np.sum(np.abs(placebo) >= abs(now)))
        sentence = f"At {beyond} of {len(placebo)} earlier dates as much was found where nothing happened; {self._windows} windows fit side by side."
        table = pd.DataFrame({"origin": self.origins_["origin"].unique(), "studentised_total": placebo})
        return Check("placebo dates", "warn" if self._windows < 5 else "ok", sentence, table)

    def _members(self) -> Check:
        """Who speaks, and whether the season could be learned."""
        best = self.weights_.idxmax()
        sentence = f"{best} counts most ({self.weights_.max():.0%})."
        lost = self._wanted and not self._used
        if lost:
            sentence += f" A season of {self._wanted} periods has not been seen twice, so none is used."
        table = pd.concat([self.weights_, self.errors_], axis=1).reset_index()
        return Check("members", "warn" if lost else "ok", sentence, table)


@dataclass(frozen=True, eq=False)
class Forecast:
    """The next periods with conformal intervals.

    mean (h,): forecast; spread (h,): usual error at that distance; scores: sorted rolling-origin errors in units of it.
    """

    name: str
    periods: pd.Index
    mean: Floats
    spread: Floats = field(repr=False)
    scores: Floats = field(repr=False)

    def interval(self, level: float = 0.90) -> tuple[Floats, Floats]:
        """Ends by period, (h,) each.

        Raises
        ------
        CannotTell
            When too few errors have been seen for that level.
        """
        normal_quantile(level)  # refuses a level that is none
        rank = int(np.ceil(round(level * (len(self.scores) + 1), 9)))
        if rank > len(self.scores):
            raise CannotTell(
                f"{len(self.scores)} earlier errors cannot give an interval at {level:.0%}", fix="deliver a longer series"
            )
        half = self.scores[rank - 1] * self.spread
        return self.mean - half, self.mean + half

    def to_frame(self, level: float = 0.90) -> pd.DataFrame:
        """One row per period."""
        low, high = self.interval(level)
        return pd.DataFrame({"period": self.periods, "forecast": self.mean, "low": low, "high": high})

    def summary(self, level: float = 0.90) -> str:
        """One sentence for a manager."""
        low, high = self.interval(level)
        return (
            f"{self.name} is expected at {amount(float(self.mean[0]))} in the next period ({level:.0%}: {amount(float(low[0]))} to"
            f" {amount(float(high[0]))}) and at {amount(float(self.mean.sum()))} over {len(self.mean)}."
        )

    def plot(self, level: float = 0.90) -> go.Figure:
        """Forecast and interval."""
        import plotly.graph_objects as go

        low, high = self.interval(level)
        figure = go.Figure()
        figure.add_scatter(
            x=[*self.periods, *self.periods[::-1]], y=[*high, *low[::-1]], fill="toself", name=f"{level:.0%}", line={"width": 0}
        )
        figure.add_scatter(x=self.periods, y=self.mean, name="forecast", line={"color": "#2f6f9f"})
        return figure.update_layout(template="plotly_white", title=self.name)


def _stack(made: Floats, actual: Floats) -> Floats:
    """Weights (members,) on the simplex for which the mix of `made` (origins, h, members) is nearest to `actual` (origins, h)."""
    members = made.shape[2]
    if not len(made):
        return np.full(members, 1 / members)
    return simplex_least_squares(np.ascontiguousarray(made.reshape(-1, members).T), actual.ravel()).weights


def _left_out(left_out: list[Any]) -> Check | None:
    if not left_out:
        return None
    names = ", ".join(map(str, left_out))
    return Check(
        "factors", "warn", f"Left out, as they never move before the start: {names}.", pd.DataFrame({"factor": left_out})
    )


def season_of(periods: pd.Index) -> int:
    """7 for days, 52 for weeks, 12 for months, 4 for quarters, else none."""
    if periods.dtype.kind != "M":
        return 0
    days = float(np.median(np.diff(periods.to_numpy())) / np.timedelta64(1, "D"))
    return next((season for most, season in ((1.5, 7), (8, 52), (32, 12), (93, 4)) if days <= most), 0)


def _steps(periods: pd.Index, count: int) -> list[Any]:
    """What to add to the last period for the next ones: whole months where periods are months, quarters or years."""
    usual = np.median(np.diff(periods.to_numpy()))
    if periods.dtype.kind != "M":
        return [usual * (k + 1) for k in range(count)]
    months = round(float(usual / np.timedelta64(1, "D")) / 30.44)
    if months >= 1 and (periods.day == periods.day[-1]).all():
        return [pd.DateOffset(months=months * (k + 1)) for k in range(count)]
    return [pd.Timedelta(usual) * (k + 1) for k in range(count)]


def _movement(y: Floats) -> float:
    """How much the series moves from one period to the next, root mean squared."""
    return _rms(np.diff(y)) + 1e-9 * float(np.abs(y).mean()) + 1e-300


def _rms(x: Floats) -> float:
    return float(np.sqrt(np.mean(x**2)))
