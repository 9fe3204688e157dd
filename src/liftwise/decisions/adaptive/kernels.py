"""One decision and one update of linear Thompson sampling, and how probable a choice was: small loops that run at every decision."""

# pyright: basic
# (numba's functions have no types)
from __future__ import annotations

import math

import numpy as np
from numba import njit

FINE, COARSE = (np.polynomial.legendre.leggauss(n) for n in (10, 6))
NODES, WEIGHTS, NODES_2, WEIGHTS_2 = FINE[0], FINE[1], COARSE[0], COARSE[1]
FAR = 6.0  # standard deviations beyond which a rival no longer matters (1e-9)


@njit(cache=True)
def look(inverse, centre, x, noise, mean, sd):
    """Fill `mean` and `sd` of each arm's expected reward at `x`: (arms,) from inverse (arms, d, d), centre (arms, d)."""
    for a in range(len(mean)):
        total, spread = 0.0, 0.0
        for i in range(len(x)):
            total += centre[a, i] * x[i]
            row = 0.0
            for j in range(len(x)):
                row += inverse[a, i, j] * x[j]
            spread += row * x[i]
        mean[a], sd[a] = total, noise * math.sqrt(max(spread, 0.0))


@njit(cache=True)
def learn(gram, inverse, centre, x, reward, logit):
    """One arm sees one reward. Returns the squared surprise, in units of the noise's variance.

    Linear: the exact posterior by Sherman and Morrison (1950). Logit: one step of Newton's method from the posterior so far, taken as normal
    (an extended Kalman filter).
    """
    v = inverse @ x
    spread = v @ x
    at = centre @ x
    weight = 1.0
    if logit:
        at = forward(at, True)
        weight = max(at * (1.0 - at), 1e-4)
    error = reward - at
    for i in range(len(x)):
        centre[i] += v[i] * error / (1.0 + weight * spread)
        for j in range(len(x)):
            gram[i, j] += weight * x[i] * x[j]
            inverse[i, j] -= v[i] * v[j] * weight / (1.0 + weight * spread)
    return error * error / (1.0 + weight * spread)


@njit(cache=True)
def forward(y, logit):
    """Expected reward of a linear score."""
    return 1.0 / (1.0 + math.exp(-min(max(y, -700.0), 700.0))) if logit else y


@njit(cache=True)
def _backward(reward, logit):
    """The score that a reward stands for; beyond all rewards, beyond all scores."""
    if not logit:
        return reward
    if reward <= 0.0:
        return -1e9
    return 1e9 if reward >= 1.0 else math.log(reward / (1.0 - reward))


@njit(cache=True)
def _below(z):
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


@njit(cache=True)
def _win(mean, sd, toll, pick, rivals, number, edges, nodes, weights, logit):
    """∫ φ(z) Π_rivals P(rival's worth < worth of pick at z) dz by Gauss and Legendre between `edges`."""
    total = 0.0
    for e in range(len(edges) - 1):
        half, middle = (edges[e + 1] - edges[e]) / 2, (edges[e + 1] + edges[e]) / 2
        if half <= 1e-12:
            continue
        for n in range(len(nodes)):
            z = middle + half * nodes[n]
            worth = forward(mean[pick] + sd[pick] * z, logit) - toll[pick]
            part = math.exp(-0.5 * z * z) * weights[n] * half
            for k in range(number):
                r = rivals[k]
                part *= _below((_backward(worth + toll[r], logit) - mean[r]) / sd[r])
                if part < 1e-14:
                    break
            total += part
    return total / math.sqrt(2.0 * math.pi)


@njit(cache=True)
def chance(mean, sd, toll, allowed, pick, floor, logit):
    """Probability that `pick` (-1: nobody) is worth most, and more than `floor`, and the error of the integral.

    An arm is worth its reward at a normal score less its toll. Edges of the panels lie where a rival's distribution function rises, so narrow
    rivals are not stepped over; the error is the difference between ten and six nodes a panel.
    """
    if pick < 0:
        nobody = 1.0
        for a in range(len(mean)):
            if allowed[a]:
                nobody *= _below((_backward(floor + toll[a], logit) - mean[a]) / sd[a])
        return nobody, 0.0
    low, high = mean[pick] - 8.0 * sd[pick], mean[pick] + 8.0 * sd[pick]
    least = max(low, _backward(floor + toll[pick], logit))
    for a in range(len(mean)):
        if allowed[a] and a != pick:
            least = max(least, _meets(mean[a] - FAR * sd[a], toll[a], toll[pick], logit))
    if least >= high:
        return 0.0, 1e-9
    rivals, number = np.empty(len(mean), np.int64), 0
    edges, cuts = np.empty(3 * len(mean) + 5), 5
    edges[0], edges[1] = (least - mean[pick]) / sd[pick], 8.0
    for k in range(3):
        edges[2 + k] = max(3.0 * k - 3.0, edges[0])
    for a in range(len(mean)):
        if allowed[a] and a != pick and _meets(mean[a] + FAR * sd[a], toll[a], toll[pick], logit) > least:
            rivals[number] = a
            number += 1
            for at in (-3.0, 0.0, 3.0):
                y = _meets(mean[a] + at * sd[a], toll[a], toll[pick], logit)
                edges[cuts] = min(max((y - mean[pick]) / sd[pick], edges[0]), 8.0)
                cuts += 1
    edges = np.sort(edges[:cuts])
    fine = _win(mean, sd, toll, pick, rivals, number, edges, NODES, WEIGHTS, logit)
    coarse = _win(mean, sd, toll, pick, rivals, number, edges, NODES_2, WEIGHTS_2, logit)
    return min(max(fine, 0.0), 1.0), abs(fine - coarse) + 1e-9


@njit(cache=True)
def _meets(score, its_toll, own_toll, logit):
    """The own score at which both are worth the same."""
    return _backward(forward(score, logit) - its_toll + own_toll, logit)
