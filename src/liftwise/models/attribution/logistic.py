"""Logistic regression of few columns with the covariance of its coefficients, which the usual libraries for learning do not give."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from liftwise.core.uncertainty import Floats

RIDGE = 1e-9  # so that a column of nothing stops no one


def logistic(design: Floats, bought: Floats, start: Floats) -> tuple[Floats, Floats]:
    """(coefficients (k,), covariance (k, k)) by Newton's method from `start`; `design` (n, k), `bought` (n,) 0 or 1."""
    at, ridge = start, RIDGE * np.eye(design.shape[1])
    curve = ridge
    for _ in range(50):
        chance = expit(design @ at)
        curve = design.T @ ((chance * (1 - chance))[:, None] * design) + ridge
        step = np.linalg.solve(curve, design.T @ (bought - chance))
        at = at + step * min(1.0, 2.0 / max(np.abs(step).max(), 1e-300))  # a cap, so that no step leaps over the top
        if np.abs(step).max() < 1e-9:
            break
    return at, np.linalg.inv(curve)
