"""Searching and drawing round the top of a posterior that is a sum of squares: residuals whose prior part is θ itself, and their slopes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from liftwise.core.uncertainty import Floats

STEPS, ENOUGH = 30, 0.2  # of the search; −2 log posterior need not be known better
RETURNS, CLOSE = 6, 0.01  # of a draw; mean square, noise being 1
Moves = Callable[[Floats], Floats]


def climb(residuals: Moves, slopes: Moves, theta: Floats) -> tuple[Floats, float]:
    """Levenberg–Marquardt: the smallest sum of squares near `theta`, to `ENOUGH`, and that sum."""
    here, damping = residuals(theta), 1e-2
    cost = float(here @ here)
    for _ in range(STEPS):
        jacobian = slopes(theta)
        gram, pull = jacobian.T @ jacobian, jacobian.T @ here
        won = -1.0
        while won < 0 and damping < 1e6:
            moved = theta - np.linalg.solve(gram + damping * np.diag(np.diag(gram)), pull)
            there = residuals(moved)
            won = cost - float(there @ there)
            damping *= 4 if not won >= 0 else 0.2
        if not won >= 0:
            break
        theta, here, cost = moved, there, cost - won
        if won < ENOUGH:
            break
    return theta, cost


def near(residuals: Moves, slopes: Moves, top: Floats, noise: Floats) -> Floats:
    """Draws of θ about the posterior's top: randomise, then optimise (Bardsley, Solonen, Haario and Laine 2014, SIAM J. Sci. Comput. 36(4)).

    `noise` (draws, θ) is standard normal. Straight steps would leave what bends, above all what an exact test has found; so each is led back to
    where Qᵀ residuals = noise, Q spanning the slopes at the top. A step that finds no better place ends the way.
    """
    from scipy.linalg import solve_triangular

    basis, root = np.linalg.qr(slopes(top))
    out = top + solve_triangular(root, noise.T).T
    for k, aim in enumerate(noise):
        off = basis.T @ residuals(out[k]) - aim
        for _ in range(RETURNS):
            if off @ off < CLOSE * len(top):
                break
            moved = out[k] - solve_triangular(root, off)
            after = basis.T @ residuals(moved) - aim
            if not after @ after < off @ off:
                moved = (out[k] + moved) / 2
                after = basis.T @ residuals(moved) - aim
                if not after @ after < off @ off:
                    break
            out[k], off = moved, after
    return out


def spanned(columns: Floats) -> tuple[Floats, Floats]:
    """An orthonormal basis of what the columns span, and their squared singular values; columns that say the same twice do no harm."""
    size, turn = np.linalg.eigh(columns.T @ columns)
    keep = size > 1e-10 * size[-1]
    return columns @ (turn[:, keep] / np.sqrt(size[keep])), size[keep]
