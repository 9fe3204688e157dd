"""Which mix moves the budget: a rule written down before the scores are seen.

1. Media effects never fall with spend, and the model is fit to be published (a sampler that has not converged is not).
2. Its 90 % intervals cover between `COVERED` of the weeks after the rolling origins.
3. Of those, the first in the order `TRUSTED` that no other beats clearly: by more than `CLEARLY` standard errors in mean square over the
   rolling origins. Who is beaten clearly by the best of them gives way to the next.

Errors of a few origins are a weak judge, and forecasts are not effects: a model whose curves have the right kind of form is not given up
for one that was luckier on 60 weeks. (On simulated markets this order forecasts as well as the smallest error does, not better:
`benchmarks/grid_mix.py`.)

The hold-out takes no part in the choice, so that the chosen model's error on it is not flattered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError, LiftwiseError
from liftwise.core.uncertainty import Floats
from liftwise.models.mix.bayesian import BayesianMix
from liftwise.models.mix.family import Member, Mix
from liftwise.models.mix.lasso import LassoMix
from liftwise.models.mix.neural import NeuralMix
from liftwise.models.mix.residual import ResidualMix
from liftwise.models.mix.ridge import RidgeMix
from liftwise.models.mix.structural import StructuralMix
from liftwise.models.mix.time_series import TimeSeriesMix
from liftwise.models.mix.trees import BoostedMix, ForestMix

COVERED = (0.6, 1.0)
CANDIDATES: dict[str, type[Member]] = {  # simplest first
    member.name: member
    for member in (RidgeMix, LassoMix, TimeSeriesMix, StructuralMix, BayesianMix, ResidualMix, BoostedMix, NeuralMix, ForestMix)
}
TRUSTED = ("structural", "bayesian", "residual", "ridge", "lasso", "time_series", "boosted", "neural", "forest")  # to move money
CLEARLY = 2.0  # standard errors
SLOW, FEW = ("bayesian", "neural", "forest"), 400  # rows up to which the slow ones join by themselves


@dataclass(frozen=True)
class Choice:
    """chosen : the fitted mix. why : one sentence. members : all that were fitted, simplest first. failed : name → reason."""

    chosen: Mix
    why: str
    members: tuple[Mix, ...]
    failed: dict[str, str]

    def to_frame(self) -> pd.DataFrame:
        """Table `fits`: every score of every member."""
        return pd.DataFrame([
            {"family": "mix", "model": member.name, "metric": metric, "value": float(value), "chosen": member.name == self.chosen.name}
            for member in self.members for metric, value in member.scores_.items()
        ])  # fmt: skip

    def member(self, name: str) -> Mix:
        """A member by name.

        Raises
        ------
        InputError
            When there is none; CannotTell when it could not be fitted.
        """
        for member in self.members:
            if member.name == name:
                return member
        if name in self.failed:
            raise CannotTell(f"{name} could not be fitted: {self.failed[name]}", fix="choose another model")
        raise InputError(f"there is no mix called {name!r}", fix=f"choose {', '.join(member.name for member in self.members)}")

    def summary(self) -> str:
        """For a manager."""
        return self.why


def members(weekly: pd.DataFrame, also: str | None = None, **told: Any) -> list[Mix]:
    """The candidates, simplest first: all but the slow ones, which join where there are few rows, or when `also` names them.

    `told` goes to every member (seed, holdout, per_year).

    Raises
    ------
    InputError
        When `also` is no member's name.
    """
    if also is not None and also not in CANDIDATES:
        raise InputError(f"there is no mix called {also!r}", fix=f"choose {', '.join(CANDIDATES)}")
    few = int((weekly["role"] == "target").sum()) <= FEW
    return [of(**told) for name, of in CANDIDATES.items() if few or name not in SLOW or name == also]


def choose(
    members: Sequence[Mix],
    weekly: pd.DataFrame,
    lift: pd.DataFrame | None = None,
    lift_weeks: pd.DataFrame | None = None,
    *,
    heard: Callable[[float, str], Any] | None = None,
) -> Choice:
    """Fit all members and take one by the rule above; `heard` is told how far it is, and which member is next.

    Raises
    ------
    LiftwiseError
        The first member's reason, when none can be fitted.
    """
    fitted: list[Mix] = []
    failed: dict[str, str] = {}
    first: LiftwiseError | None = None
    for k, member in enumerate(members):
        if heard is not None:
            heard(k / len(members), member.name)
        try:
            fitted.append(member.fit(weekly, lift, lift_weeks))
        except LiftwiseError as reason:
            first, failed[member.name] = first or reason, str(reason)
    if not fitted:
        raise first or CannotTell("no mix was asked for", fix="give at least one member")
    order = [*CANDIDATES, *(member.name for member in fitted)]  # a member of somebody's own comes last
    fitted.sort(key=lambda member: order.index(member.name))
    chosen, why = best_of(fitted)
    return Choice(chosen, why, tuple(fitted), failed)


def best_of(members: Sequence[Mix]) -> tuple[Mix, str]:
    """The chosen member and why; `members` are fitted, simplest first."""
    may = [member for member in members if _may_move_money(member)]
    sound = [member for member in may if COVERED[0] <= member.scores_.get("rolling_coverage", COVERED[1]) <= COVERED[1]]
    pool, caution = (sound, "") if sound else (may or list(members), " No member's intervals were sound; take it as a preview.")
    rolling = sorted((member for member in pool if "rolling_rmse" in member.scores_), key=_trust) or pool
    best = min(rolling, key=_error)
    chosen = next(member for member in rolling if member is best or not _clearly_beaten(member, best))
    error = chosen.scores_.get("rolling_rmse_pct", chosen.scores_.get("rmse_pct", float("nan")))
    said = f"{chosen.name} is chosen: error {error:.1f} % of a mean period on weeks it had not seen"
    if chosen is not best:
        said += f", not clearly more than {best.name}'s, and its curves are the more trusted"
    elif chosen is not rolling[0]:
        said += f", clearly less than {rolling[0].name}'s"
    return chosen, f"{said}.{caution}"


def _trust(member: Mix) -> int:
    """Place in `TRUSTED`; a member of somebody's own comes last."""
    return TRUSTED.index(member.name) if member.name in TRUSTED else len(TRUSTED)


def _may_move_money(member: Mix) -> bool:
    return bool(getattr(member, "monotone", True)) and getattr(member, "state_", "published") == "published"


def _error(member: Mix) -> float:
    return float(member.scores_.get("rolling_rmse", member.scores_["rmse"]))


def _clearly_beaten(member: Mix, best: Mix) -> bool:
    """Is the mean square larger by more than `CLEARLY` standard errors over the origins? Without errors by origin, larger is enough."""
    mine, other = _folds(member), _folds(best)
    if mine is None or other is None or len(mine) != len(other) or len(mine) < 2:
        return _error(member) > _error(best)
    difference = mine - other
    return float(difference.mean()) > CLEARLY * float(difference.std(ddof=1)) / len(difference) ** 0.5


def _folds(member: Mix) -> Floats | None:
    folds = getattr(member, "fold_errors_", None)
    return None if folds is None else np.array([float(np.mean(np.square(fold))) for fold in folds])
