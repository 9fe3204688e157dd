"""The log density of a structural mix and its gradient, compiled: what is linear and Gaussian is integrated out.

Relative revenue of region g in week t is y = Zγ + walk + Σ_c m_c + Σ_p n_p + noise. Media of a channel are
m_c = share_c · exp(δ_cg) · f_c / F_c, with f_c the response of `response` and F_c its mean: share_c is the channel's share of revenue in a
usual region. What channels i and j do together is n = κ · (share_i + share_j) · f_i f_j / (F_i F_j): κ is its size as a share of
what they do apart.

Baseline, walk and noise are integrated out (`level`).

Every sampled parameter is standard normal a priori and is bent into its own prior, so that tails are light wherever the data say
little: α and φ are Beta(1, 3), share and κ are exponential, k, s, ν, q and τ log-normal; and so is μ, the mean of the shares, so that
channels tell one another how large they may be. A channel may instead carry a log-normal
prior on its return, marginal return, coefficient or share: log target = log share − [level] log F + [slope] log f′(usual) + constant.

Lift tests are part of the likelihood: the lift of a test is media with the spend there was, less media with the spend there would
have been, over the weeks measured, so carry-over and saturation are learned from it as well as the effect.

Regions' deviations δ_cg = τ (z_cg − mean_g z_cg) sum to nothing, so a channel's share and its deviations are told apart by the
data alone.

Order of θ: blocks of (channels,): retention, half-saturation, slope, share, then delay and tail as far as sampled; μ; q if the level
walks; κ of each pair; then with several regions τ and z (channels × regions). The gradient is taken backwards: `adjoint` is the slope of
the log density by every f, `upward` by every F, and one pass at the end hands both to the parameters.
"""

# pyright: basic
# (numba's functions have no types)
from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload

from liftwise.core.uncertainty import Floats
from liftwise.models.mix.level import Level, marginal
from liftwise.models.mix.nuts import log_density
from liftwise.models.mix.response import PARAMETERS, bend, beta_1_3, carry, dot, exponential, log_steepness, total

RETENTION, HALF, SLOPE, EFFECT = range(4)  # blocks of θ
SPREAD, WALK, SHARES = 3, 4, 5  # rows of `MixData.shape` after log half, log slope and log tail


class LiftTests(NamedTuple):
    """Lift tests: `rows` measurements of `tests`, in revenue.

    channel, start, stop : (tests,) the weeks start ≤ t < stop are those in which anything may differ or is measured.
    other : (tests, regions, weeks) the spend there would have been. size : (tests, regions) revenue per relative unit; 0 = not in
    the test.
    first_row : (tests + 1,) rows of each test. since, until : (rows,) weeks measured. effect, error : (rows,).
    expected : (rows,) the lift at the θ asked for last.
    """

    channel: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    other: Floats
    size: Floats
    first_row: np.ndarray
    since: np.ndarray
    until: np.ndarray
    effect: Floats
    error: Floats
    expected: Floats

    @classmethod
    def none(cls, regions: int, weeks: int) -> LiftTests:
        """No test."""
        whole, real = np.empty(0, np.int64), np.empty(0)
        size, other = np.empty((0, regions)), np.empty((0, regions, weeks))
        return cls(whole, whole, whole, other, size, np.zeros(1, np.int64), whole, whole, real, real, real)


class MixData(NamedTuple):
    """All the density needs, and room to work in.

    spend : (channels, regions, weeks). target, seen : (regions, weeks), 0 where not seen. level : baseline and walk.
    weight : (regions,) revenue of each, mean 1, so that shares are of the revenue of all.
    noise : (2,) a + n and b. delay, tail : their blocks of θ, or −1 when φ = 0 and ν = 1.
    shape : (6, 2) mean and sd of log k, log s, log ν, log τ, log q and log μ a priori.
    effect : (channels, 6) kind (0 exponential, 1 log-normal); then of a log-normal mean, sd, level, slope, constant.
    usual : (channels,) the steady spend at which a marginal return is meant. pairs : (pairs, 2). bond : mean of κ a priori.
    bent : (channels, 4 to 6, regions, weeks) responses and slopes. adjoint : (channels, regions, weeks). residual, pull : (regions · weeks,).
    """

    spend: Floats
    target: Floats
    seen: Floats
    level: Level
    weight: Floats
    noise: Floats
    delay: int
    tail: int
    shape: Floats
    effect: Floats
    usual: Floats
    pairs: np.ndarray
    bond: float
    tests: LiftTests
    bent: Floats
    adjoint: Floats
    residual: Floats
    pull: Floats

    @property
    def dimensions(self) -> int:
        """Length of θ."""
        channels, regions, _ = self.spend.shape
        return int(first_region(self)) + (1 + channels * regions if regions > 1 else 0)

    def alone(self) -> MixData:
        """The same data with its own room to work in, for a thread of its own."""
        own = {name: np.empty_like(getattr(self, name)) for name in ("bent", "adjoint", "residual", "pull")}
        return self._replace(**own, tests=self.tests._replace(expected=np.empty_like(self.tests.expected)))


