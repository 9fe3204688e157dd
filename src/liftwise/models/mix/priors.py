"""What is believed of a channel before the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import Floats, normal_quantile
from liftwise.models.mix.design import Design
from liftwise.models.mix.readings import RECENT

MEDIA = (0.3, 0.8)  # share of revenue expected of all channels together, and sd of its log


@dataclass(frozen=True)
class Prior:
    """What is believed of a channel before the data: with 90 % probability `on` lies between `low` and `high` (log-normal).

    on : ``"roi"`` and ``"marginal_roi"`` (revenue back for each 1 spent, over all periods and for the next 1 at recent spend),
    ``"share"`` (of all revenue) or ``"coefficient"`` (the most revenue a period the channel could ever bring), in the currency of
    the tables.
    """

    on: Literal["roi", "marginal_roi", "share", "coefficient"]
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise InputError(f"a prior between {self.low:g} and {self.high:g}", where="priors", fix="0 < low < high")

    def row(self, name: str, design: Design, until: int, recent: float) -> Floats:
        """A row of `density.MixData.effect` for channel `name` over `until` weeks; refuses what cannot be meant on this scale.

        recent : the channel's recent spend in the density's unit.

        Raises
        ------
        InputError
            When it would have the channel bring more than all revenue, or next to nothing.
        """
        revenue = float(design.size.sum()) * until  # missing weeks count as usual ones
        money = design.spend[name][:, :until]
        scale = {"roi": money.sum() / revenue, "share": 1.0, "coefficient": until / revenue,
                 "marginal_roi": money[:, -RECENT:].sum(axis=0).mean() * until / revenue}[self.on]  # fmt: skip
        if self.low * scale > (1.0 if self.on != "coefficient" else 10.0) or self.high * scale < 1e-4:
            raise InputError(
                f"{self.on} of {name} between {self.low:g} and {self.high:g} would be "
                f"{self.low * scale:.2%} to {self.high * scale:.2%} of revenue",
                where="priors", fix="give it in the currency of sales and spend",
            )  # fmt: skip
        constant = {
            "roi": -np.log(scale),
            "share": 0.0,
            "coefficient": -np.log(scale),
            "marginal_roi": np.log(recent) - np.log(scale),
        }[self.on]
        mean, sd = (np.log(self.low) + np.log(self.high)) / 2, np.log(self.high / self.low) / (2 * normal_quantile(0.90))
        level, slope = float(self.on in ("coefficient", "marginal_roi")), float(self.on == "marginal_roi")
        return np.array([1.0, mean, sd, level, slope, constant])
