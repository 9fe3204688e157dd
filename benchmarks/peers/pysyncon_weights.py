"""pysyncon's synthetic control on outcomes: panel.npy (units, periods), the first `count` units by all others → squared errors.

Its `Synth` divides every row by its standard deviation and searches a weight for each; outcomes alone, matched as they are, mean
weights that undo the division (``custom_V``: the variances). The data frames are made before the clock starts.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from pysyncon import Synth
from stopwatch import measure
from tell import tell

panel, count = np.load(sys.argv[1]), int(sys.argv[2])
table = pd.DataFrame(panel.T, columns=[f"u{k:04d}" for k in range(len(panel))])
variances = table.var(axis=1).to_numpy()
problems = [(table.drop(columns=name), table[name]) for name in table.columns[:count]]


def fit(donors: pd.DataFrame, target: pd.Series) -> float:
    """Squared error of one placebo."""
    model = Synth()
    model.fit(X0=donors, X1=target, Z0=donors, Z1=target, custom_V=variances)
    return float(np.sum((target.to_numpy() - donors.to_numpy() @ model.W) ** 2))


spent, objectives = measure(lambda: [fit(*problem) for problem in problems])
tell(spent, objectives=objectives)
