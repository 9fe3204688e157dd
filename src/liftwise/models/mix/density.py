"""The log density of a structural mix and its gradient, compiled: what is linear and Gaussian is integrated out.

Relative revenue of region g in week t is y = Zγ + Σ_c m_c + noise, with media m_c = share_c · exp(δ_cg) · f(a_c) / mean f(a_c):
a_c is the spend carried over at retention α_c, f its saturation at half-saturation k_c (and slope s_c), and share_c the channel's
share of revenue in a usual region. With γ ~ N(0, σ²P) and σ² ~ IG(a/2, b/2) both integrate out: with √W Qᵀ from one SVD of Z√P,
the residual r = y − Σ m has log p(r) = −(a + n)/2 · log(b + ‖r‖² − ‖√W Qᵀ r‖²), at the cost of one thin matrix (Zellner 1971, for
the Student form).

Every sampled parameter is standard normal a priori and is bent into its own prior, so that tails are light wherever the data say
little: α = 1 − Φ(−u)^(1/3) is Beta(1, 3); share = −μ log Φ(−v) is exponential; k, s and τ are log-normal. A channel may instead
carry a log-normal prior on its return, marginal return, coefficient or share: log target = log share − [level] log mean f +
[slope] log f′(usual) + constant.

Lift tests are part of the likelihood: the lift of a test is media with the spend there was, less media with the spend there would
have been, over the weeks measured, so carry-over and saturation are learned from it as well as the effect.

Regions' deviations δ_cg = τ (z_cg − mean_g z_cg) sum to nothing, so a channel's share and its deviations are told apart by the
data alone.

Order of θ: u (channels), log k (channels), log s (channels, Hill only), v (channels), then with several regions τ and z (channels
× regions).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload

from liftwise.core.uncertainty import Floats
from liftwise.models.mix.elementary import fast_exp, fast_log
from liftwise.models.mix.nuts import log_density

LOGISTIC, HILL = 0, 1
LEAST = 1e-12  # spend below this is none
ATANH_HALF = 0.5493061443340549  # tanh(ATANH_HALF · x / k) is one half at x = k


class LiftTests(NamedTuple):
    """Lift tests: `rows` measurements of `tests`, in revenue.

    channel, start, stop : (tests,) the weeks start ≤ t < stop are those in which anything may differ or is measured.
    other : (tests, regions, weeks) the spend there would have been. size : (tests, regions) revenue per relative unit; 0 = not in
    the test.
    first_row : (tests + 1,) rows of each test. since, until : (rows,) weeks measured. effect, error : (rows,).
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

    @classmethod
    def none(cls, regions: int, weeks: int) -> LiftTests:
        """No test."""
        whole, real = np.empty(0, np.int64), np.empty(0)
        size, other = np.empty((0, regions)), np.empty((0, regions, weeks))
        return cls(whole, whole, whole, other, size, np.zeros(1, np.int64), whole, whole, real, real)


class MixData(NamedTuple):
    """All the density needs, and room to work in.

    spend : (channels, regions, weeks). target, seen : (regions, weeks), 0 where not seen. basis : (columns, regions · weeks), √W
    Qᵀ.
    weight : (regions,) revenue of each, mean 1, so that shares are of the revenue of all. noise : (2,) a + n and b. form :
    LOGISTIC or HILL.
    shape : (3, 2) mean and sd of log k, log s and log τ a priori.
    effect : (channels, 6) kind (0 exponential, 1 log-normal), mean (of share, or of log target), sd, level, slope, constant.
    usual : (channels,) the steady spend at which a marginal return is meant.
    bent : (4, channels, regions, weeks) saturation and its slopes by α, log k, log s. residual, pull : (regions · weeks,).
    """

    spend: Floats
    target: Floats
    seen: Floats
    basis: Floats
    weight: Floats
    noise: Floats
    form: int
    shape: Floats
    effect: Floats
    usual: Floats
    tests: LiftTests
    bent: Floats
    residual: Floats
    pull: Floats

    @property
    def dimensions(self) -> int:
        """Length of θ."""
        channels, regions, _ = self.spend.shape
        return channels * (4 if self.form == HILL else 3) + (1 + channels * regions if regions > 1 else 0)

    def alone(self) -> MixData:
        """The same data with its own room to work in, for a thread of its own."""
        return self._replace(bent=np.empty_like(self.bent), residual=np.empty_like(self.residual), pull=np.empty_like(self.pull))


@njit(cache=True, inline="always", error_model="numpy")
def _saturation(form, x, k, s):
    """Saturation at x > 0 and its derivatives by x, log k and log s."""
    if form == 1:
        lift = math.log(x / k)
        power = math.exp(s * lift)
        value = power / (1 + power)
        steep = s * value / (1 + power)
        return value, steep / x, -steep, steep * lift
    y = ATANH_HALF * x / k
    value = math.tanh(y)
    steep = y * (1 - value * value)
    return value, steep / x, -steep, 0.0


