# pyright: basic
"""Tests that count people, held against moments that count purchases.

A test that asks who bought at all (metric ``buyers``) says less than moments do: of those whom a channel brought to buy, some would have
bought later all the same, and the test counts them as unmoved. Without the channel more people would still be at risk at a moment,
exp(A) times as many, where A sums over the days before what the channel added to the chance of buying that day. So, over purchases, p
and p′ the chance of buying with the channel and without,

    what is missing at the moment:  Σ (1 − p′/p)        what such a test sees:  Σ (1 − p′/p) − Σ p′/p · (exp(A) − 1)

and the ratio of the two, as networks say it that heard no test, is what a test is divided by. Earlier days are read as they were:
touches so far, each as old as it was then; what is organic stands as it does at the moment. A moment is a day, and a test takes away all
touches of its channel that are read.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from liftwise.models.attribution.network import Batch, Joint, fresh


def seen_once(network: Joint, batch: Batch, wanted: np.ndarray, offset: float) -> Tensor:
    """(2, wanted): purchases that would be missing without each channel, and how many of them would have come later."""
    base, value, left, _ = network(batch)
    bought = torch.sigmoid(base + (value * left).sum(1))[:, None]
    base, mixture = base + offset, network.mixture()[batch.codes]
    theirs = torch.stack([(batch.codes == int(code)).to(value.dtype) for code in wanted], -1)
    before = torch.zeros(len(base), len(wanted), dtype=value.dtype)
    for hours in range(24, int(batch.hours.max()) + 1, 24):
        age = batch.hours - hours
        then = value * (mixture * fresh(age.clamp(min=0))).sum(-1) * (age >= 0)
        before += _chances(base, then, theirs)[0]
    brought, without = _chances(base, value * left, theirs)
    purchases = bought / (brought + without)
    return torch.stack([(purchases * part).sum(0) for part in (brought, without * torch.expm1(before))])


def _chances(base: Tensor, added: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """(b, wanted) chance of buying with everything less that without each channel, and that without it."""
    log_odds = base + added.sum(1)
    without = torch.sigmoid(log_odds[:, None] - (added.unsqueeze(-1) * theirs).sum(1))
    return torch.sigmoid(log_odds)[:, None] - without, without
