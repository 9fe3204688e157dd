"""Personal fields become keyed pseudonyms at the door, and tokens where typos must stay linkable.

A pseudonym is HMAC-SHA256 (RFC 2104) of the normalised value under a key that is not kept with the data: equal people
stay equal, nobody without the key can test a guess. All columns of one *domain* share pseudonyms, so tables join.
Tokens are keyed hashes of padded letter pairs: two spellings of a name share most of them, and none can be read.

The same function exists for Python and for SQL, side by side; a test holds them equal.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from liftwise.core.errors import WorkspaceError

LENGTH = 32  # hex characters of a pseudonym: 128 bits
TOKEN_LENGTH = 8
_BLOCK = 64  # bytes in a block of SHA-256

_MAIL = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+")
_MENTION = re.compile(r"(?<!\w)@\w[\w.]*")
_PHONE = re.compile(r"(?<!\w)\+?\d[\d ()/-]{6,}\d(?!\w)")
_PERSONAL_NAME = re.compile(
    r"mail|phone|mobile|name$|^name|address|street|zip|post_?code|birth|iban|passport|ip_addr", re.IGNORECASE
)


def sounds_personal(column: str) -> bool:
    """Whether an unknown column's name says that it holds personal data; such columns are pseudonymised too.

    >>> sounds_personal("Customer E-Mail"), sounds_personal("basket_size")
    (True, False)
    """
    return bool(_PERSONAL_NAME.search(column))


def mask_text(text: str) -> str:
    """Free text without addresses, mentions and telephone numbers.

    >>> mask_text("write to a.b@c.de or @ann, +49 30 1234567!")
    'write to [mail] or [mention], [phone]!'
    """
    return _PHONE.sub("[phone]", _MENTION.sub("[mention]", _MAIL.sub("[mail]", text)))


def normalise(domain: str, value: str) -> str:
    """What is compared: telephone numbers as digits, everything else without case, accents and outer spaces."""
    if domain == "phone":
        return re.sub("[^0-9]", "", value)
    plain = "".join(c for c in unicodedata.normalize("NFKD", value) if not unicodedata.combining(c))
    return plain.strip(" ").lower()


def normalise_sql(domain: str, expression: str) -> str:
    """`normalise`, for a DuckDB text expression."""
    if domain == "phone":
        return f"regexp_replace({expression}, '[^0-9]', '', 'g')"
    return f"lower(trim(strip_accents({expression})))"


def domain_of(column: str) -> str:
    """The domain in which a column's pseudonyms live: accounts share one, every other column has its own."""
    return "person" if column == "person_id" else column


@dataclass(frozen=True)
class Pseudonymiser:
    """Makes pseudonyms and tokens under one key.

    >>> p = Pseudonymiser(b"a key of at least 16 bytes")
    >>> p.pseudonym("email", "Ann@Example.org") == p.pseudonym("email", " ann@example.org")
    True
    """

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.key) < 16:
            raise WorkspaceError("the privacy key is too short", fix="give LIFTWISE_PRIVACY_KEY at least 16 characters")

    def _domain_key(self, domain: str) -> bytes:
        return hmac.new(self.key, domain.encode(), "sha256").digest()

    def pseudonym(self, domain: str, value: str) -> str:
        """The pseudonym of a value."""
        return hmac.new(self._domain_key(domain), normalise(domain, value).encode(), "sha256").hexdigest()[:LENGTH]

    def tokens(self, domain: str, value: str) -> list[str]:
        """A token for each letter pair of the padded value."""
        padded, key = f"^{normalise(domain, value)}$", self._domain_key(domain + ":pairs")
        pairs = (padded[i : i + 2] for i in range(len(padded) - 1))
        return [hmac.new(key, pair.encode(), "sha256").hexdigest()[:TOKEN_LENGTH] for pair in pairs]

    def sql(self, domain: str, expression: str) -> str:
        """`pseudonym`, for a DuckDB text expression; null stays null."""
        return _hmac_sql(self._domain_key(domain), normalise_sql(domain, expression), LENGTH)

    def tokens_sql(self, domain: str, expression: str) -> str:
        """`tokens`, for a DuckDB text expression."""
        padded = f"('^' || {normalise_sql(domain, expression)} || '$')"
        pair = _hmac_sql(self._domain_key(domain + ":pairs"), f"substr({padded}, i, 2)", TOKEN_LENGTH)
        return f"list_transform(range(1, length({padded})), lambda i: {pair})"


def _hmac_sql(key: bytes, expression: str, length: int) -> str:
    """HMAC-SHA256 out of DuckDB's sha256: H(outer key ‖ H(inner key ‖ message))."""
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    inner, outer = (bytes(byte ^ pad for byte in block) for pad in (0x36, 0x5C))
    return f"left(sha256({_blob(outer)} || unhex(sha256({_blob(inner)} || encode({expression})))), {length})"


def _blob(data: bytes) -> str:
    return "'" + "".join(f"\\x{byte:02X}" for byte in data) + "'::BLOB"


def open_key(folder: Path, given: str | None) -> Pseudonymiser:
    """The pseudonymiser of a workspace: the key `given` (from the environment), else its own file, made on first use.

    Raises
    ------
    WorkspaceError
        When the key file can be read by others.
    """
    if given:
        return Pseudonymiser(given.encode())
    path = folder / "keys" / "privacy.key"
    if not path.exists():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as stream:
            stream.write(secrets.token_hex(32))
    if os.name == "posix" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise WorkspaceError("others can read the privacy key", where=str(path), fix=f"run: chmod 600 {path}")
    return Pseudonymiser(path.read_text().strip().encode())
