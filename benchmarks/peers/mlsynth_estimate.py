"""mlsynth's synthetic control on outcomes with placebo inference, from a long table: panel.npy, first unit treated after `pre`."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pandas as pd
from mlsynth import VanillaSC
from stopwatch import measure
from tell import tell

warnings.simplefilter("ignore")
panel, pre = np.load(sys.argv[1]), int(sys.argv[2])
units, periods = panel.shape
names, times = np.repeat([f"u{k:04d}" for k in range(units)], periods), np.tile(np.arange(periods), units)
frame = pd.DataFrame(
    {"unit": names, "time": times, "y": panel.ravel(), "treated": ((names == "u0000") & (times >= pre)).astype(int)}
)
told = {
    "df": frame,
    "outcome": "y",
    "treat": "treated",
    "unitid": "unit",
    "time": "time",
    "inference": "placebo",
    "display_graphs": False,
}
spent, found = measure(lambda: VanillaSC(told).fit())
assert found.inference.details["n_placebos"] == units - 1
tell(spent, effect=found.effects.att)
