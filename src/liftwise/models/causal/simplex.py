"""Least squares over the simplex, solved exactly: the weights of a synthetic control.

Minimise ‖y − Σⱼ wⱼ xⱼ‖² over w ≥ 0, Σ w = 1. On the simplex this is the point of smallest norm in the hull of
zⱼ = xⱼ − y, found by Wolfe's active set: add the donor that reduces the error most, move to the optimum of the affine
hull of those in use, drop whoever would turn negative. It ends after finitely many steps, and the duality gap
certifies the answer. Everything is stated in inner products, so one Gram matrix serves every target: each placebo
costs a fraction of a millisecond.

References
----------
Wolfe (1976), Finding the nearest point in a polytope, Mathematical Programming 11. Jaggi (2013), ICML, for the gap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from liftwise.core.uncertainty import Floats

RELATIVE = 1e-11  # stop when the gap is this small beside the objective
ROUNDING = 1e-14  # and do not chase what rounding hides, in units of the donors' mean squared distance
NEGLIGIBLE = 1e-12  # a weight below this is zero


@dataclass(frozen=True, eq=False)
class SimplexFit:
    """Weights with their certificate: the least possible squared error is at least `objective - gap`."""

    weights: Floats
    objective: float
    gap: float


def simplex_least_squares(donors: Floats, target: Floats) -> SimplexFit:
    """Weights of shape (n,) that bring `donors` (n, periods) nearest to `target` (periods,).

    >>> simplex_least_squares(np.array([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]]), np.array([0.25, 0.75])).weights
    array([0.25, 0.75, 0.  ])
    """
    middle = donors.mean(axis=0)  # weights sum to 1: a shift of all leaves them as they are, and spares digits
    centred = np.ascontiguousarray(donors - middle)
    aim = target - middle
    weights = np.zeros(len(donors))
    objective, gap = solve_gram(centred @ centred.T, centred @ aim, float(aim @ aim), donors.shape[1] + 2, weights)
    return SimplexFit(weights, max(objective, 0.0), gap)


@njit(cache=True)
def solve_gram(gram, cross, square, rank, weights):
    """Solve for one target given its inner products; allocates what `_solve` works in."""
    n = gram.shape[0]
    size = min(n, rank)
    return _solve(gram, cross, square, np.zeros(n, np.bool_), np.empty((size, size)), np.empty(n), weights)


@njit(cache=True)
def fit_groups(gram, members, training, evaluation):
    """Fit the mean of each group of donors by all donors outside the group.

    Parameters
    ----------
    gram : (n, n) inner products of the donors over the training periods.
    members : (m, k) donors in each group.
    training : number of training periods; bounds how many donors can be in use at once.
    evaluation : (n, t) donors over the periods to predict.

    Returns
    -------
    gaps : (m, t) what each group had above its synthetic control.
    duality : (m,) duality gap of each fit, as a share of the donors' mean squared distance.
    """
    m, k = members.shape
    n, periods = evaluation.shape
    size = min(n, training + 2)
    factor, gradient = np.empty((size, size)), np.empty(n)
    gaps, duality = np.empty((m, periods)), np.empty(m)
    for row in range(m):
        blocked, cross, square = np.zeros(n, np.bool_), np.zeros(n), 0.0
        for a in members[row]:
            blocked[a] = True
            cross += gram[a] / k
        for a in members[row]:
            square += cross[a] / k
        weights = np.zeros(n)
        duality[row] = _solve(gram, cross, square, blocked, factor, gradient, weights)[1]
        gaps[row] = 0.0
        for a in members[row]:
            gaps[row] += evaluation[a] / k
        for j in range(n):
            if weights[j] > 0.0:
                gaps[row] -= weights[j] * evaluation[j]
    return gaps, duality


@njit(cache=True)
def fit_targets(gram, cross, square, members, training, donors, targets, start):
    """Fit any targets by the donors outside each target's own group.

    Parameters
    ----------
    gram : (n, n) inner products of the donors over the training periods (a ridge may have been added to its diagonal).
    cross, square : (m, n), (m,) inner products of the targets with the donors and with themselves.
    members : (m, k) donors that may not stand for a target; −1 for none.
    training : bounds how many donors can be in use at once (n when there is a ridge).
    donors, targets : (n, t), (m, t) over the periods to predict.
    start : (m, n) weights of a similar problem, from which the active set begins; (0, n) for none.

    Returns
    -------
    gaps : (m, t) what each target had above its synthetic control. found : (m, n) weights.
    duality : largest duality gap of all fits, as a share of the donors' mean squared distance.
    """
    m, n = cross.shape
    size = min(n, training + 2)
    factor, gradient = np.empty((size, size)), np.empty(n)
    gaps, found, worst = np.empty(targets.shape), np.zeros((m, n)), 0.0
    for row in range(m):
        blocked = np.zeros(n, np.bool_)
        for a in members[row]:
            if a >= 0:
                blocked[a] = True
        weights = found[row]
        if start.shape[0] > 0:
            weights[:] = start[row]
        gap = _solve(gram, cross[row], square[row], blocked, factor, gradient, weights)[1]
        scale = 0.0
        for j in range(n):
            scale += max(gram[j, j] - 2.0 * cross[row, j] + square[row], 0.0) / n
        worst = max(worst, gap / max(scale, 1e-300))
        gaps[row] = targets[row]
        for j in range(n):
            if weights[j] > 0.0:
                gaps[row] -= weights[j] * donors[j]
    return gaps, found, worst


@njit(cache=True)
def _solve(gram, cross, square, blocked, factor, gradient, weights):
    """Wolfe's algorithm; fills `weights`, returns squared error and duality gap. Weights that are given are where it begins."""
    n = gram.shape[0]
    scale, nearest, allowed = 0.0, -1, 0
    for j in range(n):
        if not blocked[j]:
            distance = gram[j, j] - 2.0 * cross[j] + square
            scale += distance
            allowed += 1
            if nearest < 0 or distance < gram[nearest, nearest] - 2.0 * cross[nearest] + square:
                nearest = j
    scale = max(scale / allowed, 1e-300)
    used, count = np.empty(factor.shape[0], np.int64), 0
    for j in range(n):
        if weights[j] > 0.0 and not blocked[j] and count < factor.shape[0]:
            used[count] = j
            count += 1
        else:
            weights[j] = 0.0
    if count > 1 and _factorise(gram, cross, square, scale, used, 0, count, factor):
        weights /= weights.sum()
        count = _descend(gram, cross, square, scale, used, count, factor, weights)
    else:
        count = 1
        weights[:] = 0.0
        used[0] = nearest
        weights[nearest] = 1.0
        _factorise(gram, cross, square, scale, used, 0, count, factor)
    objective, gap = 0.0, 0.0
    for _ in range(20 * n + 100):
        best, objective, gap = _gradient(gram, cross, square, blocked, used, count, weights, gradient)
        if gap <= RELATIVE * objective + ROUNDING * scale or count == factor.shape[0] or weights[best] > 0.0:
            break
        used[count] = best
        if not _factorise(gram, cross, square, scale, used, count, count + 1, factor):
            break
        count = _descend(gram, cross, square, scale, used, count + 1, factor, weights)
        if weights[best] == 0.0:  # what it promised was rounding
            break
    return objective, gap


