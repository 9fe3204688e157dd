# pyright: basic, reportAttributeAccessIssue=false, reportOperatorIssue=false, reportReturnType=false, reportAssignmentType=false
# (jax and numpyro are typed only in part, and they are an extra: names of theirs stay inside functions)
"""The density of a general mix in JAX: which carry-over, saturation, likelihood and movement, each with its priors.

Mean revenue of region g in week t, relative to the region's own mean:

    additive           μ = b_gt + Σ_c m_cgt                     b = Zγ + w_t, bent to stay above 0 for counts
    multiplicative     μ = exp(Zγ + w_t + Σ_c m_cgt)
    m_cgt = share_c · exp(δ_cg) u_ct f(a_cgt) / mean exp(δ) u f(a)

a is spend carried over, f its saturation, u the effect's movement (1 when it does not move), w the baseline's (0 likewise). A channel of
reach and frequency has a = carry-over of reach · Hill(frequency) and f(a) = a.

Every site without a prior of its own is standard normal and is bent into its prior, as in `density`: retention Beta(1, 3), share
exponential, half-saturation, shape, spread over regions and noise log-normal, scales of movement exponential (mean `MOVES` of the log
effect, `WANDERS` of the baseline), so that a movement the data do not ask for is shrunk away.

References
----------
Riutort-Mayol et al. (2023), Statistics and Computing 33, for the Hilbert-space Gaussian process; Simpson et al. (2017), Statistical
Science 32(1), for exponential priors on scales; Phan, Pradhan and Jankowiak (2019) for NumPyro.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from liftwise.core.transforms import namespace
from liftwise.models.mix.transforms import (
    Binomial,
    Delayed,
    Geometric,
    Hill,
    Log,
    Logistic,
    MichaelisMenten,
    ReachAndFrequency,
    WeibullCdf,
    WeibullPdf,
)

ADSTOCKS: dict[str, Any] = {
    "geometric": Geometric,
    "delayed": Delayed,
    "weibull_pdf": WeibullPdf,
    "weibull_cdf": WeibullCdf,
    "binomial": Binomial,
}
SATURATIONS: dict[str, Any] = {"hill": Hill, "logistic": Logistic, "log": Log, "michaelis_menten": MichaelisMenten}
COUNTS = ("poisson", "negative_binomial")
LIKELIHOODS = ("normal", "student", "lognormal", *COUNTS)
MOVES, WANDERS = 0.3, 0.05
LOOSE = 3.0  # prior sd of a baseline column of mean square 1, in relative revenue
EASE = 0.05  # of a region's mean revenue: below about this a counted baseline is bent
FUNCTIONS, EDGE = 12, 1.4  # of the Gaussian process: how many, and how far beyond the data they reach


@dataclass(frozen=True)
class Form:
    """What is chosen, and so compiled; see `GeneralMix`. reached : places of channels with reach and frequency. own : site → a
    NumPyro distribution.
    """

    adstock: str
    saturation: str
    likelihood: str
    multiplicative: bool
    moving: str
    smooth: str
    reached: tuple[int, ...]
    own: tuple[tuple[str, Any], ...] = ()


class Arrays(NamedTuple):
    """What is learned from; spend in typical spend.

    lagged : (channels, regions, weeks, lags). often : (reached, regions, weeks, lags) frequency, 1 where unknown. basis : (regions ·
    weeks, columns) of mean square 1. knots : (weeks, knots) of the baseline. steps : (weeks, knots) of the effect. y, seen : (regions,
    weeks); y in counts where counted. size, weight : (regions,) mean target of each, and mean 1. effect : (channels, 6) as in `density`.
    usual : (channels,) recent steady spend.
    """

    lagged: Any
    often: Any
    basis: Any
    knots: Any
    steps: Any
    y: Any
    seen: Any
    size: Any
    weight: Any
    effect: Any
    usual: Any


# -- priors ------------------------------------------------------------------------------------------------------------


def _beta(low: float = 0.0) -> Callable[[Any], Any]:
    """Beta(1, 3), kept off `low`."""

    def bend(u: Any) -> Any:
        from jax.numpy import exp
        from jax.scipy.special import log_ndtr

        return low + (1 - low) * (1 - exp(log_ndtr(-u) / 3))

    return bend


def _uniform(u: Any) -> Any:
    from jax.scipy.special import ndtr

    return 0.001 + 0.998 * ndtr(u)


def _log_normal(middle: float, sd: float) -> Callable[[Any], Any]:
    def bend(u: Any) -> Any:
        from jax.numpy import exp

        return middle * exp(sd * u)

    return bend


def _exponential(mean: float) -> Callable[[Any], Any]:
    def bend(u: Any) -> Any:
        from jax.scipy.special import log_ndtr

        return -mean * log_ndtr(-u)

    return bend


PRIORS: dict[str, Callable[[Any], Any]] = {
    "geometric_retention": _beta(),
    "delayed_retention": _uniform,
    "delayed_peak": _log_normal(1.0, 0.7),
    "weibull_pdf_shape": _log_normal(1.2, 0.5),
    "weibull_pdf_scale": _log_normal(2.0, 0.7),
    "weibull_cdf_shape": _log_normal(1.2, 0.5),
    "weibull_cdf_scale": _log_normal(2.0, 0.7),
    "binomial_alpha": _beta(0.01),
    "half": _log_normal(float(np.exp(0.2)), 0.8),
    "shape": _log_normal(float(np.exp(0.1)), 0.35),
    "often_half": _log_normal(3.0, 0.7),
    "often_shape": _log_normal(1.5, 0.4),
    "spread": _log_normal(0.15, 0.6),
    "moves": _exponential(MOVES),
    "length": _log_normal(0.3, 0.6),  # of the Gaussian process, in all weeks
    "wanders": _exponential(WANDERS),
    "noise": _log_normal(0.1, 1.0),
    "tails": _log_normal(8.0, 0.7),  # degrees of freedom beyond 2
    "overdispersion": _exponential(0.2),
}
SITES = (*PRIORS, "share")


def _site(form: Form, name: str, shape: tuple[int, ...]) -> Any:
    """A parameter: of its own distribution where one is given, else standard normal and bent."""
    import numpyro
    from numpyro.distributions import Normal

    own = dict(form.own).get(name)
    if own is not None:
        return numpyro.sample(name, own.expand(shape) if shape else own)
    return PRIORS[name](numpyro.sample(f"{name}_", Normal(0.0, 1.0).expand(shape)))


# -- the model ---------------------------------------------------------------------------------------------------------


def explain(form: Form, data: Arrays) -> None:
    """NumPyro's model."""
    import jax.numpy as jnp
    import numpyro
    from numpyro.distributions import Normal

    channels, regions, weeks, lags = data.lagged.shape
    told: dict[str, Any] = {}
    law = ADSTOCKS[form.adstock]
    weights = law(*(_site(form, f"{form.adstock}_{name}", (channels,)) for name in law.parameters)).weights(lags)
    lagged = data.lagged
    if form.reached:
        lagged, told["often_half"], told["often_shape"] = _reached(form, data)
    carried = jnp.einsum("crtl,cl->crt", lagged, weights)
    bend = SATURATIONS[form.saturation]
    told |= {name: _site(form, name, (channels,)) for name in bend.parameters}
    curve = bend(*(told[name][:, None, None] for name in bend.parameters))
    bent = curve.apply(carried)
    if form.reached:
        bent = bent.at[jnp.array(form.reached)].set(carried[jnp.array(form.reached)])
    moved = _movement(form, data)
    strength = jnp.ones((channels, regions))
    if regions > 1:
        apart = numpyro.sample("apart", Normal(0.0, 1.0).expand((channels, regions)))
        strength = jnp.exp(_site(form, "spread", ()) * (apart - apart.mean(axis=1, keepdims=True)))
    average = jnp.mean(bent * moved[:, None] * (strength * data.weight)[:, :, None], axis=(1, 2))
    steady = bend(*(told[name] for name in bend.parameters))
    beta = (_share(form, data, average, steady) / average)[:, None] * strength
    media = jnp.sum(beta[:, :, None] * bent * moved[:, None], axis=0)
    gamma = LOOSE * numpyro.sample("gamma", Normal(0.0, 1.0).expand((data.basis.shape[1],)))
    level = (data.basis @ gamma).reshape(regions, weeks)
    wander = _wander(form, data)
    lift = _likelihood(form, data, level + wander, media)
    told |= {"weights": weights, "beta": beta, "moved": moved, "gamma": gamma, "wander": wander, "lift": lift}
    for name, value in told.items():
        numpyro.deterministic(f"told_{name}", value)


