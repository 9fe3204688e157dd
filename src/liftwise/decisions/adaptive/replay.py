"""What a learning policy would have earned on a past campaign, before it is switched on.

Rejection sampling (Li et al. 2011; for unequal propensities Dudík et al. 2012): the log is walked in order; row t is accepted with probability

    min(1, π_t(a_t | x_t) / (M · p_t)),

where π_t is what the policy, having learned from the rows accepted so far, would do, p_t the logged propensity and M one constant; an accepted row is
a step of the policy, as if it had chosen it. Where the ratio exceeds M the row counts that much more. The replay is as long as rows are accepted, so
budgets shrink in the same share. Learning in a short replay is learning little: a longer campaign should earn more per decision.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (plotly has no types, and pandas' frames are typed in part)
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import normal_quantile, spawn
from liftwise.decisions.adaptive.offpolicy import LEAST_REWARDS, LEAST_ROWS

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from liftwise.decisions.adaptive.thompson import PacedThompson

Floats = NDArray[np.float64]
RUNS = 6
QUANTILE = 0.10  # of the propensities: 1/M, below which rows count more instead of being accepted more often


@dataclass(frozen=True)
class Replay:
    """What the policy earns per decision, within the first `steps` decisions of its learning.

    low, high : interval of `level`, from rewards, each row counted once however many runs accepted it, and from the runs' histories.  logged : mean reward of the log.
    steps : accepted rows, mean of the runs.  effective_rows, effective_rewards : of one run.  spent : budget → share of the (shrunk) budget.
    """

    value: float
    low: float
    high: float
    level: float
    logged: float
    rows: int
    steps: float
    effective_rows: float
    effective_rewards: float
    spent: dict[str, float]

    def to_frame(self) -> pd.DataFrame:
        """One row."""
        return pd.DataFrame([{**vars(self), "spent": str(self.spent)}])

    def summary(self) -> str:
        """For a manager."""
        sure = "more" if self.low > self.logged else "less" if self.high < self.logged else "not provably more or less"
        return (
            f"In the first {self.steps:,.0f} decisions of its learning the policy earns {self.value:.4g} each "
            f"({self.level:.0%}: {self.low:.4g} to {self.high:.4g}), {sure} than the {self.logged:.4g} of the log."
        )

    def plot(self) -> go.Figure:
        """The interval beside the log's mean."""
        import plotly.graph_objects as go

        bar = {"type": "data", "symmetric": False, "array": [self.high - self.value], "arrayminus": [self.value - self.low]}
        figure = go.Figure(go.Scatter(x=[self.value], y=["replay"], mode="markers", error_x={**bar}))
        figure.add_vline(x=self.logged, line_dash="dot", annotation_text="the log")
        return figure.update_layout(template="plotly_white", xaxis_title="reward a decision")


@dataclass(frozen=True)
class _Run:
    """steps : Σ weight; expected : what it is on average where the log tried all that the policy would."""

    steps: float
    expected: float
    row: NDArray[np.int64]
    weight: Floats
    reward: Floats
    spent: dict[str, float]


