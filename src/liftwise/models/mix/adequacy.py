"""Can these data carry a mix? Asked before anything is fitted; every finding says what to do.

Variance inflation: 1/(1 − R²) of a channel's spend on all others, trend and season (Belsley, Kuh & Welsch 1980). Above `INFLATED` what a
channel adds cannot be told from what others add, however good the model.

What a test would add is a rough sum of variances. The error of a channel's effect is that of a least-squares fit of spend, carried over by one
half-life for all; a test that doubles the channel's spend for `TEST` periods in half of the market compares the two halves, whose errors are
each √2 as large as the market's and independent. Its error and the data's add as precisions.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats
from liftwise.models.mix.design import Design

INFLATED = 10.0
TINY = 0.005  # share of all media money
STILL = 0.15  # coefficient of variation below which spend hardly moves
THIN = 3.0  # periods for each parameter
SHIFT = 1.8  # times by which a level may jump between two halves
FAR = 5.0  # times above which only another unit explains it
SHARES = (0.003, 1.0)  # of revenue that media money usually is
COARSE = 0.5  # share of running periods in which spend is to the cent that of the period before
TEST = 8  # periods of the test that is thought of
RETAINED = 0.5  # carry-over where none has been fitted


@dataclass(frozen=True)
class Adequacy:
    """channels : a row a channel: share of money, variation, active share of periods, inflation, error (of its effect, in the effect's own
    size if it brings its share of what all media bring; 1 is nothing known), tested (the same after a test). findings : one line each; kinds :
    what each is about.
    """

    channels: pd.DataFrame
    per_parameter: float
    findings: tuple[str, ...]
    kinds: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """A row a channel."""
        return self.channels

    def worth_testing(self, known: Collection[str] = ()) -> str:
        """Which channel a test would teach most about, and how much; those `known` from tests are past that, and "" when all are."""
        open_ = self.channels[~self.channels["channel"].isin(list(known))]
        if open_.empty:
            return ""
        row = open_.loc[((open_["error"] - open_["tested"]) * open_["share"]).idxmax()]
        return (
            f"A test is worth most for {row['channel']}: {TEST} periods of doubled spend in half of the market would narrow what is known of its effect "
            f"from ±{row['error']:.0%} to about ±{row['tested']:.0%}."
        )

    def summary(self) -> str:
        """For a manager."""
        return (
            (" ".join(self.findings) if self.findings else "The data can carry a mix of these channels.")
            + " "
            + self.worth_testing()
        )


def adequacy(weekly: pd.DataFrame, *, holdout: int = 26, per_year: float = 52.18) -> Adequacy:
    """Look at table `weekly` as a mix would.

    Raises
    ------
    CannotTell, InputError
        What `Design.of` refuses.
    """
    design = Design.of(weekly, holdout)
    base, _, whole = design.base(per_year)
    base = np.nan_to_num(base)
    spend = np.stack([x.ravel() for x in design.scaled().values()], axis=1)
    money = np.array([x.sum() for x in design.spend.values()])
    variation = np.array([x.sum(axis=0).std() / x.sum(axis=0).mean() for x in design.spend.values()])
    active = np.array([(x.sum(axis=0) > 0).mean() for x in design.spend.values()])
    error, tested = knowledge(design, base, whole)
    table = pd.DataFrame({"channel": design.channels, "share": money / money.sum(), "variation": variation, "active": active,
                          "inflation": inflation(spend, base), "error": error, "tested": tested})  # fmt: skip
    per_parameter = whole.sum() / (base.shape[1] + 4 * len(money))  # effect, carry-over, half-saturation and shape of each
    said = [("design", note) for note in design.notes]
    for row in table.itertuples():
        if row.inflation > INFLATED:
            said.append((
                "collinear",
                f"{row.channel} moves with the other channels and the season (variance inflation {row.inflation:,.0f}): vary it on its own, "
                f"or run a test by region; that would tell its effect apart",
            ))  # fmt: skip
        if row.share < TINY:
            said.append(("tiny", f"{row.channel} has {row.share:.1%} of the money: join it with a channel like it"))
        if row.variation < STILL:
            said.append((
                "still",
                f"{row.channel} hardly changes (by {row.variation:.0%}): pause or double it for four periods to learn its effect",
            ))  # fmt: skip
    if per_parameter < THIN:
        said.append(
            (
                "controls",
                f"{per_parameter:.1f} periods for each parameter: join channels, drop controls, or add history or regions",
            )
        )
    said += units(design) + gaps(design) + coarse(design)
    return Adequacy(table, float(per_parameter), tuple(line for _, line in said), tuple(kind for kind, _ in said))


def inflation(spend: Floats, base: Floats) -> Floats:
    """Variance inflation of each column of `spend` beside the others and `base`."""
    out = np.empty(spend.shape[1])
    for k in range(spend.shape[1]):
        others = np.column_stack([base, np.delete(spend, k, axis=1)])
        left = spend[:, k] - others @ (np.linalg.pinv(others, rcond=1e-8) @ spend[:, k])
        out[k] = ((spend[:, k] - spend[:, k].mean()) ** 2).sum() / max(float(left @ left), 1e-12)
    return out


def knowledge(design: Design, base: Floats, whole: np.ndarray) -> tuple[Floats, Floats]:
    """Relative error of each channel's effect from the data, and with a test, (channels,); at most 1 where next to nothing is known."""
    weight = (1 - RETAINED) * RETAINED ** np.arange(13)
    scaled = np.array(list(design.scaled().values()))
    carried = np.apply_along_axis(lambda x: np.convolve(x, weight)[: len(x)], 2, scaled).reshape(len(scaled), -1).T
    columns = np.column_stack([base, carried])[whole]
    y = np.nan_to_num(design.relative.ravel())[whole]
    inverse = np.linalg.pinv(columns.T @ columns, rcond=1e-10, hermitian=True)
    beta = inverse @ (columns.T @ y)
    noise = ((y - columns @ beta) ** 2).sum() / max(len(y) - np.linalg.matrix_rank(columns), 1)
    k, n = len(scaled), design.target.shape[0]
    found, money = np.maximum(beta[-k:], 0.0), np.array([x.sum() for x in design.spend.values()])
    usual = np.maximum(found.sum(), 0.02) * money / money.sum()  # what a channel brings if all money brings the same
    data = np.maximum(noise * np.diag(inverse)[-k:], 1e-12)
    # half of the market with the channel doubled, half as it was; both halves err by √2 of the market, whose regions' errors average out
    test = 4 * noise / n / TEST
    return np.minimum(np.sqrt(data) / usual, 1.0), np.minimum(np.sqrt(1 / (1 / data + 1 / test)) / usual, 1.0)


