"""Predicted effectiveness f ± σ of every way to post (seed B §5–6)."""

from liftwise.models.effectiveness.boosted import BoostedEffectiveness
from liftwise.models.effectiveness.tuples import feasible_tuples

__all__ = ["BoostedEffectiveness", "feasible_tuples"]
