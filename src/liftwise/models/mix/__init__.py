"""The marketing mix: what each channel adds, with carry-over and saturation."""

from liftwise.models.mix.ridge import RidgeMix

__all__ = ["RidgeMix"]
