# pyright: basic, reportAttributeAccessIssue=false, reportReturnType=false, reportAssignmentType=false
# (jax and numpyro are typed only in part, and they are an extra: names of theirs stay inside functions)
"""The mode of a general density, the normal there, and the no-U-turn sampler from it: compiled by JAX once for a form and its shapes.

Arrays are arguments of what is compiled, never constants in it, so that other data of the same shape, and the next process, compile
nothing: JAX keeps what it compiled in the user's cache.

References
----------
Hoffman and Gelman (2014), Journal of Machine Learning Research 15; Phan, Pradhan and Jankowiak (2019) for NumPyro.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from liftwise.core.errors import CannotTell
from liftwise.core.uncertainty import Floats
from liftwise.models.mix.general_density import Arrays, Form, explain
from liftwise.models.mix.laplace import Normal, climb

STRETCH = 100  # steps that are compiled as one
SCOUTS = 50  # draws that the normal at the mode counts for beside those seen
ACCEPT = (0.9, 0.98)  # of the sampler: where steps diverge, smaller ones follow


def needs_jax() -> None:
    """Refuse in one line where the extra is not installed; keep compiled code in the user's cache.

    Raises
    ------
    CannotTell
        Without jax and numpyro.
    """
    try:
        import jax
        import numpyro  # noqa: F401
    except ImportError:
        raise CannotTell(
            "the general mix runs on jax and numpyro, which are not installed", fix="pip install 'liftwise[general]'"
        ) from None
    if jax.config.jax_compilation_cache_dir is None:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "liftwise" / "jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


class Engine(NamedTuple):
    """Compiled for one form and one shape of arrays; `flat` orders parameters. Log densities are of unbounded parameters."""

    dimensions: int
    slope: Callable[[Any, Arrays], Any]
    curvature: Callable[[Any, Arrays], Any]
    told: Callable[[Any, Arrays], Mapping[str, Any]]
    sampler: Callable[[float], tuple[Callable[..., Any], Callable[..., Any]]]


@lru_cache(maxsize=8)
def engine(form: Form, shapes: tuple[tuple[int, ...], ...]) -> Engine:
    """For arrays of these shapes."""
    import jax
    import numpyro
    from jax.flatten_util import ravel_pytree
    from numpyro.infer.util import constrain_fn, potential_energy

    blank = Arrays(*(jax.numpy.ones(shape) for shape in shapes))

    def places() -> dict[str, Any]:
        sites = numpyro.handlers.trace(numpyro.handlers.seed(explain, jax.random.PRNGKey(0))).get_trace(form, blank)
        free = (site for site in sites.values() if site["type"] == "sample" and not site["is_observed"])
        return {site["name"]: numpyro.distributions.biject_to(site["fn"].support).inv(site["value"]) for site in free}

    start = {name: np.zeros(place.shape) for name, place in jax.eval_shape(places).items()}  # traced, never run
    flat, unravel = ravel_pytree(start)

    def log_density(theta: Any, data: Arrays) -> Any:
        with numpyro.handlers.block():
            return -potential_energy(explain, (form, data), {}, unravel(theta))

    def told(theta: Any, data: Arrays) -> dict[str, Any]:
        sites = constrain_fn(explain, (form, data), {}, unravel(theta), return_deterministic=True)
        return {name.removeprefix("told_"): value for name, value in sites.items() if name.startswith("told_")}

    def whitened(mode: Any, root: Any, data: Arrays) -> None:
        """A model of its own: standard where the normal at the mode is right."""
        w = numpyro.sample(
            "w", numpyro.distributions.ImproperUniform(numpyro.distributions.constraints.real_vector, (), (len(flat),))
        )
        numpyro.factor("density", log_density(mode + root @ w, data))

    sampler = lru_cache(maxsize=2)(lambda accept: _sampler(whitened, accept))
    return Engine(len(flat), jax.jit(jax.value_and_grad(log_density)), jax.jit(jax.hessian(log_density)), jax.jit(told), sampler)


def _sampler(model: Callable[..., None], accept: float) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Two compiled functions: chains' state at the start of `STRETCH` steps of adaptation, and `STRETCH` steps from a state."""
    import jax
    import jax.numpy as jnp
    from numpyro.infer import NUTS

    kernel = NUTS(model, target_accept_prob=accept)

    @jax.jit
    def begin(keys: Any, start: Any, mode: Any, root: Any, data: Arrays) -> Any:
        return kernel.init(keys, STRETCH, {"w": start}, (mode, root, data), {})

    @jax.jit
    def run(state: Any, mode: Any, root: Any, data: Arrays) -> Any:
        def step(state: Any, _: None) -> Any:
            state = kernel.sample(state, (mode, root, data), {})
            return state, (state.z["w"], state.diverging, state.num_steps)

        state, seen = jax.lax.scan(step, state, None, length=STRETCH)
        return state, tuple(jnp.moveaxis(part, 0, 1) for part in seen)

    return begin, run


def top(machine: Engine, data: Arrays) -> Normal:
    """The mode and the normal there."""

    def slope(theta: Floats) -> tuple[float, Floats]:
        value, grad = machine.slope(theta, data)
        return float(value), np.asarray(grad)

    return climb(slope, lambda theta: -np.asarray(machine.curvature(theta, data)), machine.dimensions)


class Drawn(NamedTuple):
    """theta : (chains, draws, parameters)."""

    theta: Floats
    diverged: int
    gradients: int


def sample(
    machine: Engine, mode: Floats, root: Floats, data: Arrays, *, key: int, chains: int, draws: int, accept: float
) -> Drawn:
    """NUTS in whitened coordinates, all chains at once.

    `STRETCH` steps to find the step size and as many draws scout; what all chains saw there whitens anew, and nothing of it is kept.
    After as many steps again, the draws follow. `draws` is rounded up to whole stretches.
    """
    import jax

    begin, run = machine.sampler(accept)
    keys = jax.random.split(jax.random.PRNGKey(key), (2, chains))
    start = np.asarray(jax.random.normal(jax.random.PRNGKey(key + 1), (chains, machine.dimensions)))
    spent = diverged = 0
    state = begin(keys[0], start, mode, root, data)
    for _ in range(2):
        state, (w, _, steps) = run(state, mode, root, data)
        spent += int(np.asarray(steps).sum())
    seen = mode + np.asarray(w) @ root.T  # (chains, steps, parameters)
    flat = seen.reshape(-1, machine.dimensions)
    covariance = (len(flat) * np.cov(flat.T) + SCOUTS * (root @ root.T)) / (len(flat) + SCOUTS)
    root, centre = np.linalg.cholesky(covariance), flat.mean(axis=0)
    at = np.linalg.solve(root, (seen[:, -1] - centre).T).T
    state, (_, _, steps) = run(begin(keys[1], at, centre, root, data), centre, root, data)
    spent, out = spent + int(np.asarray(steps).sum()), list[Floats]()
    for _ in range(-(-draws // STRETCH)):
        state, (w, bad, steps) = run(state, centre, root, data)
        out.append(centre + np.asarray(w) @ root.T)
        spent, diverged = spent + int(np.asarray(steps).sum()), diverged + int(np.asarray(bad).sum())
    return Drawn(np.concatenate(out, axis=1), diverged, spent)
