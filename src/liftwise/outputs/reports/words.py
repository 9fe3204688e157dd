"""Numbers as a person reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

SYMBOLS = {"EUR": "€", "USD": "$", "GBP": "£"}


def short(value: float, currency: str = "") -> str:
    """A number in at most four characters and a unit.

    >>> short(1_234_567, "EUR"), short(-950), short(0.5), short(float("nan"))
    ('€1.23 M', '-950', '0.5', '–')
    """
    if not math.isfinite(value):
        return "–"
    sign, size = ("-" if value < 0 else ""), abs(value)
    symbol = SYMBOLS.get(currency, f"{currency} " if currency else "")
    for unit, word in ((1e9, " bn"), (1e6, " M"), (1e3, " k")):
        if size >= 0.9995 * unit:
            return f"{sign}{symbol}{size / unit:.3g}{word}"
    return f"{sign}{symbol}{size:.3g}"


def between(low: float, high: float, currency: str = "") -> str:
    """An interval in words.

    >>> between(12_000, 66_000, "EUR")
    '€12 k to €66 k'
    """
    return f"{short(low, currency)} to {short(high, currency)}"


def listing(words: Sequence[str]) -> str:
    """Words as a list in a sentence.

    >>> listing(["tv", "search", "email"])
    'tv, search and email'
    """
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def lift_sentence(answer: Mapping[str, Any], currency: str = "") -> str:
    """What a campaign caused, for a manager.

    >>> lift_sentence({"campaign": "c", "effect": 40e3, "low": 12e3, "high": 66e3, "p_value": 0.03})
    'c sold 40 k more than would have been sold without it (90 %: 12 k to 66 k); chance alone would show as much 3 times in 100.'
    """
    if answer["effect"] is None:
        return f"What {answer['campaign']} sold cannot be told: {answer['reason']}." + _overlap_sentence(answer, currency)
    effect, low, high, p = (float(answer[name]) for name in ("effect", "low", "high", "p_value"))
    moved = "more" if effect >= 0 else "less"
    chance = f"{p * 100:.0f} times in 100" if p >= 0.01 else "less than once in 100"
    sentence = (
        f"{answer['campaign']} sold {short(abs(effect), currency)} {moved} than would have been sold without it "
        f"(90 %: {between(low, high, currency)}); chance alone would show as much {chance}."
    )
    sentence += "" if low > 0 or high < 0 else " That is within the noise: no effect is proven."
    return sentence + _overlap_sentence(answer, currency)


def _overlap_sentence(answer: Mapping[str, Any], currency: str) -> str:
    """What campaigns that ran meanwhile in the same regions brought, and all of them together."""
    parts = answer.get("overlaps") or []
    if not parts:
        return ""
    others = [row["part"] for row in parts if row["part"] not in ("shared", "total", answer["campaign"])]
    told = [
        f"{'only together' if row['part'] == 'shared' else row['part']} {short(row['effect'], currency)} ({between(row['low'], row['high'], currency)})"
        for row in parts
        if row["effect"] is not None
    ]
    says = f" {listing(others)} ran meanwhile in the same regions"
    return says + (f"; judged together: {listing(told)}." if told else "; their parts cannot be told.")
