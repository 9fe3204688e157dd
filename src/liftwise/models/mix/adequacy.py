"""Can these data carry a mix? Asked before anything is fitted; every finding says what to do.

Variance inflation: 1/(1 − R²) of a channel's spend on all others, trend and season (Belsley, Kuh & Welsch 1980). Above `INFLATED` what a
channel adds cannot be told from what others add, however good the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats
from liftwise.models.mix.design import Design

INFLATED = 10.0
TINY = 0.005  # share of all media money
STILL = 0.15  # coefficient of variation below which spend hardly moves
THIN = 3.0  # periods for each parameter
SHIFT = 5.0  # times by which the level of revenue may jump between two halves


@dataclass(frozen=True)
class Adequacy:
    """channels : a row a channel (channel, share of money, variation, active share of periods, inflation). findings : one line each."""

    channels: pd.DataFrame
    per_parameter: float
    findings: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """A row a channel."""
        return self.channels

    def summary(self) -> str:
        """For a manager."""
        return " ".join(self.findings) if self.findings else "The data can carry a mix of these channels."


def adequacy(weekly: pd.DataFrame, *, holdout: int = 26, per_year: float = 52.18) -> Adequacy:
    """Look at table `weekly` as a mix would.

    Raises
    ------
    CannotTell, InputError
        What `Design.of` refuses.
    """
    design = Design.of(weekly, holdout)
    base, _, _ = design.base(per_year)
    spend = np.stack([x.ravel() for x in design.scaled().values()], axis=1)
    money = np.array([x.sum() for x in design.spend.values()])
    variation = np.array([x.sum(axis=0).std() / x.sum(axis=0).mean() for x in design.spend.values()])
    active = np.array([(x.sum(axis=0) > 0).mean() for x in design.spend.values()])
    table = pd.DataFrame({"channel": design.channels, "share": money / money.sum(), "variation": variation, "active": active,
                          "inflation": inflation(spend, np.nan_to_num(base))})  # fmt: skip
    per_parameter = design.target.size / (base.shape[1] + 4 * len(money))  # effect, carry-over, half-saturation and shape of each
    said = list(design.notes)
    for row in table.itertuples():
        if row.inflation > INFLATED:
            said.append(
                f"{row.channel} moves with the other channels and the season (variance inflation {row.inflation:,.0f}): vary it on its own, "
                f"or run a test by region; that would tell its effect apart"
            )
        if row.share < TINY:
            said.append(f"{row.channel} has {row.share:.1%} of the money: join it with a channel like it")
        if row.variation < STILL:
            said.append(
                f"{row.channel} hardly changes (by {row.variation:.0%}): pause or double it for four periods to learn its effect"
            )
    if per_parameter < THIN:
        said.append(f"{per_parameter:.1f} periods for each parameter: join channels, or add history or regions")
    said += units(design) + gaps(design)
    return Adequacy(table, per_parameter, tuple(said))


def inflation(spend: Floats, base: Floats) -> Floats:
    """Variance inflation of each column of `spend` beside the others and `base`."""
    out = np.empty(spend.shape[1])
    for k in range(spend.shape[1]):
        others = np.column_stack([base, np.delete(spend, k, axis=1)])
        left = spend[:, k] - others @ (np.linalg.pinv(others, rcond=1e-8) @ spend[:, k])
        out[k] = ((spend[:, k] - spend[:, k].mean()) ** 2).sum() / max(float(left @ left), 1e-12)
    return out


def units(design: Design) -> list[str]:
    """A jump of revenue or spend from one period to the next that only another unit or currency explains."""
    said = []
    series = {"revenue": np.nansum(design.target, axis=0), **{name: x.sum(axis=0) for name, x in design.spend.items()}}
    for name, total in series.items():
        found = jump(total)
        if found is not None:
            at, times = found
            said.append(
                f"{name} is {times:,.0f} times as large from {design.weeks[at].date()} on: were cents and euros, or two currencies, mixed? "
                "Convert one side, then measure again"
            )
    return said


def jump(total: Floats) -> tuple[int, float] | None:
    """(index, factor) of a lasting change of level by more than `SHIFT`, at which hardly any value of one side reaches the other's."""
    logs = np.log(np.where(total > 0, total, np.nan))
    best: tuple[float, int] | None = None
    for at in range(8, len(logs) - 8):
        before, after = logs[:at][~np.isnan(logs[:at])], logs[at:][~np.isnan(logs[at:])]
        if min(len(before), len(after)) < 8:
            continue
        step = float(np.median(after) - np.median(before))
        apart = min(np.min(after) - np.max(before), 0.0) if step > 0 else min(np.min(before) - np.max(after), 0.0)
        if abs(step) > np.log(SHIFT) and apart == 0.0 and (best is None or abs(step) > abs(best[0])):
            best = (step, at)
    return None if best is None else (best[1], float(np.exp(best[0])))


def gaps(design: Design) -> list[str]:
    """Periods that are missing from the calendar: carry-over would leap over them."""
    steps = np.diff(design.weeks.to_numpy()).astype("timedelta64[D]").astype(int)
    usual = int(np.median(steps))
    missing = [design.weeks[k].date() for k in range(len(steps)) if steps[k] > 1.5 * usual]
    if not missing:
        return []
    return [f"periods are missing after {', '.join(map(str, missing[:3]))}: deliver them, or carry-over leaps over the gap"]
