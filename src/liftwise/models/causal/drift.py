"""Pooling tests of one subject: what they say of its effect now, when effects differ from test to test and may drift.

Test k, at time tₖ, measured yₖ with standard error sₖ. With weight wₖ (1, or less for old tests: a power prior)

    yₖ ~ N(θₖ, sₖ²/wₖ),   θₖ = ℓ(tₖ) + uₖ,   uₖ ~ N(0, τ²),   ℓ a random walk with variance ω² a year and a flat start.

The spread τ and the drift ω are integrated over a grid, not put in as estimates, so that intervals cover with few tests. Priors are half-
normal, in units of the typical standard error (known before any effect is): τ of `spread` times it, and the drift over the
whole time of the tests likewise; no drift at all has prior probability 1 − `DRIFTING`. Given τ and ω all is normal, so every answer
is a mixture of normals, computed exactly.

References
----------
Gelman (2006), Bayesian Analysis 1(3), for half-normal priors of a spread; Röver (2020), Journal of Statistical Software 93(6), for
random effects integrated on a grid; Ibrahim and Chen (2000), Statistical Science 15(1), for power priors; Kass and Raftery (1995),
JASA 90(430), for what Bayes factors mean.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from liftwise.core.uncertainty import Floats, normal_quantile

SPREADS, DRIFTS = 40, 12  # grid points, equally likely a priori
DRIFTING = 0.5  # prior probability that the effect drifts at all; less would make intervals too narrow where it does
FOUND = 3.0  # a Bayes factor that counts as positive evidence; at 20 tests without drift 0 to 5 % reach it (measured)
HALF_LIVES = (90.0, 180.0, 365.0, 730.0, np.inf)  # days, tried where the half-life is to be learned


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of normals: weights (m,) that sum to 1, means and standard deviations (m,).

    >>> one = Mixture(np.array([1.0]), np.array([10.0]), np.array([2.0]))
    >>> one.mean, one.sd, tuple(round(end, 3) for end in one.interval(0.90))
    (10.0, 2.0, (6.71, 13.29))
    """

    weights: Floats = field(repr=False)
    means: Floats = field(repr=False)
    sds: Floats = field(repr=False)

    @property
    def mean(self) -> float:
        """Expectation."""
        return float(self.weights @ self.means)

    @property
    def sd(self) -> float:
        """Standard deviation, of the parts and between them."""
        return float(np.sqrt(self.weights @ (self.sds**2 + (self.means - self.mean) ** 2)))

    def below(self, value: float) -> float:
        """Probability of less than `value`."""
        from scipy.special import ndtr

        return float(self.weights @ ndtr((value - self.means) / self.sds))

    def interval(self, level: float) -> tuple[float, float]:
        """Central interval of `level`, by bisection."""
        normal_quantile(level)  # refuses a level that is none
        ends = (float((self.means - 12 * self.sds).min()), float((self.means + 12 * self.sds).max()))
        return self._quantile(0.5 - level / 2, *ends), self._quantile(0.5 + level / 2, *ends)

    def _quantile(self, share: float, low: float, high: float) -> float:
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if self.below(middle) < share else (low, middle)
        return (low + high) / 2


@dataclass(frozen=True, eq=False)
class Pooled:
    """What tests together say.

    Parameters
    ----------
    current : effect in the latest test, θₙ.
    typical : what such a test has on average by now, ℓ(tₙ).
    next : effect in the next test, were it run now: ℓ(tₙ) + u.
    spread : expected τ.
    bayes_factor : odds of a drift against none, from the data alone; 1 where drift was not asked for or one test is all.
    change : ℓ(tₙ) − ℓ(t₁), supposing there is a drift.
    half_life : days, expected where it was learned; infinite without decay.
    """

    current: Mixture
    typical: Mixture
    next: Mixture
    spread: float
    bayes_factor: float
    change: float
    half_life: float

    @property
    def drifting(self) -> bool:
        """Whether the drift counts as found."""
        return self.bayes_factor >= FOUND


def pool(effects: Floats, errors: Floats, days: Floats, *, half_life: float | str | None, drift: bool, spread: float) -> Pooled:
    """Pool n tests, sorted by time; `days` (n,) from any beginning.

    Parameters
    ----------
    half_life : days after which a test counts half; None for no decay; ``"learned"`` weighs `HALF_LIVES` by how well each would have
        predicted every test from those before it.
    """
    tried = HALF_LIVES if half_life == "learned" else (np.inf if half_life is None else float(half_life),)
    parts = [_Grid.of(effects, errors, days, life, drift, spread) for life in tried]
    if len(tried) == 1:
        return _answer(parts, np.ones(1), tried, effects)
    score = np.array([_foresight(effects, errors, days, life, drift, spread) for life in tried])
    share = np.exp(score - score.max())
    return _answer(parts, share / share.sum(), tried, effects)


