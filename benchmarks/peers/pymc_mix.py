"""pymc-marketing on nutpie: mix.csv [chains tune draws] → smallest effective sample size, largest R-hat, and by channel what it brought
with its 90 % interval. A process of its own.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

from stopwatch import measure
from tell import tell

warnings.simplefilter("ignore")


def fit() -> dict[str, Any]:
    """The whole of it, imports and compilation too: so is ours."""
    import arviz as az
    import numpy as np
    import pandas as pd
    from pymc_marketing.mmm import MMM, GeometricAdstock, LogisticSaturation

    frame = pd.read_csv(sys.argv[1], parse_dates=["date"])
    chains, tune, draws = map(int, sys.argv[2:5] or (4, 1000, 1000))
    channels = [name for name in frame if name.startswith("x")]
    mix = MMM(
        date_column="date", channel_columns=channels, control_columns=[name for name in frame if name.startswith("c")],
        adstock=GeometricAdstock(l_max=8), saturation=LogisticSaturation(), yearly_seasonality=2,
    )  # fmt: skip
    mix.fit(
        frame.drop(columns="y"),
        frame["y"],
        nuts_sampler="nutpie",
        chains=chains,
        draws=draws,
        tune=tune,
        random_seed=7,
        progressbar=False,
    )
    told = az.summary(
        mix.idata,
        var_names=["~channel_contribution", "~mu", "~control_contribution", "~yearly_seasonality_contribution"],
        kind="diagnostics",
    )
    scale = float(np.asarray(mix.y).max()) if hasattr(mix, "y") else 1.0
    totals = mix.idata.posterior["channel_contribution"].sum("date").stack(draw_=("chain", "draw")).to_numpy() * scale
    low, high = np.quantile(totals, [0.05, 0.95], axis=1)
    return {
        "ess": float(told["ess_bulk"].min()),
        "rhat": float(told["r_hat"].max()),
        "contributions": dict(zip(channels, totals.mean(axis=1).tolist(), strict=True)),
        "interval": dict(zip(channels, zip(low.tolist(), high.tolist(), strict=True), strict=True)),
    }


spent, found = measure(fit)
tell(spent, **found)