def _reached(form: Form, data: Arrays) -> tuple[Any, Any, Any]:
    """Spend times what an exposure gives at the week's frequency, relative to what it usually gives."""
    import jax.numpy as jnp

    count, at = len(form.reached), jnp.array(form.reached)
    half, shape = _site(form, "often_half", (count,)), _site(form, "often_shape", (count,))
    worth = exposure_worth(data.often, half[:, None, None, None], shape[:, None, None, None])
    now = data.lagged[at]
    usual = jnp.sum(now[..., 0] * worth[..., 0], axis=(1, 2)) / jnp.sum(now[..., 0], axis=(1, 2))
    return data.lagged.at[at].set(now * worth / usual[:, None, None, None]), half, shape


def exposure_worth(often: Any, half: Any, shape: Any) -> Any:
    """Effect of one exposure when each person has had `often`."""
    return ReachAndFrequency(half, shape).apply(1 / often, often)


def _movement(form: Form, data: Arrays) -> Any:
    """Multiplier of each channel's effect, (channels, weeks), of geometric mean 1."""
    import jax.numpy as jnp
    import numpyro
    from numpyro.distributions import Normal

    channels, _, weeks, _ = data.lagged.shape
    if not form.moving:
        return jnp.ones((channels, weeks))
    rows = 1 if form.moving == "shared" else channels
    scale = _site(form, "moves", (rows,))
    if form.smooth == "walk":
        steps = numpyro.sample("steps", Normal(0.0, 1.0).expand((rows, data.steps.shape[1] - 1)))
        # so that `scale` is what the whole walk spans, however many steps it has
        path = jnp.cumsum(steps, axis=1) / jnp.sqrt(data.steps.shape[1] - 1)
        log = scale[:, None] * (jnp.pad(path, ((0, 0), (1, 0))) @ data.steps.T)
    else:
        waves = numpyro.sample("waves", Normal(0.0, 1.0).expand((rows, FUNCTIONS)))
        length = _site(form, "length", (rows,)) * 2  # weeks lie on −1 … 1
        omega = jnp.arange(1, FUNCTIONS + 1) * jnp.pi / (2 * EDGE)
        root = jnp.sqrt(jnp.sqrt(2 * jnp.pi) * length[:, None]) * jnp.exp(-((length[:, None] * omega) ** 2) / 4)
        functions = jnp.sin(omega * (jnp.linspace(-1, 1, weeks)[:, None] + EDGE)) / jnp.sqrt(EDGE)
        log = scale[:, None] * (waves * root) @ functions.T
    return jnp.exp(log - log.mean(axis=1, keepdims=True)) * jnp.ones((channels, 1))


