"""A law whose answers are known, for checking the sampler.

It lives here and not beside its test because compiled code on disk names the type of the data it was compiled for: whoever reads
that code must be able to import it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload

from liftwise.core.uncertainty import Floats
from liftwise.models.mix.nuts import log_density


class KnownLaw(NamedTuple):
    """A normal of mean 0 by its precision (n, n); with `skew` 1 the first coordinate is the log of a standard exponential
    instead.
    """

    precision: Floats
    skew: int = 0


@njit(cache=True)
def _known(theta, data, grad):
    value = 0.0
    for i in range(theta.shape[0]):
        grad[i] = -np.dot(data.precision[i], theta)
        value += 0.5 * theta[i] * grad[i]
    if data.skew == 1:
        value += 0.5 * data.precision[0, 0] * theta[0] ** 2 + theta[0] - np.exp(theta[0])
        grad[0] += data.precision[0, 0] * theta[0] + 1 - np.exp(theta[0])
    return value


@overload(log_density)
def _of_known(theta, data, grad):
    if isinstance(data, types.NamedTuple) and data.instance_class is KnownLaw:
        return lambda theta, data, grad: _known(theta, data, grad)
    return None
