"""The marketing mix: what each channel adds, with carry-over and saturation."""

from liftwise.models.mix.adequacy import adequacy
from liftwise.models.mix.bayesian import BayesianMix
from liftwise.models.mix.choose import Choice, choose, members
from liftwise.models.mix.examine import Findings, examine
from liftwise.models.mix.family import Member, Mix
from liftwise.models.mix.general import GeneralMix
from liftwise.models.mix.lasso import LassoMix
from liftwise.models.mix.neural import NeuralMix
from liftwise.models.mix.priors import Prior
from liftwise.models.mix.residual import ResidualMix
from liftwise.models.mix.ridge import RidgeMix
from liftwise.models.mix.structural import StructuralMix
from liftwise.models.mix.time_series import TimeSeriesMix
from liftwise.models.mix.trees import BoostedMix, ForestMix
from liftwise.models.mix.trust import Refutation, placebo, refute, stability

__all__ = ["BayesianMix", "BoostedMix", "Choice", "Findings", "ForestMix", "GeneralMix", "LassoMix", "Member", "Mix", "NeuralMix", "Prior", "Refutation", "ResidualMix", "RidgeMix", "StructuralMix", "TimeSeriesMix", "adequacy", "choose", "examine", "members", "placebo", "refute", "stability"]  # fmt: skip
