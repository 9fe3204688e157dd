"""A consumer-goods market with known truth: hard in the ways reality is, and every true effect is kept.

`generate` writes one file per source table into a folder, as exports, and the truth as Parquet into another. People are
drawn in chunks, so that memory does not grow with the market. Only `truth.Truth` reads the truth.
"""

from liftwise.sources.simulator.generate import generate

__all__ = ["generate"]