@njit(cache=True)
def _gradient(gram, cross, square, blocked, used, count, weights, gradient):
    """The most promising donor, the squared error and the duality gap at `weights`."""
    constant = square
    for i in range(gradient.size):
        gradient[i] = -cross[i]
    for a in range(count):
        j = used[a]
        weight = weights[j]
        constant -= weight * cross[j]
        for i in range(gradient.size):
            gradient[i] += weight * gram[j, i]
    objective = constant
    for a in range(count):
        objective += weights[used[a]] * gradient[used[a]]
    best, least = -1, np.inf
    for j in range(gradient.size):
        if not blocked[j] and gradient[j] < least:
            best, least = j, gradient[j]
    return best, objective, 2.0 * (objective - constant - least)


@njit(cache=True)
def _descend(gram, cross, square, scale, used, count, factor, weights):
    """Move to the optimum over the affine hull of the donors in use, dropping those that would turn negative."""
    while True:
        optimum = _affine_optimum(gram, cross, square, scale, used, count, factor)
        step = 1.0
        for a in range(count):
            if optimum[a] <= NEGLIGIBLE:
                here = weights[used[a]]
                step = min(step, here / max(here - optimum[a], 1e-300))
        lowest = -1
        for a in range(count):
            j = used[a]
            weights[j] += step * (optimum[a] - weights[j])
            if optimum[a] <= NEGLIGIBLE and (lowest < 0 or weights[j] < weights[lowest]):
                lowest = j
        if lowest < 0:
            return count
        for a in range(count - 1, -1, -1):
            j = used[a]
            if j == lowest or weights[j] <= NEGLIGIBLE:
                weights[j] = 0.0
                _leave(used, count, a, factor)
                count -= 1