@dataclass(frozen=True, eq=False)
class _Grid:
    """All grid points: τ, ω, posterior weight (m,); mean and variance of θₙ and of ℓ(tₙ); the rise since the first test."""

    tau: Floats
    omega: Floats
    weight: Floats
    theta: tuple[Floats, Floats]
    level: tuple[Floats, Floats]
    rise: Floats

    @classmethod
    def of(cls, effects: Floats, errors: Floats, days: Floats, life: float, drift: bool, spread: float) -> _Grid:
        years = (days - days[0]) / 365.25
        tau, omega, prior = _priors(errors, float(years[-1]), drift, spread)
        counts = errors**2 * 2.0 ** np.minimum((days[-1] - days) / life, 60.0)  # by then a test counts for nothing
        walk = np.minimum.outer(years, years)
        variance = np.diag(counts) + (tau**2)[:, None, None] * np.eye(len(effects)) + (omega**2)[:, None, None] * walk
        inverse = np.linalg.inv(variance)
        solved = inverse @ np.stack([np.ones_like(effects), effects], axis=1)
        precision = solved[:, :, 0].sum(axis=1)
        start = solved[:, :, 1].sum(axis=1) / precision
        rest = solved[:, :, 1] - start[:, None] * solved[:, :, 0]
        likelihood = -0.5 * (np.linalg.slogdet(variance)[1] + np.log(precision) + rest @ effects)
        weight = prior * np.exp(likelihood - likelihood.max())
        last = np.eye(len(effects))[-1]
        with_level = (omega**2)[:, None] * walk[-1]

        def posterior(shared: Floats, own: Floats) -> tuple[Floats, Floats]:
            """Of start + a part whose covariance with the tests is `shared` (m, n) and whose variance is `own` (m,)."""
            carried = (inverse @ shared[:, :, None])[:, :, 0]
            left = own - np.sum(shared * carried, axis=1) + (1 - carried.sum(axis=1)) ** 2 / precision
            return start + np.sum(shared * rest, axis=1), np.maximum(left, 1e-300)

        own = omega**2 * walk[-1, -1]
        theta = posterior(with_level + (tau**2)[:, None] * last, own + tau**2)
        return cls(tau, omega, weight / weight.sum(), theta, posterior(with_level, own), np.sum(with_level * rest, axis=1))


def _priors(errors: Floats, years: float, drift: bool, spread: float) -> tuple[Floats, Floats, Floats]:
    """Grid points τ, ω and their prior weights: equally likely quantiles of half-normals; ω = 0 apart."""
    from scipy.special import ndtri

    typical = spread / np.sqrt(np.mean(1 / errors**2))
    taus = typical * ndtri(0.5 + (np.arange(SPREADS) + 0.5) / SPREADS / 2)
    omegas, share = np.zeros(1), np.ones(1)
    if drift and years > 0:
        some = typical / np.sqrt(years) * ndtri(0.5 + (np.arange(DRIFTS) + 0.5) / DRIFTS / 2)
        omegas, share = np.concatenate([omegas, some]), np.array([1 - DRIFTING, *np.full(DRIFTS, DRIFTING / DRIFTS)])
    return np.repeat(taus, len(omegas)), np.tile(omegas, SPREADS), np.tile(share / SPREADS, SPREADS)


def _answer(parts: list[_Grid], share: Floats, tried: tuple[float, ...], effects: Floats) -> Pooled:
    """Mix the grids of the half-lives tried."""
    weight = np.concatenate([part * grid.weight for part, grid in zip(share, parts, strict=True)])

    def mixture(of: str, extra: bool = False) -> Mixture:
        means, variances = (np.concatenate(sides) for sides in zip(*(getattr(grid, of) for grid in parts), strict=True))
        tau = np.concatenate([grid.tau for grid in parts])
        return Mixture(weight, means, np.sqrt(variances + tau**2 * extra))

    tau, omega, rise = (np.concatenate([getattr(grid, of) for grid in parts]) for of in ("tau", "omega", "rise"))
    moving = float(weight[omega > 0].sum())
    factor = moving / max(1 - moving, 1e-12) * (1 - DRIFTING) / DRIFTING if len(effects) > 1 and (omega > 0).any() else 1.0
    change = float(weight[omega > 0] @ rise[omega > 0]) / moving if moving > 0 else 0.0
    life = np.inf if np.isinf(tried).all() else float(1 / np.sum(share / np.array(tried)))
    return Pooled(mixture("theta"), mixture("level"), mixture("level", extra=True), float(weight @ tau), factor, change, life)


def _foresight(effects: Floats, errors: Floats, days: Floats, life: float, drift: bool, spread: float) -> float:
    """Log density of every test but the first, each predicted from those before it."""
    total = 0.0
    for k in range(1, len(effects)):
        grid = _Grid.of(effects[:k], errors[:k], days[:k], life, drift, spread)
        ahead = grid.omega**2 * (days[k] - days[k - 1]) / 365.25
        variance = grid.level[1] + grid.tau**2 + ahead + errors[k] ** 2
        density = np.exp(-0.5 * (effects[k] - grid.level[0]) ** 2 / variance) / np.sqrt(variance)
        total += float(np.log(max(grid.weight @ density, 1e-300)))
    return total
