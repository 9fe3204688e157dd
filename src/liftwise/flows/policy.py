"""policy: what another way of choosing would have earned, from a log of decisions; and whom a learning one would choose next.

A log has one row a decision, in order of time: `arm` (empty: nobody was chosen), `reward`, `propensity` (the probability with which that arm was chosen
there), numbers that describe the context (`features`), and where arms cost money `cost`, one amount an arm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liftwise.core.errors import CannotTell, InputError

if TYPE_CHECKING:
    from liftwise.decisions.adaptive.replay import Replay
    from liftwise.decisions.adaptive.thompson import Choice, PacedThompson

Floats = NDArray[np.float64]
MONEY = "money"  # the one budget of a log
ORDER = ("dr", "switch", "snipw", "ipw")  # whose answer is told: the first that does not refuse


@dataclass(frozen=True)
class Evaluation:
    """What a target policy earns a decision. estimates : a row an estimator, with why it refuses. told : the sentence of `method`."""

    target: str
    method: str
    estimates: pd.DataFrame
    told: str


def read_log(path: Path, columns: Sequence[str], *, features: Sequence[str] = ()) -> pd.DataFrame:
    """A log as a frame whose named columns are numbers, but for arm (text, empty for nobody).

    Raises
    ------
    InputError
        No such file, not CSV or Parquet, or a column or cell that is missing or cannot be: with row (the first is 1) and column.
    """
    frame = _raw(path)
    wanted = list(dict.fromkeys((*columns, *features)))
    missing = [name for name in wanted if name not in frame]
    if missing:
        raise InputError(
            f"column {missing[0]!r} is missing",
            where=str(path),
            fix=f"it has {', '.join(map(str, frame.columns[:12]))}; name or add it",
        )
    if frame.empty:
        raise InputError("it has no rows", where=str(path), fix="give a log with one row a decision")
    read = frame.reset_index(drop=True)
    for name in wanted:
        if name == "arm":
            read[name] = frame[name].fillna("").astype("str")
            continue
        values = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=np.float64)
        _refuse(path, name, frame[name], ~np.isfinite(values), "is no finite number", "give a number or drop the row")
        if name == "propensity":
            _refuse(path, name, frame[name], (values <= 0) | (values > 1), "is no probability above 0 and at most 1",
                    "give the probability with which this arm was chosen")  # fmt: skip
        if name == "cost":
            _refuse(path, name, frame[name], values < 0, "is below 0", "give an amount of money")
        read[name] = values
    return read


def evaluate(
    path: Path, target: str, *, features: Sequence[str] = (), cluster: str | None = None, level: float = 0.95, clip: float | None = None,
    seed: int = 7,
) -> Evaluation:  # fmt: skip
    """What the policy `target` would have earned on the log's contexts, by all four estimators.

    Parameters
    ----------
    target : ``"uniform"`` (every arm alike), ``"always=ARM"``, or ``"columns=PREFIX"`` (probabilities of each arm in columns PREFIX + arm).
    features : columns that the reward model may use. cluster : column of rows that hang together, such as a person.

    Raises
    ------
    CannotTell
        Every estimator refuses: overlap is too small.
    """
    from liftwise.decisions.adaptive.offpolicy import Log, compare
    from liftwise.decisions.adaptive.offpolicy import evaluate as estimate

    frame = read_log(path, ["arm", "reward", "propensity"], features=features)
    if cluster is not None and cluster not in frame:
        raise InputError(f"column {cluster!r} is missing", where=str(path), fix="name a column with --cluster, or leave it out")
    arms = sorted(frame["arm"].unique())
    log = Log.of(
        frame["reward"].to_numpy(), pd.Index(arms).get_indexer(frame["arm"]), frame["propensity"].to_numpy(),
        features=frame[list(features)].to_numpy() if features else None, cluster=None if cluster is None else frame[cluster].astype("str").to_numpy(),
    )  # fmt: skip
    chances = _target(path, frame, arms, target)
    table = compare(log, chances, level=level, clip=clip, seed=seed)
    able = table.loc[table["refused"] == "", "method"].tolist()
    method = next((name for name in ORDER if name in able), None)
    if method is None:
        raise CannotTell(table.set_index("method").loc["dr", "refused"], where=str(path),
                         fix="log a policy that tries more, or ask about one nearer to the log's")  # fmt: skip
    told = estimate(log, chances, method=method, level=level, clip=clip, seed=seed)
    return Evaluation(target, method, table, told.summary())


def replay(
    path: Path,
    features: Sequence[str],
    *,
    budget: float | None = None,
    decisions: int | None = None,
    level: float = 0.95,
    seed: int = 7,
) -> Replay:
    """What paced Thompson sampling would have earned on the log, had it begun there knowing nothing.

    Parameters
    ----------
    budget : money for `decisions` decisions (default: as many as the log has); none: nothing costs.
    """
    frame = read_log(path, _columns(budget), features=features)
    return _policy(path, frame, features, budget, decisions or len(frame), seed).replay(frame, list(features), level=level)


def choose_next(
    path: Path, context: Mapping[str, float], *, budget: float | None = None, decisions: int | None = None, seed: int = 7
) -> tuple[Choice, Mapping[str, float], str]:
    """Whom paced Thompson sampling chooses in `context` (feature → number) after it learned from the log, the money left before, and why nobody.

    Parameters
    ----------
    budget : money for all `decisions` decisions, those of the log included.
    """
    features = list(context)
    frame = read_log(path, _columns(budget), features=features)
    if budget is not None and (decisions is None or decisions <= len(frame)):
        raise InputError(
            f"money must last for more than the {len(frame):,} decisions of the log",
            where="--decisions",
            fix="say for how many in all",
        )
    # the log's length is in the seed, so that each decision has luck of its own and the same question the same answer
    policy = _policy(path, frame, features, budget, decisions or len(frame) + 1, seed + len(frame))
    for x, arm, reward in zip(frame[features].to_numpy(), frame["arm"], frame["reward"], strict=True):
        policy.take(x, arm, reward)
    left = policy.left_
    choice = policy.choose(np.array([context[name] for name in features]))
    return choice, left, "" if choice.arm else _why_nobody(path, frame, left)


def _why_nobody(path: Path, frame: pd.DataFrame, left: Mapping[str, float]) -> str:
    cheapest, there = min(cost[MONEY] for cost in _costs(path, frame).values()), left[MONEY]
    if cheapest > there:
        return f"{there:,.2f} is left, and the cheapest choice costs {cheapest:,.2f}"
    return "at what money is worth for the decisions to come, nobody is worth theirs here"


def _columns(budget: float | None) -> list[str]:
    return ["arm", "reward", "propensity", *(["cost"] if budget is not None else [])]


def _policy(
    path: Path, frame: pd.DataFrame, features: Sequence[str], budget: float | None, decisions: int, seed: int
) -> PacedThompson:
    """One that knows nothing: an arm of the log, or nobody; yes or no where all rewards are 0 or 1."""
    from liftwise.decisions.adaptive.thompson import PacedThompson

    costs = _costs(path, frame) if budget is not None else {}
    arms = {str(arm): costs.get(str(arm), {}) for arm in sorted(frame["arm"].unique()) if arm}
    if not arms:
        raise InputError("nobody was ever chosen", where=f"{path}, column arm", fix="give a log with arms")
    budgets = None if budget is None else {MONEY: budget}
    rewards = frame["reward"].to_numpy()
    link = "logit" if np.isin(rewards, (0.0, 1.0)).all() else "identity"
    usual = float(rewards.std()) or 1.0
    return PacedThompson(
        arms=arms, features=len(features), budgets=budgets, horizon=decisions, link=link, reward_sd=usual, seed=seed
    )


def _costs(path: Path, frame: pd.DataFrame) -> dict[str, dict[str, float]]:
    """What each arm costs; a policy is replayed at one price an arm."""
    costs = dict[str, dict[str, float]]()
    for arm, rows in frame[frame["arm"] != ""].groupby("arm"):
        different = rows["cost"] != rows["cost"].iloc[0]
        if different.any():
            at = int(np.flatnonzero(different)[0])
            raise InputError(f"arm {arm!r} costs {rows['cost'].iloc[at]:g} here and {rows['cost'].iloc[0]:g} before",
                             where=f"{path}, row {rows.index[at] + 1}, column cost", fix="give one cost an arm, or name dear and cheap as arms of their own")  # fmt: skip
        costs[str(arm)] = {MONEY: float(rows["cost"].iloc[0])}
    return costs


def _target(path: Path, frame: pd.DataFrame, arms: Sequence[str], target: str) -> Floats:
    """(rows, arms) probabilities of the policy that is asked about."""
    kind, _, rest = target.partition("=")
    if target == "uniform":
        return np.full((len(frame), len(arms)), 1 / len(arms))
    if kind == "always" and rest:
        if rest not in arms:
            raise InputError(f"the log has no arm {rest!r}", where="--target", fix=f"choose {', '.join(arms[:8])}")
        return np.tile(np.array(arms) == rest, (len(frame), 1)).astype(np.float64)
    if kind == "columns" and rest:
        names = [f"{rest}{arm}" for arm in arms]
        told = read_log(path, names)[names].to_numpy()
        wrong = (told < 0).any(axis=1) | (np.abs(told.sum(axis=1) - 1) > 1e-6)
        if wrong.any():
            at = int(wrong.argmax())
            raise InputError(f"probabilities add up to {told[at].sum():g} or are below 0", where=f"{path}, row {at + 1}, columns {rest}…",
                             fix="give a probability for every arm, 1 together")  # fmt: skip
        return told
    raise InputError(f"no policy {target!r}", where="--target", fix="say uniform, always=ARM or columns=PREFIX")


def _raw(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError("there is no such file", where=str(path), fix="give a log as .csv or .parquet")
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        if path.suffix.lower() == ".csv":
            return pd.read_csv(path, dtype="str", keep_default_na=False)
    except (ValueError, OSError) as error:  # pandas' and pyarrow's own errors of files that are not what they say
        raise InputError(
            f"it cannot be read: {str(error).splitlines()[0]}", where=str(path), fix="give a log as .csv or .parquet"
        ) from None
    raise InputError(f"a log is no {path.suffix or 'file without ending'}", where=str(path), fix="give it as .csv or .parquet")


def _refuse(path: Path, column: str, cells: pd.Series, wrong: NDArray[np.bool_], words: str, fix: str) -> None:
    if wrong.any():
        at = int(wrong.argmax())
        more = f" ({int(wrong.sum()):,} such rows)" if wrong.sum() > 1 else ""
        raise InputError(f"{str(cells.iloc[at])!r} {words}{more}", where=f"{path}, row {at + 1}, column {column}", fix=fix)
