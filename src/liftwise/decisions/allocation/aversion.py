"""What a schedule is worth when its revenue is not known for sure: the mean over draws less what an averse person takes off it.

`risk` is what `allocate` means by it: so many standard deviations of the total revenue come off the mean. `tail` asks another thing: what
the schedule gains on today's plan in the worst tenth of the draws (CVaR), from 0, the mean counts alone, to 1, the worst tenth counts alone.

Both are least sums over weights of draws. The tail's weights c ≥ 0 sum to one, at most ten times the even share each. The risk adds v with
Σ v = 0 and ‖v‖ ≤ ρ/√D, since ρ sd(R) = max of −v·R over these (see `mean_risk`). Hence for every such c and v

    worth(R) ≤ (c + v)·R − c·still + ρ sd(still),

and where c + v ≥ 0 the right side is concave in the schedule on concave curves: a price of each draw under which all schedules can be bounded.
The least right side has such prices unless draws lie more than 1/ρ standard deviations above the mean: there more revenue is worth *less*, as
mean − ρ sd will have it, and the nearest prices from 0 bound the worth from above (they are the prices of its monotone hull). On Hill curves
the gap of a schedule grows by nothing that can be seen up to ρ = 0.5, by one percent of revenue at 1 and by seven at 2.

References
----------
Rockafellar and Uryasev (2000), Journal of Risk 2(3), for CVaR; Maccheroni, Marinacci, Rustichini and Taboga (2009), Mathematical Finance 19(3),
for the hull; Held, Wolfe and Crowder (1974), Mathematical Programming 6, for the nearest prices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import Floats

WORST = 0.1  # share of draws that count as the bad case
LONGEST = 1_024.0  # times the risk's own weights, when prices from 0 are sought
HALVINGS = 30  # on the way there


def worst_mean(gains: Floats) -> float:
    """Mean over the worst tenth of the draws."""
    return float(gains[_worst(gains)].mean())


@dataclass(frozen=True)
class Aversion:
    """How draws count. risk : standard deviations of revenue, from 0. tail : weight of the worst tenth of gains, 0 to 1."""

    risk: float = 0.0
    tail: float = 0.0

    def __post_init__(self) -> None:
        if not np.isfinite(self.risk) or self.risk < 0:
            raise InputError(f"a risk aversion of {self.risk} is not known", fix="give a number from 0")
        if not 0 <= self.tail <= 1:
            raise InputError(f"a tail aversion of {self.tail} is no share", fix="give one from 0 (mean) to 1 (worst cases)")

    def worth(self, revenue: Floats, still: Floats) -> float:
        """Of a schedule's revenue (draws,) beyond that of today's plan, `still` (draws,)."""
        gains = revenue - still
        mean = (1 - self.tail) * float(gains.mean()) + self.tail * worst_mean(gains)
        return mean - self.risk * float(revenue.std() - still.std())

    def shares(self, revenue: Floats, still: Floats) -> Floats:
        """(draws,) how much a draw's revenue counts in the worth: its slope."""
        return self._tails(revenue - still) + self._risks(revenue)

    def prices(self, revenue: Floats, still: Floats) -> tuple[Floats, float]:
        """Prices (draws,) from 0 and what to add: no schedule is worth more than prices · its revenue + that; near the least at `revenue`."""
        tails, risks = self._tails(revenue - still), self._risks(revenue)
        added = self.risk * float(still.std()) - float(tails @ still)
        if (tails + risks >= 0).all():
            return tails + risks, added
        far, near, longest = LONGEST, 1.0, float(np.linalg.norm(risks))
        for _ in range(HALVINGS):  # pointed further, until the weights are as long as they may be
            middle = float(np.sqrt(near * far))
            lawful = np.linalg.norm(_from_none(tails + middle * risks) - tails) <= longest
            near, far = (middle, far) if lawful else (near, middle)
        return _from_none(tails + near * risks), added

    def _tails(self, gains: Floats) -> Floats:
        """(draws,) weights c, of sum one."""
        share = np.full(len(gains), (1 - self.tail) / len(gains))
        bad = _worst(gains)
        share[bad] += self.tail / len(bad)
        return share

    def _risks(self, revenue: Floats) -> Floats:
        """(draws,) weights v, of sum none."""
        off = revenue - revenue.mean()
        long = float(np.linalg.norm(off))
        return -off * (self.risk / np.sqrt(len(off)) / long if long > 0 else 0.0)


def _worst(gains: Floats) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    return np.argsort(gains, kind="stable")[: max(1, round(WORST * len(gains)))]


def _from_none(weights: Floats) -> Floats:
    """The nearest weights that are none below 0 and sum to one; nearer to every such weights than these were.

    >>> _from_none(np.array([0.9, 0.3, -0.2])).round(6).tolist()
    [0.8, 0.2, 0.0]
    """
    down = np.sort(weights)[::-1]
    over = (np.cumsum(down) - 1) / np.arange(1, len(down) + 1)
    return np.maximum(weights - over[np.flatnonzero(down > over)[-1]], 0.0)
