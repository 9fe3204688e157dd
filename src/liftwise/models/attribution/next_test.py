"""Which channel to test next: the one whose test would take the most uncertainty out of credits, for what it costs.

What is known of a channel's share of conversions, with error s, and what a test of error e would say are two independent readings of it.
Together they leave 1 / (1 / s² + 1 / e²), so the test takes away s⁴ / (s² + e²): the expected fall of the variance in a normal model,
known before the test is run, since it does not hang on the outcome (Raiffa and Schlaifer 1961, section 5.4). Errors of different
channels count as independent, as in `LSTMAttribution`; what a test tells of the channels beside it comes on top and is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError

if TYPE_CHECKING:
    from liftwise.models.attribution.joint import LSTMAttribution
    from liftwise.models.attribution.survival import SurvivalAttribution


@dataclass(frozen=True)
class NextTests:
    """Channels, the best to test first.

    Attributes
    ----------
    frame : channel, share (of all conversions), sd, sd_after (the test), falls (of the sum of variances over channels, a share), cost,
        a_cost (falls / cost), tested.
    error : standard error of the test, as a share of all conversions.
    """

    frame: pd.DataFrame
    error: float

    def summary(self) -> str:
        """One sentence."""
        best = self.frame.iloc[0]
        return (
            f"test {best['channel']} next: with an error of {self.error:.1%} of conversions it would narrow its share from "
            f"± {best['sd']:.1%} to ± {best['sd_after']:.1%} and take away {best['falls']:.0%} of all that is unsure of channels"
        )


def next_tests(
    model: LSTMAttribution | SurvivalAttribution, *, error: float | None = None, cost: Mapping[str, float] | None = None
) -> NextTests:
    """Rank channels by what a test of each would tell, a unit of cost.

    Parameters
    ----------
    model : fitted.
    error : standard error of the test, as a share of all conversions; default: the median of the tests that the model has heard, or
        the median error of its channels where it heard none, so a test that is as sure as the model.
    cost : what a test of each channel costs, in any unit; default: all alike.

    Raises
    ------
    CannotTell
        When nothing of the model's shares is unsure.
    InputError
        When `error` is not positive, or a channel has no positive cost.
    """
    effects = model.effects_
    sd, tested = effects["sd"].to_numpy(), effects["tested"].to_numpy()
    if not sd.any():
        raise CannotTell("no channel's share is unsure: a test would tell nothing", fix="fit on journeys with touches")
    if error is None:
        error = float(np.median(sd[tested] if tested.any() else sd[sd > 0]))
    if not 0 < error < np.inf:
        raise InputError(f"a test with a standard error of {error:g}", fix="give a positive share of all conversions")
    costs = np.ones(len(sd)) if cost is None else np.array([cost.get(name, np.nan) for name in effects["channel"]], float)
    if not (np.isfinite(costs) & (costs > 0)).all():
        short = ", ".join(effects["channel"][~(np.isfinite(costs) & (costs > 0))])
        raise InputError(f"no positive cost of a test of {short}", fix="give one for each channel")
    falls = sd**4 / (sd**2 + error**2) / float((sd**2).sum())
    frame = pd.DataFrame({
        "channel": effects["channel"], "share": effects["share"], "sd": sd, "sd_after": sd * error / np.hypot(sd, error), "falls": falls,
        "cost": costs, "a_cost": falls / costs, "tested": tested,
    })  # fmt: skip
    return NextTests(frame.sort_values(["a_cost", "channel"], ascending=[False, True], ignore_index=True), error)
