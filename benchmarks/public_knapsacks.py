"""OR-Library's multidimensional knapsacks and generalised assignment problems as plans, through the public `select`."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd

from liftwise.decisions.selection.rules import Budget, Coverage, Frequency


def knapsacks(path: Path) -> list[dict]:
    """Each problem of a file: `effectiveness`, `budget`, `rules`."""
    numbers = iter(np.array(gzip.decompress(path.read_bytes()).split(), dtype=np.float64))
    found = []
    for _ in range(int(next(numbers))):
        n, m, _ = int(next(numbers)), int(next(numbers)), next(numbers)
        profit = np.array([next(numbers) for _ in range(n)])
        weight = np.array([[next(numbers) for _ in range(n)] for _ in range(m)])
        room = [next(numbers) for _ in range(m)]
        frame = pd.DataFrame({"influencer_id": [f"item{k:03d}" for k in range(n)], "content_type": "x", "event_id": "e", "days_from_event": 0.0,
                              "metric": "profit", "predicted": profit, "uncertainty": 0.0, "price": weight[0],
                              **{f"resource{k}": weight[k] for k in range(1, m)}})  # fmt: skip
        rules = [Budget(room[k], of=f"resource{k}") for k in range(1, m)]
        found.append({"effectiveness": frame, "budget": room[0], "rules": rules, "metric": "profit"})
    return found


def assignment(path: Path) -> dict:
    """A GAP instance: every job (event) to exactly one agent (influencer) within the agents' capacities; cost is minimised."""
    numbers = np.array(path.read_text().split(), dtype=np.float64)
    m, n = int(numbers[0]), int(numbers[1])
    cost, resource = numbers[2 : 2 + m * n].reshape(m, n), numbers[2 + m * n : 2 + 2 * m * n].reshape(m, n)
    room = numbers[2 + 2 * m * n :]
    agent, job = np.meshgrid(np.arange(m), np.arange(n), indexing="ij")
    frame = pd.DataFrame({"influencer_id": [f"a{k:02d}" for k in agent.ravel()], "content_type": "x", "event_id": [f"j{k:03d}" for k in job.ravel()],
                          "days_from_event": 0.0, "metric": "cost", "predicted": -cost.ravel(), "uncertainty": 0.0, "price": resource.ravel()})  # fmt: skip
    limits = {f"a{k:02d}": float(room[k]) for k in range(m)}
    rules = [Budget(limits, per="influencer"), Coverage("event", 1), Frequency(1, per="event")]
    return {"effectiveness": frame, "budget": float(room.sum()), "rules": rules, "metric": "cost"}
