"""mlsynth's market selection on the GeoLift walkthrough: panel.csv, "ridge" or "plain" → its two best sets of markets."""

from __future__ import annotations

import sys
import warnings

import pandas as pd
from mlsynth import GEOX
from mlsynth.config_models import GEOXConfig
from stopwatch import measure
from tell import tell

warnings.simplefilter("ignore")
frame = pd.read_csv(sys.argv[1])
config = GEOXConfig(
    df=frame, outcome="Y", unitid="location", time="date", treatment_size=[2, 3, 4, 5], to_be_treated=["chicago"],
    not_to_be_treated=["honolulu"], durations=[10, 15], effect_sizes=[0.0, 0.05, 0.10, 0.15, 0.20], n_backtests=1, how="sum",
    engine="augsynth", augment="ridge" if sys.argv[2] == "ridge" else None, fixed_effects=True, alpha=0.1, power_threshold=0.8,
    cpic=7.5, budget=1e5, ns=1000, seed=0, conformal_type="block", n_validation_backtests=0,
)  # fmt: skip
spent, found = measure(lambda: GEOX(config).fit().power)
tell(spent, best=[";".join(sorted(markets)) for markets in found.sort_values("rank").head(2)["candidate"]])
