"""Draws from a structural time series: states and coefficients integrated out by the Kalman filter, the rest by Metropolis and Gibbs steps.

θ (6,): log sd of noise, of the steps of level, slope and season, of the lasting term, and logit of that term's ρ.
prior (6, 2): guess and worth in observations of each; worth 0: not in the model.

References
----------
Durbin and Koopman (2012), Time series analysis by state space methods, 4.3 and 6.2 (filter; regression by whitened columns); Scott and
Varian (2014), IJMMNO 5(1-2), for spike and slab.
"""

import numpy as np
from numba import njit

FIXED = 3  # states before the seasons: level, slope, lasting


@njit(cache=True)
def kalman(columns, theta, prior, season, white, roots, mean, cov):
    """Whiten `columns` (n, c; the series first) by the Kalman filter into `white` (n, c), by `roots` (n,) = √F; returns Σ log F.

    `mean` (k, c) and `cov` (k, k) end as those of the state after the last period: level, slope, lasting, and one effect a season.
    """
    n, c = columns.shape
    k = 3 + season
    noise, level, slope, drift = np.exp(2 * theta[0]), np.exp(2 * theta[1]), np.exp(2 * theta[2]), np.exp(2 * theta[3])
    lasting, rho, logs = np.exp(2 * theta[4]), 1 / (1 + np.exp(-theta[5])), 0.0
    reach, total = np.zeros(k), 0.0
    for i in range(k):
        for j in range(c):
            mean[i, j] = 0.0
        for j in range(k):
            cov[i, j] = (1.0 if i == j else 0.0) - 1.0 / season if min(i, j) >= 3 else 0.0
    mean[0, 0], cov[0, 0] = columns[0, 0], 1.0
    cov[1, 1] = 12.0 / n**2 if prior[2, 1] > 0 else 0.0  # the slope of a straight line with sd 1
    cov[2, 2] = lasting if prior[4, 1] > 0 else 0.0
    for t in range(n):
        s = 3 + t % season if season > 0 else 2
        if t > 0:
            for j in range(c):
                mean[0, j] += mean[1, j]
                mean[2, j] *= rho
            for j in range(k):
                cov[0, j] += cov[1, j]
                cov[2, j] *= rho
            for j in range(k):
                cov[j, 0] += cov[j, 1]
                cov[j, 2] *= rho
            cov[0, 0] += level
            if prior[2, 1] > 0:
                cov[1, 1] += slope
            if prior[4, 1] > 0:
                cov[2, 2] += lasting * (1 - rho * rho)
            if t >= season > 0:
                cov[s, s] += drift
        for i in range(k):
            reach[i] = cov[i, 0] + cov[i, 2] + (cov[i, s] if s > 2 else 0.0)
        total = reach[0] + reach[2] + (reach[s] if s > 2 else 0.0) + noise
        roots[t] = np.sqrt(total)
        logs += np.log(total)
        for j in range(c):
            error = columns[t, j] - mean[0, j] - mean[2, j] - (mean[s, j] if s > 2 else 0.0)
            white[t, j] = error / roots[t]
            for i in range(k):
                mean[i, j] += reach[i] / total * error
        for i in range(k):
            gain = reach[i] / total
            for j in range(k):
                cov[i, j] -= gain * reach[j]
    return logs


@njit(cache=True)
def _factorise(matrix, size):
    """Cholesky factor in place, lower half of the first `size`; rows without variance become zero."""
    for a in range(size):
        for b in range(a + 1):
            total = matrix[a, b]
            for m in range(b):
                total -= matrix[a, m] * matrix[b, m]
            if a == b:
                matrix[a, a] = np.sqrt(total) if total > 1e-12 else 0.0
            else:
                matrix[a, b] = total / matrix[b, b] if matrix[b, b] > 0 else 0.0


@njit(cache=True)
def posterior(gram, slab, noise, inside, both, half):
    """Factor `both` of β's posterior precision and `half` = its inverse times the cross products; log evidence of `inside`.

    The evidence is log p(series | θ, factors in), less what is common to all choices of factors.
    """
    size, value = 0, -0.5 * gram[0, 0]
    for a in range(len(inside)):
        if inside[a]:
            column = 0
            for b in range(a + 1):
                if inside[b]:
                    both[size, column] = slab[a, b] / noise
                    column += 1
            size += 1
    _factorise(both, size)
    for a in range(size):
        value += np.log(both[a, a])
    row = 0
    for a in range(len(inside)):
        if inside[a]:
            column = 0
            for b in range(a + 1):
                if inside[b]:
                    both[row, column] = slab[a, b] / noise + gram[1 + a, 1 + b]
                    column += 1
            half[row] = gram[0, 1 + a]
            row += 1
    _factorise(both, size)
    for a in range(size):
        for b in range(a):
            half[a] -= both[a, b] * half[b]
        half[a] /= both[a, a]
        value += 0.5 * half[a] ** 2 - np.log(both[a, a])
    return value


@njit(cache=True)
def _log_prior(theta, prior):
    """Inverse gamma on each variance, written for its log sd; ρ uniform. Nothing may exceed 1.2 times the series' own sd."""
    total = 0.0
    for k in range(5):
        if prior[k, 1] > 0:
            total -= prior[k, 1] * (theta[k] + 0.5 * (prior[k, 0] * np.exp(-theta[k])) ** 2)
            if theta[k] > 0.1823:
                return -np.inf
    if prior[5, 1] > 0:
        total -= abs(theta[5]) + 2 * np.log(1 + np.exp(-abs(theta[5])))
    return total


