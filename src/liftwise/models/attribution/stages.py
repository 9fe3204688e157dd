"""`influence`, which every member that can foretell answers alike: stages read from what it knows after each touch.

A member says what it knows of a journey after each touch (`states`), from that touch and those before it alone; `read_states` does
the rest. For the sequence models that is the hidden state, for the chain and for the game the log-odds of converting from the last
channels, or from the channels so far, for the hazard what touches still add. So readings of members may be held beside each other:
the AUC says which of them knows more of a stage.

What people do shows a stage, and so does what they answer: where a survey panel is linked to its touches, each metric is a stage of
its own ("awareness (asked)"), held against the touches before the answer. Who knows a brand without ever looking for it shows only
there. Of the panel alone it tells, and answers asked for because of a touch (a form that pops up after it) would tell of that choice.

Credits cannot be read in this way. What a rule gives a touch hangs on what came after it and is known only once the journey is
over: to foretell a later stage from it would be to foretell the past.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.special import logit

from liftwise.core.errors import InputError
from liftwise.models.attribution.influence import STAGES, Influence, joined, outcomes_of, read_states, too_few
from liftwise.models.attribution.journeys import Floats, Ints, Journeys

BY = ("content_type", "platform", "influencer_id")  # what touches are told apart by; of a table, the columns
KIND = "kind"  # the label that shows stages
SOON = 168.0  # hours after a touch in which a stage counts as its doing
YES = 50.0  # of 100: an answer from here on counts as a yes
ORDER = (
    "awareness", "awareness (asked)", "consideration", "consideration (asked)", "preference (asked)", "basket",
    "purchase intent (asked)", "conversion", "nps (asked)",
)  # fmt: skip
SURE = 1e-6  # a probability nearer to 0 or 1 has no log-odds worth reading


class ForetellsStages(ABC):
    """A member that knows something of a journey after each touch."""

    channels_: tuple[str, ...]

    @abstractmethod
    def states(self, journeys: Journeys) -> tuple[Floats, Floats]:
        """What is known after each touch, (touches, units), from no later one; and before the first, (units,)."""

    def influence(
        self, journeys: pd.DataFrame | Journeys, covariates: pd.DataFrame | None = None, *, person: Ints | None = None,
        within: float = SOON, answers: pd.DataFrame | None = None, level: float = 0.90, seed: int = 7,
    ) -> Influence:  # fmt: skip
        """What each content type, platform and influencer does to awareness, consideration, basket and conversion.

        Parameters
        ----------
        journeys : table `moments`, or arrays with label `kind` and others to tell touches apart by; without others, by channel. They
            should be of other people than those of the fit, or the AUC flatters.
        person : (n,) of arrays; default: every journey is a person's only one. Of a table it is column `person_id`.
        within : hours after a touch in which a stage has to show.
        answers : table `answer_moments`: what a linked panel answered. Each metric becomes a stage "… (asked)", reached by an answer
            of 50 or more of 100. All touches of an answer's look-back count, however old: what is known of a brand lasts for weeks.
        level : of the intervals.

        Raises
        ------
        CannotTell
            When no stage has enough people on both sides. Without label `kind`, only conversion can be read.
        InputError
            When a channel was never seen when fitting; when scores are not from 0 to 100.
        """
        if isinstance(journeys, Journeys):
            arrays = journeys.recoded(self.channels_)
            who = np.arange(len(arrays.ids)) if person is None else np.asarray(person, np.int64)
        else:
            arrays = Journeys.of(journeys, self.channels_, covariates, (*BY, KIND))
            whose = journeys.drop_duplicates("journey_id").set_index("journey_id")["person_id"]
            who = pd.factorize(whose.reindex(arrays.ids))[0]
        kinds, labels = (
            _kinds(arrays),
            {name: (label.codes, label.names) for name, label in arrays.labels.items() if name != KIND},
        )
        owner, (states, start) = arrays.owner, self.states(arrays)
        outcomes = outcomes_of(kinds, owner, arrays.hours, (arrays.conversions > 0).astype(float), within=within)

        def read() -> Influence:
            return read_states(
                states, labels or {"channel": (arrays.codes, arrays.channels)}, who[owner], outcomes, journey=owner, start=start,
                begun=(who, _begun(arrays, kinds, within)), level=level, seed=seed,
            )  # fmt: skip

        if answers is None or answers.empty:
            return read()
        few = {stage: too_few(y, who[owner]) for stage, y in outcomes.items()}
        shown = Influence(pd.DataFrame(), level, {}, few) if all(few.values()) else read()
        return joined([shown, *self._asked(answers, level, seed)], ORDER)

    def _asked(self, answers: pd.DataFrame, level: float, seed: int) -> Iterator[Influence]:
        """What touches do to what people answer, metric by metric; each answer is a journey that ends with it."""
        if not answers["score"].dropna().between(0, 100).all():
            raise InputError("scores that are not from 0 to 100", fix="scale them; yes is 100 and no is 0")
        for metric, rows in answers.dropna(subset="score").groupby("metric"):
            stage = f"{str(metric).replace('_', ' ')} (asked)"
            arrays = Journeys.of(rows.assign(converted=rows["score"] >= YES, revenue=0.0), self.channels_, labels=BY)
            whose = rows.drop_duplicates("journey_id").set_index("journey_id")["person_id"]
            who, owner, said = pd.factorize(whose.reindex(arrays.ids))[0], arrays.owner, arrays.conversions
            if few := too_few(said[owner], who[owner]) if len(owner) else "nobody who answered was touched before":
                yield Influence(pd.DataFrame(), level, {}, {stage: few})
                continue
            labels = {name: (label.codes, label.names) for name, label in arrays.labels.items() if label.names}
            states, start = self.states(arrays)
            begun = who, {stage: np.where(arrays.lengths == 0, said, np.nan)}
            yield read_states(
                states, labels or {"channel": (arrays.codes, arrays.channels)}, who[owner], {stage: said[owner]}, journey=owner,
                start=start, begun=begun, level=level, seed=seed,
            )  # fmt: skip


def log_odds(chance: Floats) -> Floats:
    """Log-odds of probabilities, none of them endless."""
    return logit(np.clip(chance, SURE, 1 - SURE))


def _kinds(journeys: Journeys) -> np.ndarray:
    """(touches,) what happened; None where nobody knows."""
    label = journeys.labels.get(KIND)
    return np.full(len(journeys.codes), None, object) if label is None else np.array([*label.names, None], object)[label.codes]


def _begun(sample: Journeys, kinds: np.ndarray, within: float) -> dict[str, Floats]:
    """What the state before any touch goes with: stages shown soon after the window opened; purchases of the untouched."""
    widest = float(sample.hours.max(initial=within)) if len(sample.hours) else within
    early = sample.hours >= widest - within
    out = dict[str, Floats]()
    for stage, shows in STAGES.items():
        if shows:
            first = early & np.isin(kinds.astype(str), list(shows))
            out[stage] = np.minimum(np.bincount(sample.owner[first], minlength=len(sample.ids)), 1).astype(float)
        else:
            out[stage] = np.where(sample.lengths == 0, sample.conversions, np.nan)
    return out
