"""Regression discontinuity in time: what changes at once when a campaign starts.

Before and after the launch a straight line is fitted to the series, cleaned of its season and of what outside factors explain; the jump between
the lines at the launch is the effect per period. Errors of a series follow one another, so the usual standard error is far too small
(rdrobust's rejects 11–36 % of true nulls on such series). Here:

1. Errors are taken to be AR(1). ρ is known by its restricted likelihood; whatever depends on ρ is averaged over it.
2. Lines are fitted by generalised least squares in the widest window over which both sides are straight: the first of five widths, from
   the whole series down to the local linear bandwidth of `bandwidth` (with AR(1) variances), at which no curvature shows (p > 0.25).
3. The jump is a weighted sum of outcomes, season and factors being learned before the launch and their error counted in; so the AR(1)
   model promises its error.
4. The promise is put to the test by placebo dates: the same estimator at every admissible earlier date (where it has less room, with what
   there is), each over its own promised error. Where these strayed farther than promised the error grows to match; where an F test says that
   the promise fails, placebo dates alone tell the error. They overlap: m of them count as m² / Σ correlation² independent ones.

The effect told is the jump times the periods judged: those from the launch to the window's end. It takes the jump to last that long.

References
----------
Hausman and Rapson (2018), Annual Review of Resource Economics 10, on discontinuity in time; Ganong and Jäger (2018), JASA 113(522), on
placebo cutoffs; Harville (1977), JASA 72(358), on restricted likelihood; Satterthwaite (1946), Biometrics Bulletin 2(6), on
degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats
from liftwise.models.causal.bandwidth import Side, mse_bandwidth
from liftwise.models.causal.checks import Check, Verdict
from liftwise.models.causal.inference import StudentTest
from liftwise.models.causal.lift import Lift
from liftwise.models.causal.serial import SerialErrors, gls_weights, precise
from liftwise.models.causal.structural import Window, read_factors, read_window, whiteness, window_check
from liftwise.models.causal.words import amount

if TYPE_CHECKING:
    import plotly.graph_objects as go

LEAST_PRE, LEAST_SIDE = 40, 10  # periods before the launch; on either side of any date judged
SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)  # of the way from the local linear bandwidth to the whole series
STRAIGHT = 0.25  # curvature with a smaller p is believed: a window too narrow costs less than one that bends
KNOTS = 40  # periods between the bends that the trend before the launch may have
HARMONICS = 3  # of a season too long for an effect per period
DOUBT = 0.01  # as in `calibration`


class LaunchDiscontinuity:
    """The effect of a launch from one series.

    Parameters
    ----------
    season : periods after which the pattern repeats: 7 (an effect per weekday), 52 or more (smooth waves), or None.
    window : periods on either side at most; by default as the data say.
    seed : for the sake of a common signature; nothing is drawn.

    Examples
    --------
    >>> from liftwise.core.uncertainty import spawn
    >>> days = pd.date_range("2025-01-06", periods=180)
    >>> sales = pd.Series(100 + 5 * np.sin(np.arange(180) * 2 * np.pi / 7) + spawn(7, "launch").normal(size=180), index=days, name="sales")
    >>> sales[120:] += 3
    >>> lift = LaunchDiscontinuity().estimate(sales, start=days[120])
    >>> bool(abs(lift.effect / (180 - lift.pre_periods) - 3) < 1), lift.p_value < 0.01
    (True, True)
    """

    def __init__(self, *, season: int | None = 7, window: int | None = None, seed: int = 7) -> None:
        if season is not None and season < 2:
            raise InputError(f"a season of {season} periods does not repeat", fix="give 2 or more, such as 7 or 52, or None")
        if window is not None and window < LEAST_SIDE:
            raise InputError(f"a window of {window} periods is too narrow", fix=f"give at least {LEAST_SIDE}")
        self.season, self.window, self.seed = season, window, seed

    @property
    def method(self) -> str:
        """Name in tables."""
        return f"launch_discontinuity/season{self.season}" if self.season else "launch_discontinuity"

    def estimate(
        self, series: pd.Series, *, start: Any, end: Any = None, covariates: pd.DataFrame | None = None, donors: pd.DataFrame | None = None,
    ) -> Lift:  # fmt: skip
        """Estimate the jump at the period holding `start`; nothing after the one holding `end` (default: the last) is looked at.

        Parameters
        ----------
        series : outcome by period; its index are dates or numbers.
        covariates : factors by period that the launch does not move.
        donors : series by period without a launch; their mean, each in units of its own sd, is a factor too.

        Raises
        ------
        InputError
            For dates outside the series, or factors with other periods or with holes.
        CannotTell
            With fewer than 40 periods (or two seasons) before the launch or 10 after, missing periods, or a series that never moves.
        """
        window = read_window(series, start, end, max(LEAST_PRE, 2 * (self.season or 0)))
        after = len(window.periods) - window.first
        if after < LEAST_SIDE:
            raise CannotTell(f"{after} periods from the launch on are too few", fix=f"wait for at least {LEAST_SIDE}")
        names, factors, left_out = _factors(covariates, donors, window)
        model = LaunchModel.of(window.amounts, window.first, season_columns(len(window.amounts), self.season), factors)
        left, right, straight = self._window(model)
        return _lift(
            window,
            model,
            (left, right),
            self.method,
            (_window_told(left, right, after, straight), *_factor_checks(model, names, left_out, left, right)),
        )

    def _window(self, model: LaunchModel) -> tuple[int, int, float]:
        """Periods on the left and on the right, and the p-value of no curvature there."""
        most = model.first, len(model.y) - model.first
        if self.window is not None:
            left, right = (min(self.window, room) for room in most)
            return left, right, model.straight(left, right)
        near = model.bandwidth()
        left, right, p = *most, 0.0
        for share in SHARES:
            left, right = (round(h + share * (room - h)) for room in most for h in [min(max(near, LEAST_SIDE), room)])
            p = model.straight(left, right)
            if p > STRAIGHT:
                break
        return left, right, p


# --- errors that follow one another


@dataclass(frozen=True, eq=False)
class LaunchModel:
    """The series y (n,), its extras (n, q) (season, then factors), and what was learned of both before period `first`.

    learn (q, first): coefficients of the extras as weighted sums of the outcomes before; trend (first, k).
    """

    y: Floats
    first: int
    extras: Floats
    trend: Floats
    learn: Floats
    errors: SerialErrors

    @classmethod
    def of(cls, y: Floats, first: int, season: Floats, factors: Floats) -> LaunchModel:
        n, trend, extras = len(y), hats(first), np.column_stack([season, factors])
        extras = extras - extras[:first].mean(axis=0)
        later = hats(n - first)
        lines = np.zeros((n, trend.shape[1] + later.shape[1]))
        lines[:first, : trend.shape[1]], lines[first:, trend.shape[1] :] = trend, later
        errors = SerialErrors.of(np.column_stack([lines, extras]), y - y[:first].mean())
        learn = gls_weights(np.column_stack([trend, extras[:first]]), errors.rho)[trend.shape[1] :]
        return cls(y, first, extras, trend, learn, errors)

    @cached_property
    def clean(self) -> Floats:
        """(n,) the series without season and factors."""
        return self.y - self.extras @ (self.learn @ self.y[: self.first])

    def bandwidth(self) -> float:
        """Of a local linear fit to the clean series, its variances those of the errors."""
        distance = np.arange(len(self.y)) - self.first + 0.5
        row = self.errors.covariance(len(self.y))[0]

        def variance(weights: Floats, y: Floats, x: Floats, kernel: Floats, order: int) -> float:
            return float(weights @ row[np.abs(np.subtract.outer(x, x)).round().astype(int)] @ weights)

        sides = [Side(distance[part], self.clean[part], np.empty((int(part.sum()), 0))) for part in (distance < 0, distance > 0)]
        return mse_bandwidth(*sides, variance).main

    def weights(self, date: int, left: int, right: int) -> Floats:
        """(n,): the jump at period `date` as a weighted sum of clean outcomes."""
        sums = np.zeros(len(self.y))
        lines = _lines(left, right)
        toward = precise(lines, self.errors.rho)
        sums[date - left : date + right] = np.linalg.solve(lines.T @ toward, toward.T)[2]
        return sums

    def whole(self, sums: Floats) -> Floats:
        """Weighted sums (m, n) of clean outcomes, as sums of outcomes: what is taken off was learned before the launch."""
        out = sums.copy()
        out[:, : self.first] -= (sums @ self.extras) @ self.learn
        return out

    def straight(self, left: int, right: int) -> float:
        """p-value of no curvature on either side of the launch (Wald).

        Lines are efficient where they hold, so curvature is independent of their jump: choosing windows by it does not pick jumps.
        """
        from scipy.stats import chi2

        distance = np.arange(-left, right) + 0.5
        bent = np.column_stack([_lines(left, right), np.minimum(distance, 0) ** 2, np.maximum(distance, 0) ** 2])
        sums = np.zeros((2, len(self.y)))
        sums[:, self.first - left : self.first + right] = gls_weights(bent, self.errors.rho)[4:]
        sums /= np.sqrt(np.sum(sums**2, axis=1, keepdims=True))
        bends, covariance = sums @ self.clean, sums @ self.errors.covariance(len(self.y)) @ sums.T
        return float(chi2.sf(bends @ np.linalg.solve(covariance, bends), 2))

    def placebo_weights(self, left: int, right: int) -> tuple[Floats, Floats]:
        """Dates (m,) before the launch, and their weights (m, n): with the same window, or what there is of it."""
        dates = np.arange(LEAST_SIDE, self.first - LEAST_SIDE + 1)
        sums = [self.weights(date, min(left, date), min(right, self.first - date)) for date in dates.tolist()]
        return dates, self.whole(np.array(sums))


@dataclass(frozen=True, eq=False)
class PlaceboDates:
    """How placebo jumps strayed: t (m,) of every date, their mean square, the number of independent ones, and the verdict on the promise.

    factor : by which the promised error grows; df : of the test; kept : whether an F test lets the promise stand.
    """

    dates: Floats
    t: Floats
    independent: float
    factor: float
    df: float
    kept: bool

    @classmethod
    def of(cls, model: LaunchModel, left: int, right: int, promised_df: float) -> PlaceboDates:
        from scipy.stats import f

        dates, sums = model.placebo_weights(left, right)
        t = (sums @ model.y) / np.maximum(model.errors.promise(sums)[0], 1e-300)
        covariance = sums @ model.errors.covariance(len(model.y)) @ sums.T
        size = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
        independent = len(dates) ** 2 / float(np.sum((covariance / np.outer(size, size)) ** 2))
        square = float(np.mean(t**2))
        if f.sf(square, independent, promised_df) < DOUBT:
            return cls(dates, t, independent, float(np.sqrt(square)), independent, False)
        pooled = (independent * square + promised_df) / (independent + promised_df)
        return cls(dates, t, independent, max(1.0, float(np.sqrt(pooled))), promised_df, True)


def _lines(left: int, right: int) -> Floats:
    """Level and slope on the left, and how both change at the launch, half a period before its first."""
    distance = np.arange(-left, right) + 0.5
    return np.column_stack([np.ones_like(distance), distance, distance > 0, np.maximum(distance, 0)])


def hats(n: int) -> Floats:
    """(n, k) basis of a line that may bend every `KNOTS` periods."""
    knots = np.linspace(0, n - 1, max(1, round(n / KNOTS)) + 1)
    return np.maximum(1 - np.abs(np.subtract.outer(np.arange(n), knots)) / (knots[1] - knots[0]), 0)


def season_columns(n: int, season: int | None) -> Floats:
    """(n, q): an effect of every place in a short season, or the first waves of a long one (a year of 52 weeks has 52.18)."""
    if season is None:
        return np.empty((n, 0))
    if season <= 4 * HARMONICS:
        return np.eye(season)[np.arange(n) % season][:, 1:]
    turn = 2 * np.pi * np.arange(n)[:, None] * np.arange(1, HARMONICS + 1) / (365.25 / 7 if season == 52 else season)
    return np.column_stack([np.cos(turn), np.sin(turn)])


def _factors(covariates: pd.DataFrame | None, donors: pd.DataFrame | None, window: Window) -> tuple[list[str], Floats, list[Any]]:
    """Names, (n, q) in units of their sd before the launch, and who was left out."""
    values, left_out = read_factors(covariates, window)
    names = [] if covariates is None else [str(column) for column in covariates.columns if column not in left_out]
    others, still = read_factors(donors, window)
    if donors is not None and not others.shape[1]:
        raise CannotTell("no donor moves before the launch", fix="check the data, or leave donors out")
    values, others = ((x - x[: window.first].mean(axis=0)) / x[: window.first].std(axis=0) for x in (values, others))
    if others.shape[1]:
        names, values = [*names, "donors"], np.column_stack([values, others.mean(axis=1)])
    return names, values, [*left_out, *still]


def _lift(window: Window, model: LaunchModel, sides: tuple[int, int], method: str, checks: tuple[Check, ...]) -> Lift:
    first, judged = window.first, sides[1]
    sums = model.whole(model.weights(first, *sides)[None])
    error, df = (float(found[0]) for found in model.errors.promise(sums))
    placebos = PlaceboDates.of(model, *sides, df)
    least = 1e-9 * float(np.abs(window.before).mean())
    jump = StudentTest(float(sums[0] @ model.y), max(placebos.factor * error, least), placebos.df)
    actual, when = window.amounts[: first + judged], window.periods[: first + judged]
    before = np.column_stack([model.trend, model.extras[:first]])
    fitted = before @ (gls_weights(before, model.errors.rho) @ window.before)
    would = np.concatenate([fitted, actual[first:] - jump.effect])
    return Lift(
        effect=jump.effect * judged, treated=(window.name,), outcome=window.name, method=method, weights=pd.Series(dtype=float, name="weight"),
        actual=pd.Series(actual, index=when, name="actual"), counterfactual=pd.Series(would, index=when, name="counterfactual"),
        pre_periods=first, pre_rmspe=float(np.sqrt(np.mean((window.before - fitted) ** 2))),
        checks=(_placebo_check(placebos, jump, window), *checks, _innovations(window.before - fitted, model.errors.rho), window_check(window)),
        test=jump.times(judged), period_test=lambda k: jump if k >= first else None,
    )  # fmt: skip


# --- checks


def _placebo_check(placebos: PlaceboDates, jump: StudentTest, window: Window) -> Check:
    """Jumps where nothing was launched."""
    strayed = float(np.sqrt(np.mean(placebos.t**2)))
    own = abs(jump.effect) / jump.error * placebos.factor
    more = int(np.sum(np.abs(placebos.t) >= own))
    verdict: Verdict = "fail" if placebos.independent < 2 else "warn" if not placebos.kept or placebos.independent < 5 else "ok"
    says = (
        f"At {len(placebos.t)} earlier dates (worth {placebos.independent:.1f} independent ones) jumps strayed {strayed:.2f} times as far as "
        f"promised{', which the interval allows for' if placebos.factor > 1 else ''}; {more} were as large for their error."
    )
    if not placebos.kept:
        says += " The promise fails, so placebo dates alone tell the error."
    if placebos.independent < 5:
        says += " So few say little: deliver more periods before the launch."
    return Check("placebo dates", verdict, says, pd.DataFrame({"date": window.periods[placebos.dates], "t": placebos.t}))


def _window_told(left: int, right: int, after: int, straight: float) -> Check:
    """Where the lines were fitted, and whether they are lines."""
    says = f"Lines fitted over {left} periods before and {right} after the launch"
    says += "." if straight > STRAIGHT else f"; they seem to bend (p {straight:.2g}), so the jump may be biased."
    if right < after:
        says += f" The jump is counted for {right} of {after} periods, those in the window."
    verdict: Verdict = "ok" if straight > STRAIGHT else "fail" if straight < 0.01 else "warn"
    return Check("window", verdict, says, pd.DataFrame({"left": [left], "right": [right], "straight_p": [straight]}))


def _factor_checks(model: LaunchModel, names: list[str], left_out: list[Any], left: int, right: int) -> list[Check]:
    """Whether a factor jumps at the launch as well: then the effect hangs on its coefficient."""
    if not names and not left_out:
        return []
    jumps = model.weights(model.first, left, right) @ model.extras[:, model.extras.shape[1] - len(names) :]
    slopes = (model.learn @ model.y[: model.first])[len(model.learn) - len(names) :]
    table = pd.DataFrame({"factor": names, "slope": slopes, "jump_in_sd": jumps})
    says = [f"Factors: {', '.join(names) or 'none'}."]
    moved = [name for name, jump in zip(names, jumps, strict=True) if abs(jump) > 2]
    if moved:
        says.append(
            f"At the launch {', '.join(moved)} jumped too, by more than 2 sd: what it explains was learned before and may not hold."
        )
    if left_out:
        says.append(f"Left out, as they never move before the launch: {', '.join(map(str, left_out))}.")
    return [Check("factors", "warn" if moved or left_out else "ok", " ".join(says), table)]


def _innovations(rest: Floats, rho: float) -> Check:
    return whiteness(rest[1:] - rho * rest[:-1], "AR(1) does not describe the errors, and only placebo dates guard the interval")


# --- every part of a campaign


@dataclass(frozen=True, eq=False)
class LaunchParts:
    """One lift for every part of a campaign, and what each is worth when several were looked at.

    refused : reasons of the parts for which the data cannot tell.
    """

    lifts: Mapping[str, Lift]
    refused: Mapping[str, str]

    def to_frame(self, level: float = 0.90) -> pd.DataFrame:
        """One row a part. `p_adjusted` and `low_all`, `high_all` hold for all parts together (Bonferroni): they agree as p and low, high do."""
        number, rows = len(self.lifts), []
        for part, lift in self.lifts.items():
            low, high = lift.interval(level)
            low_all, high_all = lift.interval(1 - (1 - level) / number)
            rows.append({
                "part": part, "start": lift.start, "effect": lift.effect, "low": low, "high": high, "p_value": lift.p_value,
                "low_all": low_all, "high_all": high_all, "p_adjusted": min(1.0, number * lift.p_value),
            })  # fmt: skip
        columns = ["part", "start", "effect", "low", "high", "p_value", "low_all", "high_all", "p_adjusted"]
        return pd.DataFrame(rows, columns=columns)

    def summary(self, level: float = 0.90) -> str:
        """One sentence for a manager."""
        frame = self.to_frame(level)
        sure = frame[frame["p_adjusted"] < 1 - level]
        told = ", ".join(f"{row.part} ({amount(row.effect)})" for row in sure.itertuples()) or "none"
        says = f"Of {len(frame)} parts judged together at {level:.0%}, these moved the outcome: {told}"
        return says + (f"; not told: {', '.join(self.refused)}." if self.refused else ".")

    def plot(self, level: float = 0.90) -> go.Figure:
        """Effects with the intervals that hold for all of them."""
        import plotly.graph_objects as go

        frame = self.to_frame(level)
        bars = {"array": frame["high_all"] - frame["effect"], "arrayminus": frame["effect"] - frame["low_all"]}
        figure = go.Figure()
        figure.add_scatter(x=frame["effect"], y=frame["part"], mode="markers", error_x=bars)
        figure.add_vline(x=0, line={"width": 1})
        figure.update_layout(template="plotly_white", title=f"Effect of each part, {level:.0%} intervals for all together")
        return figure


def estimate_parts(
    series_by_part: pd.DataFrame, starts: Mapping[str, Any], *, ends: Mapping[str, Any] | None = None, covariates: pd.DataFrame | None = None,
    donors: pd.DataFrame | None = None, design: LaunchDiscontinuity | None = None,
) -> LaunchParts:  # fmt: skip
    """The lift of each part of a campaign, such as a piece of content or a launch in one shop, from its own series.

    Parameters
    ----------
    series_by_part : outcome by period, a column for each part.
    starts, ends : of each part.

    Raises
    ------
    InputError
        For a part without a column.
    CannotTell
        When the data can tell of no part; one that cannot be told is listed in `refused`.
    """
    absent = [part for part in starts if part not in series_by_part.columns]
    if absent or not starts:
        raise InputError(
            f"no series for part {', '.join(map(str, absent)) or 'any'}",
            fix=f"there are {', '.join(map(str, series_by_part.columns))}",
        )
    design, lifts, refused = design or LaunchDiscontinuity(), {}, {}
    for part, start in starts.items():
        try:
            lifts[part] = design.estimate(
                series_by_part[part], start=start, end=(ends or {}).get(part), covariates=covariates, donors=donors
            )
        except CannotTell as reason:
            refused[part] = str(reason)
    if not lifts:
        raise CannotTell(f"of no part can be told what it did: {next(iter(refused.values()))}")
    return LaunchParts(lifts, refused)
