"""Causal measurement: what happened because of a campaign.

With units in which it did not run: `CalibratedControl` (the default) and the published designs beside it. Where it ran everywhere:
`YearOnYear` (the default), `BaselineEnsemble`, `StructuralSeries`, `TimeBasedRegression`, `LaunchDiscontinuity`. Several at once: `SimultaneousCampaigns`,
`estimate_cells`. Without an experiment: `InstrumentalVariables`, `DoubleML`. Across tests: `LiftEvidence`. Before a test:
`select_markets`, `plan_test`. All end in a result whose p-value and interval come from one test.
"""

from liftwise.models.causal.augmented import AugmentedSyntheticControl
from liftwise.models.causal.baseline import BaselineEnsemble
from liftwise.models.causal.calibrated import CalibratedControl
from liftwise.models.causal.checks import Check
from liftwise.models.causal.classic import ClassicSyntheticControl
from liftwise.models.causal.completion import MatrixCompletion
from liftwise.models.causal.conformal import conformal_lift, placebo_in_time
from liftwise.models.causal.covariates import Predictor
from liftwise.models.causal.decompose import decompose
from liftwise.models.causal.did import DifferenceInDifferences
from liftwise.models.causal.discontinuity import Discontinuity
from liftwise.models.causal.double_ml import DoubleML
from liftwise.models.causal.evidence import LiftEvidence, results_as_tests
from liftwise.models.causal.frozen import TestPlan, plan_test, read_out
from liftwise.models.causal.instruments import InstrumentalVariables
from liftwise.models.causal.launch import LaunchDiscontinuity, estimate_parts
from liftwise.models.causal.lift import Lift
from liftwise.models.causal.markets import select_markets
from liftwise.models.causal.panel import Panel
from liftwise.models.causal.power import simulate_power
from liftwise.models.causal.sdid import SyntheticDiD
from liftwise.models.causal.segments import anticipation, segment_panel, sensitivity, spillover
from liftwise.models.causal.simplex import SimplexFit, simplex_least_squares
from liftwise.models.causal.simultaneous import SimultaneousCampaigns
from liftwise.models.causal.staggered import Cell, estimate_cells
from liftwise.models.causal.structural import StructuralSeries
from liftwise.models.causal.synthetic_control import SyntheticControl
from liftwise.models.causal.timebased import TimeBasedRegression
from liftwise.models.causal.year_on_year import YearOnYear

__all__ = [
    "AugmentedSyntheticControl", "BaselineEnsemble", "CalibratedControl", "Cell", "Check", "ClassicSyntheticControl",
    "DifferenceInDifferences", "Discontinuity", "DoubleML", "InstrumentalVariables", "LaunchDiscontinuity", "Lift", "LiftEvidence",
    "MatrixCompletion", "Panel", "Predictor", "SimplexFit", "SimultaneousCampaigns", "StructuralSeries", "SyntheticControl", "SyntheticDiD",
    "TestPlan", "TimeBasedRegression", "YearOnYear", "anticipation", "conformal_lift", "decompose", "estimate_cells", "estimate_parts", "placebo_in_time",
    "plan_test", "read_out", "results_as_tests", "segment_panel", "select_markets", "sensitivity", "simplex_least_squares",
    "simulate_power", "spillover",
]  # fmt: skip
