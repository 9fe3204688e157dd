"""The no-U-turn sampler, compiled as a whole, for any compiled density.

A density joins by `numba.extending.overload` of `log_density` for the type of its data; so the loop, the trees and the gradient
are one piece of machine code, kept on disk. Coordinates are whitened first: θ = centre + L z, with L Lᵀ about the covariance
(`laplace`), which leaves little to adapt: the step size, and one scale for each z.

Trees grow by doubling; the next state is drawn from all of them by weight, leaning to the newer half; they stop when the sum of
momenta between two ends no longer points along either (the generalised criterion). Ends inside a doubling are kept at ⌈log₂⌉
places instead of a recursion (as in NumPyro and TFP).

References
----------
Hoffman and Gelman (2014), JMLR 15; Betancourt (2017), arXiv:1701.02434, A.3 and A.4; Phan, Pradhan and Jankowiak (2019),
arXiv:1912.11554, 3.1.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from liftwise.core.uncertainty import Floats, spawn

DEPTH = 10  # doublings
DIVERGED = 1000.0  # loss of energy
SCOUTS = 200  # draws that the first idea of the covariance counts as
SCOUTED = 0.8  # the acceptance they aim at: they only have to see where the mass is


class Chains(NamedTuple):
    """theta : (chains, draws, dimensions). diverged, gradients : counts. step : the one of all chains."""

    theta: Floats
    diverged: int
    gradients: int
    step: float


def log_density(theta: Any, data: Any, grad: Any) -> float:
    """Log density of `data` at `theta`; fills `grad`. Densities overload it."""
    raise TypeError(f"no density is known for {type(data).__name__}")


def sample(
    data: Any, centre: Floats, root: Floats, *, seed: int, chains: int = 4, draws: int = 1000, tune: int = 300, threads: int = 1,
    target: float = 0.8, enough: Callable[[Floats], bool] | None = None,
) -> Chains:  # fmt: skip
    """Draws from the density of `data`, started around `centre` with spread `root` (lower triangular, dimensions × dimensions).

    With several chains, the first two thirds of `tune` are scouts: what all chains saw there, and `root` where they saw little,
    whitens what follows; nothing drawn before is kept. Chains do not depend on `threads`: each has its own stream of random
    numbers, and data that own a workspace are asked for a copy (`data.alone()`). `target` is the acceptance aimed at: nearer to 1,
    smaller steps. `enough` is asked of the draws so far after every eighth of `draws`, and may end them; so does a divergence.
    """

    def run(starts: list[_Start], draws: int, tune: int, target: float) -> tuple[Any, ...]:
        def one(start: _Start) -> tuple[Floats, int, int]:
            mine = data.alone() if hasattr(data, "alone") else data
            return _chain(mine, centre, np.ascontiguousarray(root), *start, draws, tune, target)

        with ThreadPoolExecutor(threads) as pool:
            return tuple(zip(*pool.map(one, starts), strict=True))

    def starts(stage: str) -> list[_Start]:
        n = len(centre)
        return [
            _Start(spawn(seed, f"nuts.{stage}.{chain}"), np.full(n, np.nan), np.ones(n), np.full(1, 0.5))
            for chain in range(chains)
        ]

    spent = 0
    if chains > 1 and tune >= 60:
        seen, _, gradients = run(starts("scout"), tune // 3, tune // 3, SCOUTED)
        flat, spent = np.concatenate(seen), sum(gradients)
        covariance = (len(flat) * np.cov(flat.T) + SCOUTS * (root @ root.T)) / (len(flat) + SCOUTS)
        centre, tune = flat.mean(axis=0), tune - 2 * (tune // 3)
        root = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    begun, theta, diverged = starts("draw"), np.empty((chains, 0, len(centre))), 0
    spent += sum(run(begun, 0, tune, target)[2])
    _agree(begun)
    portion = draws if enough is None else -(-draws // 8)
    while theta.shape[1] < draws and (enough is None or not theta.size or not (diverged or enough(theta))):
        more, broke, gradients = run(begun, min(portion, draws - theta.shape[1]), 0, target)
        theta, diverged, spent = np.concatenate([theta, more], axis=1), diverged + sum(broke), spent + sum(gradients)
    return Chains(theta, diverged, spent, float(begun[0].step[0]))


class _Start(NamedTuple):
    """Where a chain is, kept up by it: its random numbers; z, not a number before the first step; scale of each z; step (1,)."""

    rng: np.random.Generator
    z: Floats
    scale: Floats
    step: Floats


def _agree(begun: list[_Start]) -> None:
    """All chains go on with one step and one scale of each z: what a chain alone has learned in so short a time is noisy."""
    step, scale = (np.exp(np.mean([np.log(getattr(start, name)) for start in begun], axis=0)) for name in ("step", "scale"))
    for start in begun:
        start.step[:], start.scale[:] = step, scale


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _white(z, data, centre, root, grad, theta, inner):
    """Log density in whitened coordinates."""
    n = z.shape[0]
    for i in range(n):
        total = centre[i]
        for j in range(i + 1):
            total += root[i, j] * z[j]
        theta[i] = total
    value = log_density(theta, data, inner)
    grad[:] = 0.0
    for i in range(n):
        for j in range(i + 1):
            grad[j] += root[i, j] * inner[i]
    return value


@njit(cache=True, error_model="numpy")
def _turning(scale, left, right, total):
    """Whether the sum of momenta, less half of each end, stops pointing along either end."""
    a, b = 0.0, 0.0
    for i in range(total.shape[0]):
        between = scale[i] * (total[i] - 0.5 * (left[i] + right[i]))
        a += between * left[i]
        b += between * right[i]
    return a <= 0 or b <= 0


@njit(cache=True, error_model="numpy")
def _energy(value, p, scale):
    total = -value
    for i in range(p.shape[0]):
        total += 0.5 * scale[i] * p[i] * p[i]
    return total


@njit(cache=True, error_model="numpy")
def _leap(z, p, grad, step, scale, data, centre, root, theta, inner):
    """One leapfrog step in place; the log density there."""
    n = z.shape[0]
    for i in range(n):
        p[i] += 0.5 * step * grad[i]
        z[i] += step * scale[i] * p[i]
    value = _white(z, data, centre, root, grad, theta, inner)
    for i in range(n):
        p[i] += 0.5 * step * grad[i]
    return value


@njit(cache=True, error_model="numpy")
def _draw(z, grad, value, step, scale, data, centre, root, rng, room, ends):
    """One transition in place; (log density, mean acceptance, gradients, diverged).

    room : (12, dimensions) to work in. ends : (2, DEPTH + 1, dimensions), momenta and their sums at the left ends of open
    subtrees.
    """
    n = z.shape[0]
    left_z, left_p, left_g, right_z, right_p, right_g, total, half_total, pick_z, pick_g, theta, inner = (
        room[0], room[1], room[2], room[3], room[4], room[5], room[6], room[7], room[8], room[9], room[10], room[11],
    )  # fmt: skip
    for i in range(n):
        p = rng.standard_normal() / np.sqrt(scale[i])
        left_z[i] = right_z[i] = z[i]
        left_p[i] = right_p[i] = total[i] = p
        left_g[i] = right_g[i] = grad[i]
    start = _energy(value, left_p, scale)
    weight, accepted, count = 0.0, 0.0, 0  # log weight of the tree
    for depth in range(DEPTH):
        forward = rng.random() < 0.5
        step_z, step_p, step_g = (right_z, right_p, right_g) if forward else (left_z, left_p, left_g)
        half_weight, half_value = -np.inf, value
        half_total[:] = 0.0
        stop = False
        for leaf in range(1 << depth):
            reached = _leap(step_z, step_p, step_g, step if forward else -step, scale, data, centre, root, theta, inner)
            count += 1
            loss = _energy(reached, step_p, scale) - start
            if not loss < DIVERGED:
                return value, accepted / count, count, True
            accepted += min(1.0, np.exp(-loss))
            for i in range(n):
                half_total[i] += step_p[i]
            new = max(half_weight, -loss)
            new += np.log(np.exp(half_weight - new) + np.exp(-loss - new))
            if np.log(rng.random()) < -loss - new:
                half_value = reached
                pick_z[:] = step_z
                pick_g[:] = step_g
            half_weight = new
            # the left ends of all subtrees that this leaf closes
            ones, rest = 0, leaf >> 1
            while rest:
                ones += rest & 1
                rest >>= 1
            if leaf % 2 == 0:
                ends[0, ones] = step_p
                ends[1, ones] = half_total
            else:
                closes, rest = 0, leaf
                while rest & 1:
                    closes += 1
                    rest >>= 1
                for at in range(ones, ones - closes, -1):
                    for i in range(n):
                        theta[i] = half_total[i] - ends[1, at, i] + ends[0, at, i]
                    if _turning(scale, ends[0, at], step_p, theta):
                        stop = True
                        break
                if stop:
                    break
        if stop:
            break
        if np.log(rng.random()) < half_weight - weight:
            z[:] = pick_z
            grad[:] = pick_g
            value = half_value
        high = max(weight, half_weight)
        weight = high + np.log(np.exp(weight - high) + np.exp(half_weight - high))
        # the seam between both halves is a place to turn as well
        for i in range(n):
            total[i] += half_total[i]
        if _turning(scale, left_p, right_p, total):
            break
    return value, accepted / count, count, False


@njit(cache=True, nogil=True, error_model="numpy")
def _chain(data, centre, root, rng, z, scale, kept_step, draws, tune, target):
    """One chain: (draws × dimensions), divergences after tuning, gradients. z, scale and step are moved in place."""
    n = centre.shape[0]
    grad = np.empty(n)
    room, ends, out = np.empty((12, n)), np.empty((2, DEPTH + 1, n)), np.empty((draws, n))
    value = _white(z, data, centre, root, grad, room[10], room[11]) if z[0] == z[0] else -np.inf
    for attempt in range(100):
        if value > -np.inf:
            break
        spread = 1.0 if attempt < 50 else 0.1
        for i in range(n):
            z[i] = spread * rng.standard_normal()
        value = _white(z, data, centre, root, grad, room[10], room[11])
    # dual averaging of log step; the scales are set once, from the middle of tuning
    step, lowest, mean_step, seen = kept_step[0], 0.0, 0.0, 0.0
    middle = np.log(10 * 0.5)
    first, last = tune // 4, (3 * tune) // 4
    mean, spread2 = np.zeros(n), np.zeros(n)
    diverged, gradients = 0, 0
    for draw in range(tune + draws):
        value, accepted, count, broke = _draw(z, grad, value, step, scale, data, centre, root, rng, room, ends)
        gradients += count
        if draw < tune:
            seen += 1
            lowest += (target - accepted - lowest) / (seen + 10)
            log_step = middle - np.sqrt(seen) / 0.05 * lowest
            weight = seen**-0.75
            mean_step = weight * log_step + (1 - weight) * mean_step
            step = np.exp(log_step)
            if first <= draw < last:
                k = draw - first + 1
                for i in range(n):
                    off = z[i] - mean[i]
                    mean[i] += off / k
                    spread2[i] += off * (z[i] - mean[i])
            if draw == last - 1 and last - first >= 20:
                k = last - first
                for i in range(n):  # towards 1, as the coordinates are white already
                    scale[i] = (spread2[i] + 20.0) / (k - 1 + 20.0)
                middle, seen, lowest, mean_step = np.log(2 * step), 0.0, 0.0, 0.0
            if draw == tune - 1:
                step = np.exp(mean_step)
            continue
        diverged += broke
        for i in range(n):
            total = centre[i]
            for j in range(i + 1):
                total += root[i, j] * z[j]
            out[draw - tune, i] = total
    kept_step[0] = step
    return out, diverged, gradients
