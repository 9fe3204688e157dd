"""Predicted effectiveness f ± σ of every way to post (seed B §5–7)."""

from liftwise.models.effectiveness.blend import Effectiveness, MixedEffects
from liftwise.models.effectiveness.boosted import BoostedEffectiveness
from liftwise.models.effectiveness.calibrate import interval
from liftwise.models.effectiveness.choose import choose_effectiveness
from liftwise.models.effectiveness.factored import FactoredNet
from liftwise.models.effectiveness.grid import score_grid
from liftwise.models.effectiveness.mlp import HybridEffectiveness, MLPNet
from liftwise.models.effectiveness.tuples import feasible_tuples

__all__ = [
    "BoostedEffectiveness", "Effectiveness", "FactoredNet", "HybridEffectiveness", "MLPNet", "MixedEffects", "choose_effectiveness", "feasible_tuples", "interval",
    "score_grid",
]  # fmt: skip
