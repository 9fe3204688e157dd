# pyright: basic
"""Scoring where the journeys are, batch by batch of Arrow; and when a fitted model has to be fitted again.

New journeys need no new fit: `scorer` makes of a fitted model a function of record batches that holds nothing but the model. It
fits Spark's ``mapInArrow`` once batches hold whole journeys (`whole` sees to that where a journey's rows follow each other)::

    score = scorer(model.to_bytes())
    sorted_by_journey.mapInArrow(lambda batches: map(score, whole(batches)), "journey_id string, …")

The credit of a journey is the same in whatever batch it comes, and on whatever processor: sums are rounded differently in matrices
of different sizes, so here everything is reckoned in double precision, and each touch's credit is then rounded to `DIGITS` digits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.special import expit, logit
from scipy.stats import rankdata

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import Floats, normal_quantile
from liftwise.models.attribution.batches import Tensors
from liftwise.models.attribution.journeys import Ints, Journeys
from liftwise.models.attribution.logistic import logistic
from liftwise.models.attribution.sequence import SequenceModel

if TYPE_CHECKING:
    from liftwise.models.attribution.counterfactual import Model

DIGITS = 7  # of a credit: what double precision leaves unsure is a hundred million times less
FACT = "fact_"  # begins the name of a column with what is known of the person
NEEDS = ("journey_id", "position", "touch_id", "hours_before_end", "channel", "converted", "revenue")
CREDITS = pa.schema([
    ("journey_id", pa.string()), ("touch_id", pa.string()), ("method", pa.string()), ("credit", pa.float64()), ("low", pa.float64()),
    ("high", pa.float64()), ("revenue", pa.float64()), ("calibrated", pa.bool_()),
])  # fmt: skip

FAR = 4.0  # standard errors that conversions may lie off what was expected
MOVED = 0.25  # population stability index of the channel mix above which people are shown something else now
SLOPES = (0.8, 1.25)  # of what happened on what was expected, in log-odds
LEVEL = 0.95  # of the slope's interval
FEWEST = 30  # purchases, and non-purchases, without which no slope is judged


def scorer(model_bytes: bytes) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    """A function from table `moments` (whole journeys, in any order of rows) to table `credits`.

    Parameters
    ----------
    model_bytes : what `to_bytes` of a fitted `SequenceModel` wrote.

    Returns
    -------
    Its input needs the columns `NEEDS`, those of the model's labels, ``dwell_s`` if it reads that, and what is known of people as
    columns ``fact_<name>``, alike in all rows of a journey; missing ones count as unknown. Its output has the credits of converting
    journeys, as `CREDITS` says, journeys in the order in which the batch first names them. It raises InputError on a channel that
    was not there when fitting.
    """
    return _Scorer(model_bytes)


class _Scorer:
    """The model's bytes travel; the model is read where it is needed."""

    def __init__(self, data: bytes) -> None:
        self._data, self._model = data, _exact(SequenceModel.from_bytes(data))

    def __reduce__(self) -> tuple[Callable[[bytes], Callable], tuple[bytes]]:
        return scorer, (self._data,)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        missing = [name for name in NEEDS if name not in batch.schema.names]
        if missing:
            raise InputError(f"a batch without {', '.join(missing)}", fix="give the columns of table moments")
        frame = batch.to_pandas()
        frame = frame[frame["converted"].astype(bool)]
        if frame.empty:
            return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in CREDITS], schema=CREDITS)
        credits = self._model.credit(_journeys(frame, self._model))
        order = pd.Index(pd.unique(frame["journey_id"])).get_indexer(pd.Index(credits["journey_id"]))
        credits = credits.iloc[np.argsort(order, kind="stable")]
        return pa.RecordBatch.from_pandas(credits[CREDITS.names], schema=CREDITS, preserve_index=False).replace_schema_metadata(
            None
        )


