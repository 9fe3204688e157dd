"""pymc-marketing on nutpie: mix.csv → smallest effective sample size, largest R-hat, contributions by channel. A process of its
own.
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
    channels = [name for name in frame if name.startswith("x")]
    mix = MMM(
        date_column="date", channel_columns=channels, control_columns=[name for name in frame if name.startswith("c")],
        adstock=GeometricAdstock(l_max=8), saturation=LogisticSaturation(), yearly_seasonality=2,
    )  # fmt: skip
    mix.fit(
        frame.drop(columns="y"),
        frame["y"],
        nuts_sampler="nutpie",
        chains=4,
        draws=1000,
        tune=1000,
        random_seed=7,
        progressbar=False,
    )
    told = az.summary(
        mix.idata,
        var_names=["~channel_contribution", "~mu", "~control_contribution", "~yearly_seasonality_contribution"],
        kind="diagnostics",
    )
    scale = float(np.asarray(mix.y).max()) if hasattr(mix, "y") else 1.0
    shares = mix.idata.posterior["channel_contribution"].mean(("chain", "draw")).sum("date").to_numpy() * scale
    return {
        "ess": float(told["ess_bulk"].min()),
        "rhat": float(told["r_hat"].max()),
        "contributions": dict(zip(channels, shares.tolist(), strict=True)),
    }


spent, found = measure(fit)
tell(spent, **found)