@njit(cache=True)
def first_walk(data):
    """Place in θ of q, if the level walks, else of the first κ; μ stands before it."""
    return data.spend.shape[0] * (4 + (data.delay >= 0) + (data.tail >= 0)) + 1


@njit(cache=True)
def first_region(data):
    """Place in θ of τ."""
    return first_walk(data) + (1 if data.level.swing.shape[0] else 0) + data.pairs.shape[0]


@njit(cache=True, error_model="numpy")
def channel_parameters(theta, c, data, told, by):
    """α, k, s, φ, ν and log share of a channel into `told` (6,), and their slopes by θ (of log k, log s, log ν) into `by` (6,)."""
    channels = data.spend.shape[0]
    told[0], by[0] = beta_1_3(theta[c])
    told[1], by[1] = math.exp(data.shape[0, 0] + data.shape[0, 1] * theta[HALF * channels + c]), data.shape[0, 1]
    told[2], by[2] = math.exp(data.shape[1, 0] + data.shape[1, 1] * theta[SLOPE * channels + c]), data.shape[1, 1]
    told[3], by[3] = 0.0, 0.0
    if data.delay >= 0:
        told[3], by[3] = beta_1_3(theta[data.delay * channels + c])
    told[4], by[4] = 1.0, 0.0
    if data.tail >= 0:
        told[4], by[4] = math.exp(data.shape[2, 0] + data.shape[2, 1] * theta[data.tail * channels + c]), data.shape[2, 1]
    v = theta[EFFECT * channels + c]
    if data.effect[c, 0] == 0:
        size, by[5] = exponential(v)
        told[5] = data.shape[SHARES, 0] + data.shape[SHARES, 1] * theta[first_walk(data) - 1] + size
    else:
        told[5], by[5] = v * data.effect[c, 2] + data.effect[c, 1] - data.effect[c, 5], data.effect[c, 2]


@njit(cache=True, error_model="numpy")
def respond(data, c, told, means):
    """Fill `bent` of a channel; `means` (6,) gets the weighted means over regions and weeks of the response and of its slopes."""
    mine = data.bent[c]
    rows, regions, weeks = mine.shape
    means[:] = 0.0
    for g in range(regions):
        carry(data.spend[c, g], told[0], told[3], mine[:, g])
    bend(told[1], told[2], told[4], mine.reshape(rows, regions * weeks))
    for row in range(rows):
        for g in range(regions):
            means[row] += data.weight[g] * total(mine[row, g])
    means /= regions * weeks
    if not means[0] > 1e-300:  # nothing was spent, or nothing of it counts: media are 0 whatever the share
        means[:] = 0.0
        means[0] = 1.0


