"""The design of a mix: table `weekly` as arrays, everything relative to its region's mean revenue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.transforms import fourier
from liftwise.core.uncertainty import Floats

FEWEST = 30  # periods
SPARSE = 0.25  # a control missing in more rows than this is left out
ALIKE = 0.95


@dataclass(frozen=True)
class Design:
    """Arrays of shape (regions, weeks); NaN target = not observed.

    spend : channel → money. controls : name → value. size : mean revenue of each region. notes : what a reader should know.
    """

    weeks: pd.DatetimeIndex
    regions: tuple[str, ...]
    target: Floats
    spend: dict[str, Floats]
    controls: dict[str, Floats]
    size: Floats
    notes: tuple[str, ...]

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels that can be told from the baseline."""
        return tuple(self.spend)

    @classmethod
    def of(cls, weekly: pd.DataFrame, holdout: int) -> Design:
        """From table `weekly`.

        Raises
        ------
        CannotTell
            With fewer than 30 periods, more columns than periods, no target that moves, or no channel that does.
        InputError
            With negative spend.
        """
        wide = {str(role): part for role, part in weekly.groupby("role")}
        if "target" not in wide:
            raise CannotTell("there is no revenue to explain", fix="deliver sales")
        target = wide["target"].pivot_table(index="region", columns="week", values="value", aggfunc="sum")
        weeks, regions = pd.DatetimeIndex(target.columns), tuple(map(str, target.index))
        if len(weeks) < FEWEST:
            raise CannotTell(f"{len(weeks)} periods of revenue; a mix needs {FEWEST}", fix="deliver a longer history")
        values = target.to_numpy(dtype=float)
        if not np.nanstd(values) > 0:
            raise CannotTell("revenue never changes", fix="check the sales table")
        notes: list[str] = []
        spend = _channels(wide.get("channel"), target, holdout, notes)
        controls = _controls(wide.get("control"), target, notes)
        if len(spend) + len(controls) + 8 > len(weeks):
            raise CannotTell(
                f"{len(spend)} channels and {len(controls)} controls on {len(weeks)} periods", fix="join channels or add history"
            )
        return cls(weeks, regions, values, spend, controls, np.nanmean(values, axis=1), tuple(notes))

    @property
    def relative(self) -> Floats:
        """Target by region's size."""
        return self.target / self.size[:, None]

    def base(self, per_year: float) -> tuple[Floats, tuple[str, ...], Floats]:
        """Columns of everything but media, (regions·weeks, columns), their parts (baseline or outside), and which rows are whole."""
        n, t = self.target.shape
        clock = np.arange(t)
        season = (
            np.tile(fourier(clock.astype(float), per_year, 2 if per_year > 4 else 1), (n, 1))
            if per_year > 1
            else np.empty((n * t, 0))
        )
        trend = np.tile(clock / t - 0.5, n)
        region = np.kron(np.eye(n), np.ones((t, 1)))
        outside = [_standard(values).ravel() for values in self.controls.values()]
        columns = np.column_stack([region, trend, season, *outside])
        parts = ("baseline",) * (columns.shape[1] - len(outside)) + ("outside",) * len(outside)
        return columns, parts, np.isfinite(columns).all(axis=1) & np.isfinite(self.target).ravel()

    def scaled(self) -> dict[str, Floats]:
        """Spend by region's size, in units of its mean over all: 1 is usual."""
        out = {}
        for name, money in self.spend.items():
            by_size = money / self.size[:, None]
            out[name] = by_size / by_size.mean()
        return out


def _channels(part: pd.DataFrame | None, target: pd.DataFrame, holdout: int, notes: list[str]) -> dict[str, Floats]:
    if part is None or part.empty:
        raise CannotTell("there is no media spend", fix="deliver a spend table")
    if (part["value"] < 0).any():
        row = part[part["value"] < 0].iloc[0]
        raise InputError(
            f"negative spend of {row['name']} in {row['week'].date()}", where="weekly", fix="book refunds where they belong"
        )
    spend: dict[str, Floats] = {}
    for name, group in part.groupby("name"):
        wide = group.pivot_table(index="region", columns="week", values="value", aggfunc="sum").reindex_like(target).fillna(0.0)
        money = wide.to_numpy(dtype=float)
        if not money.std() > 1e-9 * max(money.mean(), 1e-9):
            notes.append(f"{name} never changes, so its effect cannot be told from the baseline; it is left out")
            continue
        if not money[:, :-holdout].any():
            notes.append(f"{name} ran only in the hold-out: nothing could be learned of it before; it is left out")
            continue
        spend[str(name)] = money
    if not spend:
        raise CannotTell("no channel's spend changes", fix="vary spend over time or regions, or run a lift test")
    flat = pd.DataFrame({name: money.ravel() for name, money in spend.items()}).corr()
    for i, one in enumerate(flat):
        for other in list(flat)[i + 1 :]:
            if flat.loc[one, other] > ALIKE:
                notes.append(f"{one} and {other} move together ({flat.loc[one, other]:.2f}): only their sum can be told")
    return spend


def _controls(part: pd.DataFrame | None, target: pd.DataFrame, notes: list[str]) -> dict[str, Floats]:
    controls: dict[str, Floats] = {}
    for name, group in part.groupby("name") if part is not None else []:
        values = group.pivot_table(index="region", columns="week", values="value").reindex_like(target).to_numpy(dtype=float)
        if np.isnan(values).mean() > SPARSE:
            notes.append(f"{name} is missing in {np.isnan(values).mean():.0%} of the periods; it is left out")
        elif np.nanstd(values) > 0:
            controls[str(name)] = values
    return controls


def _standard(values: Floats) -> Floats:
    return (values - np.nanmean(values)) / np.nanstd(values)
