"""Pooling tests of one subject: what they say of its effect now, when effects differ from test to test and may drift.

Test k, at time tₖ, measured yₖ with standard error sₖ. With weight wₖ (1, or less for old tests: a power prior)

    yₖ ~ N(θₖ, sₖ²/wₖ),   θₖ = ℓ(tₖ) + uₖ,   uₖ ~ N(0, τ²),   ℓ still, a random walk, or with one jump; its start is flat.

How much tests differ (τ), how far the level walks over the whole time of the tests, and how far it jumps are not known. They are
integrated over a grid, not put in as estimates, so that intervals cover with few tests. τ is zero with some probability; else its
prior is that of uniform shrinkage: s²/(s² + τ²) is as likely to be anything from 0 to 1, where s is `spread` times the typical
standard error, which is known before any effect is. Walks and jumps, where there are any, have the same prior, and a jump may lie
between any two tests. Given a grid point all is normal and a Kalman filter gives the answer, so every answer is a mixture of
normals, computed exactly.

No one prior makes every answer cover as often as it says, so the prior goes with the question, as reference priors do (`PRIORS`).
Two things no prior mends, for 20 tests can hardly tell them apart. Whether tests do not differ or differ by half a standard
error: an interval for the effect in the latest test that covers in the second case covers more than it says in the first. And
whether the level is still or walks by one standard error in all: an interval for the level that covers in the first case is too
narrow in the second, so `typical` is for effects that seldom drift.

References
----------
Daniels (1999), Canadian Journal of Statistics 27(3), for uniform shrinkage; Röver (2020), Journal of Statistical Software 93(6),
for random effects integrated on a grid; Bernardo (1979), JRSS B 41(2), for priors that go with the question; Durbin and Koopman
(2012), Time Series Analysis by State Space Methods, for the filter; Ibrahim and Chen (2000), Statistical Science 15(1), for power
priors; Kass and Raftery (1995), JASA 90(430), for what Bayes factors mean.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from liftwise.core.uncertainty import Floats, normal_quantile

SPREADS, DRIFTS = 24, 6  # grid points above 0, equally likely a priori
FOUND = 3.0  # a Bayes factor that counts as positive evidence
HALF_LIVES = (90.0, 180.0, 365.0, 730.0, np.inf)  # days, tried where the half-life is to be learned
NEGLIGIBLE = 1e-9  # parts of a mixture that weigh less than this are left out


@dataclass(frozen=True)
class Prior:
    """Prior probabilities: that tests do not differ at all (τ = 0); that the level drifts (a walk and a jump are as likely)."""

    same: float
    drifting: float


PRIORS = {"current": Prior(0.1, 0.3), "typical": Prior(0.5, 0.05)}  # with which intervals of 3 to 20 tests covered best


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
    typical : what such a test has on average by now, ℓ(tₙ), if it seldom drifts: too narrow where a drift goes unseen.
    next : effect in the next test, were it run now: ℓ(tₙ) + u.
    spread : expected τ.
    bayes_factor : odds of a drift against none, from the data alone; 1 where drift was not asked for or one test is all.
    change : ℓ(tₙ) − ℓ(t₁), supposing there is a drift; 0 where none was looked for or one test is all.
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
    parts = [_Filtered.of(effects, errors, days, life, drift, spread) for life in tried]
    if len(tried) == 1:
        return _answer(parts, np.ones(1), tried)
    score = np.array([_foresight(effects, errors, days, life, drift, spread) for life in tried])
    share = np.exp(score - score.max())
    return _answer(parts, share / share.sum(), tried)


@dataclass(frozen=True, eq=False)
class _Grid:
    """All grid points (m,): τ; variance of the walk a year; variance of the jump, and the test it comes before (0: no jump)."""

    tau: Floats
    walk: Floats
    jump: Floats
    where: Floats

    @classmethod
    def of(cls, errors: Floats, days: Floats, drift: bool, spread: float) -> _Grid:
        """Every τ with every drift; a level can only drift where time passes."""
        years, scale = (days[-1] - days[0]) / 365.25, spread / np.sqrt(np.mean(1 / errors**2))
        gaps = np.flatnonzero(np.diff(days) > 0) + 1 if drift else np.zeros(0)
        still, sizes = np.zeros((1, 3)), (scale * _uniform_shrinkage(DRIFTS)) ** 2
        walks = [(size / years, 0.0, 0.0) for size in sizes if len(gaps)]
        jumps = [(0.0, size, gap) for size in sizes for gap in gaps]
        drifts = np.concatenate([still, np.reshape(walks + jumps, (-1, 3))])
        taus = np.concatenate([np.zeros(1), scale * _uniform_shrinkage(SPREADS)])
        walk, jump, where = np.tile(drifts, (len(taus), 1)).T
        return cls(np.repeat(taus, len(drifts)), walk, jump, where)

    @property
    def moving(self) -> np.ndarray:
        """Whether the level drifts there."""
        return (self.walk > 0) | (self.where > 0)

    def prior(self, chance: Prior) -> Floats:
        """Prior probability of each grid point."""
        weight = np.where(self.tau > 0, (1 - chance.same) / SPREADS, chance.same)
        if not self.moving.any():
            return weight
        jumps = DRIFTS * len(np.unique(self.where[self.where > 0]))
        drifts = np.where(self.where > 0, chance.drifting / 2 / jumps, chance.drifting / 2 / DRIFTS)
        return weight * np.where(self.moving, drifts, 1 - chance.drifting)


def _uniform_shrinkage(many: int) -> Floats:
    """Equally likely x where 1/(1 + x²) is uniform."""
    share = (np.arange(many) + 0.5) / many
    return np.sqrt(share / (1 - share))


@dataclass(frozen=True, eq=False)
class _Filtered:
    """At each grid point (m,): log likelihood; mean and variance of θₙ and of ℓ(tₙ); the rise since the first test."""

    grid: _Grid
    likelihood: Floats
    theta: tuple[Floats, Floats]
    level: tuple[Floats, Floats]
    rise: Floats

    @classmethod
    def of(cls, effects: Floats, errors: Floats, days: Floats, life: float, drift: bool, spread: float) -> _Filtered:
        """Kalman filter over tests; the first level is carried along, so that the rise since then is known at the end."""
        grid = _Grid.of(errors, days, drift, spread)
        counts = errors**2 * 2.0 ** np.minimum((days[-1] - days) / life, 60.0)  # by then a test counts for nothing
        noise = grid.tau**2 + counts[:, None]
        level, variance = np.full_like(grid.tau, effects[0]), noise[0]  # the start is flat
        first, shared, likelihood = level, variance, np.zeros_like(level)
        theta = level, np.full_like(level, counts[0])
        for k in range(1, len(effects)):
            variance = variance + grid.walk * (days[k] - days[k - 1]) / 365.25 + grid.jump * (grid.where == k)
            total, surprise = variance + noise[k], effects[k] - level
            own = variance + grid.tau**2
            theta = level + own / total * surprise, own * counts[k] / total
            likelihood = likelihood - 0.5 * (np.log(total) + surprise**2 / total)
            level, first = level + variance / total * surprise, first + shared / total * surprise
            variance, shared = variance * noise[k] / total, shared * noise[k] / total
        return cls(grid, likelihood, theta, (level, variance), level - first)

    def weight(self, question: str) -> Floats:
        """Posterior probability of each grid point."""
        weight = self.grid.prior(PRIORS[question]) * np.exp(self.likelihood - self.likelihood.max())
        return weight / weight.sum()


def _answer(parts: list[_Filtered], share: Floats, tried: tuple[float, ...]) -> Pooled:
    """Mix what the half-lives tried gave."""
    tau, moving = (np.concatenate([getattr(part.grid, of) for part in parts]) for of in ("tau", "moving"))
    rise = np.concatenate([part.rise for part in parts])

    def weights(question: str) -> Floats:
        return np.concatenate([each * part.weight(question) for each, part in zip(share, parts, strict=True)])

    def mixture(question: str, of: str, extra: bool = False) -> Mixture:
        weight = weights(question)
        means, variances = (np.concatenate(sides) for sides in zip(*(getattr(part, of) for part in parts), strict=True))
        kept = weight > NEGLIGIBLE
        return Mixture(weight[kept] / weight[kept].sum(), means[kept], np.sqrt(variances + tau**2 * extra)[kept])

    weight, drifting = weights("current"), PRIORS["current"].drifting
    found = float(weight[moving].sum())
    factor = found / max(1 - found, 1e-12) * (1 - drifting) / drifting if moving.any() else 1.0
    change = float(weight[moving] @ rise[moving]) / found if found > 0 else 0.0
    life = np.inf if np.isinf(tried).all() else float(1 / np.sum(share / np.array(tried)))
    answers = mixture("current", "theta"), mixture("typical", "level"), mixture("current", "level", extra=True)
    return Pooled(*answers, float(weight @ tau), factor, change, life)


def _foresight(effects: Floats, errors: Floats, days: Floats, life: float, drift: bool, spread: float) -> float:
    """Log density of every test but the first, each predicted from those before it."""
    total = 0.0
    for k in range(1, len(effects)):
        past = _Filtered.of(effects[:k], errors[:k], days[:k], life, drift, spread)
        ahead = past.grid.walk * (days[k] - days[k - 1]) / 365.25
        variance = past.level[1] + past.grid.tau**2 + ahead + errors[k] ** 2
        density = np.exp(-0.5 * (effects[k] - past.level[0]) ** 2 / variance) / np.sqrt(variance)
        total += float(np.log(max(past.weight("current") @ density, 1e-300)))
    return total
