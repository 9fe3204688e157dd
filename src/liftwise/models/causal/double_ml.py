"""Double machine learning: the effect of an exposure given everything known that moved it and the outcome, however it did.

Learners predict outcome and exposure from the controls, each fold by the others; the effect is read from what is left of both, so that
an error of one prediction matters only where the other errs, too (Neyman orthogonality).

``"partially_linear"``
    y = θ d + g(x) + u, any exposure: θ = Σ ỹ d̃ ÷ Σ d̃², ỹ and d̃ what is left. With effects that differ, a mean weighted by how
    open it was whether there is exposure.
``"interactive"``
    yes or no exposure, any effect: the mean of g₁(x) − g₀(x) + d (y − g₁) / m − (1 − d)(y − g₀) / (1 − m), m the chance of exposure;
    over all (``target="all"``) or over those exposed.

It takes what is not in the controls to play no part. How strong that would have to be is told: the robustness value is the share of
what is left of both exposure and outcome that a hidden cause must explain to take the effect (or the interval's nearer end) to 0.

References
----------
Chernozhukov et al. (2018), Econometrics Journal 21(1), eqs. 4.4 and 5.3–5.4; Cinelli and Hazlett (2020), JRSS B 82(1), eq. 19, and
Chernozhukov, Cinelli, Newey, Sharma and Syrgkanis (2022), NBER 30302, for the bound |bias|² ≤ S² · R²_y · R²_d / (1 − R²_d).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError
from liftwise.core.uncertainty import Floats
from liftwise.models.causal.checks import Check, Verdict
from liftwise.models.causal.inference import StudentTest
from liftwise.models.causal.instruments import Dependence, ExposureEffect, design, rows_check, whole_rows

LEAST_LEFT = 0.02  # share of the exposure's variance that controls must leave open
LEAST_ARM = 20.0  # observations, in effect, that must stand for each of exposed and not


class DoubleML:
    """The effect of an exposure that nobody randomised, given controls.

    Parameters
    ----------
    model : ``"partially_linear"``, ``"interactive"``, or ``"auto"``: interactive where the exposure is 0 or 1.
    learner : ``"lightgbm"`` (any shape), ``"linear"`` (ridge and logistic: few rows).
    target : ``"all"`` or ``"treated"``, of the interactive model.
    folds : how many, each predicted from the others; whole clusters, or stretches of time with the neighbouring periods left out.
    trim : rows whose chance of exposure lies outside [trim, 1 − trim] are left out.
    most_trimmed : share of rows beyond which there is no answer.
    seed : for folds and learners.

    Examples
    --------
    >>> random = np.random.default_rng(1)
    >>> age = random.normal(size=600)
    >>> exposed = (random.random(600) < 1 / (1 + np.exp(-age))).astype(float)
    >>> sales = 2 * exposed + 3 * age + random.normal(size=600)
    >>> found = DoubleML(learner="linear").estimate({"sales": sales, "exposed": exposed, "age": age}, "sales", "exposed", ["age"])
    >>> low, high = found.interval(0.90)
    >>> bool(low < 2 < high), found.method
    (True, 'double_ml/interactive/linear')
    """

    def __init__(
        self, *, model: str = "auto", learner: str = "lightgbm", target: str = "all", folds: int = 5, trim: float = 0.02,
        most_trimmed: float = 0.10, seed: int = 7,
    ) -> None:  # fmt: skip
        allowed = {
            "model": (model, ("auto", "partially_linear", "interactive")), "learner": (learner, ("lightgbm", "linear")),
            "target": (target, ("all", "treated")),
        }  # fmt: skip
        for what, (given, choices) in allowed.items():
            if given not in choices:
                raise InputError(f"{what} {given!r} is unknown", fix=f"choose {', '.join(choices)}")
        if folds < 2 or not 0 <= trim < 0.5 or not 0 <= most_trimmed < 1:
            raise InputError(
                "folds, trim or most_trimmed is impossible", fix="give folds ≥ 2, 0 ≤ trim < 0.5, 0 ≤ most_trimmed < 1"
            )
        self.model, self.learner, self.target, self.folds = model, learner, target, folds
        self.trim, self.most_trimmed, self.seed = trim, most_trimmed, seed

    def estimate(
        self, data: pd.DataFrame | Mapping[str, Any], outcome: str, exposure: str, controls: Sequence[str], *,
        cluster: str | None = None, time: str | None = None,
    ) -> ExposureEffect:  # fmt: skip
        """Estimate from rows of `data`; arguments as in `InstrumentalVariables.estimate`.

        Raises
        ------
        TableError
            If a column is missing or holds no numbers.
        CannotTell
            With fewer than 30 rows or 8 groups, or where controls decide the exposure, so that nobody is comparable.
        """
        if not len(controls):
            raise InputError("no control is named", fix="name what moved both exposure and outcome")
        frame, lost = whole_rows(data, [outcome, exposure], list(controls), cluster, time)
        groups = Dependence.of(frame, cluster, time)
        y, d = frame[outcome].to_numpy(float), frame[exposure].to_numpy(float)
        x = design(frame, list(controls))[:, 1:]
        if np.ptp(d) == 0 or np.ptp(y) == 0:
            raise CannotTell(f"{exposure if np.ptp(d) == 0 else outcome} never moves", fix="leave the column out")
        binary = bool(np.isin(d, (0.0, 1.0)).all())
        model = ("interactive" if binary else "partially_linear") if self.model == "auto" else self.model
        if model == "interactive" and not binary:
            raise InputError(f"{exposure} is not 0 or 1", fix="use model='partially_linear'")
        if groups.groups < 2 * self.folds:
            raise CannotTell(f"{groups.groups} groups are too few for {self.folds} folds", fix="ask for fewer folds")
        fit = self._interactive if model == "interactive" else self._linear
        effect, error, reach, overlap, numbers = fit(y, d, x, groups, exposure, binary)
        test = StudentTest(effect, error, groups.df)
        numbers = {**numbers, **robustness(test, reach), "naive": _slope(y, d)}
        checks = (overlap, _hidden(numbers, exposure), rows_check(len(frame), lost, groups))
        name = f"double_ml/{model}/{self.learner}" + ("/treated" if model == "interactive" and self.target == "treated" else "")
        return ExposureEffect(effect, exposure, outcome, name, test, len(frame), groups.groups, numbers, checks)

    def _splits(self, groups: Dependence) -> list[tuple[np.ndarray, np.ndarray]]:
        """(train, judge) rows; periods next to those judged teach nothing, for they share their errors."""
        fold = groups.folds(self.folds, self.seed)
        found = []
        for k in range(int(fold.max()) + 1):
            judge = fold == k
            train = ~judge
            if groups.lags:
                low, high = groups.group[judge].min(), groups.group[judge].max()
                train &= (groups.group < low - groups.lags) | (groups.group > high + groups.lags)
            found.append((np.flatnonzero(train), np.flatnonzero(judge)))
        return found

    def _linear(
        self, y: Floats, d: Floats, x: Floats, groups: Dependence, exposure: str, binary: bool
    ) -> tuple[float, float, float, Check, dict[str, float]]:
        rest_y, rest_d = y.copy(), d.copy()
        for train, judge in self._splits(groups):
            rest_y[judge] -= predicted(self.learner, x[train], y[train], x[judge], self.seed)
            rest_d[judge] -= predicted(self.learner, x[train], d[train], x[judge], self.seed, chance=binary)
        open_ = float(np.mean(rest_d**2) / d.var())
        if open_ < LEAST_LEFT:
            raise CannotTell(
                f"controls explain {1 - open_:.1%} of {exposure}: nothing is left to compare", fix="drop a control that decides it, or randomise"
            )  # fmt: skip
        square = float(rest_d @ rest_d)
        effect = float(rest_d @ rest_y) / square
        left = rest_y - effect * rest_d
        error = float(np.sqrt(groups.covariance((left * rest_d)[:, None])[0, 0])) / square
        share = rest_d**2 / square
        effective = float(1 / np.sum(share**2))
        verdict: Verdict = "ok" if open_ > 0.1 and effective > 0.1 * len(y) else "warn"
        sentence = (
            f"Controls leave {open_:.0%} of {exposure} open; the effect rests on {effective:.0f} of {len(y)} rows in effect."
        )
        table = pd.DataFrame({"open": [open_], "effective_rows": [effective]})
        reach = float(left.std() / rest_d.std())
        return effect, error, reach, Check("overlap", verdict, sentence, table), {"open": open_}

    def _interactive(
        self, y: Floats, d: Floats, x: Floats, groups: Dependence, exposure: str, binary: bool
    ) -> tuple[float, float, float, Check, dict[str, float]]:
        m, g = np.empty(len(y)), np.empty((2, len(y)))
        for train, judge in self._splits(groups):
            arms = [train[d[train] == arm] for arm in (0, 1)]
            if min(len(arm) for arm in arms) < LEAST_ARM:
                raise CannotTell(f"too few rows with or without {exposure} to learn from", fix="gather more of both")
            m[judge] = predicted(self.learner, x[train], d[train], x[judge], self.seed, chance=True)
            for arm in (0, 1):
                g[arm, judge] = predicted(self.learner, x[arms[arm]], y[arms[arm]], x[judge], self.seed)
        kept = (m <= 1 - self.trim) & ((m >= self.trim) if self.target == "all" else np.ones(len(m), dtype=bool))
        overlap = self._overlap(m, d, kept, exposure)
        y, d, m, g = y[kept], d[kept], m[kept], g[:, kept]
        if self.target == "all":
            weight = d / m - (1 - d) / (1 - m)
            score = g[1] - g[0] + weight * (y - np.where(d == 1, g[1], g[0]))
            effect, error_of = float(score.mean()), np.ones(len(y))
        else:
            weight = (d - (1 - d) * m / (1 - m)) / d.mean()
            score = weight * (y - g[0])
            effect, error_of = float(score.mean()), d / d.mean()
        moments = np.zeros(len(kept))
        moments[kept] = score - effect * error_of
        error = float(np.sqrt(groups.covariance(moments[:, None])[0, 0])) / len(y)
        left = y - np.where(d == 1, g[1], g[0])
        reach = float(np.sqrt(np.mean(left**2) * np.mean(weight**2)))
        return effect, error, reach, overlap, {"trimmed": float(1 - kept.mean())}

    def _overlap(self, m: Floats, d: Floats, kept: np.ndarray, exposure: str) -> Check:
        """Whether exposed and not exposed can be found among the like; refuses where they cannot."""
        trimmed = float(1 - kept.mean())
        arms = [(m[kept & (d == 1)], "with"), (m[kept & (d == 0)], "without")]
        weights = (
            [1 / arms[0][0], 1 / (1 - arms[1][0])]
            if self.target == "all"
            else [np.ones(len(arms[0][0])), arms[1][0] / (1 - arms[1][0])]
        )
        effective = [float(w.sum() ** 2 / np.sum(w**2)) if len(w) and np.sum(w**2) > 0 else 0.0 for w in weights]
        rows = pd.DataFrame({
            "arm": [name for _, name in arms], "rows": [len(p) for p, _ in arms], "effective_rows": effective,
            "least_chance": [float(p.min()) if len(p) else np.nan for p, _ in arms],
            "most_chance": [float(p.max()) if len(p) else np.nan for p, _ in arms],
        })  # fmt: skip
        if trimmed > self.most_trimmed:
            raise CannotTell(
                f"for {trimmed:.0%} of rows controls all but decide {exposure}: nobody is comparable with them",
                fix="narrow the question to rows where both happen, or randomise",
            )
        if min(effective) < LEAST_ARM:
            raise CannotTell(
                f"only {min(effective):.0f} rows in effect stand for one side of {exposure}",
                fix="gather more rows, or drop a control",
            )
        part = min(e / max(len(p), 1) for e, (p, _) in zip(effective, arms, strict=True))
        verdict: Verdict = "ok" if part > 0.5 and trimmed < 0.02 else "warn"
        sentence = (
            f"Chance of {exposure} from {m[kept].min():.2f} to {m[kept].max():.2f}; {effective[0]:.0f} rows with and {effective[1]:.0f} without it count "
            f"in effect; {trimmed:.1%} left out for want of anybody comparable."
        )
        return Check("overlap", verdict, sentence, rows)


def robustness(test: StudentTest, reach: float) -> dict[str, float]:
    """Share of what is left of both exposure and outcome that a hidden cause must explain to bring effect, or 90 % interval, to 0.

    With R²_y = R²_d = r the bias is at most reach · r / √(1 − r); solved for r. A ``reach`` of √df · error gives Cinelli and Hazlett's value.

    >>> found = robustness(StudentTest(4.18, 1.0, 783), reach=783**0.5)
    >>> round(found["robustness_value"], 3)
    0.139
    """

    def value(far: float) -> float:
        f = far / max(reach, 1e-300)
        return float(0.5 * (np.sqrt(f**4 + 4 * f**2) - f**2))

    low, high = test.interval(0.90) or (-np.inf, np.inf)
    near = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    return {"robustness_value": value(abs(test.effect)), "robustness_value_90": value(near)}


def _hidden(numbers: Mapping[str, float], exposure: str) -> Check:
    least = numbers["robustness_value_90"]
    verdict: Verdict = "ok" if least > 0.1 else "warn" if least > 0.02 else "fail" if least > 0 else "warn"
    sentence = (
        f"A hidden cause of both would have to explain {numbers['robustness_value']:.1%} of what controls leave of {exposure} and of the outcome to "
        f"account for all of the effect, {least:.1%} to leave it in doubt."
    )
    return Check("hidden causes", verdict, sentence, pd.DataFrame([dict(numbers)]))


def _slope(y: Floats, d: Floats) -> float:
    """Without controls."""
    centred = d - d.mean()
    return float(centred @ y / (centred @ centred))


def predicted(learner: str, x: Floats, y: Floats, at: Floats, seed: int, *, chance: bool = False) -> Floats:
    """Learn y (n,) from x (n, q), predict at (m, q); with `chance`, the probability of y = 1."""
    if chance and np.ptp(y) == 0:
        return np.full(len(at), y[0])
    if learner == "linear":
        return _by_line(x, y, at, chance)
    import lightgbm

    settings = {
        "num_leaves": 8, "learning_rate": 0.05, "min_data_in_leaf": max(5, min(40, len(y) // 40)), "lambda_l2": 1.0, "verbose": -1,
        "num_threads": 1, "deterministic": True, "force_row_wise": True, "seed": seed, "objective": "binary" if chance else "regression",
    }  # fmt: skip
    return np.asarray(lightgbm.train(settings, lightgbm.Dataset(x, y), num_boost_round=100).predict(at), dtype=float)


def _by_line(x: Floats, y: Floats, at: Floats, chance: bool) -> Floats:
    """Ridge (penalty chosen by leaving out each row) or logistic regression, on columns of one size."""
    from sklearn.linear_model import LogisticRegression, RidgeCV

    mean, size = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-12)
    x, at = (x - mean) / size, (at - mean) / size
    if chance:
        return LogisticRegression(C=10.0, max_iter=1000).fit(x, y).predict_proba(at)[:, 1]
    return RidgeCV(alphas=np.logspace(-4, 3, 15)).fit(x, y).predict(at)
