"""Who earned a conversion: credit rules, chains, games, hazards and sequence models behind one interface.

Each member has

- ``fit(journeys, covariates=None, lift=None)``; what a member has no use for, it does not look at;
- ``credit(journeys, covariates=None)`` (table `credits`) and ``channel_credit`` (table `channel_credits`): credits of a converting
  journey sum to 1; what no touch earned is ``organic``;
- ``predict(journeys, covariates=None)``: journey_id, probability; each says of what;
- ``influence(journeys, covariates=None)``: what content types, platforms and influencers do to each stage of the funnel (`stages`).

The five rules of place answer the last two with `CannotTell`. Rules share out conversions, they do not prove cause: their credits are
never marked as calibrated. Of `LSTMAttribution` each channel says whether an experiment stands behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from liftwise.models.attribution.journeys import Journeys, Label
from liftwise.models.attribution.markov import Markov
from liftwise.models.attribution.rules import FirstTouch, LastTouch, Linear, Position, TimeDecay
from liftwise.models.attribution.shapley import Shapley
from liftwise.models.attribution.survival import SurvivalAttribution

if TYPE_CHECKING:
    from liftwise.models.attribution.attention import AttentionAttribution
    from liftwise.models.attribution.joint import LSTMAttribution

__all__ = [
    "AttentionAttribution",
    "FirstTouch",
    "Journeys",
    "LSTMAttribution",
    "Label",
    "LastTouch",
    "Linear",
    "Markov",
    "Position",
    "Shapley",
    "SurvivalAttribution",
    "TimeDecay",
]

LAZY = {"LSTMAttribution": "joint", "AttentionAttribution": "attention"}  # need torch, which is slow to import


def __getattr__(name: str) -> object:
    if name not in LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{LAZY[name]}"), name)
