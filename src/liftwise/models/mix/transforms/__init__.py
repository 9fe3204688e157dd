"""Transforms of a mix: carry-over, saturation and columns, as small objects that can be undone."""

from liftwise.models.mix.transforms.adstock import Adstock, Binomial, Delayed, Geometric, WeibullCdf, WeibullPdf, lagged
from liftwise.models.mix.transforms.columns import (
    Chain,
    Holidays,
    Knots,
    Lags,
    Product,
    Ratio,
    Scale,
    Season,
    SpendPerImpression,
    Trend,
)
from liftwise.models.mix.transforms.saturation import Hill, Log, Logistic, MichaelisMenten, ReachAndFrequency, Saturation

__all__ = ["Adstock", "Binomial", "Chain", "Delayed", "Geometric", "Hill", "Holidays", "Knots", "Lags", "Log", "Logistic", "MichaelisMenten", "Product",
           "Ratio", "ReachAndFrequency", "Saturation", "Scale", "Season", "SpendPerImpression", "Trend", "WeibullCdf", "WeibullPdf", "lagged"]  # fmt: skip
