"""mlsynth's solver of all placebos together (what its placebo inference calls): panel.npy (units, periods) → squared error of each."""

from __future__ import annotations

import sys

import numpy as np
from mlsynth.utils.bilevel.minnorm import solve_simplex_loo_exact
from mlsynth.utils.bilevel.ridge_augment import simplex_qp
from stopwatch import measure
from tell import tell

panel = np.ascontiguousarray(np.load(sys.argv[1]).T)
spent, weights = measure(lambda: solve_simplex_loo_exact(panel, fallback=simplex_qp))
tell(spent, objectives=np.sum((panel - panel @ weights.T) ** 2, axis=0).tolist())
