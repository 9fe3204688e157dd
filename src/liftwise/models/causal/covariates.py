"""What is known of units before the campaign: each covariate averaged over its own periods.

A value that is missing in some periods (figures that appear once a year) is averaged over those in which it is known. A
covariate that is not known at all of a unit in use is refused: nobody could say what would balance it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats
from liftwise.models.causal.panel import Panel
from liftwise.models.causal.question import Question


@dataclass(frozen=True)
class Predictor:
    """The mean of a covariate, or of the outcome itself, over periods before the campaign.

    Parameters
    ----------
    name : a covariate of the panel, or its outcome.
    periods : first and last period, both counted; default: all before the start.
    transform : applied to each value before averaging, such as ``np.log``.
    """

    name: str
    periods: tuple[Any, Any] | None = None
    transform: Callable[[Floats], Floats] | None = None


def as_predictor(given: Predictor | str) -> Predictor:
    """A bare name means its mean over all periods before."""
    return Predictor(given) if isinstance(given, str) else given


def columns_between(panel: Panel, periods: tuple[Any, Any] | None, before: int, what: str) -> NDArray[np.intp]:
    """Numbers of the panel's periods from the first to the last of `periods`; all must lie among the first `before`.

    Raises
    ------
    InputError
        If they do not: what is known only after the start may be an effect of the campaign.
    """
    if periods is None:
        return np.arange(before)
    first, last = panel.position(periods[0]), panel.position(periods[1])
    if not 0 <= first <= last < before or panel.ends_before(periods[0]):
        raise InputError(
            f"the periods {periods[0]} to {periods[1]} of {what} are not all before the start",
            fix=f"choose from {panel.periods[0]} to {panel.periods[before - 1]}",
        )
    return np.arange(first, last + 1)


def covariate_means(panel: Panel, question: Question, predictors: Sequence[Predictor]) -> Floats:
    """Means (units, len(predictors)) over the periods in which each is known; not a number for units not in the question.

    Raises
    ------
    InputError
        If the panel has no such covariate, or its periods are not before the start.
    CannotTell
        If a unit in the question has no value in these periods.
    """
    made = np.full((len(panel.units), len(predictors)), np.nan)
    rows = np.array([*question.treated, *question.donors])
    for k, predictor in enumerate(predictors):
        if predictor.name not in panel.covariates:
            there = ", ".join(panel.covariates) or "none"
            raise InputError(f"the panel has no covariate {predictor.name!r}", fix=f"there are {there}; name it in Panel.of")
        columns = columns_between(panel, predictor.periods, question.first, predictor.name)
        made[rows, k] = _means(transformed(predictor, panel.covariates[predictor.name][np.ix_(rows, columns)]))
        unknown = rows[np.isnan(made[rows, k])]
        if len(unknown):
            names = ", ".join(panel.units[row] for row in unknown[:5])
            raise CannotTell(
                f"{predictor.name} is not known of {names}", fix="fill it, widen its periods, or leave the units out"
            )
    return made


def transformed(predictor: Predictor, values: Floats) -> Floats:
    """Values after the predictor's transform.

    Raises
    ------
    InputError
        If a known value has no transform, such as the logarithm of 0.
    """
    if predictor.transform is None:
        return values
    with np.errstate(all="ignore"):
        made = np.asarray(predictor.transform(values), dtype=float)
    if made.shape != values.shape or not np.isfinite(made[~np.isnan(values)]).all():
        raise InputError(f"{predictor.name} has values that cannot be transformed", fix="choose another transform")
    return made


def _means(values: Floats) -> Floats:
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    return np.where(count > 0, np.where(known, values, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)
