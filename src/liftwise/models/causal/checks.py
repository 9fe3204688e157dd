"""What could make an estimate wrong, looked at beside it: each check has a verdict, a sentence and its numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from liftwise.core.uncertainty import Floats
from liftwise.models.causal.calibration import Calibration
from liftwise.models.causal.inference import Test
from liftwise.models.causal.placebo import PlaceboTest, needed
from liftwise.models.causal.words import amount

MOST_LEFT_OUT = 30  # donors left out in turn: those with the most weight

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, eq=False)
class Check:
    """One way to be wrong, examined. `table` holds the numbers behind the sentence."""

    name: str
    verdict: Verdict
    sentence: str
    table: pd.DataFrame = field(repr=False)

    def to_dict(self) -> dict[str, str]:
        """Name, verdict and sentence, for table `lift_results`."""
        return {"name": self.name, "verdict": self.verdict, "sentence": self.sentence}


@dataclass(frozen=True, eq=False)
class Setting:
    """What the checks look at, on the scale of the fit (logs, where the design takes logs).

    donors (n, t), names (n,), mean (t,) of the treated, gap (t,) to its counterfactual; held : error of held-out predictions before
    the start; demean : whether levels were taken out; weights (n,) or empty; effect_without : the effect when one donor is not at hand.
    """

    donors: Floats
    names: tuple[str, ...]
    mean: Floats
    gap: Floats
    held: float
    pre: int
    demean: bool
    weights: Floats
    duality: float
    test: Test
    effect_without: Callable[[int], float]


def run_checks(setting: Setting) -> list[Check]:
    """All checks of the counterfactual, in the order in which doubts arise."""
    return [_fit(setting), _hull(setting), _concentration(setting), _leave_one_out(setting)]


def _worse(value: float, warn: float, fail: float) -> Verdict:
    return "fail" if value > fail else "warn" if value > warn else "ok"


def _fit(of: Setting) -> Check:
    """Error before the campaign beside the outcome's own movement; held out, so that many donors do not flatter it."""
    movement = float(of.mean[: of.pre].std())
    within = float(np.sqrt(np.mean(of.gap[: of.pre] ** 2)))
    held = of.held
    ratio = held / movement
    verdict = _worse(ratio, 0.75, 1.25)
    says = {
        "ok": "the others predict it well", "warn": "the others predict it poorly",
        "fail": "the others predict it no better than its own mean would",
    }[verdict]  # fmt: skip
    table = pd.DataFrame({"in_sample": [within], "held_out": [held], "own_movement": [movement], "ratio": [ratio]})
    sentence = f"Before the start, held-out error is {ratio:.0%} of the outcome's own movement: {says}."
    return Check("pre-period fit", verdict, sentence, table)


def _hull(of: Setting) -> Check:
    """Periods before the start in which no mix of donors could reach the treated outcome, were each on its own."""
    donors, mean = of.donors[:, : of.pre], of.mean[: of.pre]
    if of.demean:
        donors, mean = donors - donors.mean(axis=1, keepdims=True), mean - mean.mean()
    outside = (mean < donors.min(axis=0)) | (mean > donors.max(axis=0))
    share = float(outside.mean())
    advice = "" if of.demean or share <= 0.05 else " Fixed effects compare changes instead of levels."
    sentence = (
        f"In {outside.sum()} of {of.pre} periods before the start the outcome lies outside the range of the donors.{advice}"
    )
    return Check("hull", _worse(share, 0.05, 0.5), sentence, pd.DataFrame({"outside": outside}))


def placebo_rank(test: PlaceboTest, scales: Floats) -> Check:
    """Where the treated unit stands among the placebos, and whether they are enough."""
    units = len(test.lower) + 1
    sentence = f"Studentised, the effect ranks {round(test.p_value * units)} of {units}."
    if units - 1 < needed(0.90):
        verdict: Verdict = "fail"
        sentence += f" At 90 % at least {needed(0.90)} placebos are needed: add comparison units."
    elif units - 1 < needed(0.95):
        verdict = "warn"
        sentence += " So few placebos give a coarse p-value and a wide interval."
    else:
        verdict = "ok"
    table = pd.DataFrame({"effect_low": test.lower, "effect_high": test.upper, "scale": scales})
    return Check("placebo rank", verdict, sentence, table)


def calibrated(calibration: Calibration, t: Floats, windows: int) -> Check:
    """How far placebos strayed beside what their own errors promised; `t` (m + 1,) in space, the treated one first."""
    rank, units = 1 + int(np.sum(np.abs(t[1:]) >= abs(t[0]))), len(t)
    counted = [f"{units - 1} in space"] + ([f"{windows} earlier windows"] if "time" in calibration.sources else [])
    verdict: Verdict = "warn" if calibration.factor > 2 or calibration.df < 10 else "ok"
    sentence = (
        f"Placebos ({', '.join(counted)}) strayed {calibration.factor:.2f} times as far as their held-out errors promised, which the "
        f"interval allows for; the effect ranks {rank} of {units}."
    )
    if calibration.df < 10:
        sentence += " So few independent placebos make a wide interval: add comparison units."
    return Check("placebos", verdict, sentence, pd.DataFrame({"t": t, "treated": np.arange(units) == 0}))


def _concentration(of: Setting) -> Check:
    """Whether the counterfactual hangs on one donor."""
    if not len(of.weights):
        return Check("weights", "ok", "This design gives donors no weights.", pd.DataFrame({"donor": [], "weight": []}))
    weights = pd.Series(of.weights, index=list(of.names)).sort_values(ascending=False)
    effective = float(1 / np.sum(weights**2))
    exact = of.duality <= 1e-6
    sentence = f"The counterfactual rests on {effective:.1f} donors in effect; {weights.index[0]} has {weights.iloc[0]:.0%}."
    if not exact:
        sentence += " The weights could not be solved to precision."
    table = weights[weights.abs() > 0].rename("weight").rename_axis("donor").reset_index()
    return Check("weights", _worse(float(weights.iloc[0]), 0.7, 0.95) if exact else "fail", sentence, table)


def _leave_one_out(of: Setting) -> Check:
    """The effect again, without each donor in use."""
    used = np.flatnonzero(np.abs(of.weights) > 1e-6) if len(of.weights) else np.arange(len(of.donors))
    if len(used) > MOST_LEFT_OUT:
        by_weight = np.abs(of.weights[used]) if len(of.weights) else np.zeros(len(used))
        used = used[np.argsort(-by_weight, kind="stable")[:MOST_LEFT_OUT]]
    effects = np.array([of.effect_without(int(donor)) for donor in used])
    interval = of.test.interval(0.90) or (-np.inf, np.inf)
    told = not interval[0] <= 0 <= interval[1]
    turned = bool((np.sign(effects) != np.sign(of.test.effect)).any())
    beyond = bool(((effects < interval[0]) | (effects > interval[1])).any())
    verdict: Verdict = "fail" if told and turned else "warn" if beyond else "ok"
    sentence = f"Leaving out one donor at a time, the effect lies between {amount(effects.min())} and {amount(effects.max())}."
    table = pd.DataFrame({"donor": [of.names[donor] for donor in used], "effect": effects})
    return Check("leave one donor out", verdict, sentence, table)