def replay(
    policy: PacedThompson, log: pd.DataFrame, features: Sequence[str], *, level: float = 0.95, runs: int = RUNS, seed: int = 7
) -> Replay:
    """Walk `log` with copies of `policy` (which itself learns nothing).

    Parameters
    ----------
    log : in order of time; columns arm ("" for nobody), reward, propensity (of the arm) and `features`.
    runs : walks with different luck.

    Raises
    ------
    InputError
        Columns are missing, or values cannot be.
    CannotTell
        Fewer than 100 effective rows or 10 effective rewards would be accepted.
    """
    x, arms, reward, propensity = _read(policy, log, features)
    constant = 1.0 / float(np.quantile(propensity, QUANTILE))
    share = min(1.0, 1.0 / constant)
    walked = [_walk(policy, x, arms, reward, propensity, constant, share, seed + run) for run in range(runs)]
    totals = [(float(run.weight.sum()), float((run.weight**2).sum())) for run in walked]
    rows = float(np.mean([a * a / b if b > 0 else 0.0 for a, b in totals]))
    gains = [run.weight * run.reward for run in walked]
    _whole([run.steps / max(run.expected, 1e-9) for run in walked], float(np.mean([run.expected for run in walked])))
    rewards = float(np.mean([g.sum() ** 2 / (g @ g) if (g @ g) > 0 else 0.0 for g in gains]))
    if rows < LEAST_ROWS or rewards < LEAST_REWARDS:
        raise CannotTell(
            f"a replay would accept rows worth {rows:,.0f} decisions with {rewards:.1f} rewards (at least {LEAST_ROWS:.0f} and {LEAST_REWARDS:.0f})",
            fix="replay a longer log, or one that tried all arms more evenly",
        )
    values = np.array([float(g.sum() / w) for g, (w, _) in zip(gains, totals, strict=True)])
    influence = np.zeros(len(reward))
    for run, value, (w, _) in zip(walked, values, totals, strict=True):
        influence[run.row] += run.weight * (run.reward - value) / w / runs
    error = float(np.sqrt(influence @ influence + (values.var(ddof=1) / runs if runs > 1 else 0.0)))
    half, value = normal_quantile(level) * error, float(values.mean())
    spent = {name: float(np.mean([run.spent[name] for run in walked])) for name in walked[0].spent}
    low = max(value - half, min(0.0, float(reward.min())))
    return Replay(value, low, value + half, level, float(reward.mean()), len(reward), float(np.mean([run.steps for run in walked])),
                  rows, rewards, spent)  # fmt: skip


def _read(
    policy: PacedThompson, log: pd.DataFrame, features: Sequence[str]
) -> tuple[Floats, NDArray[np.object_], Floats, Floats]:
    missing = [name for name in ("arm", "reward", "propensity", *features) if name not in log]
    if missing or log.empty:
        raise InputError(f"column {missing[0]!r} is missing" if missing else "it has no rows", where="log")
    arms = log["arm"].to_numpy(dtype=object)
    unknown = set(arms) - set(policy.arms) - {""}
    if unknown:
        raise InputError(
            f"the policy has no arm {min(map(str, unknown))!r}", where="log", fix="let it join, or leave those rows out"
        )
    x, reward, propensity = (log[name].to_numpy(dtype=np.float64) for name in (list(features), "reward", "propensity"))
    if not (np.isfinite(x).all() and np.isfinite(reward).all() and (propensity > 0).all() and (propensity <= 1).all()):
        raise InputError("features and rewards must be finite and propensities in (0, 1]", where="log")
    return x, arms, reward, propensity


def _walk(
    policy: PacedThompson, x: Floats, arms: NDArray[np.object_], reward: Floats, propensity: Floats, constant: float, share: float, seed: int
) -> _Run:  # fmt: skip
    """One history. The policy's own steps are the rows offered · share on average."""
    copy = policy.rehearsal(share * len(reward), seed)
    before = copy.left_
    skips = "" not in set(arms.tolist())  # choosing nobody earns nothing: known without a log
    luck = spawn(seed, "replay").random((len(reward), 2))
    kept, weights, rewards, steps, t = list[int](), list[float](), list[float](), 0.0, 0
    for t in range(len(reward)):
        if copy.horizon is not None and copy.decided_ >= copy.horizon:
            break
        nobody = copy.probability(x[t], "") / constant if skips and before else 0.0
        if luck[t, 1] < nobody:
            chosen, gained, ratio = "", 0.0, nobody
        else:
            chosen, gained = str(arms[t]), float(reward[t])
            ratio = copy.probability(x[t], chosen) / propensity[t] / constant / max(1 - nobody, 1e-12)
            if luck[t, 0] >= ratio:
                continue
        copy.take(x[t], chosen, gained)
        kept.append(t)
        weights.append(max(1.0, ratio))
        rewards.append(gained)
        steps += max(1.0, ratio)
    spent = {name: 1 - copy.left_[name] / before[name] if before[name] > 0 else 0.0 for name in before}
    return _Run(steps, (t + 1) / constant, np.array(kept, dtype=np.int64), np.array(weights), np.array(rewards), spent)


def _whole(shares: list[float], expected: float) -> None:
    """Refuse where steps are far fewer than they are when the log tried everything that the policy would do."""
    share, error = float(np.mean(shares)), 4 / np.sqrt(max(expected, 1.0))
    if share < 1 - error - 0.02:
        raise CannotTell(f"for {1 - share:.0%} of its decisions the policy would do what the log never did there",
                         fix="let it choose only among arms that the log tried everywhere")  # fmt: skip
