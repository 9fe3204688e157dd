"""Members whose posterior is sampled: what chains must show before their mix may move a budget."""

from __future__ import annotations

import pandas as pd

from liftwise.core.errors import CannotTell
from liftwise.core.uncertainty import Floats
from liftwise.models.mix.diagnostics import bulk_ess, rhat, tail_ess
from liftwise.models.mix.family import Member

APART, ENOUGH = 1.01, 400  # R̂ below, and effective draws above which chains are believed (Vehtari et al. 2021)


class Sampled(Member):
    """Published only when the chains agree, know enough in the middle and in the tails, and none diverged; else a preview.

    Attributes
    ----------
    state_ : ``"published"`` or ``"preview"``.
    diagnostics_ : one row: rhat (largest), ess_bulk and ess_tail (smallest), divergences, gradients.
    """

    state_: str
    diagnostics_: pd.DataFrame

    def responses(self, *, preview: bool = False) -> pd.DataFrame:
        """Table `responses`; see `Member`.

        Raises
        ------
        CannotTell
            When the fit is only a preview, unless a `preview` is asked for.
        """
        if self.state_ != "published" and not preview:
            worst = self.diagnostics_.iloc[0]
            raise CannotTell(
                f"the chains have not converged (R-hat {worst['rhat']:.3f}, effective draws {min(worst['ess_bulk'], worst['ess_tail']):.0f}, "
                f"divergences {worst['divergences']:.0f}): a preview moves no budget",
                fix="use more samples, a simpler form, join channels that move together, or give priors or a lift test",
            )
        return super().responses()

    def _judge(self, theta: Floats, diverged: int, gradients: int) -> None:
        """Set `diagnostics_` and `state_` from chains (chains, draws, parameters)."""
        told = {**agreement(theta), "divergences": diverged, "gradients": gradients}
        self.diagnostics_, self.state_ = pd.DataFrame([told]), "published" if believed(theta) and not diverged else "preview"


def agreement(theta: Floats) -> dict[str, float]:
    """rhat, ess_bulk and ess_tail of the worst parameter of chains (chains, draws, parameters)."""
    return {"rhat": float(rhat(theta).max()), "ess_bulk": float(bulk_ess(theta).min()), "ess_tail": float(tail_ess(theta).min())}


def believed(theta: Floats, margin: float = 1.0) -> bool:
    """Whether chains agree and know enough in the middle and in the tails, `margin` times what is asked for."""
    told = agreement(theta)
    return told["rhat"] < APART and min(told["ess_bulk"], told["ess_tail"]) > margin * ENOUGH
