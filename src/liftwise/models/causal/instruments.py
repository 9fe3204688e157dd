"""Instrumental variables: the effect of an exposure that nobody randomised, from something that moved it and nothing else.

y = x β + controls + u with x and u related (a brand advertises where it expects to sell). Instruments z move x and touch y through x
alone: a creator's illness, a cancelled match, the draw of an auction.

One instrument
    β = z'y / z'x, tested by Anderson and Rubin: were the effect b, z would be unrelated to y − x b. That test holds however weak z is, and
    the effects it does not reject are the interval: never empty, unbounded exactly where z may be unrelated to x (then the reason is said).
Several, ``"crossfit"`` (default)
    x is predicted by the instruments, each fold of clusters by the others; the prediction is the one instrument. No bias towards least
    squares however many instruments there are, and the same test.
Several, ``"2sls"`` or ``"liml"``
    The classic estimates with Wald's test, which deceives where instruments are weak: refused below `least_f`.

Errors follow clusters, or time (equal-weighted cosines, t with as many degrees of freedom), or neither. The first stage is judged by the effective F of Montiel Olea and Pflueger,
over-identification by Hansen's J.

References
----------
Anderson and Rubin (1949), Annals of Math. Statistics 20(1); Angrist and Krueger (1995), JBES 13(2), for prediction from other folds;
Montiel Olea and Pflueger (2013), JBES 31(3), eq. 6; Hansen (1982), Econometrica 50(4); Lazarus, Lewis, Stock and Watson (2018), JBES 36(4),
for errors that last: cosines and their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from liftwise.core.errors import CannotTell, InputError, TableError
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.causal.checks import Check, Verdict
from liftwise.models.causal.inference import StudentTest, Test, bounded
from liftwise.models.causal.words import amount, chance, one_line

if TYPE_CHECKING:
    import plotly.graph_objects as go

LEAST_CLUSTERS, LEAST_ROWS = 8, 30
FOLDS = 10


@dataclass(frozen=True, eq=False)
class ExposureEffect:
    """What one more unit of an exposure does to the outcome.

    Parameters
    ----------
    effect : in the outcome's unit, per unit of exposure (of having it at all, where it is yes or no).
    test : gives p-value and intervals: p < 1 − level exactly when the interval of that level excludes 0.
    rows, clusters : how many observations, and independent groups of them.
    numbers : by name, such as ``"first_stage_f"`` or ``"robustness_value"``.
    """

    effect: float
    exposure: str
    outcome: str
    method: str
    test: Test = field(repr=False)
    rows: int
    clusters: int
    numbers: Mapping[str, float]
    checks: tuple[Check, ...] = field(repr=False)

    @property
    def p_value(self) -> float:
        """How often chance alone would show as much."""
        return self.test.p_value

    def interval(self, level: float = 0.90) -> tuple[float, float]:
        """All effects that the test does not reject at 1 − `level`.

        Raises
        ------
        CannotTell
            When the test cannot bound the effect at that level, such as with an instrument that hardly moves the exposure.
        """
        return bounded(self.test, level)

    def to_frame(self, level: float = 0.90) -> pd.DataFrame:
        """One row: effect, interval, p-value and the numbers beside it; the ends are not numbers where there is no bound."""
        try:
            low, high = self.interval(level)
        except CannotTell:
            low = high = float("nan")
        row = {
            "exposure": self.exposure,
            "outcome": self.outcome,
            "method": self.method,
            "effect": self.effect,
            "low": low,
            "high": high,
        }
        return pd.DataFrame([{**row, "p_value": self.p_value, "rows": self.rows, "clusters": self.clusters, **self.numbers}])

    def summary(self, level: float = 0.90) -> str:
        """One sentence for a manager."""
        more = "more" if self.effect >= 0 else "less"
        says = f"One more unit of {self.exposure} brings {amount(abs(self.effect))} {more} {self.outcome}"
        try:
            low, high = self.interval(level)
        except CannotTell as reason:
            return f"{says}, but how sure that is cannot be told: {one_line(reason)}."
        says += f", {level:.0%} interval {amount(low)} to {amount(high)}; chance alone would show as much {chance(self.p_value)}"
        failed = [check.name for check in self.checks if check.verdict == "fail"]
        doubts = f" In doubt: {', '.join(failed)} (see the checks)." if failed else ""
        return says + ("." if not low <= 0 <= high else ", so it may as well be nothing.") + doubts

    def plot(self) -> go.Figure:
        """Every effect and how far it is from rejected: the p-value of having been that, with 90 and 50 % marked."""
        import plotly.graph_objects as go

        figure = go.Figure()
        for level, width in ((0.95, 2), (0.90, 6), (0.50, 12)):
            ends = self.test.interval(level)
            if ends is not None and np.isfinite(ends).all():
                figure.add_scatter(
                    x=list(ends),
                    y=[self.exposure] * 2,
                    mode="lines",
                    line={"width": width, "color": "#2f6f9f"},
                    name=f"{level:.0%}",
                )
        figure.add_scatter(
            x=[self.effect], y=[self.exposure], mode="markers", marker={"size": 12, "color": "#1f2933"}, name="effect"
        )
        figure.add_vline(x=0, line={"dash": "dot", "color": "#1f2933"})
        figure.update_layout(
            template="plotly_white", xaxis_title=f"{self.outcome} per unit of {self.exposure}", title=self.method
        )
        return figure


# --- which errors belong together


@dataclass(frozen=True, eq=False)
class Dependence:
    """Which observations err together: groups (clusters, or all of one period), and for how many periods errors last (`lags`)."""

    group: np.ndarray  # (n,) 0 … groups − 1, in order of time where lags > 0
    groups: int
    lags: int = 0

    @classmethod
    def of(cls, frame: pd.DataFrame, cluster: str | None, time: str | None) -> Dependence:
        """By cluster where one is named, else by period with errors that last, else every row for itself."""
        if cluster is not None:
            codes = pd.factorize(frame[cluster])[0]
        elif time is not None:
            codes = pd.factorize(frame[time], sort=True)[0]
        else:
            codes = np.arange(len(frame))
        groups = int(codes.max()) + 1
        if groups < LEAST_CLUSTERS:
            raise CannotTell(
                f"{groups} independent groups are too few for an error", fix=f"have at least {LEAST_CLUSTERS} clusters or periods"
            )
        lags = int(np.floor(4 * (groups / 100) ** (2 / 9))) + 1 if cluster is None and time is not None else 0
        return cls(codes, groups, lags)

    def sums(self, moments: Floats) -> Floats:
        """(groups, k) sums of moments (n, k)."""
        found = np.zeros((self.groups, moments.shape[1]))
        np.add.at(found, self.group, moments)
        return found

    @property
    def df(self) -> int:
        """Degrees of freedom of a variance made here."""
        return max(2, int(0.4 * self.groups ** (2 / 3))) if self.lags else self.groups - 1

    def covariance(self, moments: Floats) -> Floats:
        """(k, k) of the column sums of moments (n, k): of independent groups, or of slow movements in time where errors last."""
        sums = self.sums(moments)
        if not self.lags:
            return sums.T @ sums * self.groups / (self.groups - 1)
        turn = np.pi * np.outer(np.arange(1, self.df + 1), np.arange(self.groups) + 0.5) / self.groups
        slow = np.cos(turn) @ sums * np.sqrt(2)
        return slow.T @ slow / self.df

    def folds(self, count: int, seed: int) -> np.ndarray:
        """(n,) number of each observation's fold: whole groups together; stretches of time where errors last."""
        count = min(count, self.groups)
        order = np.arange(self.groups)
        if not self.lags:
            order = spawn(seed, "folds").permutation(self.groups)
        place = np.empty(self.groups, dtype=int)
        place[order] = np.arange(self.groups) * count // self.groups
        return place[self.group]


