"""Conformal inference and placebos in time: how unusual the campaign's periods are beside the treated units' own others.

Conformal: suppose the effect were δ in every period judged; take it off, fit the design again on *all* periods, and see whether what is left
in the judged ones is larger than in the same number of others. With block permutations these others are every run of neighbouring
periods (the time is closed to a ring), so errors may follow one another; with ``"iid"`` they are drawn anywhere, which errors
that follow one another do not allow. Every δ that is not found unusual is in the interval.

The share p(δ) can rise again far from the estimate. The p-value told is the largest p of all δ as far from the estimate as no effect, or farther
on its side: never smaller than p(0), and then it and the interval say the same.

Placebo in time: the campaign is moved back by its own length, again and again; each time the design learns on what was
before. Effects over held-out errors are then draws around 0, and their size says how far to believe the true one.

References
----------
Chernozhukov, Wüthrich and Zhu (2021), JASA 116(536), §2 (statistic, permutations, inversion) and Theorem 1; Heckman and Hotz (1989), JASA
84(408), for pre-programme tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.causal.donors import DonorDesign, View
from liftwise.models.causal.inference import StudentTest
from liftwise.models.causal.lift import Lift
from liftwise.models.causal.panel import Panel
from liftwise.models.causal.question import LEAST_PRE, ask
from liftwise.models.causal.words import amount, chance

if TYPE_CHECKING:
    import plotly.graph_objects as go

STEPS, FINEST, GROWTH = 36, 0.25, 1.25  # δ tried on each side of the estimate: this many, from this share of its scale, growing
HALVINGS = 30  # of the step that holds an end
LEAST_WINDOWS = 4  # placebos in time: with 3 the 95 % interval is 1.6 times as wide as it need be
BLOCKS = 5  # of the time before, each predicted once from the others

Permutations = Literal["block", "iid"]


@dataclass(frozen=True, eq=False)
class Episode:
    """One target with its donors: target (t,), donors (n, t), covariates (n + 1, q), the first `pre` periods before the campaign.

    units : how many the target is the mean of.
    """

    design: DonorDesign
    target: Floats
    donors: Floats
    covariates: Floats
    pre: int
    units: int
    periods: pd.Index

    @classmethod
    def of(
        cls, design: DonorDesign, panel: Panel, treated: Sequence[str] | str, start: Any, end: Any, exclude: Sequence[str]
    ) -> Episode:
        question = ask(panel, treated, start, end, exclude)
        rows, size = [*question.treated, *question.donors], len(question.treated)
        values, known = panel.matrix[rows, : question.last + 1], design.covariates(panel, question)[rows]
        covariates = np.vstack([known[size:], known[:size].mean(axis=0)])
        when = panel.periods[: question.last + 1]
        return cls(design, values[:size].mean(axis=0), values[size:], covariates, question.first, size, when)

    @property
    def judged(self) -> int:
        """Periods of the campaign."""
        return len(self.target) - self.pre

    def gap(self, train: NDArray[np.intp], judge: NDArray[np.intp], less: float = 0.0) -> Floats:
        """Actual, `less` that in each period judged by the campaign, minus predicted, in periods `judge`."""
        target = self.target.copy()
        target[self.pre :] -= less
        made, _ = self.design.predict(View(self.donors, target, train, judge, self.covariates))
        return target[judge] - made

    def held(self, pre: int) -> float:
        """Root mean squared error of blocks of the first `pre` periods, each predicted from the other blocks."""
        blocks = np.array_split(np.arange(pre), BLOCKS)
        gaps = np.concatenate([self.gap(np.setdiff1d(np.arange(pre), block), block) for block in blocks])
        return max(float(np.sqrt(np.mean(gaps**2))), 1e-9 * float(np.abs(self.target[:pre]).mean()) + 1e-300)

    def only(self, k: int) -> Episode:
        """The time before, and period `k` alone."""
        keep = [*range(self.pre), k]
        return replace(self, target=self.target[keep], donors=self.donors[:, keep], periods=self.periods[keep])


@dataclass(frozen=True, eq=False)
class ConformalTest:
    """p(δ) by permuting what is left when δ is taken off; nothing is computed before it is asked for.

    others : (m, judged) periods compared with those judged, themselves in the first row; order : q of (Σ|u|^q)^(1/q).
    """

    episode: Episode = field(repr=False)
    others: NDArray[np.intp] = field(repr=False)
    order: float = 1.0

    @classmethod
    def of(cls, episode: Episode, permutations: Permutations, order: float, draws: int, seed: int) -> ConformalTest:
        t, judged = len(episode.target), episode.judged
        if permutations == "block":
            others = (episode.pre + np.arange(judged) + np.arange(t)[:, None]) % t
        else:
            random = spawn(seed, "conformal permutations")
            drawn = [random.permutation(t)[:judged] for _ in range(draws)]
            others = np.vstack([np.arange(episode.pre, t), *drawn])
        return cls(episode, others, order)

    @cached_property
    def estimate(self) -> float:
        """Per unit and period: the mean gap when the design learns on the time before."""
        periods = np.arange(len(self.episode.target))
        return float(self.episode.gap(periods[: self.episode.pre], periods[self.episode.pre :]).mean())

    @property
    def effect(self) -> float:
        """Total over units and periods judged."""
        return self.estimate * self._total

    @property
    def _total(self) -> int:
        return self.episode.units * self.episode.judged

    @cached_property
    def _known(self) -> dict[float, float]:
        return {}

    def at(self, effect: float) -> float:
        """p of a total effect."""
        return self._p(effect / self._total)

    def _p(self, delta: float) -> float:
        if delta not in self._known:
            periods = np.arange(len(self.episode.target))
            left = np.abs(self.episode.gap(periods, periods, delta)) ** self.order
            sums = left[self.others].sum(axis=1)
            self._known[delta] = float(np.mean(sums >= sums[0] * (1 - 1e-10)))
        return self._known[delta]

    @cached_property
    def _tried(self) -> tuple[Floats, Floats]:
        """Effects per unit and period, in order, no effect and the estimate among them, and their p."""
        scale = self.episode.held(self.episode.pre) / np.sqrt(self.episode.judged)
        steps = scale * FINEST * GROWTH ** np.arange(STEPS)
        deltas = np.unique([0.0, self.estimate, *(self.estimate + steps), *(self.estimate - steps)])
        return deltas, np.array([self._p(float(delta)) for delta in deltas])

    @property
    def p_value(self) -> float:
        """Of no effect: the largest p of no effect and all δ beyond it, as seen from the estimate."""
        deltas, p = self._tried
        if self.estimate == 0:
            return float(p.max())
        return float(p[deltas <= 0].max() if self.estimate > 0 else p[deltas >= 0].max())

    def interval(self, level: float) -> tuple[float, float] | None:
        """From the smallest total effect that is not rejected to the largest; it holds the estimate.

        None where all are rejected, or none could be; an end is infinite where effects however large are not rejected.
        """
        alpha = round(1 - level, 12)
        _, p = self._tried
        kept = np.flatnonzero(p >= alpha - 1e-12)
        if not len(kept) or alpha <= 1 / len(self.others):
            return None
        low = self._end(kept[0], -1, alpha)
        high = self._end(kept[-1], 1, alpha)
        return self._total * min(low, self.estimate), self._total * max(high, self.estimate)

    def _end(self, k: int, step: int, alpha: float) -> float:
        """The last effect that is kept between tried effect `k` and the next one, which is not."""
        deltas, _ = self._tried
        if not 0 <= k + step < len(deltas):
            return float(step) * np.inf
        kept, lost = float(deltas[k]), float(deltas[k + step])
        for _ in range(HALVINGS):
            middle = (kept + lost) / 2
            if abs(lost - kept) <= 1e-6 * abs(lost - self.estimate):
                break
            kept, lost = (middle, lost) if self._p(middle) >= alpha - 1e-12 else (kept, middle)
        return kept

    def refusal(self, level: float) -> CannotTell:
        """Too few permutations, no constant effect that fits, or no effect too large to be told."""
        if round(1 - level, 12) <= 1 / len(self.others):
            return CannotTell(
                f"{len(self.others)} permutations cannot give an interval at {level:.0%}",
                fix="deliver more periods, or lower the level",
            )
        if self.interval(level) is None:
            return CannotTell(
                f"every constant effect is rejected at {level:.0%}: no two periods seem to share one",
                fix="judge shorter parts of the campaign, or use placebos in space",
            )
        return CannotTell(
            f"effects however large are not rejected at {level:.0%}: fitted to all periods, the design follows them",
            fix="judge fewer periods, deliver more before the start, or take a design with fewer free weights",
        )


def conformal_test(
    design: DonorDesign, panel: Panel, *, treated: Sequence[str] | str, start: Any, end: Any = None, exclude: Sequence[str] = (),
    permutations: Permutations = "block", order: float = 1.0, draws: int = 999, seed: int = 7,
) -> ConformalTest:  # fmt: skip
    """The conformal test of a design with donors; arguments as in `DonorDesign.estimate`.

    Parameters
    ----------
    permutations : ``"block"``, or ``"iid"`` with `draws` of them.
    order : q of the statistic: 1 for effects that last, larger for short ones.

    Examples
    --------
    >>> from liftwise.models.causal.synthetic_control import SyntheticControl
    >>> sales = spawn(7, "conformal").normal(size=(8, 60)) + 10
    >>> sales[0, 54:] += 4
    >>> panel = Panel(sales, tuple("abcdefgh"), pd.RangeIndex(60))
    >>> test = conformal_test(SyntheticControl(), panel, treated="a", start=54)
    >>> low, high = test.interval(0.90)
    >>> test.p_value < 0.05, low < 24 < high
    (True, True)
    """
    _arguments(permutations, order, draws)
    return ConformalTest.of(Episode.of(design, panel, treated, start, end, exclude), permutations, order, draws, seed)


def conformal_lift(
    design: DonorDesign, panel: Panel, *, treated: Sequence[str] | str, start: Any, end: Any = None, exclude: Sequence[str] = (),
    permutations: Permutations = "block", order: float = 1.0, draws: int = 999, seed: int = 7,
) -> Lift:  # fmt: skip
    """The design's estimate with its checks, judged by the conformal test; each period by itself beside the time before."""
    _arguments(permutations, order, draws)
    episode = Episode.of(design, panel, treated, start, end, exclude)
    lift = design.estimate(panel, treated=treated, start=start, end=end, exclude=exclude)

    def period_test(k: int) -> ConformalTest | None:
        return ConformalTest.of(episode.only(k), permutations, order, draws, seed) if k >= episode.pre else None

    test = ConformalTest.of(episode, permutations, order, draws, seed)
    return replace(lift, test=test, period_test=period_test, method=f"{lift.method}/conformal_{permutations}")


