"""A test plan that cannot be bent afterwards: frozen with a hash before the start, held against what was done at the read-out.

The plan says who is treated, who stands for comparison, when, what is expected, how sure the test is to see it and what it costs. A
test that would more likely miss the expected effect than see it gets the verdict "do not run this test". The hash covers every
word of the plan; where it is kept (a log, a mail) proves that the plan came first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from liftwise.core.errors import InputError
from liftwise.models.causal.donors import DonorDesign
from liftwise.models.causal.lift import Lift
from liftwise.models.causal.panel import Panel
from liftwise.models.causal.power import ENOUGH, PowerCurve, power_figure, simulate_power, without
from liftwise.models.causal.synthetic_control import SyntheticControl
from liftwise.models.causal.words import amount

if TYPE_CHECKING:
    import plotly.graph_objects as go

LEAST_POWER = 0.5  # below this a test more likely misses the expected effect than sees it
RUN, DO_NOT_RUN = "run", "do not run this test"


@dataclass(frozen=True)
class TestPlan:
    """What was agreed before the start.

    Parameters
    ----------
    markets, controls : units treated, and units that may stand for them.
    start, end : dates (or numbers, where the panel's periods are numbers) as text: first and last period of the test.
    expected_lift : as a share, such as 0.05.
    power : at the expected lift and level `alpha`, from rehearsals.
    mde : smallest lift seen in 80 % of rehearsals; infinite if none of those rehearsed.
    cost : of the expected lift, where the cost of a unit is known.
    effects, powers : the power curve.
    sha256 : of all the rest, once frozen.
    """

    __test__ = False  # it is no test of pytest's

    markets: tuple[str, ...]
    controls: tuple[str, ...]
    start: str
    end: str
    outcome: str
    expected_lift: float
    power: float
    mde: float
    width: float
    cost: float | None
    holdout: float
    method: str
    inference: str
    alpha: float
    seed: int
    effects: tuple[float, ...] = field(repr=False)
    powers: tuple[float, ...] = field(repr=False)
    sha256: str = ""

    @property
    def verdict(self) -> str:
        """Whether the test is worth running."""
        return RUN if self.power >= LEAST_POWER else DO_NOT_RUN

    def freeze(self) -> TestPlan:
        """The same plan with the hash of its content."""
        return replace(self, sha256=self.digest())

    def digest(self) -> str:
        """SHA-256 of the canonical JSON of everything but the hash itself."""
        return hashlib.sha256(_canonical(replace(self, sha256="")).encode()).hexdigest()

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, infinite and unknown numbers as null."""
        return _canonical(self)

    @classmethod
    def from_json(cls, text: str) -> TestPlan:
        """Read a frozen plan back.

        Raises
        ------
        InputError
            If it is no plan, or its content does not match its hash.
        """
        try:
            raw = json.loads(text)
            listed = {name: tuple(raw[name]) for name in ("markets", "controls", "effects", "powers")}
            missing = {
                "mde": np.inf if raw["mde"] is None else raw["mde"],
                "width": np.nan if raw["width"] is None else raw["width"],
            }
            plan = cls(**{**raw, **listed, **missing})
        except (ValueError, KeyError, TypeError):
            raise InputError("this is no test plan", fix="give the text that to_json wrote") from None
        return plan.verified()

    def verified(self) -> TestPlan:
        """Itself, if its content still matches its hash.

        Raises
        ------
        InputError
            If it was never frozen, or was changed since.
        """
        if not self.sha256:
            raise InputError("the plan was never frozen", fix="freeze it before the start: plan.freeze()")
        if self.sha256 != self.digest():
            raise InputError(
                "the plan was changed after it was frozen: its hash does not match", fix="read out the plan as frozen"
            )
        return self

    def to_frame(self) -> pd.DataFrame:
        """One row per item of the plan: item, value."""
        items = [(of.name, getattr(self, of.name)) for of in fields(self) if of.name not in ("effects", "powers")]
        told = [(name, ";".join(value) if isinstance(value, tuple) else str(value)) for name, value in items]
        return pd.DataFrame([*told, ("verdict", self.verdict)], columns=["item", "value"], dtype="str")

    def summary(self) -> str:
        """What a manager needs to decide."""
        who, costs = " + ".join(self.markets), "" if self.cost is None else f" It costs {amount(self.cost)}."
        says = f"Test in {who}, {self.start} to {self.end}: a lift of {self.expected_lift:.1%} would be seen {self.power:.0%} of the time."
        if self.verdict == DO_NOT_RUN:
            least = (
                f"{self.mde:.1%} would be needed" if np.isfinite(self.mde) else "none of the effects rehearsed is large enough"
            )
            return f"Do not run this test. {says} For {ENOUGH:.0%}, {least}: test longer, in more markets, or save the money."
        return f"Run. {says}{costs} {self.holdout:.0%} of {self.outcome} lies in markets without the campaign."

    def plot(self) -> go.Figure:
        """Power curve, with the expected lift."""
        curve = PowerCurve(
            self.markets, 0, np.array(self.effects), np.array(self.powers), np.array(self.effects), self.width, 0.0, 0.0,
            self.holdout, 0, self.alpha, self.inference,
        )  # fmt: skip
        figure = power_figure([curve])
        figure.data[0].name = " + ".join(self.markets)
        figure.add_vline(x=self.expected_lift, line={"dash": "dash", "width": 1})  # pyright: ignore[reportArgumentType]
        return figure.update_layout(title=f"{self.verdict}: power {self.power:.0%} at the expected {self.expected_lift:.1%}")


def plan_test(
    panel: Panel, *, markets: Sequence[str], start: Any, end: Any, duration: int, expected_lift: float, exclude: Sequence[str] = (),
    effects: Sequence[float] = (0.0, 0.025, 0.05, 0.075, 0.10, 0.15, 0.20), cost_per_unit: float | None = None,
    design: DonorDesign | None = None, seed: int = 7, **how: Any,
) -> TestPlan:  # fmt: skip
    """Rehearse the test on the history of `panel` and write down the plan; not yet frozen.

    Parameters
    ----------
    start, end : first and last day of the test, after the history; `duration` is its length in periods.
    exclude : units that take no part, not even as comparison.
    design : what will read it out; `SyntheticControl` by default.
    how : `lookback`, `alpha`, `inference`, `level`, `placebos` as in `Rehearsal`.
    """
    if not expected_lift > 0:
        raise InputError(f"an expected lift of {expected_lift!r} gives no test", fix="give it as a share above 0, such as 0.05")
    reader = design or SyntheticControl(seed=seed)
    asked = sorted({*effects, expected_lift})
    curve = simulate_power(
        panel, treated=markets, duration=duration, effects=asked, exclude=exclude, cost_per_unit=cost_per_unit, seed=seed, **how
    )
    controls = tuple(unit for unit in without(panel, exclude).units if unit not in curve.markets)
    return TestPlan(
        markets=curve.markets, controls=controls, start=_day(start), end=_day(end), outcome=panel.outcome, expected_lift=expected_lift,
        power=curve.at(expected_lift), mde=curve.mde, width=curve.width, cost=None if cost_per_unit is None else curve.cost(expected_lift),
        holdout=curve.holdout, method=reader.method, inference=curve.inference, alpha=curve.alpha, seed=seed,
        effects=tuple(map(float, curve.effects)), powers=tuple(map(float, curve.power)),
    )  # fmt: skip


def read_out(
    plan: TestPlan | str, panel: Panel, *, treated: Sequence[str] | None = None, start: Any = None, end: Any = None,
    design: DonorDesign | None = None, level: float | None = None,
) -> tuple[Lift, list[str]]:  # fmt: skip
    """Estimate what the test caused, as it was run, and name every way in which that is not the plan.

    Parameters
    ----------
    plan : frozen, or its JSON.
    panel : the outcome, now up to the end of the test.
    treated, start, end, design, level : what was really done; by default what was planned.

    Returns
    -------
    lift, deviations
        Donors are the plan's controls that are in the panel and were not treated. A sentence per deviation; none if all was kept.

    Raises
    ------
    InputError
        If the plan was never frozen, or changed since.
    """
    agreed = TestPlan.from_json(plan) if isinstance(plan, str) else plan.verified()
    reader = design or SyntheticControl(seed=agreed.seed)
    who = sorted(agreed.markets if treated is None else {treated} if isinstance(treated, str) else set(treated))
    first, last = agreed.start if start is None else start, agreed.end if end is None else end
    donors = [unit for unit in agreed.controls if unit in panel.units and unit not in who]
    others = [unit for unit in panel.units if unit not in donors and unit not in who]
    moments = (_moment(panel, first), _moment(panel, last))
    lift = reader.estimate(panel, treated=who, start=moments[0], end=moments[1], exclude=others)
    done = {
        "start": (agreed.start, _day(moments[0])), "end": (agreed.end, _day(moments[1])), "method": (agreed.method, reader.method),
        "outcome": (agreed.outcome, panel.outcome), "level": (f"{1 - agreed.alpha:.1%}", f"{1 - agreed.alpha if level is None else level:.1%}"),
    }  # fmt: skip
    said = [f"The {name} was {is_now}, planned was {was}." for name, (was, is_now) in done.items() if was != is_now]
    return lift, [*_markets(agreed, who, donors), *said, *_short(panel, moments[1])]


def _markets(plan: TestPlan, treated: list[str], donors: list[str]) -> list[str]:
    """Deviations in who was treated and who could be compared with."""
    added, left = sorted(set(treated) - set(plan.markets)), sorted(set(plan.markets) - set(treated))
    lost = sorted(set(plan.controls) - set(donors) - set(added))
    return [
        *([f"Treated but not planned: {', '.join(added)}."] if added else []),
        *([f"Planned but not treated: {', '.join(left)}."] if left else []),
        *([f"Planned for comparison but not in the data: {', '.join(lost)}."] if lost else []),
    ]


def _short(panel: Panel, end: Any) -> list[str]:
    return [f"The data end at {_day(panel.periods[-1])}, before the test does."] if panel.ends_before(end) else []


def _moment(panel: Panel, moment: Any) -> Any:
    """A date as the panel's own kind: text of a number becomes a number where periods are numbers."""
    return float(moment) if isinstance(moment, str) and not isinstance(panel.periods, pd.DatetimeIndex) else moment


def _day(moment: Any) -> str:
    """Text of a day, or of a number."""
    if isinstance(moment, int | float | np.number):
        return f"{float(moment):g}"
    stamp = pd.to_datetime(moment, errors="coerce")
    if pd.isna(stamp):
        raise InputError(f"{moment!r} is not a date", fix="write it like 2025-06-02")
    return str(stamp.date())


def _canonical(plan: TestPlan) -> str:
    tame = {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in asdict(plan).items()}
    return json.dumps(tame, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
