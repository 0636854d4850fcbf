"""
Texts that a client keeps and cannot change: keys, their rotation, ages.

A signed text is readable: signing hides nothing. It has the form `text.signature`, where the
signature is HMAC-SHA256 in base64url without padding. The key of the HMAC is derived for each
purpose (the salt; of a cookie, its name), so that one signed cookie cannot be passed off as
another. Express's `cookie-signature` uses the secret itself for everything, and its signatures are
not read.

Source: RFC 2104 (HMAC); RFC 4648 §5 (base64url).
"""

from __future__ import annotations

import hmac
import math
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from typing import Final, cast

from ..errors import UsageError

__all__ = ["MIN_KEY_BYTES", "Signer"]

# RFC 2104 §3 discourages keys shorter than the hash.
MIN_KEY_BYTES: Final = 32

# Salts come from the application's source code, but a program may derive them from what clients
# send, and must not grow this cache without bound.
CACHED_SALTS: Final = 256
CACHED_SALT_CHARS: Final = 64

# A salt cannot turn one into the other: the NUL ends the kind.
_PLAIN: Final = b"nardis.signing\0"
_DATED: Final = b"nardis.signing.dated\0"


class Signer:
    """
    Sign texts, and read back the ones that nobody changed.

    Without keys it can be made, and not used. A signed text verifies for as long as its key is in
    the list; a dated one, which says when it was signed, also until it is too old. One is never
    read as the other.

    Args:
        keys: At least 32 bytes each; of a str, its UTF-8. The first one signs, all verify. To
            change keys, put the new one in front, and drop the old one when all that it signed may
            become invalid.

    Attributes:
        keys: The keys as bytes.

    Raises:
        UsageError: A key is too short, or no str and no bytes.

    Source: RFC 2104 §2 and §3.
    >>> signer = Signer(["correct horse battery staple, and then some"])
    >>> signer.unsign(signer.sign("ann", "user"), "user")
    'ann'
    >>> signer.unsign(signer.sign("ann", "user"), "admin") is None
    True
    """

    __slots__ = ("_derived", "keys")

    def __init__(self, keys: Sequence[str | bytes]) -> None:
        self.keys: tuple[bytes, ...] = _checked_keys(keys)
        self._derived: dict[tuple[bytes, str], tuple[bytes, ...]] = {}

    def __repr__(self) -> str:
        return f"<Signer with {len(self.keys)} keys>"

    def sign(self, value: str, salt: str) -> str:
        """
        Sign a text for one purpose.

        Args:
            value: Any text; it stays readable.
            salt: What the text is for. Only the same salt reads it back.

        Returns:
            The text, a dot, and 43 characters of base64url.

        Raises:
            UsageError: There are no keys.

        Source: RFC 2104 §2; RFC 4648 §5.
        >>> Signer([b"k" * 32]).sign("ann", "user").startswith("ann.")
        True
        """
        return self._signed(value, _PLAIN, salt)

    def unsign(self, signed: str, salt: str) -> str | None:
        """
        Return the text that was signed, or `None` when *signed* is not what `sign` returned.

        Each key is tried, also after one that fits, and compared in constant time.

        Args:
            signed: Any text that a client sent.
            salt: The one that it was signed with.

        Raises:
            UsageError: There are no keys.

        Source: RFC 2104 §2; RFC 4648 §5.
        >>> Signer([b"k" * 32]).unsign("ann.forged", "user") is None
        True
        """
        return self._verified(signed, _PLAIN, salt)

    def sign_dated(self, value: str, salt: str, now: float) -> str:
        """
        Sign a text together with the time, so that `unsign_dated` can ask for its age.

        Args:
            value: Any text; it stays readable.
            salt: What the text is for. Only the same salt reads it back.
            now: Seconds since 1970 (`time.time()`); the fraction is dropped.

        Returns:
            The text, a dot, the seconds, a dot, and 43 characters of base64url.

        Raises:
            UsageError: There are no keys.

        Source: RFC 2104 §2; RFC 4648 §5.
        >>> Signer([b"k" * 32]).sign_dated("ann", "user", 1.5).startswith("ann.1.")
        True
        """
        return self._signed(f"{value}.{math.floor(now)}", _DATED, salt)

    def unsign_dated(self, signed: str, salt: str, now: float, max_age_s: float) -> str | None:
        """
        Return the text that was signed, unless it was changed or is older than *max_age_s*.

        Args:
            signed: Any text that a client sent.
            salt: The one that it was signed with.
            now: Seconds since 1970 (`time.time()`).
            max_age_s: The greatest age, in seconds. A text from the future is taken when it is no
                further away: clocks of several servers differ.

        Raises:
            UsageError: There are no keys.

        Source: RFC 2104 §2; RFC 4648 §5.
        >>> signer = Signer([b"k" * 32])
        >>> signed = signer.sign_dated("ann", "user", 1000)
        >>> [signer.unsign_dated(signed, "user", now, max_age_s=60) for now in (1060, 1061)]
        ['ann', None]
        """
        text = self._verified(signed, _DATED, salt)
        if text is None:
            return None
        value, _, seconds = text.rpartition(".")
        return value if abs(math.floor(now) - int(seconds)) <= max_age_s else None

    def _signed(self, text: str, kind: bytes, salt: str) -> str:
        key = self._keys_for(kind, salt)[0]
        return f"{text}.{_signature(key, _encoded(text)).decode()}"

    def _verified(self, signed: str, kind: bytes, salt: str) -> str | None:
        text, dot, signature = signed.rpartition(".")
        message, given = _encoded(text), _encoded(signature)
        # The text of the signature is compared, not the bytes it stands for: base64 has several
        # spellings for the same bytes, and a signed text has one.
        fits = False
        for key in self._keys_for(kind, salt):
            fits |= hmac.compare_digest(_signature(key, message), given)
        return text if fits and dot else None

    def _keys_for(self, kind: bytes, salt: str) -> tuple[bytes, ...]:
        derived = self._derived.get((kind, salt))
        if derived is not None:
            return derived
        if not self.keys:
            raise UsageError(
                "nothing can be signed or verified without a key: give the application one, "
                f"Nardis(secret_keys=[...]). {_HOW_TO_MAKE_ONE}"
            )
        label = kind + _encoded(salt)
        derived = tuple(hmac.digest(key, label, "sha256") for key in self.keys)
        if len(salt) <= CACHED_SALT_CHARS:
            if len(self._derived) >= CACHED_SALTS:
                self._derived.clear()
            self._derived[kind, salt] = derived
        return derived


