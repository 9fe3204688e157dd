"""Who earned a conversion: credit rules and an exact Markov chain, behind one interface.

Each member has ``fit(journeys, covariates=None, lift=None)``, ``credit(journeys)`` (table `credits`) and
``channel_credit(journeys)`` (table `channel_credits`). Credits of a converting journey sum to 1; what no touch earned is
``organic``. Rules share out conversions, they do not prove cause: their credits are never marked as calibrated.
"""

from liftwise.models.attribution.journeys import Journeys
from liftwise.models.attribution.markov import Markov
from liftwise.models.attribution.rules import FirstTouch, LastTouch, Linear, Position, TimeDecay
from liftwise.models.attribution.shapley import Shapley

__all__ = ["FirstTouch", "Journeys", "LastTouch", "Linear", "Markov", "Position", "Shapley", "TimeDecay"]
