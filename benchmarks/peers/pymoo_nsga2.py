"""pymoo's NSGA-II as its guide sets it up for knapsacks, without seeds or repair: file.npz (profits, weights, capacity), seconds, population → its front."""

from __future__ import annotations

import sys
import time

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import Problem
from pymoo.operators.crossover.pntx import TwoPointCrossover
from pymoo.operators.mutation.bitflip import BitflipMutation
from pymoo.operators.sampling.rnd import BinaryRandomSampling
from pymoo.optimize import minimize
from stopwatch import Spent
from tell import tell

given, seconds, population, seed = np.load(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])


class Knapsack(Problem):
    """Two profits, one weight."""

    def __init__(self):
        super().__init__(n_var=len(given["weights"]), n_obj=2, n_ieq_constr=1, xl=0, xu=1, vtype=bool)

    def _evaluate(self, x, out, *args, **kwargs):
        out["F"], out["G"] = -(x @ given["profits"]), (x @ given["weights"] - given["capacity"])[:, None]


wall, cpu = time.perf_counter(), time.process_time()
method = NSGA2(
    pop_size=population,
    sampling=BinaryRandomSampling(),
    crossover=TwoPointCrossover(),
    mutation=BitflipMutation(),
    eliminate_duplicates=True,
)
found = minimize(Knapsack(), method, ("time", seconds), seed=seed)
spent = Spent(time.process_time() - cpu, time.perf_counter() - wall)
tell(spent, front=(-found.F).tolist() if found.F is not None else [])
