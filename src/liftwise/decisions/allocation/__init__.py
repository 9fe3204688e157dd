"""How channels share their money, now and week by week, with a proven bound."""

from liftwise.decisions.allocation.allocate import Allocation, allocate
from liftwise.decisions.allocation.flighting import Flight, flight
from liftwise.decisions.allocation.scenarios import Scenarios, largest_budget, scenarios

__all__ = ["Allocation", "Flight", "Scenarios", "allocate", "flight", "largest_budget", "scenarios"]
