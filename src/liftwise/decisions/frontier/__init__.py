"""Plans that none beats in every objective: their front, and how much of what no front can exceed it covers."""

from liftwise.decisions.frontier.front import Frontier, frontier

__all__ = ["Frontier", "frontier"]
