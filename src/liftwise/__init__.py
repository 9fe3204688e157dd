"""liftwise: what influencer marketing really caused, and what to do next.

Names at the root are loaded when first used (PEP 562), so that ``import liftwise`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "AttentionAttribution": "liftwise.models.attribution",
    "Audiences": "liftwise.decisions.reach.audiences",
    "AugmentedSyntheticControl": "liftwise.models.causal",
    "BaselineEnsemble": "liftwise.models.causal",
    "BayesianMix": "liftwise.models.mix",
    "BoostedEffectiveness": "liftwise.models.effectiveness",
    "BoostedMix": "liftwise.models.mix",
    "BrandRule": "liftwise.decisions.selection.rules",
    "Budget": "liftwise.decisions.selection.rules",
    "CVaR": "liftwise.decisions.selection.rules",
    "CalibratedControl": "liftwise.models.causal",
    "CannotTell": "liftwise.core.errors",
    "Cell": "liftwise.models.causal",
    "ClassicSyntheticControl": "liftwise.models.causal",
    "Coverage": "liftwise.decisions.selection.rules",
    "DifferenceInDifferences": "liftwise.models.causal",
    "Diversity": "liftwise.decisions.selection.rules",
    "DoubleML": "liftwise.models.causal",
    "Effectiveness": "liftwise.models.effectiveness",
    "Estimate": "liftwise.core.uncertainty",
    "Exclude": "liftwise.decisions.selection.rules",
    "Exclusive": "liftwise.decisions.selection.rules",
    "FactoredNet": "liftwise.models.effectiveness",
    "Fairness": "liftwise.decisions.selection.rules",
    "FirstTouch": "liftwise.models.attribution",
    "ForestMix": "liftwise.models.mix",
    "Frequency": "liftwise.decisions.selection.rules",
    "HybridEffectiveness": "liftwise.models.effectiveness",
    "Include": "liftwise.decisions.selection.rules",
    "Infeasible": "liftwise.core.errors",
    "InstrumentalVariables": "liftwise.models.causal",
    "LSTMAttribution": "liftwise.models.attribution",
    "LassoMix": "liftwise.models.mix",
    "LastTouch": "liftwise.models.attribution",
    "LaunchDiscontinuity": "liftwise.models.causal",
    "LiftEvidence": "liftwise.models.causal",
    "LiftwiseError": "liftwise.core.errors",
    "Linear": "liftwise.models.attribution",
    "MLPNet": "liftwise.models.effectiveness",
    "Markov": "liftwise.models.attribution",
    "MatrixCompletion": "liftwise.models.causal",
    "MinimumFee": "liftwise.decisions.selection.rules",
    "Money": "liftwise.core.money",
    "NeuralMix": "liftwise.models.mix",
    "PacedThompson": "liftwise.decisions.adaptive.thompson",
    "Panel": "liftwise.models.causal",
    "Position": "liftwise.models.attribution",
    "Predictor": "liftwise.models.causal",
    "Reach": "liftwise.decisions.selection.reach",
    "ResidualMix": "liftwise.models.mix",
    "RidgeMix": "liftwise.models.mix",
    "RiskLimit": "liftwise.decisions.selection.rules",
    "Shapley": "liftwise.models.attribution",
    "SimultaneousCampaigns": "liftwise.models.causal",
    "StructuralMix": "liftwise.models.mix",
    "StructuralSeries": "liftwise.models.causal",
    "SurvivalAttribution": "liftwise.models.attribution",
    "SyntheticControl": "liftwise.models.causal",
    "SyntheticDiD": "liftwise.models.causal",
    "TimeBasedRegression": "liftwise.models.causal",
    "TimeDecay": "liftwise.models.attribution",
    "TimeGrid": "liftwise.core.timegrid",
    "TimeSeriesMix": "liftwise.models.mix",
    "Workspace": "liftwise.store.workspace",
    "YearOnYear": "liftwise.models.causal",
    "allocate": "liftwise.decisions.allocation.allocate",
    "check": "liftwise.core.tables",
    "choose_effectiveness": "liftwise.models.effectiveness",
    "decompose": "liftwise.models.causal",
    "estimate_cells": "liftwise.models.causal",
    "flight": "liftwise.decisions.allocation.flighting",
    "frontier": "liftwise.decisions.frontier.front",
    "maximise_reach": "liftwise.decisions.reach.cover",
    "measure": "liftwise.flows.measure",
    "plan": "liftwise.flows.plan",
    "plan_test": "liftwise.models.causal",
    "reach_of": "liftwise.decisions.reach.cover",
    "read_out": "liftwise.models.causal",
    "refresh": "liftwise.flows.refresh",
    "scenarios": "liftwise.decisions.allocation.scenarios",
    "score_grid": "liftwise.models.effectiveness",
    "select": "liftwise.decisions.selection.choose",
    "select_markets": "liftwise.models.causal",
}

__all__ = sorted([*_HOMES, "__version__"])

if TYPE_CHECKING:
    from liftwise.core.errors import CannotTell, Infeasible, LiftwiseError
    from liftwise.core.money import Money
    from liftwise.core.tables import check
    from liftwise.core.timegrid import TimeGrid
    from liftwise.core.uncertainty import Estimate
    from liftwise.decisions.adaptive.thompson import PacedThompson
    from liftwise.decisions.allocation.allocate import allocate
    from liftwise.decisions.allocation.flighting import flight
    from liftwise.decisions.allocation.scenarios import scenarios
    from liftwise.decisions.frontier.front import frontier
    from liftwise.decisions.reach.audiences import Audiences
    from liftwise.decisions.reach.cover import maximise_reach, reach_of
    from liftwise.decisions.selection.choose import select
    from liftwise.decisions.selection.reach import Reach
    from liftwise.decisions.selection.rules import (
        BrandRule,
        Budget,
        Coverage,
        CVaR,
        Diversity,
        Exclude,
        Exclusive,
        Fairness,
        Frequency,
        Include,
        MinimumFee,
        RiskLimit,
    )
    from liftwise.flows.measure import measure
    from liftwise.flows.plan import plan
    from liftwise.flows.refresh import refresh
    from liftwise.models.attribution import (
        AttentionAttribution,
        FirstTouch,
        LastTouch,
        Linear,
        LSTMAttribution,
        Markov,
        Position,
        Shapley,
        SurvivalAttribution,
        TimeDecay,
    )
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
    from liftwise.models.effectiveness import (
        BoostedEffectiveness,
        Effectiveness,
        FactoredNet,
        HybridEffectiveness,
        MLPNet,
        choose_effectiveness,
        score_grid,
    )
    from liftwise.models.mix import (
        BayesianMix,
        BoostedMix,
        ForestMix,
        LassoMix,
        NeuralMix,
        ResidualMix,
        RidgeMix,
        StructuralMix,
        TimeSeriesMix,
    )
    from liftwise.store.workspace import Workspace


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'liftwise' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
