"""The mode of a density and the normal that fits it there: a start for sampling, and a preview."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from liftwise.core.uncertainty import Floats
from liftwise.models.mix.nuts import log_density

FLAT = 0.25  # the least curvature believed, where a standard normal has 1
ROUNDS, STEPS = 20, 400  # curvatures, and steps between two of them
REACH = 2.0  # the most one step moves a parameter
ENOUGH = 1e-3  # log density still to be won
STEP = 1e-4  # of the differences that give the curvature


class Normal(NamedTuple):
    """mode : (n,). root : (n, n) lower triangular, root rootᵀ the covariance. value : log density at the mode."""

    mode: Floats
    root: Floats
    value: float


def laplace(data: Any, dimensions: int, *, held: Sequence[int] = ()) -> Normal:
    """The mode of a compiled density and the normal there; see `climb`.

    held : parameters, standard normal a priori, that stay 0 and keep their prior. The scale of many effects has to: it and the effects
    together have their mode far from where most of the mass lies, and the effects' spread there is not theirs (Neal 2003, the funnel).
    """
    here = np.array(held, dtype=int)

    def slope(theta: Floats) -> tuple[float, Floats]:
        grad = np.empty(dimensions)
        value = density(theta, data, grad)
        grad[here] = 0.0
        return value, grad

    def curvature(theta: Floats) -> Floats:
        out = _curvature(theta, data)
        out[here], out[:, here], out[here, here] = 0.0, 0.0, 1.0
        return out

    return climb(slope, curvature, dimensions)


def climb(slope: Callable[[Floats], tuple[float, Floats]], curvature: Callable[[Floats], Floats], dimensions: int) -> Normal:
    """The mode, climbed to from 0, and the normal there.

    slope : θ → log density and its gradient. curvature : θ → minus the second derivatives, of which there are few: between two of them
    gradients tell how it changes (Broyden, Fletcher, Goldfarb and Shanno). Where curvature is negative or slight, its size or `FLAT`
    stands in (Dauphin et al. 2014), so every step leads up.

    Raises
    ------
    FloatingPointError
        When the density at 0 is not finite.
    """
    theta = np.zeros(dimensions)
    value, grad = slope(theta)
    if not np.isfinite(value):
        raise FloatingPointError("the density is not finite at the start")
    values, vectors = np.linalg.eigh(curvature(theta))
    for _ in range(ROUNDS):
        inverse = (vectors / np.maximum(np.abs(values), FLAT)) @ vectors.T
        if float(grad @ inverse @ grad) < ENOUGH:
            break
        before = value
        theta, value, grad = _ascend(slope, theta, value, grad, inverse)
        if not value > before:
            break
        values, vectors = np.linalg.eigh(curvature(theta))
    return Normal(theta, np.linalg.cholesky((vectors / np.maximum(values, FLAT)) @ vectors.T), float(value))


def _ascend(
    slope: Callable[[Floats], tuple[float, Floats]], theta: Floats, value: float, grad: Floats, inverse: Floats
) -> tuple[Floats, float, Floats]:
    """Up from θ by what gradients say, beginning with an inverse of the curvature."""
    for _ in range(STEPS):
        step = inverse @ grad
        promise, scale = float(step @ grad), min(1.0, REACH / float(np.abs(step).max() + 1e-300))
        if promise < ENOUGH:
            break
        ahead, pull, at = -np.inf, grad, theta
        for _ in range(20):
            at = theta + scale * step
            ahead, pull = slope(at)
            if ahead > value + 1e-4 * scale * promise:
                break
            scale /= 3
        if not ahead > value:
            break
        moved, bent = at - theta, grad - pull
        theta, value, grad = at, ahead, pull
        along = float(moved @ bent)
        if along > 1e-10 * float(np.linalg.norm(moved) * np.linalg.norm(bent)):  # else it curves upwards there: nothing to learn
            turned = inverse @ bent
            inverse = inverse + ((1 + bent @ turned / along) * np.outer(moved, moved) - np.outer(turned, moved) - np.outer(moved, turned)) / along  # fmt: skip
    return theta, value, grad


def _curvature(theta: Floats, data: Any) -> Floats:
    """Minus the second derivatives, by central differences of the gradient."""
    n = len(theta)
    out, up, down = np.empty((n, n)), np.empty(n), np.empty(n)
    for i in range(n):
        near = theta.copy()
        near[i] += STEP
        density(near, data, up)
        near[i] -= 2 * STEP
        density(near, data, down)
        out[i] = (down - up) / (2 * STEP)
    return (out + out.T) / 2


@njit(cache=True)
def density(theta, data, grad):
    """`log_density` to be called from Python."""
    return log_density(theta, data, grad)