def units(design: Design) -> list[tuple[str, str]]:
    """Revenue and spend in units that cannot be meant: between the two, or from one period to the next."""
    said: list[tuple[str, str]] = []
    money = sum(float(x.sum()) for x in design.spend.values()) / float(np.nansum(design.target))
    if not SHARES[0] <= money <= SHARES[1]:
        said.append((
            "units",
            f"media money is {money:.2%} of revenue: are both in the same unit (cents, thousands) and currency? Convert one side; if they are, "
            "give priors in the tables' own scale",
        ))  # fmt: skip
    series = {"revenue": np.nansum(design.target, axis=0), **{name: x.sum(axis=0) for name, x in design.spend.items()}}
    for name, total in series.items():
        found = jump(total)
        if found is not None:
            at, times = found
            size = f"{times:,.0f} times" if times >= 2 * FAR else f"{times:.2g} times"
            said.append((
                "units",
                f"{name} is {size} as large from {design.weeks[at].date()} on: were cents and euros, or two currencies, mixed? Convert one "
                "side, then measure again" + ("" if not 1 / FAR < times < FAR else "; if the change is real, give a control that says so"),
            ))  # fmt: skip
    return said


def jump(total: Floats) -> tuple[int, float] | None:
    """(index, factor) of a lasting change of level from one period to the next that another unit or currency would explain.

    By more than `SHIFT` times, and several times what values vary by on either side; a step, not a slope: it leaves far less unexplained than a
    straight line does. Beyond `FAR` it is enough that hardly any value of one side reaches the other's.
    """
    logs = np.log(np.where(total > 0, total, np.nan))
    best: tuple[float, int, float] | None = None
    for at in range(8, len(logs) - 8):
        before, after = logs[:at][~np.isnan(logs[:at])], logs[at:][~np.isnan(logs[at:])]
        if min(len(before), len(after)) < 8:
            continue
        left = ((before - before.mean()) ** 2).sum() + ((after - after.mean()) ** 2).sum()
        if best is None or left < best[0]:
            best = (float(left), at, float(np.median(after) - np.median(before)))
    if best is None or abs(best[2]) < np.log(SHIFT):
        return None
    left, at, step = best
    before, after = logs[:at][~np.isnan(logs[:at])], logs[at:][~np.isnan(logs[at:])]
    apart = np.min(after) - np.max(before) if step > 0 else np.min(before) - np.max(after)
    known = np.flatnonzero(~np.isnan(logs))
    line = np.polyval(np.polyfit(known, logs[known], 1), known)
    spread = np.sqrt(left / max(len(known) - 2, 1))
    sharp = abs(step) > 2.5 * spread and left < 0.6 * ((logs[known] - line) ** 2).sum()
    return (at, float(np.exp(step))) if sharp or (abs(step) > np.log(FAR) and apart >= 0) else None


def gaps(design: Design) -> list[tuple[str, str]]:
    """Periods without revenue."""
    empty = np.isnan(design.target).all(axis=0)
    missing = [design.weeks[k].date() for k in range(len(empty) - 1) if empty[k + 1] and not empty[k]]
    if not missing:
        return []
    more = f" and {len(missing) - 3} more times" if len(missing) > 3 else ""
    return [("gaps", f"periods are missing after {', '.join(map(str, missing[:3]))}{more} ({int(empty.sum())} in all): deliver them; until then "
             "they are left out of the fit, and spend in them counts as it was delivered")]  # fmt: skip


def coarse(design: Design) -> list[tuple[str, str]]:
    """Spend that was booked by month and spread."""
    said: list[tuple[str, str]] = []
    for name, values in design.spend.items():
        money = values.sum(axis=0)
        running = (money[1:] > 0) & (money[:-1] > 0)
        if running.sum() >= 8 and (np.diff(money)[running] == 0).mean() > COARSE:
            said.append(("coarse spend", f"{name} is the same to the cent for periods on end: spend looks booked by month and spread; deliver it by the "
                         "week in which it ran, or carry-over cannot be told"))  # fmt: skip
    return said