@dataclass(frozen=True, eq=False)
class AndersonRubin:
    """z'(y − x b) studentised: ``cross`` = (z'y, z'x), ``variance`` (2, 2) of the two; t² follows F with 1 and `df` degrees of freedom.

    >>> test = AndersonRubin(np.array([3.0, 2.0]), np.diag([1.0, 0.01]), 50, "spend")
    >>> test.effect, [round(end, 2) for end in test.interval(0.90)], round(test.p_value, 4)
    (1.5, [0.66, 2.36], 0.0042)
    """

    cross: Floats
    variance: Floats
    df: int
    exposure: str

    @property
    def effect(self) -> float:
        """z'y ÷ z'x."""
        return float(self.cross[0] / self.cross[1])

    @property
    def p_value(self) -> float:
        """Of no effect: whether z is related to y at all."""
        from scipy.stats import f

        return float(f.sf(self.cross[0] ** 2 / max(self.variance[0, 0], 1e-300), 1, self.df))

    def interval(self, level: float) -> tuple[float, float] | None:
        """All b with t(b)² below its quantile: what lies between the roots of a parabola, when that opens upwards; else unbounded."""
        from scipy.stats import f

        most = float(f.ppf(level, 1, self.df))
        (a, b), v = self.cross, self.variance
        square, line, constant = b * b - most * v[1, 1], a * b - most * v[0, 1], a * a - most * v[0, 0]
        if square <= 0:
            return None
        middle, half = line / square, np.sqrt(max(line * line - square * constant, 0.0)) / square
        return float(middle - half), float(middle + half)

    def refusal(self, level: float) -> CannotTell:
        """The instrument may not move the exposure."""
        return CannotTell(
            f"no effect can be ruled out at {level:.0%}: the instruments may not move {self.exposure} at all", fix="find what moved it more"
        )  # fmt: skip