@njit(cache=True)
def _score(columns, theta, prior, season, slab, inside, gram, white, roots, mean, cov, both, half):
    """Log posterior of θ with states and β integrated out; fills `gram`, the whitened columns' inner products."""
    value = _log_prior(theta, prior)
    if value == -np.inf:
        return value
    value -= 0.5 * kalman(columns, theta, prior, season, white, roots, mean, cov)
    for a in range(gram.shape[0]):
        for b in range(a + 1):
            total = 0.0
            for t in range(white.shape[0]):
                total += white[t, a] * white[t, b]
            gram[a, b] = gram[b, a] = total
    return value + posterior(gram, slab, np.exp(2 * theta[0]), inside, both, half)


@njit(cache=True)
def _go_on(ahead, theta, beta, prior, season, n, state, random, made):
    """From the last state to the future: fills `made` (periods ahead,)."""
    rho = 1 / (1 + np.exp(-theta[5]))
    for h in range(len(made)):
        s = 3 + (n + h) % season if season > 0 else 2
        state[0] += state[1] + np.exp(theta[1]) * random.standard_normal()
        if prior[2, 1] > 0:
            state[1] += np.exp(theta[2]) * random.standard_normal()
        if prior[4, 1] > 0:
            state[2] = rho * state[2] + np.exp(theta[4]) * np.sqrt(1 - rho * rho) * random.standard_normal()
        if season > 0:
            state[s] += np.exp(theta[3]) * random.standard_normal()
        made[h] = state[0] + state[2] + (state[s] if season > 0 else 0.0) + np.exp(theta[0]) * random.standard_normal()
        for j in range(len(beta)):
            made[h] += ahead[h, j] * beta[j]


@njit(cache=True)
def sample(columns, ahead, prior, season, odds, slab, start, draws, sweeps, warm_up, random):
    """Draws of θ (m, 6), β (m, p) and the future (m, periods ahead), standardised.

    columns (n, 1 + p): series and factors before; ahead (periods ahead, p); slab (p, p): prior precision of β times the noise's
    variance; odds: a factor's chance to be in. Step lengths learn during `warm_up` to be taken 44 times in 100.
    """
    n, p, k = columns.shape[0], ahead.shape[1], 3 + season
    thetas, betas, futures = np.zeros((draws, 6)), np.zeros((draws, p)), np.zeros((draws, ahead.shape[0]))
    theta, tried, step = start.copy(), start.copy(), np.full(6, 0.5)
    white, roots, mean, cov = np.zeros((n, 1 + p)), np.zeros(n), np.zeros((k, 1 + p)), np.zeros((k, k))
    gram, other, both, half = np.zeros((1 + p, 1 + p)), np.zeros((1 + p, 1 + p)), np.zeros((p, p)), np.zeros(p)
    inside, state, beta = np.ones(p, np.bool_), np.zeros(k), np.zeros(p)
    score = _score(columns, theta, prior, season, slab, inside, gram, white, roots, mean, cov, both, half)
    for sweep in range(warm_up + draws * sweeps):
        for q in range(6):
            if prior[q, 1] > 0:
                for r in range(6):
                    tried[r] = theta[r]
                tried[q] += step[q] * random.standard_normal()
                value = _score(columns, tried, prior, season, slab, inside, other, white, roots, mean, cov, both, half)
                taken = np.log(random.random()) < value - score
                if taken:
                    theta[q], score = tried[q], value
                    gram, other = other, gram
                if sweep < warm_up:
                    step[q] *= np.exp(((1.0 if taken else 0.0) - 0.44) / np.sqrt(1 + sweep / 10))
        noise = np.exp(2 * theta[0])
        if odds < 1:
            rest = score - posterior(gram, slab, noise, inside, both, half)
            for j in range(p):
                inside[j] = True
                with_it = posterior(gram, slab, noise, inside, both, half)
                inside[j] = False
                without = posterior(gram, slab, noise, inside, both, half)
                inside[j] = random.random() * (odds + (1 - odds) * np.exp(min(without - with_it, 700.0))) < odds
            score = rest + posterior(gram, slab, noise, inside, both, half)
        if sweep < warm_up or (sweep - warm_up) % sweeps < sweeps - 1:
            continue
        m = (sweep - warm_up) // sweeps
        posterior(gram, slab, noise, inside, both, half)
        _draw_beta(both, half, inside, random, beta)
        kalman(columns, theta, prior, season, white, roots, mean, cov)
        _factorise(cov, k)
        for i in range(k):
            state[i] = mean[i, 0]
            for j in range(p):
                state[i] -= mean[i, 1 + j] * beta[j]
        for j in range(k):
            z = random.standard_normal()
            for i in range(j, k):
                state[i] += cov[i, j] * z
        _go_on(ahead, theta, beta, prior, season, n, state, random, futures[m])
        thetas[m], betas[m] = theta, beta
    return thetas, betas, futures


@njit(cache=True)
def _draw_beta(both, half, inside, random, beta):
    """β from its posterior, given its factor and half solution; 0 for factors that are out. Destroys `half`."""
    used = np.flatnonzero(inside)
    for a in range(len(used)):
        half[a] += random.standard_normal()
    for a in range(len(used) - 1, -1, -1):
        for b in range(a + 1, len(used)):
            half[a] -= both[b, a] * half[b]
        half[a] /= both[a, a]
    for j in range(len(beta)):
        beta[j] = 0.0
    for a in range(len(used)):
        beta[used[a]] = half[a]
