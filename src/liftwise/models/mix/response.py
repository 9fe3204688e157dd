"""How one channel answers to spend: carried over, then bent, with the slopes by every parameter, compiled.

Carry-over is geometric at retention α, or two such in a row, the second at α·φ: the effect may then peak later than the spend (the
distribution of a sum of two waits, with φ = 0 the geometric one). Saturation is f(x) = 1 − (1 + c·(x/k)^(hs))^(−ν): Hill's curve at
ν = 1, the exponential and Weibull's as ν grows, near a logarithm as it falls (Burr 1942, type XII). The families that other mixes ask
one to choose between are points of this one, so what is not known of the form is in the posterior. c and h depend on ν such that
f(k) = ½ and that the curve is as steep there as Hill's: ν bends the two ends alone, which data tell from k and s.
"""

# pyright: basic
# (numba's functions have no types)
from __future__ import annotations

import math

from numba import njit

from liftwise.models.mix.elementary import fast_exp, fast_log

LEAST = 1e-12  # spend below this is none
PARAMETERS = 5  # of a response: retention, half-saturation, slope, delay, tail


@njit(cache=True, error_model="numpy")
def beta_1_3(u):
    """A standard normal number as one of Beta(1, 3), and the slope; exact in both tails."""
    below = 0.5 * math.erfc(u / math.sqrt(2.0))  # Φ(−u)
    rest = below ** (1 / 3)
    return 1 - rest, rest / (3 * below) * math.exp(-0.5 * u * u) / math.sqrt(2 * math.pi)


@njit(cache=True, error_model="numpy")
def exponential(v):
    """Log of −log Φ(−v), standard exponential for standard normal v, and its slope; exact in both tails."""
    tail = 0.5 * math.erfc(v / math.sqrt(2.0))
    size = -math.log1p(-0.5 * math.erfc(-v / math.sqrt(2.0))) if v < 0 else -math.log(tail)
    return math.log(size), math.exp(-0.5 * v * v) / math.sqrt(2 * math.pi) / (tail * size)


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def carry(spend, alpha, phi, out):
    """Spend of one region carried over into `out[0]`; its slopes by α into `out[1]` and, if there is room, by φ into `out[4]`."""
    carried, by_alpha = out[0], out[1]
    level, slope = 0.0, 0.0
    if out.shape[0] <= 4:
        for t in range(spend.shape[0]):
            slope = alpha * slope + level - spend[t]
            level = alpha * level + (1 - alpha) * spend[t]
            carried[t], by_alpha[t] = level, slope
        return
    by_phi, rho = out[4], alpha * phi
    late, late_slope, late_rho = 0.0, 0.0, 0.0
    for t in range(spend.shape[0]):
        slope = alpha * slope + level - spend[t]
        level = alpha * level + (1 - alpha) * spend[t]
        late_rho = rho * late_rho + late - level
        late_slope = rho * late_slope + (1 - rho) * slope
        late = rho * late + (1 - rho) * level
        carried[t], by_alpha[t], by_phi[t] = late, late_slope + phi * late_rho, alpha * late_rho


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def bend(k, s, nu, out):
    """Saturation of `out[0]`, in place; rows 1 to 5 get the slopes by α, log k, log s, φ and log ν, as far as there are rows.

    Without a branch inside the loops, so that several weeks go at once.
    """
    log_k = math.log(k)
    value, by_alpha, by_k, by_s = out[0], out[1], out[2], out[3]
    if out.shape[0] <= 5:
        for t in range(value.shape[0]):
            some = 1.0 if value[t] > LEAST else 0.0
            x = value[t] if value[t] > LEAST else LEAST
            lift = fast_log(x) - log_k
            power = fast_exp(s * lift)
            rest = 1 / (1 + power)
            level = some * power * rest
            steep = s * level * rest
            value[t] = level
            by_k[t] = -steep
            by_s[t] = steep * lift
            by_alpha[t] *= steep / x
            if out.shape[0] == 5:
                out[4, t] *= steep / x
        return
    by_phi, by_nu = out[4], out[5]
    c, by_c, h, by_h = crook(nu)
    for t in range(value.shape[0]):
        some = 1.0 if value[t] > LEAST else 0.0
        x = value[t] if value[t] > LEAST else LEAST
        lift = fast_log(x) - log_k
        power = fast_exp(h * s * lift)
        log_b = fast_log(1 + c * power)
        drop = nu * log_b
        left = some * fast_exp(-(drop if drop < 690 else 690.0))
        part = power / (1 + c * power)
        steep = nu * c * h * s * part * left
        value[t] = some - left
        by_k[t] = -steep
        by_s[t] = steep * lift
        by_nu[t] = nu * left * (log_b + nu * by_c * part) + steep * lift * by_h
        by_alpha[t] *= steep / x
        by_phi[t] *= steep / x


@njit(cache=True, error_model="numpy")
def crook(nu):
    """c of the tail ν and its slope by ν; h, and the slope of log h by log ν."""
    c = 2 ** (1 / nu) - 1
    return c, -math.log(2.0) * (c + 1) / (nu * nu), 0.5 * (c + 1) / (nu * c), math.log(2.0) / (nu * c) - 1


@njit(cache=True, error_model="numpy")
def log_steepness(u, k, s, nu, slopes):
    """Log slope of the saturation at spend u; `slopes` (3,) gets its own by log k, log s and log ν."""
    c, by_c, h, by_h = crook(nu)
    lift = math.log(u / k)
    power = math.exp(h * s * lift)
    b = 1 + c * power
    share = power / b
    slopes[0] = -h * s + (nu + 1) * h * s * c * share
    slopes[1] = 1 + h * s * lift * (1 - (nu + 1) * c * share)
    slopes[2] = 1 + nu * by_c / c - nu * math.log(b) - (nu + 1) * nu * by_c * share + slopes[1] * by_h
    return math.log(nu * c * h * s) + h * s * lift - (nu + 1) * math.log(b) - math.log(u)


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def total(x):
    """Sum."""
    out = 0.0
    for t in range(x.shape[0]):
        out += x[t]
    return out


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def dot(x, y):
    """Inner product."""
    out = 0.0
    for t in range(x.shape[0]):
        out += x[t] * y[t]
    return out