# --- the estimator


class InstrumentalVariables:
    """The effect per unit of an exposure, from instruments that moved it.

    Parameters
    ----------
    estimator : ``"auto"`` (one instrument as it is, several by ``"crossfit"``), ``"crossfit"``, ``"2sls"`` or ``"liml"``.
    least_f : effective F below which instruments count as weak: ``"2sls"`` and ``"liml"`` with several refuse, the others warn.
    seed : for the draw of folds.

    Examples
    --------
    >>> random = np.random.default_rng(1)
    >>> z, hidden = random.normal(size=(2, 400))
    >>> spend = z + hidden + random.normal(size=400)
    >>> sales = 2 * spend + 3 * hidden + random.normal(size=400)
    >>> found = InstrumentalVariables().estimate({"sales": sales, "spend": spend, "z": z}, "sales", "spend", ["z"])
    >>> low, high = found.interval(0.90)
    >>> bool(low < 2 < high), bool(found.numbers["least_squares"] > 2.5)
    (True, True)
    """

    def __init__(self, *, estimator: str = "auto", least_f: float = 10.0, seed: int = 7) -> None:
        if estimator not in ("auto", "crossfit", "2sls", "liml"):
            raise InputError(f"estimator {estimator!r} is unknown", fix="choose auto, crossfit, 2sls or liml")
        self.estimator, self.least_f, self.seed = estimator, least_f, seed

    def estimate(
        self, data: pd.DataFrame | Mapping[str, Any], outcome: str, exposure: str, instruments: Sequence[str] | str, *,
        controls: Sequence[str] = (), cluster: str | None = None, time: str | None = None,
    ) -> ExposureEffect:  # fmt: skip
        """Estimate from rows of `data`; rows with a hole in what is used are left out, and counted in a check.

        Parameters
        ----------
        data : long frame, or arrays (n,) by name.
        instruments, controls : columns; controls that are words (region, season) get an effect for each.
        cluster : column of groups that err independently, such as region.
        time : column of periods, where errors last from one to the next and there are no clusters.

        Raises
        ------
        TableError
            If a column is missing or holds no numbers.
        CannotTell
            With fewer than 30 rows or 8 groups, an exposure or instrument that controls explain wholly, or weak instruments where the
            estimator does not bear them.
        """
        names = [instruments] if isinstance(instruments, str) else list(instruments)
        if not names:
            raise InputError("no instrument is named", fix="name a column that moved the exposure and nothing else")
        frame, lost = whole_rows(data, [outcome, exposure, *names], list(controls), cluster, time)
        groups = Dependence.of(frame, cluster, time)
        held = design(frame, list(controls))
        cleared = frame[[outcome, exposure, *names]].to_numpy(float)
        moves = np.ptp(cleared, axis=0) > 0
        rest = cleared - held @ np.linalg.lstsq(held, cleared, rcond=None)[0]
        told = moves & (rest.std(axis=0) > 1e-9 * np.maximum(cleared.std(axis=0), 1e-300))
        if not told.all():
            column = [outcome, exposure, *names][int(np.argmin(told))]
            raise CannotTell(f"{column} does not move beside the controls", fix="drop a control, or leave the column out")
        y, x, z = rest[:, 0], rest[:, 1], rest[:, 2:]
        z = _independent(z, names)
        kind = ("2sls" if z.shape[1] == 1 else "crossfit") if self.estimator == "auto" else self.estimator
        strength = effective_f(x, z, groups)
        test = self._test(kind, y, x, z, groups, exposure, strength)
        numbers = {"first_stage_f": strength, "least_squares": float(x @ y / (x @ x)), **_joint(y, z, groups)}
        checks = [self._weak(strength, numbers, z.shape[1]), rows_check(len(frame), lost, groups)]
        if z.shape[1] > 1:
            checks.append(_overidentified(y, x, z, groups))
        return ExposureEffect(
            test.effect, exposure, outcome, f"instruments/{kind}", test, len(frame), groups.groups, numbers, tuple(checks)
        )

    def _test(self, kind: str, y: Floats, x: Floats, z: Floats, groups: Dependence, exposure: str, strength: float) -> Test:
        if z.shape[1] == 1 or kind == "crossfit":
            one = z[:, 0] if z.shape[1] == 1 else _predicted(x, z, groups.folds(FOLDS, self.seed))
            moments = one[:, None] * np.column_stack([y, x])
            cross = moments.sum(axis=0)
            return AndersonRubin(cross, groups.covariance(moments - _explained(one, moments, cross)), groups.df, exposure)
        if strength < self.least_f:
            raise CannotTell(
                f"the instruments are weak (effective F {strength:.1f}, at least {self.least_f:g} asked)",
                fix="use estimator='crossfit', whose test holds all the same, or find what moved the exposure more",
            )
        return _wald(kind, y, x, z, groups)

    def _weak(self, strength: float, numbers: Mapping[str, float], count: int) -> Check:
        verdict: Verdict = "ok" if strength >= self.least_f else "warn" if strength >= 4 else "fail"
        says = {
            "ok": "they move the exposure clearly",
            "warn": "they are weak; the interval allows for it",
            "fail": "they hardly move the exposure",
        }
        what = "instrument moves" if count == 1 else "instruments move"
        sentence = (
            f"Effective F of the first stage {strength:.1f}: {says[verdict]}. Whether the {what} the outcome at all: p = "
            f"{numbers['anderson_rubin_p']:.2g}."
        )
        return Check("first stage", verdict, sentence, pd.DataFrame([dict(numbers)]))