@njit(cache=True, error_model="numpy")
def media(theta, data, own, together):
    """Media of every channel, into `own` (channels, regions, weeks), and of every pair, into `together` (pairs, regions, weeks)."""
    channels, regions, weeks = data.spend.shape
    told, by, means, share = np.empty(6), np.empty(6), np.empty(6), np.empty(channels)
    first, off = first_region(data), np.empty((channels, regions))
    deviations(theta, data, off)
    for c in range(channels):
        channel_parameters(theta, c, data, told, by)
        respond(data, c, told, means)
        share[c] = math.exp(told[5])
        data.bent[c, 0] /= means[0]
        for g in range(regions):
            scale = share[c] * math.exp(off[c, g])
            for t in range(weeks):
                own[c, g, t] = scale * data.bent[c, 0, g, t]
    for p in range(data.pairs.shape[0]):
        i, j = data.pairs[p]
        kappa = data.bond * math.exp(exponential(theta[first - data.pairs.shape[0] + p])[0])
        together[p] = kappa * (share[i] + share[j]) * data.bent[i, 0] * data.bent[j, 0]


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def mix_density(theta, data, grad):
    """Log density at θ up to a constant; `grad` is filled. −inf where it overflows."""
    channels, regions, weeks = data.spend.shape
    pairs, first = data.pairs.shape[0], first_region(data)
    value = 0.0
    for i in range(theta.shape[0]):
        if not abs(theta[i]) < 8.0:  # far outside the prior, and where Φ runs out of digits
            return -np.inf
        value -= 0.5 * theta[i] * theta[i]
        grad[i] = -theta[i]

    # forwards: what media give, and what is left
    told, by, means = np.empty((channels, 6)), np.empty((channels, 6)), np.empty((channels, 6))
    off, scale, share = np.empty((channels, regions)), np.empty((channels, regions)), np.empty(channels)
    kappa, by_kappa, bonded, both = np.empty(pairs), np.empty(pairs), np.empty(pairs), np.zeros(pairs)
    tau = deviations(theta, data, off)
    residual, pull, adjoint = data.residual, data.pull, data.adjoint
    for g in range(regions):
        residual[g * weeks : (g + 1) * weeks] = data.target[g]
    for c in range(channels):
        channel_parameters(theta, c, data, told[c], by[c])
        respond(data, c, told[c], means[c])
        share[c] = math.exp(told[c, 5])
        for g in range(regions):
            scale[c, g] = share[c] * math.exp(off[c, g]) / means[c, 0]
            for t in range(weeks):
                residual[g * weeks + t] -= scale[c, g] * data.bent[c, 0, g, t]
    for p in range(pairs):
        i, j = data.pairs[p]
        size, slope = exponential(theta[first - pairs + p])
        kappa[p], by_kappa[p] = data.bond * math.exp(size), slope
        bonded[p] = kappa[p] * (share[i] + share[j]) / (means[i, 0] * means[j, 0])
        for g in range(regions):
            for t in range(weeks):
                residual[g * weeks + t] -= bonded[p] * data.bent[i, 0, g, t] * data.bent[j, 0, g, t]
    walks = data.level.swing.shape[0] > 0
    log_q = data.shape[WALK, 0] + data.shape[WALK, 1] * theta[first_walk(data)] if walks else 0.0
    likelihood, force, by_walk = marginal(data.level, data.seen, data.noise, log_q, residual, pull)
    if not likelihood > -np.inf:
        return -np.inf
    value += likelihood
    if walks:
        grad[first_walk(data)] += data.shape[WALK, 1] * by_walk

    # backwards: the slope by every response, by its mean, and by what scales it
    pulled, upward = np.zeros((channels, regions)), np.zeros(channels)
    direct = np.zeros((channels, PARAMETERS))
    for c in range(channels):
        for g in range(regions):
            strong = force * scale[c, g]
            for t in range(weeks):
                adjoint[c, g, t] = strong * pull[g * weeks + t]
            pulled[c, g] = dot(adjoint[c, g], data.bent[c, 0, g])
    for p in range(pairs):
        i, j = data.pairs[p]
        for g in range(regions):
            for t in range(weeks):
                pulls = force * bonded[p] * pull[g * weeks + t]
                adjoint[i, g, t] += pulls * data.bent[j, 0, g, t]
                adjoint[j, g, t] += pulls * data.bent[i, 0, g, t]
                both[p] += pulls * data.bent[i, 0, g, t] * data.bent[j, 0, g, t]
    for i in range(data.tests.channel.shape[0]):
        value += _lift(data, i, told, scale, bonded, pulled, both, direct)
    for c in range(channels):
        _of_share(data, grad, c, pulled[c].sum(), by[c, 5])
        upward[c] -= pulled[c].sum() / means[c, 0]
        if data.effect[c, 0] == 1:
            value += _effect_prior(theta, data, grad, c, told[c], by[c], means[c], upward, direct)
    for p in range(pairs):
        i, j = data.pairs[p]
        grad[first - pairs + p] += both[p] * by_kappa[p]
        for c in (i, j):
            _of_share(data, grad, c, both[p] * share[c] / (share[i] + share[j]), by[c, 5])
            upward[c] -= both[p] / means[c, 0]
    for c in range(channels):
        _hand_down(data, grad, c, upward[c], means[c], direct[c], by[c])
    if regions > 1:
        for c in range(channels):
            middle = pulled[c].sum() / regions
            for g in range(regions):
                grad[first + 1 + c * regions + g] += tau * (pulled[c, g] - middle)
                grad[first] += data.shape[SPREAD, 1] * pulled[c, g] * off[c, g]
    return value


@njit(cache=True, error_model="numpy")
def deviations(theta, data, off):
    """Log effect of every channel in every region, less its mean over regions, into `off` (channels, regions); τ."""
    off[:] = 0.0
    channels, regions = off.shape
    if regions == 1:
        return 0.0
    first = first_region(data)
    tau = math.exp(data.shape[SPREAD, 0] + data.shape[SPREAD, 1] * theta[first])
    for c in range(channels):
        z = theta[first + 1 + c * regions : first + 1 + (c + 1) * regions]
        off[c] = tau * (z - z.mean())
    return tau


