"""exp and log that a compiler can do several of at once: no branch, no table, no call.

Both reduce to a short range by the bits of the number and end in a polynomial; relative errors are below 1e-14.
"""

from __future__ import annotations

import numpy as np  # noqa: F401 - of the examples
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

MAGIC = 6755399441055744.0  # 1.5 · 2⁵²: a number added to it is rounded to whole, and stands in its lowest bits
MAGIC_BITS = 0x4338000000000000
ONE = 0x3FF0000000000000
BIAS = 1 << 62
FRACTION = 0x000FFFFFFFFFFFFF
TO_HALF = 0x3FE6A09E667F3BCD  # the bits of √½: numbers are split into 2ᵉ · m with m from √½ to √2


@intrinsic
def _bits(_typing, x):
    return types.int64(types.float64), lambda _context, build, _signature, given: build.bitcast(given[0], ir.IntType(64))


@intrinsic
def _number(_typing, x):
    return types.float64(types.int64), lambda _context, build, _signature, given: build.bitcast(given[0], ir.DoubleType())


@intrinsic
def _top(_typing, x):
    """The 12 highest bits; a shift with the sign is not to be had several at once."""
    return types.int64(types.int64), lambda _context, build, _signature, given: build.lshr(
        given[0], ir.Constant(ir.IntType(64), 52)
    )


@njit(cache=True, inline="always", error_model="numpy", fastmath={"contract"})
def fast_exp(x):
    """exp(x) for |x| < 700.

    >>> bool(abs(fast_exp(-3.7) / np.exp(-3.7) - 1) < 1e-14)
    True
    """
    whole = x * 1.4426950408889634 + MAGIC
    n = whole - MAGIC
    r = (x - n * 0.6931471803691238) - n * 1.9082149292705877e-10
    p = 1 / 6227020800 * r + 1 / 479001600
    p = p * r + 1 / 39916800
    p = p * r + 1 / 3628800
    p = p * r + 1 / 362880
    p = p * r + 1 / 40320
    p = p * r + 1 / 5040
    p = p * r + 1 / 720
    p = p * r + 1 / 120
    p = p * r + 1 / 24
    p = p * r + 1 / 6
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return _number(_bits(p) + (_bits(whole) << 52))


@njit(cache=True, inline="always", error_model="numpy", fastmath={"contract"})
def fast_log(x):
    """log(x) for x from 1e-300 to 1e300.

    >>> bool(abs(fast_log(0.37) / np.log(0.37) - 1) < 1e-14)
    True
    """
    shifted = _bits(x) - TO_HALF
    e = _top(shifted + BIAS) - 1024
    m = _number(_bits(x) - (shifted & ~FRACTION))
    f = (m - 1) / (m + 1)
    q = f * f
    p = 1 / 19 * q + 1 / 17
    p = p * q + 1 / 15
    p = p * q + 1 / 13
    p = p * q + 1 / 11
    p = p * q + 1 / 9
    p = p * q + 1 / 7
    p = p * q + 1 / 5
    p = p * q + 1 / 3
    return (_number(e + MAGIC_BITS) - MAGIC) * 0.6931471805599453 + (2 * f + 2 * f * q * p)
