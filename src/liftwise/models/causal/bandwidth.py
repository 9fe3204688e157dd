"""How near the cutoff to look: the bandwidth that makes a local linear jump's mean squared error smallest.

A fit of order p within h of the cutoff errs by bias ~ h^(p+1) B and variance ~ V / (n h). V and B are unknown; they are estimated by fits
of higher order with wider bandwidths, which need bandwidths of their own: c (a rule of thumb) → d → b → h. At each stage
the sum over both sides of V is weighed against the squared difference of B, plus three times the variance of that difference's parts, so that a B
found to be small by chance does not make h explode.

Every fit here is linear in the outcome: `local_weights` gives the weights, and all variances are those of weighted sums.

References
----------
Calonico, Cattaneo and Titiunik (2014), Econometrica 82(6), for stages and bias; Calonico, Cattaneo and Farrell (2020), Econometrics
Journal 23(2), for the regularised bandwidth; Calonico, Cattaneo, Farrell and Titiunik (2019), REStat 101(3), for covariates;
Imbens and Kalyanaraman (2012), REStud 79(3), for the regularisation; Abadie and Imbens (2006), Econometrica 74(1), for matched variances.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit

from liftwise.core.errors import CannotTell
from liftwise.core.uncertainty import Floats

MATCHES = 3  # nearest neighbours that tell a point's noise
RULE_OF_THUMB = 2.576  # of the triangular kernel, for standard normal data
LEAST_SIDE = 10  # points on either side: a quartic must be fitted there

Errors = Literal["nn", "hc1"]
# variance of Σ weights·y over one side's points within a window: (weights, y, x, kernel, order of the fit) → number
Variance = Callable[[Floats, Floats, Floats, Floats, int], float]


@dataclass(frozen=True)
class Bandwidth:
    """In units of the running variable: `main` h for the jump, `bias` b for its curvature, `pilot` c that began it."""

    main: float
    bias: float
    pilot: float


@dataclass(frozen=True, eq=False)
class Side:
    """Points on one side of the cutoff: distances x (n,) from it, outcomes y (n,), covariates z (n, q)."""

    x: Floats
    y: Floats
    z: Floats

    @property
    def reach(self) -> float:
        """The farthest distance."""
        return float(np.abs(self.x).max())

    def within(self, width: float) -> Side:
        """Points with weight."""
        near = np.abs(self.x) < width
        return Side(self.x[near], self.y[near], self.z[near])


@dataclass(frozen=True)
class _Parts:
    """Variance, bias and regularisation of one side, scaled so that the optimal bandwidth is (V / (B² + R))^rate."""

    variance: float
    bias: float
    regular: float
    rate: float


def triangular(x: Floats, width: float) -> Floats:
    """Kernel weights (n,) of distances x: they fall to 0 at `width`."""
    return np.maximum(1 - np.abs(x) / width, 0) / width


def local_weights(x: Floats, kernel: Floats, order: int) -> Floats:
    """(order + 1, n): row k gives the coefficient of x^k in the kernel-weighted polynomial fit as a weighted sum of outcomes.

    >>> x = np.array([1.0, 2.0, 3.0, 4.0])
    >>> np.round(local_weights(x, np.ones(4), 1) @ (5 + 2 * x), 9).tolist()
    [5.0, 2.0]

    Raises
    ------
    CannotTell
        When too few different distances have weight.
    """
    if len(np.unique(x[kernel > 0])) <= order:
        raise CannotTell(
            f"a side has too few different points for a fit of order {order}", fix="widen the window, or deliver more"
        )
    scale = float(np.abs(x[kernel > 0]).max())
    powers = np.vander(x / scale, order + 1, increasing=True)
    root = np.sqrt(kernel)
    return np.linalg.pinv(powers * root[:, None], rcond=1e-15) * root / scale ** np.arange(order + 1)[:, None]


def matched_noise(y: Floats, x: Floats) -> Floats:
    """(n,) what each point differs from its three nearest neighbours (more where tied), scaled to have the noise's variance.

    >>> matched_noise(np.array([0.0, 0.0, 0.0, 4.0]), np.array([1.0, 2.0, 3.0, 4.0])).round(3).tolist()
    [-1.155, -1.155, -1.155, 3.464]
    """
    order = np.argsort(x, kind="stable")
    values, first, count = np.unique(x[order], return_index=True, return_counts=True)
    return _matched(y, np.searchsorted(values, x), values, np.add.reduceat(y[order], first), count)


@njit(cache=True)
def _matched(y, place, values, sums, count):
    """Neighbours are taken place by place, the nearest first; both at once where they are as near."""
    n, places = len(y), len(values)
    noise = np.empty(n)
    for i in range(n):
        low = high = place[i]
        found, total = count[low] - 1, sums[low] - y[i]
        while found < min(MATCHES, n - 1):
            down = values[place[i]] - values[low - 1] if low > 0 else np.inf
            up = values[high + 1] - values[place[i]] if high + 1 < places else np.inf
            if down <= up:
                low -= 1
                found, total = found + count[low], total + sums[low]
            if up <= down:
                high += 1
                found, total = found + count[high], total + sums[high]
        noise[i] = np.sqrt(found / (found + 1)) * (y[i] - total / max(found, 1))
    return noise


def nn_variance(weights: Floats, y: Floats, x: Floats, kernel: Floats, order: int) -> float:
    """From neighbours' differences: no fit is believed."""
    return float(np.sum((weights * matched_noise(y, x)) ** 2))