@njit(cache=True, error_model="numpy")
def channel_parameters(theta, c, data):
    """α, dα/du, k, s, log share, d log share / dv of a channel."""
    channels = data.spend.shape[0]
    u = theta[c]
    below = 0.5 * math.erfc(u / math.sqrt(2.0))  # Φ(−u)
    rest = below ** (1 / 3)
    alpha = 1 - rest
    slope_alpha = rest / (3 * below) * math.exp(-0.5 * u * u) / math.sqrt(2 * math.pi)
    k = math.exp(data.shape[0, 0] + data.shape[0, 1] * theta[channels + c])
    s = math.exp(data.shape[1, 0] + data.shape[1, 1] * theta[2 * channels + c]) if data.form == 1 else 1.0
    v = theta[(3 if data.form == 1 else 2) * channels + c]
    if data.effect[c, 0] == 0:
        tail = 0.5 * math.erfc(v / math.sqrt(2.0))
        # −log Φ(−v) = −log(1 − Φ(v)): exact in both tails
        size = -math.log1p(-0.5 * math.erfc(-v / math.sqrt(2.0))) if v < 0 else -math.log(tail)
        log_share = math.log(data.effect[c, 1]) + math.log(size)
        slope_share = math.exp(-0.5 * v * v) / math.sqrt(2 * math.pi) / (tail * size)
    else:
        log_share, slope_share = v * data.effect[c, 2] + data.effect[c, 1] - data.effect[c, 5], data.effect[c, 2]
    return alpha, slope_alpha, k, s, log_share, slope_share


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def bend(data, c, alpha, k, s, sums):
    """Fill `bent` for a channel; `sums` (4,) gets the weighted means of value and slopes over regions and weeks."""
    _, regions, weeks = data.spend.shape
    sums[:] = 0.0
    log_k = math.log(k)
    for g in range(regions):
        spend = data.spend[c, g]
        value, by_alpha, by_k, by_s = data.bent[0, c, g], data.bent[1, c, g], data.bent[2, c, g], data.bent[3, c, g]
        carried, carried_slope = 0.0, 0.0
        for t in range(weeks):
            carried_slope = alpha * carried_slope + carried - spend[t]
            carried = alpha * carried + (1 - alpha) * spend[t]
            value[t], by_alpha[t] = carried, carried_slope
        if data.form == 1:
            for t in range(weeks):  # without a branch, so that several weeks go at once
                some = 1.0 if value[t] > LEAST else 0.0
                x = value[t] if value[t] > LEAST else LEAST
                lift = fast_log(x) - log_k
                power = fast_exp(s * lift)
                rest = 1 / (1 + power)
                level = some * power * rest
                steep = s * level * rest
                value[t] = level
                by_alpha[t] *= steep / x
                by_k[t] = -steep
                by_s[t] = steep * lift
        else:
            for t in range(weeks):
                y = ATANH_HALF / k * value[t]
                power = fast_exp(-2 * (y if y < 300 else 300.0))
                level = (1 - power) / (1 + power)
                steep = 1 - level * level
                value[t] = level
                by_alpha[t] *= ATANH_HALF / k * steep
                by_k[t] = -y * steep
        sums[0] += data.weight[g] * _sum(value)
        sums[1] += data.weight[g] * _sum(by_alpha)
        sums[2] += data.weight[g] * _sum(by_k)
        if data.form == 1:
            sums[3] += data.weight[g] * _sum(by_s)
    sums /= regions * weeks
    if not sums[0] > 1e-300:  # nothing was spent, or nothing of it counts: media are 0 whatever the share
        sums[:] = 0.0
        sums[0] = 1.0


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _sum(x):
    total = 0.0
    for t in range(x.shape[0]):
        total += x[t]
    return total


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _dot(x, y):
    total = 0.0
    for t in range(x.shape[0]):
        total += x[t] * y[t]
    return total