def _explained(one: Floats, moments: Floats, cross: Floats) -> Floats:
    """What each moment would be were y and x both the instrument times its slope: variance is that of what is left."""
    return (one**2)[:, None] * cross / float(one @ one)


def _independent(z: Floats, names: Sequence[str]) -> Floats:
    """Refuse instruments that say the same."""
    scaled = z / z.std(axis=0)
    if np.linalg.matrix_rank(scaled, tol=1e-7 * np.sqrt(len(z))) < z.shape[1]:
        raise InputError(f"of the instruments {', '.join(names)} one is a mix of others", fix="drop one")
    return z


def _predicted(x: Floats, z: Floats, fold: np.ndarray) -> Floats:
    """x from the instruments, each fold by the others."""
    found = np.empty(len(x))
    for k in range(int(fold.max()) + 1):
        out = fold == k
        found[out] = z[out] @ np.linalg.lstsq(z[~out], x[~out], rcond=None)[0]
    return found


def effective_f(x: Floats, z: Floats, groups: Dependence) -> float:
    """Of the first stage: squared coefficients on orthonormal instruments over the trace of their variance (one: the robust F)."""
    q = np.linalg.qr(z)[0]
    slopes = q.T @ x
    return float(slopes @ slopes / max(np.trace(groups.covariance(q * (x - q @ slopes)[:, None])), 1e-300))


def _joint(y: Floats, z: Floats, groups: Dependence) -> dict[str, float]:
    """Anderson and Rubin's test of no effect with all instruments, k and df + 1 − k degrees of freedom."""
    from scipy.stats import f

    q = np.linalg.qr(z)[0]
    cross, size = q.T @ y, z.shape[1]
    left = groups.covariance(q * (y - q @ cross)[:, None])
    value = float(cross @ np.linalg.pinv(left, hermitian=True) @ cross) / size
    return {"anderson_rubin_p": float(f.sf(value, size, max(groups.df + 1 - size, 1)))}


