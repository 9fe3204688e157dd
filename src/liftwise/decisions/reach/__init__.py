"""Whom a set of influencers reaches, each person once; the set that reaches most, with a bound."""

from liftwise.decisions.reach.audiences import Audiences
from liftwise.decisions.reach.cover import PlanReach, Reach, maximise_reach, reach_of

__all__ = ["Audiences", "PlanReach", "Reach", "maximise_reach", "reach_of"]