@njit(cache=True, error_model="numpy")
def media(theta, data, out):
    """Media of every channel, relative revenue, into `out` (channels, regions, weeks)."""
    channels, regions, weeks = data.spend.shape
    sums = np.empty(4)
    blocks = 4 if data.form == 1 else 3
    tau = math.exp(data.shape[2, 0] + data.shape[2, 1] * theta[blocks * channels]) if regions > 1 else 0.0
    for c in range(channels):
        alpha, _, k, s, log_share, _ = channel_parameters(theta, c, data)
        bend(data, c, alpha, k, s, sums)
        for g in range(regions):
            scale = math.exp(log_share + _deviation(theta, blocks * channels + 1 + c * regions, regions, g, tau)) / sums[0]
            for t in range(weeks):
                out[c, g, t] = scale * data.bent[0, c, g, t]


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def mix_density(theta, data, grad):
    """Log density at θ up to a constant; `grad` is filled. −inf where it overflows."""
    channels, regions, weeks = data.spend.shape
    blocks = 4 if data.form == 1 else 3
    first_z = blocks * channels + 1
    cells = regions * weeks
    value = 0.0
    for i in range(theta.shape[0]):
        if not abs(theta[i]) < 8.0:  # far outside the prior, and where Φ runs out of digits
            return -np.inf
        value -= 0.5 * theta[i] * theta[i]
        grad[i] = -theta[i]
    tau = math.exp(data.shape[2, 0] + data.shape[2, 1] * theta[first_z - 1]) if regions > 1 else 0.0
    pulled = np.zeros((channels, regions))
    told = np.empty((channels, 6))
    sums = np.empty((channels, 4))
    scale = np.empty((channels, regions))
    residual, pull = data.residual, data.pull
    for g in range(regions):
        for t in range(weeks):
            residual[g * weeks + t] = data.target[g, t]
    for c in range(channels):
        alpha, slope_alpha, k, s, log_share, slope_share = channel_parameters(theta, c, data)
        told[c, 0], told[c, 1], told[c, 2], told[c, 3], told[c, 4], told[c, 5] = alpha, slope_alpha, k, s, log_share, slope_share
        bend(data, c, alpha, k, s, sums[c])
        for g in range(regions):
            scale[c, g] = math.exp(log_share + _deviation(theta, first_z + c * regions, regions, g, tau)) / sums[c, 0]
            for t in range(weeks):
                residual[g * weeks + t] -= scale[c, g] * data.bent[0, c, g, t]
    square = 0.0
    for g in range(regions):
        for t in range(weeks):
            i = g * weeks + t
            residual[i] *= data.seen[g, t]
            pull[i] = residual[i]
            square += residual[i] * residual[i]
    for b in range(data.basis.shape[0]):
        part = _dot(data.basis[b], residual)
        square -= part * part
        for i in range(cells):
            pull[i] -= part * data.basis[b, i]
    total = data.noise[1] + square
    if not total > 0:
        return -np.inf
    value -= 0.5 * data.noise[0] * math.log(total)
    force = data.noise[0] / total
    for c in range(channels):
        for g in range(regions):
            mine = pull[g * weeks : (g + 1) * weeks]
            along, by_alpha = _dot(mine, data.bent[0, c, g]), _dot(mine, data.bent[1, c, g])
            by_k = _dot(mine, data.bent[2, c, g])
            by_s = _dot(mine, data.bent[3, c, g]) if data.form == 1 else 0.0
            force_here = force * scale[c, g]
            pulled[c, g] += force_here * along
            _pull(data, grad, c, force_here, along, by_alpha, by_k, by_s, told[c], sums[c])
        if data.effect[c, 0] == 1:
            value += _effect_prior(theta, data, grad, c, told[c], sums[c])
    for i in range(data.tests.channel.shape[0]):
        c = data.tests.channel[i]
        value += _lift(data, grad, i, c, told[c], sums[c], scale[c], pulled[c])
    if regions > 1:
        for c in range(channels):
            middle = pulled[c].sum() / regions
            for g in range(regions):
                off = _deviation(theta, first_z + c * regions, regions, g, tau)
                grad[first_z + c * regions + g] += tau * (pulled[c, g] - middle)
                grad[first_z - 1] += data.shape[2, 1] * pulled[c, g] * off
    return value


@njit(cache=True, inline="always", error_model="numpy")
def _deviation(theta, first, regions, g, tau):
    """Log effect of a channel in region g, less its mean over regions."""
    if regions == 1:
        return 0.0
    middle = 0.0
    for other in range(regions):
        middle += theta[first + other]
    return tau * (theta[first + g] - middle / regions)


@njit(cache=True, inline="always", error_model="numpy")
def _pull(data, grad, c, force, along, by_alpha, by_k, by_s, told, sums):
    """Add to `grad` what d log p / d media = `force` × (…) pulls at the parameters of channel c."""
    channels = data.spend.shape[0]
    blocks = 4 if data.form == 1 else 3
    grad[c] += force * (by_alpha - along * sums[1] / sums[0]) * told[1]
    grad[channels + c] += force * (by_k - along * sums[2] / sums[0]) * data.shape[0, 1]
    if data.form == 1:
        grad[2 * channels + c] += force * (by_s - along * sums[3] / sums[0]) * data.shape[1, 1]
    grad[(blocks - 1) * channels + c] += force * along * told[5]


