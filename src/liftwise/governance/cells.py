"""What may be reported of people: no number about too few of them, and none that subtraction gives away.

A cell about few people is close to a statement about one. So a row needs enough different people behind it, and where it says who
bought, enough different buyers. Hiding such a row is not enough: whoever sees the total of its group subtracts the rest. So rows
that are hidden go together with others, the smallest first, until what subtraction leaves is about enough people too; the same holds
for groups within the grand total.

The protection is within one call. Two calls about populations that differ by a few people can still be subtracted from each
other, and somebody who knows one hidden row (their own) knows the rest of the sum in which it hides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from liftwise.core.errors import InputError

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

OTHER = "other"
FEW = "too few people, here or in a row that the total would give away"  # one reason for both: which is which says too much
WHOLE = "too few people in the group, or in another that its total would give away; its total is withheld too"


@dataclass(frozen=True)
class Cells:
    """The smallest cell that may be shown.

    Parameters
    ----------
    people : different people a row is about.
    converting : different people who bought (or clicked), where the row tells of them.
    most : what one person may add to a sum at most, see `clamp`.
    """

    people: int = 50
    converting: int = 10
    most: float = 5.0

    def __post_init__(self) -> None:
        if min(self.people, self.converting) < 2:
            raise InputError("a cell about one person", fix="ask for at least 2 people and 2 buyers a cell")
        if not 0 < self.most < np.inf:
            raise InputError(f"a person may add {self.most:g} at most", fix="give a positive number")

    def suppress(
        self,
        frame: pd.DataFrame,
        people: str | None,
        converting: str | None = None,
        columns: Sequence[str] | None = None,
        *,
        names: Sequence[str],
        group: Sequence[str] = (),
        fold: Sequence[str] = (),
        disjoint: bool = False,
    ) -> pd.DataFrame:
        """The frame with nothing in it about too few people.

        Parameters
        ----------
        people, converting : columns that count different people and different buyers; a row needs enough of each that is given.
            None for `people` where a table tells of buyers only. A missing count is not enough.
        columns : what is shown besides the counts; default: all that is neither a name, a group nor a count. Columns that are
            in none of these are left out.
        names, group : columns that say what a row is and which rows have a total that is shown, too.
        fold : columns that add up. With them, small rows become one row `other` in their group, and small groups one group
            `other`: every total stays. Without, small rows keep their names and lose their numbers.
        disjoint : nobody is in two rows. Else people of several rows are at least those of the largest: the only safe count
            when one person may be in each, so that `other` always has a row in it that could stand alone.

        Returns
        -------
        DataFrame
            group, names, counts and columns, and ``withheld``: why numbers are missing, or empty. Of `other`, columns that do
            not add up are missing, and counts are "at least" unless `disjoint`.

        >>> table = pd.DataFrame({"channel": ["tv", "mail", "nano"], "people": [900, 60, 7], "revenue": [90.0, 8.0, 1.0]})
        >>> Cells().suppress(table, "people", names=["channel"], fold=["revenue"], disjoint=True).to_numpy().tolist()
        [['tv', 900.0, 90.0, ''], ['other', 67.0, 9.0, '']]
        """
        counts = [name for name in (people, converting) if name is not None]
        keys, values = self._checked(frame, counts, columns, names, group, fold)
        told = frame[[*keys, *counts, *values]].reset_index(drop=True)
        for name in [*counts, *fold]:
            told[name] = told[name].astype(float)
        needs = np.array(([self.people] if people else []) + ([self.converting] if converting else []), dtype=float)
        size = np.nan_to_num(told[counts].to_numpy(dtype=float)) / needs
        code = told.groupby(list(group), dropna=False, sort=False).ngroup().to_numpy() if group else np.zeros(len(told), np.int64)
        lost = _pull(_together(size, code, disjoint), disjoint)
        hidden = lost[code] if len(code) else np.zeros(0, np.bool_)
        for k in np.flatnonzero(~lost):
            rows = np.flatnonzero(code == k)
            hidden[rows] = _pull(size[rows], disjoint)
        if fold:
            place = np.where(lost[code], -1, code) if len(code) else code
            return _folded(told, hidden, place, list(names), list(group), counts, list(fold), values, needs, disjoint)
        told["withheld"] = np.where(~hidden, "", np.where(lost[code], WHOLE, FEW)) if len(told) else pd.Series(dtype="str")
        for name in [*counts, *values]:
            told[name] = told[name].mask(pd.Series(hidden))
        return told

    def clamp(self, values: ArrayLike, person: ArrayLike, most: float | None = None) -> Floats:
        """`values` scaled down, person by person, where those of one person add up to more than `most` (default: `self.most`).

        Scaled and not cut, so that no cell is preferred to another. Signs stay; missing values stay missing.

        >>> Cells().clamp([4.0, 6.0, 1.0], ["ann", "ann", "bob"], most=5.0).tolist()
        [2.0, 3.0, 1.0]
        """
        most = self.most if most is None else most
        amount, who = np.asarray(values, dtype=float), pd.factorize(np.asarray(person), use_na_sentinel=False)[0]
        if amount.shape != who.shape or amount.ndim != 1:
            raise InputError("values and people of different number", fix="give one person for each value")
        if np.isinf(amount).any() or not 0 < most < np.inf:
            raise InputError("an infinite contribution, or a bound that is not positive", fix="give finite numbers")
        # in parts of the bound, so that the sum of large amounts stays finite
        total = np.bincount(who, np.nan_to_num(np.abs(amount) / most), minlength=who.max(initial=-1) + 1)
        return amount / np.maximum(total, 1.0)[who]

    def _checked(
        self, frame: pd.DataFrame, counts: list[str], columns: Sequence[str] | None, names: Sequence[str],
        group: Sequence[str], fold: Sequence[str],
    ) -> tuple[list[str], list[str]]:  # fmt: skip
        """Columns that say what a row is, and those it tells."""
        keys = [*group, *names]
        if not counts:
            raise InputError("nothing counts the people of a row", fix="name the column of people, or of buyers")
        values = [c for c in (frame.columns if columns is None else columns) if c not in keys and c not in counts]
        missing = [c for c in [*keys, *counts, *values, *fold] if c not in frame.columns]
        if missing:
            raise InputError(f"no column {', '.join(missing)}", fix=f"there are {', '.join(map(str, frame.columns))}")
        if strange := [c for c in fold if c not in values]:
            raise InputError(
                f"{', '.join(strange)} cannot be folded", fix="fold columns that are shown and are neither name nor count"
            )
        if "withheld" in frame.columns:
            raise InputError("a column is called withheld already", fix="rename it")
        return keys, values


def _together(size: Floats, code: NDArray[np.int64], disjoint: bool) -> Floats:
    """Size of each group (groups, criteria): the sum of its rows, or the largest of them where people may be in several."""
    total = np.zeros((code.max(initial=-1) + 1, size.shape[1]))
    (np.add if disjoint else np.maximum).at(total, code, size)
    return total


def _pull(size: Floats, disjoint: bool) -> Flags:
    """Which rows go: those too small, and the next smallest until all that go are together large enough.

    `size` is in parts of what is needed, (rows, criteria). A row that is too small is never enough by itself, so one never goes
    alone; when all of them together are too few, all go.
    """
    gone = (size < 1).any(axis=1)
    if not gone.any():
        return gone
    order = np.argsort(size.min(axis=1), kind="stable")
    order = order[np.argsort(~gone[order], kind="stable")]
    upto = np.cumsum(size[order], axis=0) if disjoint else np.maximum.accumulate(size[order], axis=0)
    enough = (upto >= 1).all(axis=1)
    small = int(gone.sum())
    enough[: small - 1] = False
    last = int(np.argmax(enough)) if enough.any() else len(order) - 1
    gone[order[: last + 1]] = True
    return gone


def _folded(
    told: pd.DataFrame, hidden: Flags, place: NDArray[np.int64], names: list[str], group: list[str], counts: list[str],
    fold: list[str], values: list[str], needs: Floats, disjoint: bool,
) -> pd.DataFrame:  # fmt: skip
    """Rows that go as one row `other` a place (−1: the group of small groups)."""
    away, loose = told[hidden], [c for c in values if c not in fold]
    rows = []
    for k in np.unique(place[hidden]):
        mine = away[place[hidden] == k]
        row = {name: mine[name].iloc[0] if k >= 0 else _free(told[name]) for name in group}
        row |= {name: _free(told[name]) for name in names}
        row |= {name: mine[name].sum() if disjoint else mine[name].max() for name in counts}
        row |= {name: mine[name].sum(min_count=1) for name in fold} | dict.fromkeys(loose, None)
        short = any(not row[name] >= need for name, need in zip(counts, needs, strict=True))
        if short:
            row |= dict.fromkeys([*counts, *fold], np.nan)
        row["withheld"] = WHOLE if short else f"does not add up: {', '.join(loose)}" if loose else ""
        rows.append(row)
    kept = told[~hidden].assign(withheld="")
    if not rows:
        return kept.reset_index(drop=True)
    other = pd.DataFrame(rows, columns=kept.columns)
    if kept.empty:
        return other
    for name in other.columns:  # an empty column would else decide a kind
        if other[name].isna().all():
            other[name] = pd.array([None] * len(other), dtype=kept[name].dtype) if _may_miss(kept[name]) else np.nan
    return pd.concat([kept.astype(dict.fromkeys([*group, *names], object)), other], ignore_index=True)


def _may_miss(column: pd.Series) -> bool:
    return pd.api.types.is_extension_array_dtype(column.dtype) or column.dtype == object


def _free(column: pd.Series) -> str:
    """A name that no row has."""
    name, taken = OTHER, set(column.astype(str))
    while name in taken:
        name = f"all {name}"
    return name
