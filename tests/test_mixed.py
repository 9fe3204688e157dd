"""Mixed effects: the generalised least squares of the textbook, variances that are found, and what other outcomes add."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.effectiveness.mixed import line, together

CREATORS = 40


def posts(seed: int, n: int = 400) -> tuple[Floats, Floats, np.ndarray, np.ndarray, Floats]:
    """x, y, creators, groups of columns (the last says nothing), weights."""
    rng = spawn(seed, "posts")
    i, x = rng.integers(0, CREATORS - 1, n), rng.normal(size=(n, 9))
    group = np.repeat([0, 1, 2], 3)
    b = np.array([0.8, -0.6, 0.5, 0.1, -0.1, 0.15, 0.0, 0.0, 0.0])
    weight = rng.uniform(0.5, 2.0, n)
    y = 2.0 + x @ b + 0.6 * rng.normal(size=CREATORS)[i] + 0.5 * rng.normal(size=n) / np.sqrt(weight)
    return x, y, i, group, weight


@given(st.integers(0, 50))
@settings(max_examples=10)
def test_line_and_levels_are_those_of_the_dense_posterior(seed: int) -> None:
    """b and u given the variances that were found, by the normal equations of all coefficients at once."""
    x, y, i, group, weight = posts(seed, 200)
    found = line(x, y, i, CREATORS, group, weight)
    z = np.column_stack([x, np.eye(CREATORS)[i]])
    used = len(group) - np.array([np.trace(found.covariance[np.ix_(group == k, group == k)]) for k in range(3)])
    assert (used > 0).all()
    rest = y - np.average(y, weights=weight)
    # prior variances are not told; the dense solution with any prior of b has u as the shrunken mean of what b leaves
    left = rest - x @ found.b
    total = np.bincount(i, weight, minlength=CREATORS)
    expected = np.bincount(i, weight * left, minlength=CREATORS) / (total + found.noise / found.own)
    np.testing.assert_allclose(found.own_mean, expected, atol=1e-3)
    # and b is at rest: its gradient with u integrated out is what the prior of its group pulls with, in one direction for all of a group
    v = found.noise * np.diag(1 / weight) + found.own * z[:, len(group) :] @ z[:, len(group) :].T
    pull = x.T @ np.linalg.solve(v, left)
    precision = np.linalg.inv(found.covariance) - x.T @ np.linalg.solve(v, x)
    np.testing.assert_allclose(pull, precision @ found.b, atol=2e-3 * np.abs(pull).max() + 1e-6)


def test_variances_are_found_and_what_says_nothing_is_shrunk_away() -> None:
    noise, own, nothing, doubt = [], [], [], []
    for seed in range(12):
        x, y, i, group, weight = posts(seed)
        found = line(x, y, i, CREATORS, group, weight)
        noise.append(found.noise)
        own.append(found.own)
        nothing.append(np.abs(found.b[6:]).max())
        doubt.append((found.b[:6] - [0.8, -0.6, 0.5, 0.1, -0.1, 0.15]) / np.sqrt(np.diag(found.covariance)[:6]))
    assert np.mean(noise) == pytest.approx(0.25, rel=0.06)
    assert np.mean(own) == pytest.approx(0.36, rel=0.2)
    assert np.mean(nothing) < 0.02
    assert np.std(doubt) == pytest.approx(1.0, abs=0.25)


def levels(seed: int, shared: float) -> tuple[Floats, Floats, np.ndarray]:
    """True levels of the first outcome, what lines leave of three outcomes, creators; noise goes together as much as `shared` says."""
    rng = spawn(seed, "levels")
    n, creators = 1_500, 300
    i, true = rng.integers(0, creators, n), 0.5 * rng.normal(size=creators)
    other = np.column_stack([true, true, rng.normal(size=creators)])
    common, own = rng.normal(size=(n, 1)), rng.normal(size=(n, 3))
    return true, other[i] + 0.6 * (np.sqrt(shared) * common + np.sqrt(1 - shared) * own), i


def test_other_outcomes_help_where_their_noise_is_their_own_and_only_there() -> None:
    for shared, least, most in ((0.0, 0.60, 0.88), (0.999, 0.97, 1.03)):
        errors = []
        for seed in range(6):
            true, rest, i = levels(seed, shared)
            alone, _ = together(rest[:, :1], i, 300, np.ones(len(i)))
            joint, variance = together(rest, i, 300, np.ones(len(i)))
            errors.append([np.mean((alone - true) ** 2), np.mean((joint - true) ** 2), np.mean((joint - true) ** 2 / variance)])
        alone, joint, honest = np.mean(errors, axis=0)
        assert least < joint / alone < most
        assert honest == pytest.approx(1.0, abs=0.15)


def test_an_outcome_that_is_known_for_some_posts_alone_counts_for_these() -> None:
    gains = []
    for seed in range(6):
        true, rest, i = levels(seed, 0.0)
        holes = rest.copy()
        holes[spawn(seed, "holes").random(len(rest)) < 0.5, 1] = np.nan
        holes[:, 2] = np.where(np.arange(len(rest)) < 700, rest[:, 2], np.nan)
        errors = [np.mean((together(some, i, 300, np.ones(len(i)))[0] - true) ** 2) for some in (rest[:, :1], holes, rest)]
        assert np.isfinite(errors).all()
        gains.append(errors)
    none, half, whole = np.mean(gains, axis=0)
    assert whole < half < none


def test_a_creator_without_posts_has_the_prior() -> None:
    _, rest, i = levels(0, 0.0)
    mean, variance = together(rest, np.where(i == 7, 8, i), 300, np.ones(len(i)))
    assert mean[7] == 0
    assert variance[7] == pytest.approx(0.25, rel=0.25)
    assert variance[7] > variance[8]