@njit(cache=True, error_model="numpy")
def _effect_prior(theta, data, grad, c, told, sums):
    """Log-normal prior on a channel's return, marginal return, coefficient or share; takes the place of the standard normal."""
    channels = data.spend.shape[0]
    blocks = 4 if data.form == 1 else 3
    here = (blocks - 1) * channels + c
    _, mean, sd, level, slope, constant = data.effect[c]
    k, s = told[2], told[3]
    log_target = told[4] + constant - level * math.log(sums[0])
    by_k, by_s = -level * sums[2] / sums[0], -level * sums[3] / sums[0]
    if slope > 0:
        u = data.usual[c]
        if data.form == 1:
            lift = math.log(u / k)
            power = math.exp(s * lift)
            log_target += math.log(s) + s * lift - 2 * math.log1p(power) - math.log(u)
            by_k += -s + 2 * s * power / (1 + power)
            by_s += 1 + s * lift * (1 - 2 * power / (1 + power))
        else:
            y = ATANH_HALF * u / k
            log_target += math.log(y / u) - 2 * math.log(math.cosh(y))
            by_k += -1 + 2 * y * math.tanh(y)
    off = (log_target - mean) / sd
    grad[c] += off / sd * level * sums[1] / sums[0] * told[1]
    grad[channels + c] -= off / sd * by_k * data.shape[0, 1]
    if data.form == 1:
        grad[2 * channels + c] -= off / sd * by_s * data.shape[1, 1]
    grad[here] += theta[here] - off / sd * told[5]
    return 0.5 * theta[here] ** 2 - 0.5 * off * off


@njit(cache=True, error_model="numpy")
def _lift(data, grad, i, c, told, sums, scale, pulled):
    """Log likelihood of one test's measurements."""
    tests = data.tests
    regions = data.spend.shape[1]
    first, last = tests.first_row[i], tests.first_row[i + 1]
    alpha, k, s = told[0], told[2], told[3]
    parts = np.zeros((last - first, regions, 4))
    for g in range(regions):
        if tests.size[i, g] == 0:
            continue
        carried, carried_slope = 0.0, 0.0
        for t in range(tests.stop[i]):
            x = tests.other[i, g, t]
            carried_slope = alpha * carried_slope + carried - x
            carried = alpha * carried + (1 - alpha) * x
            if t < tests.start[i]:
                continue
            value, by_x, by_k, by_s = 0.0, 0.0, 0.0, 0.0
            if carried > LEAST:
                value, by_x, by_k, by_s = _saturation(data.form, carried, k, s)
            for row in range(last - first):
                if tests.since[first + row] <= t < tests.until[first + row]:
                    parts[row, g, 0] += data.bent[0, c, g, t] - value
                    parts[row, g, 1] += data.bent[1, c, g, t] - by_x * carried_slope
                    parts[row, g, 2] += data.bent[2, c, g, t] - by_k
                    parts[row, g, 3] += data.bent[3, c, g, t] - by_s
    out = 0.0
    for row in range(last - first):
        lift = 0.0
        for g in range(regions):
            lift += tests.size[i, g] * scale[g] * parts[row, g, 0]
        off = (tests.effect[first + row] - lift) / tests.error[first + row]
        out -= 0.5 * off * off
        for g in range(regions):
            if tests.size[i, g] != 0:
                p = parts[row, g]
                force = off / tests.error[first + row] * tests.size[i, g] * scale[g]
                pulled[g] += force * p[0]
                _pull(data, grad, c, force, p[0], p[1], p[2], p[3], told, sums)
    return out


@njit(cache=True, error_model="numpy")
def lifts(theta, data, out):
    """The lift the model expects at θ for every measurement, in revenue, into `out` (rows,)."""
    channels, regions, weeks = data.spend.shape
    now = np.empty((channels, regions, weeks))
    media(theta, data, now)
    tests = data.tests
    for i in range(tests.channel.shape[0]):
        c = tests.channel[i]
        alpha, _, k, s, _, _ = channel_parameters(theta, c, data)
        for row in range(tests.first_row[i], tests.first_row[i + 1]):
            out[row] = 0.0
        for g in range(regions):
            if tests.size[i, g] == 0:
                continue
            top = np.argmax(now[c, g])
            scale = now[c, g, top] / data.bent[0, c, g, top] if data.bent[0, c, g, top] > 0 else 0.0
            carried = 0.0
            for t in range(tests.stop[i]):
                carried = alpha * carried + (1 - alpha) * tests.other[i, g, t]
                value = 0.0
                if carried > LEAST:
                    value, _, _, _ = _saturation(data.form, carried, k, s)
                for row in range(tests.first_row[i], tests.first_row[i + 1]):
                    if tests.since[row] <= t < tests.until[row]:
                        out[row] += tests.size[i, g] * (now[c, g, t] - scale * value)


@overload(log_density)
def _of_mix(theta, data, grad):
    """Lets the sampler of `nuts` know this density by the type of its data."""
    if isinstance(data, types.NamedTuple) and data.instance_class is MixData:
        return lambda theta, data, grad: mix_density(theta, data, grad)
    return None
