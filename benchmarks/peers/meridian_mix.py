"""Meridian on JAX: mix.csv [chains adapt burn-in draws depth] → smallest effective sample size, largest R-hat, and by channel what it brought with
its 90 % interval, and peak memory in MB. A process of its own. With columns geo and population in the csv: a model of regions.

Its setting: prior on coefficients and carry-over as in PyMC Labs' public benchmark (the default, on ROI, expects revenue near spend), two
yearly Fourier pairs among the controls and one knot, so that season is explained as in the others.
"""

from __future__ import annotations

import os
import resource
import sys
import warnings
from typing import Any

os.environ["MERIDIAN_BACKEND"] = "jax"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from stopwatch import measure
from tell import tell

warnings.simplefilter("ignore")


def fit() -> dict[str, Any]:
    """The whole of it, imports and compilation too: so is ours."""
    import arviz as az
    import numpy as np
    import pandas as pd
    from meridian import backend
    from meridian.analysis import analyzer
    from meridian.data import data_frame_input_data_builder
    from meridian.model import model, prior_distribution, spec

    frame = pd.read_csv(sys.argv[1], parse_dates=["date"])
    chains, adapt, burn, draws, depth = map(int, sys.argv[2:7] or (4, 500, 500, 1000, 10))
    channels, controls = ([name for name in frame if name.startswith(letter)] for letter in ("x", "c"))
    day = frame["date"].dt.dayofyear / 365.25
    for order in (1, 2):
        frame[f"sin{order}"], frame[f"cos{order}"] = np.sin(2 * np.pi * order * day), np.cos(2 * np.pi * order * day)
        controls += [f"sin{order}", f"cos{order}"]
    frame["time"] = frame.pop("date").dt.strftime("%Y-%m-%d")
    data = data_frame_input_data_builder.DataFrameInputDataBuilder(kpi_type="revenue").with_kpi(frame, kpi_col="y")
    if "geo" in frame:
        data = data.with_population(frame)
    data = data.with_controls(frame, control_cols=controls)
    data = data.with_media(frame, media_cols=channels, media_spend_cols=channels, media_channels=channels).build()

    spent = frame[channels].sum()
    width = (len(channels) * spent / spent.sum())[list(data.media_channel.values)].to_numpy(np.float64)
    law = backend.tfd
    prior = prior_distribution.PriorDistribution(
        beta_m=law.LogNormal(np.zeros(len(channels)), width, name="beta_m"),
        alpha_m=law.Beta(np.float64(1.0), np.float64(3.0), name="alpha_m"),
    )
    mix = model.Meridian(
        input_data=data, model_spec=spec.ModelSpec(prior=prior, media_prior_type="coefficient", max_lag=8, knots=1)
    )
    mix.sample_posterior(n_chains=chains, n_adapt=adapt, n_burnin=burn, n_keep=draws, max_tree_depth=depth, seed=7)
    told = az.summary(mix.inference_data.posterior[_sampled(mix.inference_data.posterior)], kind="diagnostics")
    totals = np.asarray(analyzer.Analyzer(mix).incremental_outcome()).reshape(chains * draws, -1)
    names, (low, high) = list(data.media_channel.values), np.quantile(totals, [0.05, 0.95], axis=0)
    return {
        "ess": float(told["ess_bulk"].min()),
        "rhat": float(told["r_hat"].max()),
        "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "contributions": dict(zip(names, totals.mean(axis=0).tolist(), strict=True)),
        "interval": dict(zip(names, zip(low.tolist(), high.tolist(), strict=True), strict=True)),
    }


def _sampled(posterior: Any) -> list[str]:
    """Its parameters, without those that are constant (a national model's spread over regions)."""
    return [name for name in posterior if float(posterior[name].std(("chain", "draw")).min()) > 0]


spent, found = measure(fit)
tell(spent, **found)
