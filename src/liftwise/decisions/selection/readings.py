"""What `b` and `f` are read as before a plan is made: mixtures of metrics, negotiated fees, the seed's inequality as it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.decisions.selection.rules import MinimumFee

KEYS = ["influencer_id", "content_type", "event_id", "days_from_event"]
NUMBERS = ["predicted", "uncertainty"]


def of_metric(effectiveness: pd.DataFrame, metric: str | Mapping[str, float]) -> tuple[pd.DataFrame, str]:
    """The frame and the name of the metric; a mixture Σ w·f has Σ |w|·σ (as if errors went together: on the safe side)."""
    if isinstance(metric, str):
        return effectiveness, metric
    if not metric or not all(np.isfinite(list(metric.values()))):
        raise InputError("a mixture needs metrics with weights", fix='for example {"revenue": 1, "brand_equity": 200}')
    name = " + ".join(f"{weight:g} {which}" for which, weight in metric.items())
    mixed: pd.DataFrame | None = None
    for which, weight in metric.items():
        mine = effectiveness[effectiveness["metric"] == which]
        if mine.empty:
            raise CannotTell(f"there is no prediction of {which}", fix="predict it first")
        mine = mine.set_index(KEYS)
        part = pd.DataFrame({"predicted": weight * mine["predicted"], "uncertainty": abs(weight) * mine["uncertainty"]})
        if mixed is None:
            mixed = mine.assign(predicted=part["predicted"], uncertainty=part["uncertainty"])
        else:
            part = part.reindex(mixed.index)
            if part["predicted"].isna().any():
                raise InputError(
                    f"{which} is not predicted for every way to post", where="a mixture of metrics", fix="predict it for all"
                )
            mixed = mixed.assign(**{column: mixed[column] + part[column] for column in NUMBERS})
    assert mixed is not None
    return mixed.reset_index().assign(metric=name), name


def paid(effectiveness: pd.DataFrame, fees: Sequence[MinimumFee], *, literal: bool) -> pd.DataFrame:
    """The frame with prices as they are read: in full, negotiated (a row for each level of the fee), or not at all."""
    if literal:
        return effectiveness.assign(price=0.0)
    if not fees:
        return effectiveness
    if len(fees) > 1:
        raise InputError("two minimum fees", where="MinimumFee", fix="give one")
    fee = fees[0]
    shares = np.linspace(fee.share, 1.0, fee.levels)
    worth = fee.worth + (1 - fee.worth) * ((shares - fee.share) / max(1 - fee.share, 1e-12)) ** fee.bend
    parts: list[pd.DataFrame] = []
    for share, value in zip(shares, worth, strict=True):
        parts.append(effectiveness.assign(
            price=(effectiveness["price"] * share).round(2), predicted=effectiveness["predicted"] * value,
            uncertainty=effectiveness["uncertainty"] * value,
        ))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def told(rule: Any) -> str:
    """A rule in a line."""
    words = repr(rule)
    return words if len(words) <= 160 else f"{type(rule).__name__}(… {len(words):,} characters)"
