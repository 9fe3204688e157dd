"""Year on year: what a national series would have done, from the same season of the years before.

A campaign in December sells what December sells anyway. From the weeks before alone no model can tell the two apart; the same weeks of
earlier years can. With r_t the mean of log y in the same season of the last m years (1 to 3, whole weeks apart),

    log y_t = r_t + d_t,        d_t: growth against those years

d has no season left. It is forecast as a structural series (a level that walks by as much as it did, an AR(1) term, and outside factors,
taken year on year too), drawn from before the start over the campaign. A peak is never as high twice: a year's season differs from what is
usual by a share of itself, of standard deviation `swing`, and one draw of that share for the year and one for the mean of the m years before
belongs to each draw. Two years of data hold one December and cannot teach this share, so it is an assumption that one can read and change.

When it holds: markets with a yearly wave, a peak before Christmas of 20 to 60 % that differs by 10 % of itself from year to year, a walking
level and AR(1) noise up to 0.8; campaigns of 3 to 8 weeks in which nothing happened; intervals at 90 % cover, tests at 5 % reject

=====================================  ===============  =========  ========
history, markets                       until Christmas  elsewhere  rejected
=====================================  ===============  =========  ========
2 years of weeks, 150 (± 2.4 points)   90 %             91 %       5 / 3 %
3 years of weeks, 120 (± 2.7)          97 %             93 %       1 / 3 %
2 years of days, 40 (± 4.7)            98 %             95 %       0 / 0 %
peaks that differ by 0 %, 80 (± 3.4)   99 %             96 %       0 / 4 %
peaks that differ by 20 %, 80 (± 3.4)  83 %             90 %       14 / 4 %
=====================================  ===============  =========  ========

The weeks before alone (`BaselineEnsemble`, `StructuralSeries`) cover 33 and 13 % until Christmas (2 years, 30 markets, ± 9 points). `swing`
was chosen on other such markets; where peaks differ by more, give more.

Holidays that move over the calendar (Easter, Ramadan) must be given as a factor. What was special in the same season a year ago, such as
another campaign, is taken for usual: the check "the years before" shows how it stood out.

References
----------
Harvey (1989), Forecasting, structural time series models and the Kalman filter, 2.4, for seasonal differences; the series of differences
is `StructuralSeries`' (Brodersen, Gallusser, Koehler, Remy and Scott 2015) with ``drift="learned"``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.causal.checks import Check
from liftwise.models.causal.lift import Lift
from liftwise.models.causal.structural import StructuralSeries, Window, draws_lift, read_factors, read_window, window_check

YEARS = 3  # before the campaign's, at most: a season longer ago is another one
LEAST_GROWTH = 12  # periods before the start that have a year before them: fewer tell neither growth nor its noise
SWING = 0.15


class YearOnYear:
    """The effect of a campaign that ran everywhere, against the same season of the years before.

    Parameters
    ----------
    swing : standard deviation of how much a year's season differs from the usual one, as a share of the season's own (logarithmic) size.
    seed, draws : of the future; p-values and intervals are theirs.

    Examples
    --------
    >>> weeks = pd.date_range("2024-01-01", periods=104, freq="W-MON")
    >>> season = 0.5 * (weeks.isocalendar().week.to_numpy(float) > 46) + 0.01 * spawn(1, "example").normal(size=104)
    >>> sales = pd.Series(1000 * np.exp(season), index=weeks, name="sales")
    >>> lift = YearOnYear().estimate(sales, start="2025-11-24")
    >>> low, high = lift.interval(0.90)
    >>> bool(low < 0 < high)
    True
    """

    method = "year_on_year"

    def __init__(self, *, swing: float = SWING, seed: int = 7, draws: int = 1000) -> None:
        if not 0 <= swing <= 1:
            raise InputError(f"a swing of {swing} is no share", fix="give one between 0 and 1, such as 0.15")
        self.swing, self.seed, self.draws = swing, seed, draws

    def estimate(self, series: pd.Series, factors: pd.DataFrame | None = None, *, start: Any, end: Any = None) -> Lift:
        """Estimate the effect from the period holding `start` to the one holding `end` (default: the last).

        Parameters
        ----------
        series : outcome above 0 by date, in days, weeks, months or quarters.
        factors : by period, such as the campaign does not move, known in all periods of the series.

        Raises
        ------
        InputError
            For dates outside the series, an index without dates, or factors with other periods or with holes.
        CannotTell
            With less before the start than a year and 12 periods, missing periods, or periods of no sales.
        """
        window = read_window(series, start, end)
        lags = _lags(window)
        if (window.amounts <= 0).any():
            raise CannotTell(f"{window.name} has periods of 0 or less", fix="sum it over longer periods")
        known, left_out = read_factors(factors, window)
        logs, first = np.log(window.amounts), lags[-1]
        usual = _same_season(logs[:, None], lags)[:, 0]
        growth = pd.Series(logs[first:] - usual, index=window.periods[first:], name=window.name)
        told = [] if factors is None else [str(name) for name in factors.columns if name not in left_out]
        moves = pd.DataFrame(known[first:] - _same_season(known, lags), index=growth.index, columns=pd.Index(told))
        model = StructuralSeries(drift="learned", seed=self.seed, draws=self.draws)
        drawn = model.draw(growth, moves if told else None, start=window.periods[window.first], end=window.periods[-1])
        pre = window.first - first
        season = usual - logs[window.first - lags[0] : window.first].mean()
        swing = self.swing * np.sqrt(1 + 1 / len(lags)) * spawn(self.seed, "swing").standard_normal((self.draws, 1))
        future = np.exp(usual[pre:] + drawn.future + swing * season[pre:])
        would = np.concatenate([np.full(first, np.nan), np.exp(usual[:pre] + drawn.fitted), future.mean(axis=0)])
        checks = (*drawn.checks, _before(growth, season, pre, lags, self.swing), window_check(window))
        return draws_lift(window, would, future, self.method, checks)


def _lags(window: Window) -> list[int]:
    """How many periods ago the same season was, one year, two years ago…: as many years as leave half a year of growth before the start."""
    if window.periods.dtype.kind != "M":
        raise InputError("periods that are no dates have no year", fix="give dates as index")
    step = float(np.median(np.diff(window.periods.to_numpy())) / np.timedelta64(1, "D"))
    whole = 7 if step < 1.5 else 1  # days: whole weeks, so that each is compared with its own weekday
    year = 365.25 / step / whole
    lags = [whole * round(year * back) for back in range(1, YEARS + 1)]
    if window.first < lags[0] + LEAST_GROWTH:
        raise CannotTell(
            f"{window.first} periods before the start hold no earlier year to compare with: the season cannot be told from the campaign",
            fix=f"deliver at least {lags[0] + LEAST_GROWTH}, or run it in some regions first",
        )
    if len(window.during) > lags[0]:
        raise CannotTell("it lasts longer than a year: the year before is part of it", fix="judge its first year")
    return [lags[0], *(lag for lag in lags[1:] if window.first >= lag + lags[0] // 2)]


def _same_season(columns: Floats, lags: list[int]) -> Floats:
    """Mean of columns (n, c) in the same season of the years before, from the first period that has all of them, (n − last lag, c)."""
    n, first = len(columns), lags[-1]
    return np.mean([columns[first - lag : n - lag] for lag in lags], axis=0)


def _before(growth: pd.Series, season: Floats, pre: int, lags: list[int], swing: float) -> Check:
    """How the same weeks stood out in the years before, and what is assumed of it."""
    size, years = float(np.expm1(season[pre:].mean())), "the year" if len(lags) == 1 else f"the {len(lags)} years"
    beside = "above" if size >= 0 else "below"
    sentence = (
        f"In {years} before, the same season was {abs(size):.0%} {beside} a mean period; that it differs by {swing:.0%} of itself from year to "
        "year is assumed."
    )
    table = pd.DataFrame({"period": growth.index, "growth": growth.to_numpy(), "season": season})
    return Check("the years before", "warn" if len(lags) == 1 and abs(size) > 0.15 else "ok", sentence, table)
