"""Choosing one at a time while learning, under budgets; and what another policy would have earned, from a log."""

from liftwise.decisions.adaptive.offpolicy import Log, OffPolicy, compare, evaluate
from liftwise.decisions.adaptive.replay import Replay, replay
from liftwise.decisions.adaptive.thompson import Choice, PacedThompson

__all__ = ["Choice", "Log", "OffPolicy", "PacedThompson", "Replay", "compare", "evaluate", "replay"]
