"""Lift tests as members hear them: those within the weeks they learn from, and what each measurement should be under given curves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd

from liftwise.core.transforms import hill
from liftwise.core.uncertainty import Floats
from liftwise.models.mix import lift_tests
from liftwise.models.mix.density import LiftTests
from liftwise.models.mix.hill_curves import HillCurves, carry
from liftwise.models.mix.learned import Data


@dataclass(frozen=True, eq=False)
class Experiments:
    """tests : `LiftTests`, spend in usual spend, over all weeks. names : the test of each measurement."""

    tests: LiftTests
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def within(self, until: int) -> Self:
        """The tests that ended before week `until`."""
        told = self.tests
        keep = [i for i in range(len(told.channel)) if told.until[told.first_row[i] : told.first_row[i + 1]].max() <= until]
        rows = [row for i in keep for row in range(told.first_row[i], told.first_row[i + 1])]
        counts = np.concatenate([[0], np.cumsum(np.diff(told.first_row)[keep])]).astype(np.int64)
        some = {name: getattr(told, name)[keep] for name in ("channel", "start", "stop", "other", "size")}
        measured = {name: getattr(told, name)[rows] for name in ("since", "until", "effect", "error", "expected")}
        return type(self)(told._replace(**some, **measured, first_row=counts), tuple(self.names[row] for row in rows))

    def expected(self, curves: HillCurves, bent: Floats, only: set[int] | None = None) -> Floats:
        """(rows,) lift in revenue under `curves`, `bent` being what they make of the spend there was; 0 where a channel is not in `only`."""
        told, out = self.tests, np.zeros(len(self.names))
        for i, c in enumerate(told.channel.tolist()):
            if only is not None and c not in only:
                continue
            there, stop = told.size[i] > 0, int(told.stop[i])
            then = hill(
                carry(told.other[i][there, :stop], float(curves.retention[c])), float(curves.half[c]), float(curves.shape[c])
            )
            worth = curves.beta[c] + sum(b * bent[k if j == c else j][there, :stop] for j, k, b in curves.pairs if c in (j, k))
            gained = np.cumsum(told.size[i][there] @ (worth * (bent[c][there, :stop] - then)))
            gained = np.concatenate([[0.0], gained])
            rows = slice(told.first_row[i], told.first_row[i + 1])
            out[rows] = gained[told.until[rows]] - gained[told.since[rows]]
        return out


def told(data: Data, lift: pd.DataFrame | None, weeks: pd.DataFrame | None) -> tuple[Data, list[str]]:
    """The data with tables `lift_tests` and `lift_test_weeks`; and notes on what was left aside.

    Raises
    ------
    InputError
        As `lift_tests.read`.
    """
    tests, names, notes = lift_tests.read(lift, weeks, data.design)
    return replace(data, experiments=Experiments(tests, tuple(names))), notes
