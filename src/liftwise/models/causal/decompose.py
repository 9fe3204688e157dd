"""Decomposition: trend, season, events, campaigns and the rest, which sum to what was sold.

The baseline is learned from the periods outside campaigns alone, by least squares with two penalties: on bends of the trend (Whittaker,
as in Hodrick and Prescott, but with gaps) and on the size of the seasonal and other effects. In a campaign's periods the trend passes below
it, and the campaign's part is what was sold less trend, season and events: it can neither leak into the trend nor hide in it. Outside, the
rest is residual; in a campaign's periods nothing is left, for there campaign and chance cannot be told apart (an estimate with
doubt is `BaselineEnsemble.estimate` or a design with donors).

The equations are the same in every region with the same campaigns, so one factorisation serves them all. How smooth the trend is, is chosen
by leaving out blocks of periods, as long as the campaigns, and predicting them: the gap to be bridged is the one judged by.

References
----------
Whittaker (1923), Proc. Edinburgh Math. Soc. 41; Hodrick and Prescott (1997), JMCB 29(1); Eilers (2003), Analytical Chemistry 75(14), for
weights of 0; Cleveland et al. (1990), Journal of Official Statistics 6(1), for the idea of the parts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell, InputError, TableError
from liftwise.core.uncertainty import Floats
from liftwise.models.causal.baseline import season_of
from liftwise.models.causal.panel import Panel
from liftwise.models.causal.structural import read_series
from liftwise.models.causal.words import amount

if TYPE_CHECKING:
    import plotly.graph_objects as go

LEAST = 12  # periods outside campaigns
PARTS = ("trend", "seasonal", "event", "campaign", "residual")
SMOOTHNESS = 10.0 ** np.arange(0, 8)  # λ, from a trend that follows every quarter to nearly a straight line
RIDGE = 0.1  # worth of the guess "no effect" for a seasonal, event or factor effect, in periods
BLOCKS = 8  # at most, left out to choose λ

Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Components:
    """The parts of every region and period, (regions, periods) each; they sum to `actual`.

    outside : the part of `trend` that the factors moved.
    active : where a campaign ran.
    smoothness : λ chosen, by region; notes : what could not be told apart, or was left out.
    """

    regions: tuple[str, ...]
    periods: pd.Index = field(repr=False)
    actual: Floats = field(repr=False)
    trend: Floats = field(repr=False)
    seasonal: Floats = field(repr=False)
    event: Floats = field(repr=False)
    campaign: Floats = field(repr=False)
    residual: Floats = field(repr=False)
    outside: Floats = field(repr=False)
    active: Flags = field(repr=False)
    smoothness: Floats = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def baseline(self) -> Floats:
        """What would have been sold without campaigns: trend, season and events."""
        return self.trend + self.seasonal + self.event

    def to_frame(self) -> pd.DataFrame:
        """Table `components`."""
        weeks = len(self.periods)
        frame = pd.DataFrame({"week": np.tile(self.periods, len(self.regions)), "region": np.repeat(self.regions, weeks)})
        return frame.assign(**{part: getattr(self, part).ravel() for part in PARTS})

    def summary(self) -> str:
        """One sentence for a manager."""
        total, part = float(self.actual[self.active].sum()), float(self.campaign.sum())
        if not self.active.any():
            return f"No campaign ran; season and events moved {len(self.regions)} regions around their trend."
        more = "above" if part >= 0 else "below"
        share = f" ({abs(part) / abs(total):.1%} of what was sold then)" if total else ""
        return f"While campaigns ran, sales lay {amount(abs(part))} {more} their baseline{share}." + "".join(
            f" {n}" for n in self.notes
        )

    def plot(self, region: str | None = None) -> go.Figure:
        """Parts of one region, or of all together."""
        import plotly.graph_objects as go

        if region is not None and region not in self.regions:
            raise InputError(f"there is no region {region!r}", fix=f"choose from {', '.join(self.regions[:8])}")
        rows = list(range(len(self.regions))) if region is None else [self.regions.index(region)]
        figure = go.Figure()
        base, lifted = self.baseline[rows].sum(axis=0), self.campaign[rows].sum(axis=0)
        figure.add_scatter(x=self.periods, y=self.trend[rows].sum(axis=0), name="trend", line={"color": "#8a94a0", "dash": "dot"})
        figure.add_scatter(x=self.periods, y=base, name="baseline", line={"color": "#2f6f9f"})
        figure.add_scatter(x=self.periods, y=base + lifted, name="campaign", fill="tonexty", line={"width": 0})
        figure.add_scatter(x=self.periods, y=self.actual[rows].sum(axis=0), name="actual", line={"color": "#1f2933"})
        return figure.update_layout(template="plotly_white", hovermode="x unified", title=region or "all regions")


def decompose(
    sales: Panel | pd.Series, campaigns: pd.DataFrame | None = None, events: pd.DataFrame | None = None,
    factors: pd.DataFrame | None = None, *, season: int | None = None, after: int = 0,
) -> Components:  # fmt: skip
    """Split what was sold into its parts.

    Parameters
    ----------
    sales : a panel by region (or any unit), or one series.
    campaigns : columns starts_on, ends_on and perhaps regions (names joined by ``;``, empty: everywhere), as in table `campaigns`.
    events : columns name, date and perhaps ends_on and regions; a name that comes again (a feast) has the same effect each time.
    factors : outside factors by period, the same for all regions, known in all periods; what they move is in the trend.
    season : periods after which the pattern repeats; None: 7 for days, 52 for weeks, 12 for months, where seen twice.
    after : periods after each campaign that still belong to it.

    Raises
    ------
    InputError
        For dates that are none, unknown regions, or factors with holes.
    CannotTell
        With fewer than 12 periods outside campaigns in a region, or sales that never move.
    """
    panel = read_series(sales) if isinstance(sales, pd.Series) else sales
    _moves(panel)
    active = _windows(panel, campaigns, "starts_on", "ends_on", after).any(axis=0)
    free = (~active).sum(axis=1)
    if (free < LEAST).any():
        where = panel.units[int(np.argmin(free))]
        raise CannotTell(
            f"{where} has {free.min()} periods without a campaign", fix=f"deliver at least {LEAST} outside campaigns"
        )
    period, lost = _season(panel, season)
    names, events_at = _events(panel, events)
    outside = _factors(panel, factors)
    notes = [f"A season of {lost} periods has not been seen twice, so none is told."] if lost else []
    hidden = [n for n, at in zip(names, events_at, strict=True) if (at & active).any() and not (at & ~active).any()]
    if hidden:
        notes.append(f"Not separable from the campaign, as they fell together: {', '.join(hidden)}.")
    parts = _solve_all(panel.matrix, active, period, events_at, outside)
    return Components(panel.units, panel.periods, panel.matrix, *parts, notes=tuple(notes))


# --- reading


def _moves(panel: Panel) -> None:
    for name, row in zip(panel.units, panel.matrix, strict=True):
        if not row.any():
            raise CannotTell(f"{name} is zero in all periods", fix="leave the region out, or check the data")
        if np.ptp(row) <= 1e-12 * np.abs(row).max():
            raise CannotTell(f"{name} never moves", fix="leave the region out, or check the data")


def _windows(panel: Panel, frame: pd.DataFrame | None, first: str, last: str, after: int = 0) -> Flags:
    """(rows, regions, periods) where each row of `frame` ran; (1, …) of nothing where there is none."""
    n = len(panel.periods)
    if frame is None or frame.empty:
        return np.zeros((1, len(panel.units), n), dtype=bool)
    absent = [column for column in (first,) if column not in frame.columns]
    if absent:
        raise TableError(
            f"missing column {', '.join(absent)}", where="decompose", fix=f"there are {', '.join(map(str, frame.columns))}"
        )
    marks = np.zeros((len(frame), len(panel.units), n), dtype=bool)
    for k, row in enumerate(frame.to_dict("records")):
        ends = row[first] if last not in row or pd.isna(row[last]) else row[last]
        begin, end = panel.position(row[first]), panel.position(ends)
        if end < begin:
            raise InputError(f"the end {str(ends)[:10]} comes before the start {str(row[first])[:10]}", fix="swap them")
        if end < 0 or panel.ends_before(row[first]):
            continue  # before or after the data
        where = row.get("regions")
        named = [] if where is None or pd.isna(where) else [name.strip() for name in str(where).split(";") if name.strip()]
        rows = panel.rows(named) if named and named != ["all"] else list(range(len(panel.units)))
        marks[k, rows, max(begin, 0) : end + 1 + after] = True
    return marks


def _events(panel: Panel, events: pd.DataFrame | None) -> tuple[list[str], Flags]:
    """Names, and (names, regions, periods) where each took place."""
    marks = _windows(panel, events, "date", "ends_on")
    if events is None or events.empty:
        return [], marks[:0]
    labels = events["name"].astype("str").to_numpy() if "name" in events else np.array(["event"] * len(events))
    names = sorted(set(labels))
    return names, np.stack([marks[labels == name].any(axis=0) for name in names])


def _factors(panel: Panel, factors: pd.DataFrame | None) -> Floats:
    """(periods, q), standardised; those that never move are left out."""
    if factors is None or not factors.shape[1]:
        return np.empty((len(panel.periods), 0))
    index = pd.to_datetime(factors.index) if isinstance(panel.periods, pd.DatetimeIndex) else factors.index
    rows = factors.set_axis(index).reindex(panel.periods)
    if rows.isna().any(axis=None):
        holed = rows.columns[rows.isna().any()][0]
        raise InputError(f"factor {holed!r} has no number in some period", fix="give every factor in every period")
    values = rows.to_numpy(float)
    values = values[:, np.ptp(values, axis=0) > 0]
    return (values - values.mean(axis=0)) / values.std(axis=0) if values.shape[1] else values


def _season(panel: Panel, season: int | None) -> tuple[int, int]:
    """The season used and, where it had to be left out, the one wanted."""
    if season is not None and season < 2:
        raise InputError(f"a season of {season} periods does not repeat", fix="give 2 or more, or None")
    wanted = season_of(panel.periods) if season is None else season
    seen = len(panel.periods) >= 2 * wanted
    return (wanted, 0) if seen else (0, wanted)


# --- solving


def _solve_all(y: Floats, active: Flags, season: int, events: Flags, outside: Floats) -> tuple[Floats, ...]:
    """Parts of all regions; those that share windows and events are solved together."""
    parts = np.zeros((6, *y.shape))  # trend, seasonal, event, campaign, residual, outside
    smoothness = np.zeros(len(y))
    marks = np.concatenate([active[None], events]).transpose(1, 0, 2).reshape(len(y), -1)
    groups = np.unique(marks, axis=0, return_inverse=True)[1].ravel()
    for group in range(groups.max() + 1):
        rows = np.flatnonzero(groups == group)
        free = ~active[rows[0]]
        design, sizes = _design(season, events[:, rows[0]], outside)
        chosen, smoothness[rows] = _fit(y[rows], free, design)
        trend, effects = chosen[:, : y.shape[1]], chosen[:, y.shape[1] :]
        cuts = np.cumsum([0, *sizes])
        shown = [effects[:, a:b] @ design[:, a:b].T for a, b in pairwise(cuts)]
        parts[0, rows], parts[1, rows], parts[2, rows], parts[5, rows] = trend + shown[2], shown[0], shown[1], shown[2]
    left = y - parts[:3].sum(axis=0)
    parts[3], parts[4] = np.where(active, left, 0.0), np.where(active, 0.0, left)
    return (*parts, active, smoothness)


def _design(season: int, events: Flags, outside: Floats) -> tuple[Floats, tuple[int, int, int]]:
    """(periods, q): season, events, factors; and how many columns each has.

    A long season is told by its first six waves: 52 free effects would take two looks at each for the whole.
    """
    t = np.arange(len(outside))
    waves = np.arange(1, min(season // 2, 6) + 1)
    turns = 2 * np.pi * np.outer(t, waves) / max(season, 1)
    pattern = np.hstack([np.sin(turns), np.cos(turns)])
    pattern = pattern[:, np.ptp(pattern, axis=0) > 1e-9]  # the sine of two periods is 0
    happened = events.T.astype(float)
    return np.hstack([pattern, happened, outside]), (pattern.shape[1], happened.shape[1], outside.shape[1])


def _fit(y: Floats, free: Flags, design: Floats) -> tuple[Floats, Floats]:
    """Trend and effects (regions, periods + q) at the λ that bridges gaps best, and that λ by region."""
    held = _blocks(free)
    errors = np.zeros((len(SMOOTHNESS), len(y)))
    for row, weight in enumerate(SMOOTHNESS):
        for block in held:
            kept = free.copy()
            kept[block] = False
            found = _solve(y, kept, design, weight)
            made = found[:, : y.shape[1]] + found[:, y.shape[1] :] @ design.T
            errors[row] += ((y - made)[:, block] ** 2).sum(axis=1)
    best = errors.argmin(axis=0)
    result = np.empty((len(y), y.shape[1] + design.shape[1]))
    for row in np.unique(best):
        result[best == row] = _solve(y[best == row], free, design, SMOOTHNESS[row])
    return result, SMOOTHNESS[best]


def _blocks(free: Flags) -> list[NDArray[np.intp]]:
    """Periods outside campaigns left out in turn: inner ones, as long as the campaigns in the middle, at least 4."""
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[True], free, [True]]).astype(int))))[::2]
    length = int(np.clip(np.median(runs) if len(runs) else 4, 4, max(4, free.sum() // 6)))
    open_ = np.flatnonzero(free)
    starts = np.unique(np.linspace(2, max(len(open_) - length - 2, 2), BLOCKS).round().astype(int))
    return [open_[start : start + length] for start in starts]


def _solve(y: Floats, kept: Flags, design: Floats, smoothness: float) -> Floats:
    """Minimise Σ_kept (y − trend − design·effects)² + λ Σ (second differences of the trend)² + ridge; (regions, periods + q).

    The trend is eliminated by its banded matrix (kept + λ D'D), so the work grows with the periods and not with their cube.
    """
    from scipy.linalg import cho_solve_banded, cholesky_banded

    n, q = y.shape[1], design.shape[1]
    band = np.zeros((3, n))  # lower band of λ D'D
    for shift, inner in ((0, (1.0, 4.0, 1.0)), (1, (-2.0, -2.0)), (2, (1.0,))):
        for start, value in enumerate(inner):
            band[shift, start : start + n - 2] += smoothness * value
    band[0] += kept + 1e-9
    factor = (cholesky_banded(band, lower=True), True)
    masked = design * kept[:, None]
    through = cho_solve_banded(factor, masked)  # (n, q)
    right = y * kept
    alone = cho_solve_banded(factor, right.T)  # (n, regions)
    normal = design.T @ masked - masked.T @ through + RIDGE * np.eye(q)
    effects = np.linalg.solve(normal, design.T @ right.T - masked.T @ alone) if q else np.zeros((0, len(y)))
    return np.concatenate([alone - through @ effects, effects]).T
