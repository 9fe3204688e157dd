# pyright: basic
"""What the sequence models share: one way to be fitted on journeys, in memory or in parts, and to read them."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import pandas as pd
import torch

from liftwise.core.errors import InputError
from liftwise.core.uncertainty import Floats, spawn
from liftwise.models.attribution.batches import Tensors
from liftwise.models.attribution.journeys import Journeys, channel_frame, credit_frame, refuse_few
from liftwise.models.attribution.network import Attention, Joint
from liftwise.models.attribution.places import ENTITIES, Places
from liftwise.models.attribution.scale import Dwell, Scale
from liftwise.models.attribution.stages import ForetellsStages
from liftwise.models.attribution.training import Tests, train

Given = pd.DataFrame | Journeys | Sequence[Callable[[], Journeys]]


class SequenceModel(ForetellsStages):
    """A network over journeys.

    Parameters
    ----------
    hidden : size of the state.
    labels : what else than the channel is read of each touch (columns of the table: content_type, platform, influencer_id).
    dwell : whether it is read how long people looked at a touch (column dwell_s), where that is known.
    most : journeys that are learned from; a random part of more.
    seed : of everything that is drawn.
    """

    method = ""
    network_: Joint | Attention

    def __init__(
        self, *, hidden: int = 32, labels: Sequence[str] = (), dwell: bool = False, most: int = 150_000, seed: int = 7
    ) -> None:
        if not 2 <= hidden <= 512:
            raise InputError(f"a state of {hidden} numbers", fix="choose 2 to 512")
        self.hidden, self.labels, self.dwell, self.most, self.seed = hidden, tuple(labels), dwell, most, seed

    def fit(
        self, journeys: Given, covariates: pd.DataFrame | None = None, lift: pd.DataFrame | None = None,
        progress: Callable[[float], None] = lambda _: None, places: pd.DataFrame | None = None,
    ) -> Self:  # fmt: skip
        """Learn from journeys.

        Parameters
        ----------
        journeys : table `moments` (or `journeys` that all ended at comparable moments), arrays, or functions that each read a
            part of them, so that not all need to be in memory. The first part speaks for all: it should be a fair draw, and have
            every channel (`Journeys.of(…, channels=…)`).
        covariates : table `journey_facts`: what was known of each person; without it, who is shown more and who buys more are one.
        lift : channel, effect, standard_error, and metric: ``share`` of all conversions (the default), ``conversion_rate``, or
            ``buyers``, the share of those who bought at all during the test, where who has bought is at risk no more (`once`).
        places : table `embeddings`: where influencers lie in the graph (the newest vector of each counts). With label influencer_id, who
            has few touches, or comes later, is read as those are who lie near (`places`).

        Raises
        ------
        CannotTell
            When too few, or all, journeys converted, or none was touched.
        InputError
            When a test is of a channel that nobody saw, or has no standard error; when vectors are of different lengths, not finite,
            or of nothing that is read.
        """
        parts = self._parts(journeys, covariates)
        first = parts[0]()
        self.channels_, self.kept_ = first.channels, first.kept
        self.scale_ = Scale.of(first)
        if places is not None and not set(self.labels) & set(ENTITIES):
            raise InputError("places of influencers, whom the model does not read", fix="add influencer_id to its labels")
        self.places_ = {name: Places.of(first, name, places) for name in self.labels}
        self.dwell_ = Dwell.of(first) if self.dwell else None
        sizes = [_counts(part(), first) for part in parts]
        size, bought, touches = (int(sum(column)) for column in zip(*sizes, strict=True))
        refuse_few(size, bought, touches)
        self.rate_ = bought / (bought + (size - bought) / self.kept_)
        tests = tests_of(lift, self.channels_, self.rate_)
        start = float(np.log(bought / (size - bought)))
        with steady(self.seed):
            self._learn(parts, size, start, tests, progress)
        progress(1.0)
        return self

    @abstractmethod
    def _learn(self, parts, size: int, start: float, tests: Tests, progress: Callable[[float], None]) -> None: ...

    @abstractmethod
    def shares(self, journeys: Journeys) -> Floats:
        """Share of its journey's conversion that each touch earned, (touches,)."""

    @abstractmethod
    def predict(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """journey_id, probability and what goes with it."""

    def credit(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """Table `credits` of the converting journeys; the remainder is `organic`."""
        won = self.converting(journeys, covariates)
        return credit_frame(won, self.shares(won), self.method)

    def channel_credit(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """Table `channel_credits`."""
        won = self.converting(journeys, covariates)
        return channel_frame(won, self.shares(won), self.method)

    def arrays(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> Journeys:
        """As arrays in the codes of the fit; a channel that was not there then is refused."""
        if isinstance(journeys, Journeys):
            return journeys.recoded(self.channels_)
        return Journeys.of(journeys, self.channels_, covariates, self.labels)

    def converting(self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None) -> Journeys:
        """Those that converted, as arrays."""
        return self.arrays(journeys, covariates).converting()

    def tensors(self, journeys: Journeys) -> Tensors:
        """As tensors, scaled as when fitting."""
        return Tensors(journeys, self.scale_, self.places_, self.dwell_)

    @property
    def offset(self) -> float:
        """Log of the share of not buying that was kept: log-odds + offset are those of the whole."""
        return float(np.log(self.kept_))

    def to_bytes(self) -> bytes:
        """The fitted model, to be sent to where journeys are scored (`from_bytes`)."""
        stream = io.BytesIO()
        torch.save(self, stream)
        return stream.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> Any:
        """The model that `to_bytes` wrote. Only read what you wrote yourself: it is a pickle."""
        return torch.load(io.BytesIO(data), weights_only=False)

    def _parts(self, journeys: Given, covariates: pd.DataFrame | None) -> Sequence[Callable[[], Journeys]]:
        if not isinstance(journeys, (pd.DataFrame, Journeys)):
            return journeys
        whole = journeys if isinstance(journeys, Journeys) else Journeys.of(journeys, None, covariates, self.labels)
        if len(whole.ids) > self.most:
            rows = spawn(self.seed, "attribution.sample").permutation(len(whole.ids))[: self.most]
            whole = whole.take(np.sort(rows))
        return [lambda: whole]

    def _train(self, network: Joint | Attention, parts, size: int, seed: int, tests: Tests, progress) -> None:
        ready = self.tensors(parts[0]()) if len(parts) == 1 else None

        def shards(rng: np.random.Generator) -> Iterator[Tensors]:
            for k in rng.permutation(len(parts)):
                yield ready if ready is not None else self.tensors(parts[k]().recoded(self.channels_))

        train(network, shards, size, seed, tests, self.offset, progress)


@contextmanager
def steady(seed: int) -> Iterator[None]:
    """One thread (more only wait for each other on matrices this small), and draws that touch nobody else's."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def tests_of(lift: pd.DataFrame | None, channels: tuple[str, ...], rate: float) -> Tests:
    """Experiments as shares of all conversions; several of one channel are pooled by their precision.

    Raises
    ------
    InputError
        When a channel is unknown, a standard error is not positive, or some tests count people and others purchases.
    """
    if lift is None or lift.empty:
        return Tests.none()
    strange = sorted(set(lift["channel"]) - set(channels))
    if strange:
        raise InputError(
            f"a lift test of a channel that no journey has: {', '.join(map(str, strange))}", fix="name it as journeys do"
        )
    frame = lift[["channel", "effect", "standard_error"]].copy()
    if not ((frame["standard_error"] > 0) & np.isfinite(frame["effect"]) & np.isfinite(frame["standard_error"])).all():
        raise InputError("a lift test without a positive standard error", fix="give how uncertain each effect is")
    once = (lift["metric"] == "buyers").to_numpy() if "metric" in lift else np.zeros(len(lift), bool)
    if once.any() and not once.all():
        raise InputError("tests that count people beside tests that count purchases", fix="give tests of one kind")
    rates = (lift["metric"] == "conversion_rate") if "metric" in lift else pd.Series(False, index=lift.index)
    frame.loc[rates.to_numpy(), ["effect", "standard_error"]] /= rate
    weight = 1.0 / frame["standard_error"] ** 2
    pooled = pd.DataFrame({"channel": frame["channel"], "w": weight, "wx": weight * frame["effect"]}).groupby("channel").sum()
    codes = np.array([channels.index(name) for name in pooled.index], np.int64)
    return Tests(codes, (pooled["wx"] / pooled["w"]).to_numpy(), (pooled["w"] ** -0.5).to_numpy(), bool(once.all()))


def _counts(part: Journeys, first: Journeys) -> tuple[int, int, int]:
    if part.kept != first.kept:
        raise InputError("parts of journeys of which different shares were kept", fix="sample them all alike")
    return len(part.ids), int((part.conversions > 0).sum()), len(part.codes)