@njit(cache=True, inline="always")
def _of_share(data, grad, c, slope, by):
    """Add to `grad` what the slope by a channel's log share pulls at."""
    grad[EFFECT * data.spend.shape[0] + c] += slope * by
    if data.effect[c, 0] == 0:
        grad[first_walk(data) - 1] += slope * data.shape[SHARES, 1]


@njit(cache=True, error_model="numpy")
def _hand_down(data, grad, c, upward, means, direct, by):
    """Add to `grad` what responses of channel c and their mean pull at its parameters."""
    channels, regions, _ = data.spend.shape
    bent = data.bent[c]
    for parameter in range(bent.shape[0] - 1):
        slope = direct[parameter] + upward * means[1 + parameter]
        for g in range(regions):
            slope += dot(data.adjoint[c, g], bent[1 + parameter, g])
        block = parameter
        if parameter == 3:
            block = data.delay
        elif parameter == 4:
            block = data.tail
        if block >= 0:
            grad[block * channels + c] += slope * by[parameter]


@njit(cache=True, error_model="numpy")
def _effect_prior(theta, data, grad, c, told, by, means, upward, direct):
    """Log-normal prior on a channel's return, marginal return, coefficient or share; takes the place of the standard normal."""
    here = EFFECT * data.spend.shape[0] + c
    _, mean, sd, level, slope, constant = data.effect[c]
    slopes = np.zeros(3)
    log_target = told[5] + constant - level * math.log(means[0])
    if slope > 0:
        log_target += log_steepness(data.usual[c], told[1], told[2], told[4], slopes)
    off = (log_target - mean) / sd
    upward[c] += off / sd * level / means[0]
    direct[c, 1] -= off / sd * slopes[0]
    direct[c, 2] -= off / sd * slopes[1]
    direct[c, 4] -= off / sd * slopes[2]
    grad[here] += theta[here] - off / sd * by[5]
    return 0.5 * theta[here] ** 2 - 0.5 * off * off


@njit(cache=True, error_model="numpy")
def _lift(data, i, told, scale, bonded, pulled, both, direct):
    """Log likelihood of one test's measurements."""
    tests, pairs = data.tests, data.pairs
    regions = data.spend.shape[1]
    c, start, stop = tests.channel[i], tests.start[i], tests.stop[i]
    first, last = tests.first_row[i], tests.first_row[i + 1]
    rows = data.bent.shape[1]
    carried, then = np.empty((rows, stop)), np.empty((regions, rows, stop - start))
    worth = np.zeros((regions, stop))
    tests.expected[first:last] = 0.0
    for g in range(regions):
        if tests.size[i, g] == 0:
            continue
        carry(tests.other[i, g, :stop], told[c, 0], told[c, 3], carried)
        then[g] = carried[:, start:]  # before, nothing differs
        bend(told[c, 1], told[c, 2], told[c, 4], then[g])
        worth[g] = scale[c, g]
        for p in range(pairs.shape[0]):
            if pairs[p, 0] == c or pairs[p, 1] == c:
                worth[g] += bonded[p] * data.bent[pairs[p, 0] + pairs[p, 1] - c, 0, g, :stop]
        for row in range(first, last):
            for t in range(tests.since[row], tests.until[row]):
                tests.expected[row] += tests.size[i, g] * worth[g, t] * (data.bent[c, 0, g, t] - then[g, 0, t - start])
    out = 0.0
    for row in range(first, last):
        off = (tests.effect[row] - tests.expected[row]) / tests.error[row]
        out -= 0.5 * off * off
        for g in range(regions):
            force = off / tests.error[row] * tests.size[i, g]
            if force == 0.0:
                continue
            for t in range(tests.since[row], tests.until[row]):
                more = data.bent[c, 0, g, t] - then[g, 0, t - start]
                data.adjoint[c, g, t] += force * worth[g, t]
                pulled[c, g] += force * scale[c, g] * more
                for parameter in range(rows - 1):
                    direct[c, parameter] -= force * worth[g, t] * then[g, 1 + parameter, t - start]
                for p in range(pairs.shape[0]):
                    if pairs[p, 0] == c or pairs[p, 1] == c:
                        other = pairs[p, 0] + pairs[p, 1] - c
                        both[p] += force * bonded[p] * data.bent[other, 0, g, t] * more
                        data.adjoint[other, g, t] += force * bonded[p] * more
    return out


@overload(log_density)
def _of_mix(theta, data, grad):
    """Lets the sampler of `nuts` know this density by the type of its data."""
    if isinstance(data, types.NamedTuple) and data.instance_class is MixData:
        return lambda theta, data, grad: mix_density(theta, data, grad)
    return None
