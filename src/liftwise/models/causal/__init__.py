"""Causal measurement: what happened because of a campaign, from the units in which it did not run."""

from liftwise.models.causal.calibrated import CalibratedControl
from liftwise.models.causal.checks import Check
from liftwise.models.causal.lift import Lift
from liftwise.models.causal.panel import Panel
from liftwise.models.causal.simplex import SimplexFit, simplex_least_squares
from liftwise.models.causal.synthetic_control import SyntheticControl

__all__ = ["CalibratedControl", "Check", "Lift", "Panel", "SimplexFit", "SyntheticControl", "simplex_least_squares"]