def _arguments(permutations: str, order: float, draws: int) -> None:
    if permutations not in ("block", "iid"):
        raise InputError(f"permutations {permutations!r} are unknown", fix="choose block or iid")
    if not 0 < order < np.inf:
        raise InputError(f"order {order} is none", fix="give a number above 0, such as 1 or 2")
    if draws < 99:
        raise InputError(f"{draws} draws are too few", fix="take at least 99")


@dataclass(frozen=True, eq=False)
class PlaceboInTime:
    """A test by earlier windows: effect / (size of placebo t · own error) follows Student's t, one degree of freedom a window.

    windows : frame first, last, effect (total), error (of one period, held out) and t, the earliest first, the campaign's last.
    """

    student: StudentTest
    windows: pd.DataFrame = field(repr=False)

    @property
    def effect(self) -> float:
        """Total over units and periods judged."""
        return self.student.effect

    @property
    def p_value(self) -> float:
        """Two-sided, of no effect."""
        return self.student.p_value

    def interval(self, level: float) -> tuple[float, float] | None:
        """All effects that are not rejected."""
        return self.student.interval(level)

    def refusal(self, level: float) -> CannotTell:
        """As for Student's t."""
        return self.student.refusal(level)

    def to_frame(self) -> pd.DataFrame:
        """The windows."""
        return self.windows.copy()

    def summary(self) -> str:
        """One sentence for a manager."""
        return (
            f"Moved back to {len(self.windows) - 1} earlier windows, where nothing happened, the same estimate strayed by up to "
            f"{amount(float(self.windows['effect'].iloc[:-1].abs().max()))}, beside {amount(self.effect)} in the campaign; chance alone would "
            f"show as much {chance(self.p_value)}."
        )

    def plot(self) -> go.Figure:
        """Estimate of every window."""
        import plotly.graph_objects as go

        figure = go.Figure()
        colours = ["#9aa5b1"] * (len(self.windows) - 1) + ["#2f6f9f"]
        figure.add_bar(x=self.windows["first"], y=self.windows["t"], marker={"color": colours})
        figure.update_layout(
            template="plotly_white", yaxis_title="effect over its own error", title="The campaign and earlier windows"
        )
        return figure


