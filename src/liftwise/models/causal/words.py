"""Numbers as a manager reads them."""

from __future__ import annotations

from math import floor, log10

from liftwise.core.errors import LiftwiseError

_STEPS = ((1e9, " bn"), (1e6, " m"), (1e3, " k"))


def amount(value: float) -> str:
    """Three digits that count.

    >>> amount(40123.0), amount(-0.03352), amount(0), amount(999.96)
    ('40.1 k', '−0.0335', '0', '1 k')
    """
    if value == 0:
        return "0"
    rounded = round(abs(value), 2 - floor(log10(abs(value))))
    for step, word in _STEPS:
        if rounded >= step:
            return ("−" if value < 0 else "") + f"{rounded / step:.3g}{word}"
    return ("−" if value < 0 else "") + f"{rounded:.3g}"


def chance(p: float) -> str:
    """How often chance alone would show as much.

    >>> chance(1 / 39), chance(0.004), chance(0.41), chance(1.0)
    ('3 times in 100', '4 times in 1000', '41 times in 100', 'always')
    """
    if p >= 0.995:
        return "always"
    of = 100 if p >= 0.00995 else 1000
    times = max(1, round(p * of))
    return "once in " + str(of) if times == 1 else f"{times} times in {of}"


def one_line(error: LiftwiseError) -> str:
    """What an error says, as the end of a sentence."""
    return str(error).replace("; ", ", ")
