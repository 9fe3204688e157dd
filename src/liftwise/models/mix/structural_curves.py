"""The structural mix's curves from θ, and how media and lift tests move with it."""

from __future__ import annotations

import numpy as np

from liftwise.core.transforms import hill
from liftwise.core.uncertainty import Floats
from liftwise.models.mix.experiments import Experiments
from liftwise.models.mix.hill_curves import HillCurves, carry
from liftwise.models.mix.learned import Data

SHARE, WIDE = 0.04, 0.8  # a channel's share of revenue, in common: median, sd of its log
APART, WIDELY = 0.5, 0.5  # sd of channels' shares about it, as a part of it: median, sd of its log
BOND = 0.5  # a pair's, in the common share
STEEPEST, FLATTEST = 2.5, -1.5  # log of a curve's shape
FAR = 5.0  # sd of a half-saturation or shape beyond which no search needs to look
COMMON = 2  # parameters that all channels share
Pairs = tuple[tuple[int, int], ...]


def curves_of(theta: Floats, channels: int, pairs: Pairs, steep: bool = False) -> HillCurves:
    """θ, standard normal a priori, as curves: carry-over, half, shape and share of each channel, the `COMMON` ones, a bond for each pair.

    steep : whether shapes far from usual are likely (heavy tails): media that work from a threshold on. With thin tails such a step is read as a
    line, and what lies below it as effect; with heavy ones, curves that have none are known less well.
    """
    a, k, s, b = theta[: 4 * channels].reshape(4, channels)
    level, apart = theta[4 * channels : 4 * channels + COMMON]
    retention = np.minimum(1 / (1 + np.exp(0.6 - 1.2 * a)), 0.97)
    k, s = np.clip(k, -FAR, FAR), np.clip(s, -FAR, FAR)
    half, shape = np.exp(0.2 + 0.4 * k), np.exp(np.clip(0.2 + 0.35 * (np.sinh(s) if steep else s), FLATTEST, STEEPEST))
    bend = np.minimum(shape, 2.0) if steep else shape  # usual spend says nothing of the top of a curve that begins beyond it
    usual = 1 / (1 + half**bend)
    share = SHARE * np.exp(WIDE * level)
    beta = share * _positive(1 + APART * np.exp(WIDELY * apart) * b, 4.0) / usual
    bonds = BOND * share * _positive(theta[4 * channels + COMMON :])
    return HillCurves(retention, half, shape, beta,
                      tuple((i, j, float(bond / (usual[i] * usual[j]))) for (i, j), bond in zip(pairs, bonds, strict=True)))  # fmt: skip


def media_of(curves: HillCurves, data: Data) -> Floats:
    """(rows,)."""
    carried = curves.carried(data.spend)
    return (curves.own(carried).sum(axis=0) + curves.synergy(carried)).ravel()


def slopes_of(theta: Floats, data: Data, pairs: Pairs, heard: Experiments | None, steep: bool = False) -> tuple[Floats, Floats]:
    """Slopes by θ of media, (rows, θ), and of what tests should have found, in their standard errors, (measurements, θ).

    A channel's own parameter moves only that channel and its pairs, the others no curve's form.
    """
    channels, step = len(data.spend), 1e-5
    here = curves_of(theta, channels, pairs, steep)
    shape = (channels, *data.shape)
    bent = here.saturated(here.carried(data.spend)).reshape(channels, -1)
    media, lift = np.zeros((bent.shape[1], len(theta))), np.zeros((0 if heard is None else len(heard), len(theta)))
    partners = [{c} | {j if c == i else i for i, j in pairs if c in (i, j)} for c in range(channels)]
    for at in range(len(theta)):
        moved = theta.copy()
        moved[at] += step
        there, after, own = curves_of(moved, channels, pairs, steep), bent, None
        if at < 4 * channels:
            c = at % channels
            own = partners[c]
            if at < 3 * channels:
                carried = carry(data.spend[c], float(there.retention[c]))
                after = bent.copy()
                after[c] = hill(carried, float(there.half[c]), float(there.shape[c])).ravel()
            media[:, at] = there.beta[c] * after[c] - here.beta[c] * bent[c]
        else:
            media[:, at] = (there.beta - here.beta) @ bent
        for (i, j, new), (_, _, old) in zip(there.pairs, here.pairs, strict=True):
            media[:, at] += new * after[i] * after[j] - old * bent[i] * bent[j]
        if heard is not None:
            gained = heard.expected(there, after.reshape(shape), own) - heard.expected(here, bent.reshape(shape), own)
            lift[:, at] = gained / heard.tests.error
    return media / step, lift / step


def _positive(x: Floats, sharp: float = 2.5) -> Floats:
    """Softplus: x where it is well above 0, else nearly none; for standard normal x near |N(0, 1)|."""
    return np.logaddexp(0.0, sharp * x) / sharp