def placebo_in_time(
    design: DonorDesign, panel: Panel, *, treated: Sequence[str] | str, start: Any, end: Any = None, exclude: Sequence[str] = ()
) -> PlaceboInTime:
    """Test the effect by windows as long as the campaign, side by side, back to where too little is left to learn on.

    Raises
    ------
    CannotTell
        With fewer than 4 such windows.
    """
    episode = Episode.of(design, panel, treated, start, end, exclude)
    long, rows = episode.judged, []
    for first in range(episode.pre, max(LEAST_PRE, long) - 1, -long):
        periods = np.arange(first, first + long)
        mean, error = float(episode.gap(np.arange(first), periods).mean()), episode.held(first)
        rows.append((episode.periods[periods[0]], episode.periods[periods[-1]], episode.units * long * mean, error, mean / error))
    if len(rows) - 1 < LEAST_WINDOWS:
        raise CannotTell(
            f"{len(rows) - 1} earlier windows of {long} periods are too few to judge by",
            fix=f"deliver {max(LEAST_PRE, long) + LEAST_WINDOWS * long} periods before the start, or judge fewer",
        )
    windows = pd.DataFrame(rows[::-1], columns=["first", "last", "effect", "error", "t"])
    strayed = float(np.sqrt(np.mean(windows["t"].to_numpy()[:-1] ** 2)))
    effect, own = float(windows["effect"].iloc[-1]), float(windows["error"].iloc[-1])
    return PlaceboInTime(StudentTest(effect, strayed * own * episode.units * long, len(rows) - 1), windows)