def hc1_variance(weights: Floats, y: Floats, x: Floats, kernel: Floats, order: int) -> float:
    """From the fit's own residuals, corrected for its order."""
    rest = y - np.vander(x, order + 1, increasing=True) @ (local_weights(x, kernel, order) @ y)
    return float(np.sum((weights * rest) ** 2)) * len(y) / (len(y) - order - 1)


VARIANCES: dict[str, Variance] = {"nn": nn_variance, "hc1": hc1_variance}


def adjustment(sides: tuple[Side, ...], kernels: tuple[Floats, ...], order: int) -> Floats:
    """(q,) coefficients of the covariates, common to the sides, beside a polynomial for each."""
    q = sides[0].z.shape[1]
    zz, zy = np.zeros((q, q)), np.zeros(q)
    for side, kernel in zip(sides, kernels, strict=True):
        fit = np.vander(side.x, order + 1, increasing=True) @ local_weights(side.x, kernel, order)
        rest = side.z - fit @ side.z
        zz, zy = zz + rest.T @ (kernel[:, None] * rest), zy + rest.T @ (kernel * (side.y - fit @ side.y))
    return np.linalg.pinv(zz) @ zy


def mse_bandwidth(left: Side, right: Side, variance: Variance = nn_variance, *, regular: float = 1.0) -> Bandwidth:
    """The bandwidth, the same on both sides, for a local linear jump.

    Parameters
    ----------
    left, right : points on either side; the right one holds those at the cutoff.
    variance : how noise is told.
    regular : 1 as published; 0 trusts the estimated bias.

    Raises
    ------
    CannotTell
        With fewer than 10 different points on a side.
    """
    for side in (left, right):
        if len(np.unique(side.x)) < LEAST_SIDE:
            raise CannotTell(
                f"{len(np.unique(side.x))} different points on a side are too few for a bandwidth",
                fix="give one, or deliver more",
            )
    pilot = min(_pilot(np.concatenate([left.x, right.x])), max(left.reach, right.reach))

    def stage(order: int, which: int, wide: tuple[float, float], weight: float) -> float:
        one, two = (_parts(side, order, which, pilot, width, variance, weight)
                    for side, width in zip((left, right), wide, strict=True))  # fmt: skip
        found = (one.variance + two.variance) / ((two.bias - one.bias) ** 2 + one.regular + two.regular)
        return min(float(found**one.rate), max(left.reach, right.reach))

    third = stage(3, 3, (left.reach, right.reach), 0.0)
    bias = stage(2, 2, (third, third), regular)
    return Bandwidth(stage(1, 0, (bias, bias), regular), bias, pilot)


def _pilot(x: Floats) -> float:
    low, high = np.quantile(x, [0.25, 0.75], method="averaged_inverted_cdf")
    return RULE_OF_THUMB * min(float(x.std(ddof=1)), float(high - low) / 1.349) * len(np.unique(x)) ** -0.2


def _parts(side: Side, order: int, which: int, pilot: float, wide: float, variance: Variance, regular: float) -> _Parts:
    """For coefficient `which` of a fit of `order`: variance at the pilot bandwidth, bias from a fit one order up within `wide`."""
    near = side.within(pilot)
    kernel = triangular(near.x, pilot)
    weights = local_weights(near.x, kernel, order)[which]
    slopes = adjustment((near,), (kernel,), order)
    far = side.within(wide)
    far_kernel = triangular(far.x, wide)
    curve = local_weights(far.x, far_kernel, order + 1)[order + 1]
    clean, far_clean = near.y - near.z @ slopes, far.y - far.z @ slopes
    lean = float(weights @ (near.x / pilot) ** (order + 1)) * pilot**which  # what a unit of curvature adds to the coefficient
    power = 2 * (order + 1 - which)
    unsure = 3 * lean**2 * variance(curve, far_clean, far.x, far_kernel, order + 1) if regular else 0.0
    return _Parts(
        (1 + 2 * which) * pilot ** (2 * which + 1) * variance(weights, clean, near.x, kernel, order),
        np.sqrt(power) * lean * float(curve @ far_clean), regular * power * unsure, 1 / (2 * order + 3),
    )  # fmt: skip
