"""What all designs with donors share: a counterfactual made of units in which the campaign did not run.

A design says only how it predicts one target from donors (`predict`). Everything else is here, once: the question and its
refusals, placebos in space, the test, the checks, the `Lift`. So a new design is one function, and all keep their word alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.uncertainty import Floats
from liftwise.models.causal.checks import Setting, placebo_rank, run_checks
from liftwise.models.causal.lift import Lift
from liftwise.models.causal.panel import Panel
from liftwise.models.causal.placebo import Placebos, run_placebos_by
from liftwise.models.causal.question import Question, ask, data_check


@dataclass(frozen=True, eq=False)
class View:
    """One target and its donors.

    donors (n, t), target (t,); `train` and `judge` are periods: learn on the first, predict the second. A design may use the donors
    in every period and the target in `train` alone. covariates: (n + 1, q) known before the start, the target's last.
    """

    donors: Floats
    target: Floats
    train: NDArray[np.intp]
    judge: NDArray[np.intp]
    covariates: Floats


class DonorDesign(ABC):
    """Estimates a campaign's effect by predicting the treated units' mean from donors."""

    demean = False  # whether levels are taken out first: then a target outside the donors' levels is no trouble
    groups = 199  # placebo groups at most, when several units are treated

    def __init__(self, *, seed: int = 7) -> None:
        self.seed = seed

    @property
    @abstractmethod
    def method(self) -> str:
        """Name in tables."""

    def settle(self, values: Floats, size: int, pre: int) -> DonorDesign:
        """The same design with whatever is tuned once fixed on values (units, t), whose first `size` rows are treated from `pre` on."""
        return self

    @abstractmethod
    def predict(self, view: View) -> tuple[Floats, Floats]:
        """The target in periods `view.judge` had nothing happened, (len(judge),), and the donors' weights, (n,) or empty."""

    def covariates(self, panel: Panel, question: Question) -> Floats:
        """(units, q) of every unit, known before the start; none by default."""
        return np.empty((len(panel.units), 0))

    def placebos(self, values: Floats, treated: list[int], pre: int, covariates: Floats) -> Placebos:
        """The treated mean and what would have been found elsewhere."""

        def predict(
            donors: Floats, target: Floats, train: NDArray[np.intp], judge: NDArray[np.intp], known: Floats
        ) -> tuple[Floats, Floats]:
            return self.predict(View(donors, target, train, judge, known))

        return run_placebos_by(predict, values, treated, pre, covariates, seed=self.seed, most=self.groups)

    def estimate(
        self, panel: Panel, *, treated: Sequence[str] | str, start: Any, end: Any = None, exclude: Sequence[str] = ()
    ) -> Lift:
        """Estimate the effect in `treated` from the period holding `start` to the one holding `end` (default: the last).

        Parameters
        ----------
        treated : units in which the campaign ran.
        start, end : dates (or numbers, where the panel's periods are numbers).
        exclude : units that are no donors, such as those with a campaign of their own.

        Raises
        ------
        InputError
            For a unit that does not exist, or dates outside the panel.
        CannotTell
            With fewer than 8 periods before, fewer than 3 donors, a treated unit with holes, or an outcome that never moves.
        """
        question = ask(panel, treated, start, end, exclude)
        rows = [*question.treated, *question.donors]
        values = panel.matrix[rows, : question.last + 1]
        known = self.covariates(panel, question)[rows]
        settled = self.settle(values, len(question.treated), question.first)
        placebos = settled.placebos(values, list(range(len(question.treated))), question.first, known)
        return settled._lift(panel, question, values, known, placebos)

    def _lift(self, panel: Panel, question: Question, values: Floats, known: Floats, placebos: Placebos) -> Lift:
        size, first = len(question.treated), question.first
        mean, donors = values[:size].mean(axis=0), values[size:]
        names = tuple(panel.units[row] for row in question.donors)
        when = panel.periods[: question.last + 1]
        test = placebos.test(slice(first, None))
        aim = known[:size].mean(axis=0)

        def without(donor: int) -> float:
            rest = np.delete(donors, donor, axis=0)
            covariates = np.vstack([np.delete(known[size:], donor, axis=0), aim])
            periods = np.arange(values.shape[1])
            gap = mean - self.predict(View(rest, mean, periods[:first], periods, covariates))[0]
            return float(size * gap[first:].sum())

        setting = Setting(
            donors, names, mean, placebos.treated, placebos.scale, first, self.demean, placebos.weights, placebos.duality, test, without
        )  # fmt: skip
        weights = pd.Series(placebos.weights, index=pd.Index(names[: len(placebos.weights)], name="donor"), name="weight")
        return Lift(
            effect=test.effect, treated=tuple(panel.units[row] for row in question.treated), outcome=panel.outcome, method=self.method,
            weights=weights[weights.abs() > 1e-9].sort_values(ascending=False, kind="stable"),
            actual=pd.Series(size * mean, index=when, name="actual"),
            counterfactual=pd.Series(size * (mean - placebos.treated), index=when, name="counterfactual"),
            pre_periods=first, pre_rmspe=float(np.sqrt(np.mean(placebos.treated[:first] ** 2))),
            checks=(*run_checks(setting), placebo_rank(test, placebos.scales), data_check(panel, question)), test=test,
            period_test=lambda k: placebos.test(slice(k, k + 1)), placebos=placebos, duality_gap=placebos.duality,
        )  # fmt: skip