def _wander(form: Form, data: Arrays) -> Any:
    """What the baseline does beyond its columns, (weeks,), mean 0."""
    import jax.numpy as jnp
    import numpyro
    from numpyro.distributions import Normal

    weeks, knots = data.knots.shape
    if not knots:
        return jnp.zeros(weeks)
    steps = numpyro.sample("baseline_steps", Normal(0.0, 1.0).expand((knots - 1,)))
    path = data.knots @ jnp.pad(jnp.cumsum(steps), (1, 0))
    return _site(form, "wanders", ()) * (path - path.mean())


def _share(form: Form, data: Arrays, average: Any, steady: Any) -> Any:
    """Each channel's share of revenue (of its log, where effects multiply)."""
    import jax.numpy as jnp
    import numpyro
    from jax.scipy.special import log_ndtr
    from numpyro.distributions import Normal

    own = dict(form.own).get("share")
    if own is not None:
        return numpyro.sample("share", own.expand(average.shape))
    v = numpyro.sample("share_", Normal(0.0, 1.0).expand(average.shape))
    kind, mean, sd, level, slope, constant = data.effect.T
    exponential = mean * -log_ndtr(-v)
    steep = jnp.log(steady.slope(data.usual))
    told = mean + sd * v + level * jnp.log(average) - slope * steep - constant
    return jnp.where(kind == 0, exponential, jnp.exp(jnp.where(kind == 0, 0.0, told)))


def positive(level: Any) -> Any:
    """The level itself where it is well above 0, and never below: what is counted has a positive mean.

    An exponential would let media take over a baseline that runs off to minus infinity, where chains get lost.
    """
    xp = namespace(level)
    return EASE * xp.logaddexp(level / EASE, xp.zeros_like(level))


def _likelihood(form: Form, data: Arrays, level: Any, media: Any) -> Any:
    """Add the data; returns mean over median, by which a skewed law lifts every part."""
    import jax.numpy as jnp
    import numpyro
    from numpyro import distributions as law

    counted = form.likelihood in COUNTS
    own = positive(level) if counted else level
    middle = jnp.exp(level + media) if form.multiplicative else own + media
    lift = jnp.ones(())
    if counted:
        mean = middle * data.size[:, None]
        if form.likelihood == "poisson":
            each = law.Poisson(mean).log_prob(data.y)
        else:
            each = law.NegativeBinomial2(mean, 1 / _site(form, "overdispersion", ()) ** 2).log_prob(data.y)
    else:
        noise = _site(form, "noise", ())
        if form.likelihood == "normal":
            each = law.Normal(middle, noise).log_prob(data.y)
        elif form.likelihood == "student":
            each = law.StudentT(2 + _site(form, "tails", ()), middle, noise).log_prob(data.y)
        else:
            # a mean that is not positive cannot be: a steep and smooth wall
            log = (
                level + media
                if form.multiplicative
                else jnp.log(jnp.where(middle > 1e-3, middle, 1e-3 * jnp.exp(middle / 1e-3 - 1)))
            )
            each, lift = law.Normal(log, noise).log_prob(jnp.log(data.y)), jnp.exp(noise**2 / 2)
    numpyro.factor("seen", jnp.sum(jnp.where(data.seen > 0, each, 0.0)))
    return lift