_HOW_TO_MAKE_ONE = (
    'Make one with `python -c "import secrets; print(secrets.token_urlsafe(32))"`, and keep it out '
    "of the source code."
)


def _checked_keys(keys: object) -> tuple[bytes, ...]:
    if isinstance(keys, (str, bytes)) or not isinstance(keys, Sequence):
        raise UsageError(f"secret_keys is a list of keys, not {type(keys).__name__}")
    checked: list[bytes] = []
    for index, key in enumerate(cast("Sequence[object]", keys)):
        if not isinstance(key, (str, bytes)):
            raise UsageError(f"secret_keys[{index}] is a str or bytes, not {type(key).__name__}")
        encoded = _encoded(key) if isinstance(key, str) else key
        if len(encoded) < MIN_KEY_BYTES:
            raise UsageError(
                f"secret_keys[{index}] has {len(encoded)} bytes, and {MIN_KEY_BYTES} are the least."
                f" {_HOW_TO_MAKE_ONE}"
            )
        checked.append(encoded)
    return tuple(checked)


def _signature(key: bytes, message: bytes) -> bytes:
    return urlsafe_b64encode(hmac.digest(key, message, "sha256")).rstrip(b"=")


def _encoded(text: str) -> bytes:
    """Encode any text, one that no UTF-8 can hold too: no two texts become the same bytes."""
    return text.encode("utf-8", "surrogatepass")
