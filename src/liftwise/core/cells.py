"""Cells that leave for a spreadsheet must not act there: a text that starts like a formula is written as text."""

from __future__ import annotations

import re

import pandas as pd

_FORMULA = re.compile(r"^[=+\-@\t\r]")
_NUMBER = re.compile(r"^[+-]?[\d.,]+([eE][+-]?\d+)?%?$")


def neutralise(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy in which every text (and column name) that a spreadsheet could run starts with an apostrophe.

    >>> neutralise(pd.DataFrame({"caption": ["=HYPERLINK(1)", "-5", "fine"]}))["caption"].tolist()
    ["'=HYPERLINK(1)", '-5', 'fine']
    """
    safe = frame.rename(columns=lambda name: _cell(str(name)))
    for position in range(safe.shape[1]):
        column = safe.iloc[:, position]
        if column.dtype == object or isinstance(column.dtype, pd.StringDtype):
            safe.isetitem(position, column.map(_cell, na_action="ignore").to_numpy())
    return safe


def _cell(value: object) -> object:
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.match(value):
        return "'" + value
    return value