@njit(cache=True)
def _leave(used, count, gone, factor):
    """Take row `gone` out of the Cholesky factor: the rows below move up, and rotations of neighbouring columns make them triangular again."""
    cosine, sine = np.empty(count), np.empty(count)
    for a in range(gone, count - 1):
        used[a] = used[a + 1]
        below, row = factor[a + 1], factor[a]
        for c in range(gone):
            row[c] = below[c]
        carried = below[gone]
        for c in range(gone, a):
            right = below[c + 1]
            row[c] = cosine[c] * carried + sine[c] * right
            carried = cosine[c] * right - sine[c] * carried
        right = below[a + 1]
        length = np.sqrt(carried * carried + right * right)
        cosine[a], sine[a] = carried / length, right / length
        row[a] = length


@njit(cache=True)
def _entry(gram, cross, square, scale, i, j):
    """Inner product of zᵢ and zⱼ; `scale` added to all makes affine independence linear independence."""
    return gram[i, j] - cross[i] - cross[j] + square + scale


@njit(cache=True, fastmath={"reassoc", "contract"})
def _dot(x, y, count):
    """Inner product of the first `count`, in whatever order is quickest."""
    total = 0.0
    for c in range(count):
        total += x[c] * y[c]
    return total


@njit(cache=True)
def _factorise(gram, cross, square, scale, used, start, count, factor):
    """Rows `start` to `count` of the Cholesky factor; false where the last donor adds no direction."""
    for a in range(start, count):
        row = factor[a]
        for b in range(a):
            value = _entry(gram, cross, square, scale, used[a], used[b])
            row[b] = (value - _dot(row, factor[b], b)) / factor[b, b]
        own = _entry(gram, cross, square, scale, used[a], used[a])
        value = own - _dot(row, row, a)
        if value <= 1e-13 * own:
            return False
        row[a] = np.sqrt(value)
    return True


@njit(cache=True, fastmath={"reassoc", "contract"})
def _residual(gram, cross, square, scale, used, count, solution, residual):
    """One minus what `solution` gives: Σ_b (gram_ab − cross_a − cross_b + square + scale) s_b."""
    total, crossed = 0.0, 0.0
    for b in range(count):
        total += solution[b]
        crossed += cross[used[b]] * solution[b]
    for a in range(count):
        row, value = gram[used[a]], 0.0
        for b in range(count):
            value += row[used[b]] * solution[b]
        residual[a] = 1.0 - value + crossed + (cross[used[a]] - square - scale) * total


@njit(cache=True)
def _affine_optimum(gram, cross, square, scale, used, count, factor):
    """Weights (they may be negative) of the point nearest to the target in the affine hull, refined once."""
    solution, residual = np.zeros(count), np.ones(count)
    for turn in range(2):
        if turn:
            _residual(gram, cross, square, scale, used, count, solution, residual)
        for a in range(count):
            residual[a] = (residual[a] - _dot(factor[a], residual, a)) / factor[a, a]
        for a in range(count - 1, -1, -1):
            residual[a] /= factor[a, a]
            for b in range(a):
                residual[b] -= factor[a, b] * residual[a]
        solution += residual
    return solution / solution.sum()