def _wald(kind: str, y: Floats, x: Floats, z: Floats, groups: Dependence) -> StudentTest:
    """k-class: 1 for two-stage least squares, the least eigenvalue for limited information."""
    q = np.linalg.qr(z)[0]
    both = np.column_stack([y, x])
    kappa = 1.0
    if kind == "liml":
        inside, all_ = both.T @ both - (q.T @ both).T @ (q.T @ both), both.T @ both
        kappa = float(np.min(np.linalg.eigvals(np.linalg.solve(inside, all_)).real))
    used = x - kappa * (x - q @ (q.T @ x))
    beta = float(used @ y / (used @ x))
    variance = groups.covariance((used * (y - beta * x))[:, None])[0, 0]
    return StudentTest(beta, float(np.sqrt(variance)) / abs(float(used @ x)), groups.df)


def _overidentified(y: Floats, x: Floats, z: Floats, groups: Dependence) -> Check:
    """Hansen's J after two steps: whether the instruments, each by itself, tell of the same effect."""
    from scipy.stats import chi2

    q = np.linalg.qr(z)[0]
    (a, b), first = (q.T @ y, q.T @ x), float((q.T @ x) @ (q.T @ y) / ((q.T @ x) @ (q.T @ x)))
    weight = np.linalg.pinv(groups.covariance(q * (y - first * x)[:, None]), hermitian=True)
    beta = float(b @ weight @ a / (b @ weight @ b))
    j = float((a - beta * b) @ weight @ (a - beta * b))
    p = float(chi2.sf(j, z.shape[1] - 1))
    verdict: Verdict = "fail" if p < 0.01 else "warn" if p < 0.05 else "ok"
    says = (
        "tell of the same effect" if verdict == "ok" else "contradict each other: at least one touches the outcome in another way"
    )
    return Check(
        "over-identification",
        verdict,
        f"The instruments {says} (Hansen's J {j:.2f}, p = {p:.2g}).",
        pd.DataFrame({"j": [j], "p_value": [p]}),
    )


# --- reading rows


def whole_rows(
    data: pd.DataFrame | Mapping[str, Any], numbers: list[str], controls: list[str], cluster: str | None, time: str | None
) -> tuple[pd.DataFrame, int]:
    """Rows without a hole in any column used, in order, and how many were left out."""
    frame = data if isinstance(data, pd.DataFrame) else pd.DataFrame(dict(data))
    used = list(dict.fromkeys([*numbers, *controls, *(name for name in (cluster, time) if name is not None)]))
    absent = [name for name in used if name not in frame.columns]
    if absent:
        raise TableError(f"missing column {', '.join(absent)}", fix=f"there are {', '.join(map(str, frame.columns))}")
    if len(set(numbers)) < len(numbers) or set(numbers) & set(controls):
        raise InputError("a column is named twice", fix="outcome, exposure, instruments and controls are different columns")
    frame = frame[used]
    for name in numbers:
        if not (pd.api.types.is_numeric_dtype(frame[name]) or pd.api.types.is_bool_dtype(frame[name])):
            raise TableError(f"column {name} is not numbers", fix="give plain numbers")
    kept = frame.replace([np.inf, -np.inf], np.nan).dropna().reset_index(drop=True)
    if len(kept) < LEAST_ROWS:
        raise CannotTell(f"{len(kept)} rows without holes are too few", fix=f"have at least {LEAST_ROWS}")
    return kept, len(frame) - len(kept)


def design(frame: pd.DataFrame, controls: list[str]) -> Floats:
    """(n, q): constant, controls that are numbers, one column per word but the first of those that are not."""
    parts = [np.ones((len(frame), 1))]
    for name in controls:
        column = frame[name]
        if pd.api.types.is_numeric_dtype(column):
            parts.append(column.to_numpy(float)[:, None])
        else:
            parts.append(pd.get_dummies(column.astype("str"), drop_first=True).to_numpy(float))
    return np.concatenate(parts, axis=1)


def rows_check(rows: int, lost: int, groups: Dependence) -> Check:
    """How much there is to go by."""
    few = groups.groups < 20
    sentence = f"{rows} rows in {groups.groups} independent groups" + (f"; {lost} with holes left out." if lost else ".")
    if few:
        sentence += " So few groups make errors rough."
    verdict: Verdict = "warn" if few or lost > 0.1 * (rows + lost) else "ok"
    return Check("data", verdict, sentence, pd.DataFrame({"rows": [rows], "left_out": [lost], "groups": [groups.groups]}))
