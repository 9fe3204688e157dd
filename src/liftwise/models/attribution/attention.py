# pyright: basic
"""AttentionAttribution: where a network looks when it foretells a purchase. Attention is not attribution.

The touches' learned places run through an LSTM, and a softmax says how much each state counts for the forecast (Khedekar 2025).
The weights sum to 1 over the touches of a journey, whether or not any touch did anything: nothing is left for those who would
have bought anyway, and a touch that people meet on their way to the till draws the eye. On simulated journeys with a known truth,
channels ranked by attention agree with it by a rank correlation of 0.5 where exposure was random and of 0 where it was targeted;
the *same* network asked what it would say without a touch reaches 0.95 and 0.9. So credit is by default what is missing without
the touch, and attention is there to look at. With intent that nobody saw both are wrong: only experiments help (`LSTMAttribution`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.special import expit

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import Floats
from liftwise.models.attribution.counterfactual import leave_one_out
from liftwise.models.attribution.journeys import Journeys
from liftwise.models.attribution.network import Attention
from liftwise.models.attribution.sequence import SequenceModel, steady
from liftwise.models.attribution.training import Tests

CREDITS = ("counterfactual", "attention")


@dataclass(frozen=True)
class Explanation:
    """Two answers for each touch.

    Attributes
    ----------
    touches : journey_id, touch_id, attention (sums to 1 over the read touches of a journey), counterfactual (the share of the
        probability of buying that is missing without the touch; below 0 where the network thinks it did harm).
    summary : why they differ, in a sentence.
    """

    touches: pd.DataFrame
    summary: str


class AttentionAttribution(SequenceModel):
    """See the top of the file; the parameters are those of `SequenceModel`.

    Parameters
    ----------
    credit : ``counterfactual``: (p − p without the touch) / p, none below 0, scaled so that the touches of a journey have at most
        (p − p without any touch) / p together, and the rest is organic. ``attention``: the weights, organic only where no touch is.

    Notes
    -----
    Lift tests are checked but not used: a weight is no effect that a test could correct.
    """

    method = "attention"

    def __init__(self, *, credit: str = "counterfactual", **told) -> None:
        if credit not in CREDITS:
            raise InputError(f"credit by {credit!r}", fix=f"choose {' or '.join(CREDITS)}")
        super().__init__(**told)
        self.by = credit

    def _learn(self, parts, size: int, start: float, tests: Tests, progress: Callable[[float], None]) -> None:
        places = list(self.places_.values())
        self.network_ = Attention(len(self.channels_), places, self.scale_.width, self.hidden, start, self.dwell_ is not None)
        self._train(self.network_, parts, size, self.seed, Tests.none(), progress)

    def shares(self, journeys: Journeys) -> Floats:
        """(touches,) see `credit` above; of touches too old to be read 0."""
        log_odds, organic, attention = self._read(journeys)
        if self.by == "attention":
            return attention
        whole, base = expit(log_odds + self.offset), expit(organic + self.offset)
        owner = journeys.owner
        missing = np.clip(leave_one_out(self, journeys), 0, None) / np.maximum(whole, 1e-300)[owner]
        total = np.bincount(owner, missing, minlength=len(journeys.ids))
        most = np.clip(1.0 - base / np.maximum(whole, 1e-300), 0, 1)
        return missing * np.minimum(1.0, np.divide(most, total, out=np.ones_like(total), where=total > 0))[owner]

    def explain(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> Explanation:
        """Attention beside what is missing without each touch."""
        arrays = self.arrays(journeys, covariates)
        log_odds, organic, attention = self._read(arrays)
        whole = expit(log_odds + self.offset)
        missing = leave_one_out(self, arrays) / np.maximum(whole, 1e-300)[arrays.owner]
        touches = pd.DataFrame({
            "journey_id": arrays.ids[arrays.owner], "touch_id": arrays.touch_ids, "attention": attention, "counterfactual": missing,
        })  # fmt: skip
        touched = arrays.lengths > 0
        moved = 1.0 - expit(organic + self.offset)[touched].sum() / max(whole[touched].sum(), 1e-300)
        return Explanation(touches, _sentence(attention, missing, moved))

    def predict(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """journey_id, probability (of buying at the journey's end), organic (the same without any touch)."""
        arrays = self.arrays(journeys, covariates)
        log_odds, organic, _ = self._read(arrays)
        whole, base = expit(log_odds + self.offset), expit(organic + self.offset)
        return pd.DataFrame({"journey_id": arrays.ids, "probability": whole, "organic": base})

    def states(self, journeys: Journeys) -> tuple[Floats, Floats]:
        """The hidden state after each touch, (touches, hidden), and the empty one before; of touches too old to be read, that one."""
        out = np.zeros((len(journeys.codes), self.hidden))
        with steady(self.seed), torch.no_grad():
            for batch in self.tensors(journeys.recoded(self.channels_)).all():
                out[batch.at] = self.network_.reader(batch).numpy()[batch.mask.numpy() > 0]
        return out, np.zeros(self.hidden)

    def _read(self, journeys: Journeys) -> tuple[Floats, Floats, Floats]:
        """Log-odds (n,), those without any touch (n,), attention (touches,)."""
        log_odds, organic = np.empty((2, len(journeys.ids)))
        attention = np.zeros(len(journeys.codes))
        with steady(self.seed), torch.no_grad():
            for batch in self.tensors(journeys.recoded(self.channels_)).all():
                whole, weights = self.network_.log_odds(batch)
                log_odds[batch.rows], organic[batch.rows] = whole.numpy(), self.network_.organic(batch.facts).numpy()
                attention[batch.at] = weights.numpy()[batch.mask.numpy() > 0]
        return log_odds, organic, attention


def _sentence(attention: Floats, missing: Floats, moved: float) -> str:
    if not len(attention):
        return "no journey has a touch: there is nothing to look at"
    alike = (
        pd.Series(attention).corr(pd.Series(missing), method="spearman") if np.ptp(attention) * np.ptp(missing) > 0 else np.nan
    )
    agree = "" if np.isnan(alike) else f" (rank correlation between the two: {alike:.2f})"
    return (
        "attention says where the network looked and always adds up to the whole of a purchase, while without any touch it would "
        f"expect {abs(100 * moved):.0f} % {'less' if moved >= 0 else 'more'} of them{agree}: look at it, pay by it never"
    )
