"""Boosted effectiveness: trees of the record, trees of the record beside history, and trees of the market on what those leave.

`ids` says how trees come to know who a creator is: "history" (default) through shrunken means of what a plain line did not expect,
"native" through the ids of creators and events as categories as well, "none" through the record alone.
"""

from __future__ import annotations

from liftwise.models.effectiveness.family import EffectivenessModel
from liftwise.models.effectiveness.member import Member
from liftwise.models.effectiveness.stages import BoostedMember


class BoostedEffectiveness(EffectivenessModel):
    """f by boosted trees alone.

    Parameters
    ----------
    metric, seed, threads : see `EffectivenessModel`.
    ids : "history", "native" or "none": how trees know who a creator is.
    library : "lightgbm", or "xgboost" or "catboost" where they are installed.
    """

    def __init__(
        self, *, metric: str = "revenue", seed: int = 7, threads: int = 1, selection: str = "auto", ids: str = "history", library: str = "lightgbm"
    ) -> None:  # fmt: skip
        super().__init__(metric=metric, seed=seed, threads=threads, selection=selection)
        self.ids, self.library = ids, library

    def member(self) -> Member:
        """What learns."""
        return BoostedMember(self.ids, self.library, name=f"{self.library}, {self.ids} ids")