def whole(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows, cut so that no journey is torn; the rows of a journey must follow each other."""
    left: pa.Table | None = None
    for batch in batches:
        if not batch.num_rows:
            continue
        table = pa.Table.from_batches([batch])
        table = pa.concat_tables([left, table]) if left is not None else table
        ids = table["journey_id"].to_numpy()
        last = len(ids) - int((ids[::-1] != ids[-1]).argmax() if (ids != ids[-1]).any() else len(ids))
        if last:
            yield from table.slice(0, last).combine_chunks().to_batches()
        left = table.slice(last)
    if left is not None:
        yield from left.combine_chunks().to_batches()


def _journeys(frame: pd.DataFrame, model: SequenceModel) -> Journeys:
    """Arrays in the model's codes, with the facts that stand in columns."""
    arrays = Journeys.of(frame, model.channels_, None, model.labels)
    names = [name for name in frame.columns if name.startswith(FACT)]
    if not names:
        return arrays
    heads = frame.drop_duplicates("journey_id").set_index("journey_id")[names].reindex(arrays.ids)
    return replace(arrays, facts=heads.to_numpy(dtype=float), fact_names=tuple(name[len(FACT) :] for name in names))


def _exact(model: Model) -> Model:
    """The model in double precision, its shares rounded."""
    out: Any = copy.copy(model)
    out.network_ = copy.deepcopy(model.network_).double()
    out.tensors = lambda journeys: _doubled(model.tensors(journeys))
    out.shares = lambda journeys: np.round(type(model).shares(out, journeys), DIGITS)
    return out


def _doubled(ready: Any) -> Tensors:
    ready.facts, ready.marks, ready.hours = ready.facts.double(), ready.marks.double(), ready.journeys.hours
    ready.dwell = None if ready.dwell is None else ready.dwell.astype(float)
    return ready


@dataclass(frozen=True)
class Reference:
    """How a model did on the people it is trusted on, to hold later ones against (`reference`).

    Attributes
    ----------
    mix : (channels,) touches of each channel.
    ratio : conversions for each one expected; error : its relative standard error.
    log_loss : a journey, mean.
    """

    mix: Ints
    ratio: float
    error: float
    log_loss: float


@dataclass(frozen=True)
class Drift:
    """How new journeys agree with a fitted model.

    Attributes
    ----------
    expected, observed : conversions; z : standard errors between them, of chance and of the reference.
    log_loss : a journey now; log_loss_then : of the reference, or where there is none, what the model itself expects of these
        journeys. auc : chance that one who bought was held likelier to buy than one who did not.
    slope, low, high : log-odds of what happened on those expected, with its 95 % interval; 1 is right.
    stability : population stability index of the channel mix; not a number without a reference.
    refit : whether to fit again; why : what speaks for it, or that nothing does.
    """

    expected: float
    observed: float
    z: float
    log_loss: float
    log_loss_then: float
    auc: float
    slope: float
    low: float
    high: float
    stability: float
    refit: bool
    why: str


def reference(model: Model, journeys: Journeys) -> Reference:
    """How the model does on `journeys`: those of the fit or, better, others of the same time."""
    journeys = journeys.recoded(model.channels_)
    chance, bought = _chances(model, journeys), (journeys.conversions > 0).astype(float)
    mix = np.bincount(journeys.codes, minlength=len(model.channels_))
    error = np.sqrt((chance * (1 - chance)).sum()) / chance.sum()
    return Reference(mix, float(bought.sum() / chance.sum()), float(error), _log_loss(chance, bought))


def drift(model: Model, journeys: Journeys, then: Reference | None = None) -> Drift:
    """Whether `journeys` still are what the model learned.

    Fit again where (1) conversions lie more than `FAR` standard errors off what was expected; or (2) the population stability
    index of the channel mix is above `MOVED` (only with `then`); or (3) the whole 95 % interval of the calibration slope lies
    outside of `SLOPES`, given `FEWEST` purchases and as many others; or (4) there are channels that the model never saw.

    Parameters
    ----------
    journeys : of new people, sampled in any way that their `kept` tells.
    then : how the model did when it was fitted (`reference`); what was off by then is no drift.
    """
    observed = float((journeys.conversions > 0).sum())
    strange = sorted({journeys.channels[code] for code in np.unique(journeys.codes)} - set(model.channels_))
    if strange:
        return _strange(observed, strange)
    journeys = replace(journeys, channels=model.channels_, codes=_codes(journeys, model.channels_))
    chance, bought = _chances(model, journeys), (journeys.conversions > 0).astype(float)
    ratio, error = (then.ratio, then.error) if then else (1.0, 0.0)
    expected = float(chance.sum() * ratio)
    spread = float(np.sqrt(ratio * (chance * (1 - chance)).sum() + (expected * error) ** 2))
    z = (observed - expected) / max(spread, 1e-12)
    slope, low, high = _slope(chance, bought)
    stability = _stability(then.mix, np.bincount(journeys.codes, minlength=len(model.channels_))) if then else float("nan")
    calm = then.log_loss if then else float(-(chance * np.log(chance) + (1 - chance) * np.log1p(-chance)).mean())
    why = _reasons(z, expected, observed, stability, slope, low, high)
    return Drift(
        expected, observed, z, _log_loss(chance, bought), calm, _auc(chance, bought), slope, low, high, stability, bool(why),
        "; ".join(why) or "new journeys are as the model expects",
    )  # fmt: skip


def _strange(observed: float, channels: list[str]) -> Drift:
    nan = float("nan")
    return Drift(nan, observed, nan, nan, nan, nan, nan, nan, nan, nan, True, f"channels never seen: {', '.join(channels)}")


def _reasons(z: float, expected: float, observed: float, stability: float, slope: float, low: float, high: float) -> list[str]:
    why = []
    if abs(z) > FAR:
        why.append(f"{observed:,.0f} conversions where {expected:,.0f} were expected ({z:+.1f} standard errors)")
    if stability > MOVED:
        why.append(f"the channel mix is another one (stability index {stability:.2f} > {MOVED})")
    if high < SLOPES[0] or low > SLOPES[1]:
        why.append(f"forecasts are too {'bold' if slope < 1 else 'shy'} (calibration slope {slope:.2f}, {low:.2f} to {high:.2f})")
    return why


def _codes(journeys: Journeys, channels: tuple[str, ...]) -> Ints:
    """Codes into `channels`, of journeys whose unknown channels no touch has."""
    return pd.Index(channels).get_indexer(pd.Index(journeys.channels))[journeys.codes]


def _chances(model: Model, journeys: Journeys) -> Floats:
    """(n,) chance that a journey of this sample is one that converted: not converting was kept at the sample's own rate."""
    whole = model.predict(journeys)["probability"].to_numpy(dtype=float)
    return np.clip(expit(logit(whole) - np.log(journeys.kept)), 1e-12, 1 - 1e-12)


def _log_loss(chance: Floats, bought: Floats) -> float:
    return float(-(bought * np.log(chance) + (1 - bought) * np.log1p(-chance)).mean())


def _auc(chance: Floats, bought: Floats) -> float:
    some = bought.sum()
    if not 0 < some < len(bought):
        return float("nan")
    return float((rankdata(chance)[bought > 0].sum() - some * (some + 1) / 2) / (some * (len(bought) - some)))


def _slope(chance: Floats, bought: Floats) -> tuple[float, float, float]:
    """Calibration slope and its interval; not a number where too few bought, or all are held alike."""
    log_odds, nan = logit(chance), float("nan")
    if min(bought.sum(), (1 - bought).sum()) < FEWEST or np.std(log_odds) < 1e-6:
        return nan, nan, nan
    design = np.column_stack([np.ones(len(log_odds)), log_odds - log_odds.mean()])
    at, covariance = logistic(design, bought, np.array([log_odds.mean(), 1.0]))
    half = normal_quantile(LEVEL) * float(np.sqrt(covariance[1, 1]))
    return float(at[1]), float(at[1]) - half, float(at[1]) + half


def _stability(before: Ints, now: Ints) -> float:
    """Population stability index: Σ (b − a) ln(b / a) over channels' shares a before and b now, half a touch added to each."""
    a, b = ((count + 0.5) / (count + 0.5).sum() for count in (before, now))
    return float(((b - a) * np.log(b / a)).sum())
