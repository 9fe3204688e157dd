"""pymc-marketing on nutpie over many sets of one shape, compiled once: chains tune draws, then a csv each → the answers of `pymc_mix`,
a file ``.pymc.json`` beside each csv. For accuracy only: its seconds are those of a shared compilation.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")

import arviz as az  # noqa: E402
import numpy as np  # noqa: E402
import nutpie  # noqa: E402
import pandas as pd  # noqa: E402
from pymc_marketing.mmm import MMM, GeometricAdstock, LogisticSaturation  # noqa: E402

PARAMETERS = ("intercept", "adstock_alpha", "saturation_lam", "saturation_beta", "gamma_control", "gamma_fourier", "y_sigma")


def built(frame: pd.DataFrame) -> MMM:
    """The model of one set, as in `pymc_mix`."""
    channels, controls = ([name for name in frame if name.startswith(letter)] for letter in "xc")
    mix = MMM(date_column="date", channel_columns=channels, control_columns=controls, adstock=GeometricAdstock(l_max=8),
              saturation=LogisticSaturation(), yearly_seasonality=2)  # fmt: skip
    mix.build_model(frame.drop(columns="y"), frame["y"])
    return mix


def answer(mix: MMM, trace: Any, scale: float) -> dict[str, Any]:
    """As `pymc_mix` tells it."""
    told = az.summary(trace, var_names=list(PARAMETERS), kind="diagnostics")
    totals = trace.posterior["channel_contribution"].sum("date").stack(draw_=("chain", "draw")).to_numpy() * scale
    low, high = np.quantile(totals, [0.05, 0.95], axis=1)
    names = mix.channel_columns
    return {
        "ess": float(told["ess_bulk"].min()),
        "rhat": float(told["r_hat"].max()),
        "contributions": dict(zip(names, totals.mean(axis=1).tolist(), strict=True)),
        "interval": dict(zip(names, zip(low.tolist(), high.tolist(), strict=True), strict=True)),
    }


chains, tune, draws = map(int, sys.argv[1:4])
compiled = None
for file in map(Path, sys.argv[4:]):
    frame = pd.read_csv(file, parse_dates=["date"])
    mix = built(frame)
    if compiled is None:
        compiled = nutpie.compile_pymc_model(mix.model)
    data = {variable.name: variable.get_value() for variable in mix.model.data_vars if variable.name in compiled.shared_data}
    trace = nutpie.sample(compiled.with_data(**data), chains=chains, tune=tune, draws=draws, seed=7, progress_bar=False)
    file.with_suffix(".pymc.json").write_text(json.dumps(answer(mix, trace, float(frame["y"].abs().max()))))
    print(file.name, flush=True)
