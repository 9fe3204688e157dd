"""liftwise: what influencer marketing really caused, and what to do next.

Names at the root are loaded when first used (PEP 562), so that ``import liftwise`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Workspace": "liftwise.store.workspace",
    "refresh": "liftwise.flows.refresh",
    "measure": "liftwise.flows.measure",
    "plan": "liftwise.flows.plan",
    "Estimate": "liftwise.core.uncertainty",
    "Money": "liftwise.core.money",
    "TimeGrid": "liftwise.core.timegrid",
    "check": "liftwise.core.tables",
    "LiftwiseError": "liftwise.core.errors",
    "CannotTell": "liftwise.core.errors",
    "Infeasible": "liftwise.core.errors",
    "LastTouch": "liftwise.models.attribution",
    "FirstTouch": "liftwise.models.attribution",
    "Linear": "liftwise.models.attribution",
    "TimeDecay": "liftwise.models.attribution",
    "Position": "liftwise.models.attribution",
    "Markov": "liftwise.models.attribution",
    "AugmentedSyntheticControl": "liftwise.models.causal",
    "BaselineEnsemble": "liftwise.models.causal",
    "CalibratedControl": "liftwise.models.causal",
    "Cell": "liftwise.models.causal",
    "ClassicSyntheticControl": "liftwise.models.causal",
    "DifferenceInDifferences": "liftwise.models.causal",
    "DoubleML": "liftwise.models.causal",
    "InstrumentalVariables": "liftwise.models.causal",
    "LaunchDiscontinuity": "liftwise.models.causal",
    "LiftEvidence": "liftwise.models.causal",
    "MatrixCompletion": "liftwise.models.causal",
    "Panel": "liftwise.models.causal",
    "Predictor": "liftwise.models.causal",
    "SimultaneousCampaigns": "liftwise.models.causal",
    "StructuralSeries": "liftwise.models.causal",
    "SyntheticControl": "liftwise.models.causal",
    "SyntheticDiD": "liftwise.models.causal",
    "TimeBasedRegression": "liftwise.models.causal",
    "YearOnYear": "liftwise.models.causal",
    "decompose": "liftwise.models.causal",
    "estimate_cells": "liftwise.models.causal",
    "plan_test": "liftwise.models.causal",
    "read_out": "liftwise.models.causal",
    "select_markets": "liftwise.models.causal",
    "RidgeMix": "liftwise.models.mix",
    "BoostedEffectiveness": "liftwise.models.effectiveness",
    "select": "liftwise.decisions.selection",
    "allocate": "liftwise.decisions.allocation",
    "Budget": "liftwise.decisions.rules",
    "Frequency": "liftwise.decisions.rules",
    "Coverage": "liftwise.decisions.rules",
}

__all__ = sorted([*_HOMES, "__version__"])

if TYPE_CHECKING:
    from liftwise.core.errors import CannotTell, Infeasible, LiftwiseError
    from liftwise.core.money import Money
    from liftwise.core.tables import check
    from liftwise.core.timegrid import TimeGrid
    from liftwise.core.uncertainty import Estimate
    from liftwise.decisions.allocation import allocate
    from liftwise.decisions.rules import Budget, Coverage, Frequency
    from liftwise.decisions.selection import select
    from liftwise.flows.measure import measure
    from liftwise.flows.plan import plan
    from liftwise.flows.refresh import refresh
    from liftwise.models.attribution import FirstTouch, LastTouch, Linear, Markov, Position, TimeDecay
    from liftwise.models.causal import (
        AugmentedSyntheticControl,
        BaselineEnsemble,
        CalibratedControl,
        Cell,
        ClassicSyntheticControl,
        DifferenceInDifferences,
        DoubleML,
        InstrumentalVariables,
        LaunchDiscontinuity,
        LiftEvidence,
        MatrixCompletion,
        Panel,
        Predictor,
        SimultaneousCampaigns,
        StructuralSeries,
        SyntheticControl,
        SyntheticDiD,
        TimeBasedRegression,
        YearOnYear,
        decompose,
        estimate_cells,
        plan_test,
        read_out,
        select_markets,
    )
    from liftwise.models.effectiveness import BoostedEffectiveness
    from liftwise.models.mix import RidgeMix
    from liftwise.store.workspace import Workspace


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'liftwise' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
