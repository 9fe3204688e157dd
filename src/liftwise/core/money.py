"""Money in whole minor units, so that splitting a budget never makes or loses a cent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from math import floor

from liftwise.core.errors import InputError

# ISO 4217 currencies whose minor unit is not a hundredth
_DIGITS = {"JPY": 0, "KRW": 0, "VND": 0, "CLP": 0, "ISK": 0, "UGX": 0, "BHD": 3, "KWD": 3, "OMR": 3, "TND": 3}


@dataclass(frozen=True, order=True)
class Money:
    """An amount in minor units (cents) of one currency.

    >>> Money.of("1234.56", "EUR") + Money.of(0.44, "EUR")
    Money(minor=123500, currency='EUR')
    """

    minor: int
    currency: str = "EUR"

    @classmethod
    def of(cls, amount: str | float | Decimal, currency: str = "EUR") -> Money:
        """The amount in major units, rounded half to even."""
        try:
            exact = Decimal(str(amount))
        except InvalidOperation:
            raise InputError(f"{amount!r} is not an amount of money", fix="write it like 1234.56") from None
        if not exact.is_finite():
            raise InputError(f"{amount!r} is not an amount of money", fix="write it like 1234.56")
        scaled = exact.scaleb(digits(currency)).quantize(Decimal(1), rounding=ROUND_HALF_EVEN)
        return cls(int(scaled), currency)

    @property
    def amount(self) -> Decimal:
        """The amount in major units, exactly."""
        return Decimal(self.minor).scaleb(-digits(self.currency))

    def __add__(self, other: Money) -> Money:
        return Money(self.minor + self._same(other).minor, self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.minor - self._same(other).minor, self.currency)

    def __str__(self) -> str:
        return f"{self.amount:,} {self.currency}"

    def _same(self, other: Money) -> Money:
        if other.currency != self.currency:
            raise InputError(f"{self.currency} and {other.currency} cannot be added", fix="convert one of them first")
        return other

    def split(self, weights: Sequence[float]) -> list[Money]:
        """Divide by `weights` (≥ 0, not all zero) to the cent; the parts sum exactly to the whole.

        Largest remainders get the odd cents, earlier parts first.

        >>> [m.minor for m in Money(100).split([1, 1, 1])]
        [34, 33, 33]
        """
        shares = [Decimal(str(weight)) for weight in weights]
        total = sum(shares)
        if not shares or min(shares) < 0 or total == 0:
            raise InputError("money is split by weights that are not negative and not all zero")
        exact = [Decimal(self.minor) * share / total for share in shares]
        floors = [floor(part) for part in exact]
        odd = self.minor - sum(floors)
        by_remainder = sorted(range(len(shares)), key=lambda k: (floors[k] - exact[k], k))
        for k in by_remainder[:odd]:
            floors[k] += 1
        return [Money(part, self.currency) for part in floors]


def digits(currency: str) -> int:
    """Decimal digits of a currency's minor unit.

    >>> digits("EUR"), digits("JPY")
    (2, 0)
    """
    if not re.fullmatch(r"[A-Z]{3}", currency):
        raise InputError(f"{currency!r} is not a currency code", fix="use ISO 4217, such as EUR")
    return _DIGITS.get(currency, 2)
