"""`Signer`: texts that a client keeps and cannot change (RFC 2104)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http import signing
from nardis._http.cookies import format_cookie, parse_cookies
from nardis._http.signing import MIN_KEY_BYTES, Signer
from nardis.errors import UsageError

VECTORS = [
    row
    for row in json.loads(
        (Path(__file__).parents[1] / "vectors" / "cookie_vectors.json").read_text()
    )["vectors"]
    if row["op"] in ("sign", "unsign")
]

NEW, OLD, OTHER = "new-" * 8, b"\x00\xff-old-key" * 4, "other-key" * 4

ANY_TEXT = st.text(st.characters())


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def in_base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


# --- Express --------------------------------------------------------------------------------------

# On purpose, all rows: Express signs with the secret itself, so that one signed cookie verifies as
# any other, takes secrets of any length, and writes standard base64. Nardis reads none of it.


@pytest.mark.parametrize("row", VECTORS, ids=lambda row: f"{row['op']} {row['value']}")
def test_what_express_signed_is_not_read(row: dict[str, Any]) -> None:
    """NULs at the end of its secret make it long and no other HMAC key (RFC 2104 §2)."""
    secret = row["secret"].encode().ljust(MIN_KEY_BYTES, b"\0")
    signed = row["result"] if row["op"] == "sign" else row["value"]
    genuine = row["op"] == "sign" or row["result"] is not False

    text, _, signature = signed.rpartition(".")
    by_express = base64.b64encode(hmac_sha256(secret, text.encode())).decode().rstrip("=")
    assert (signature == by_express) is genuine

    assert Signer([secret]).unsign(signed, "") is None
    assert Signer([secret]).unsign(signed, "a") is None


@pytest.mark.parametrize("secret", sorted({row["secret"] for row in VECTORS}))
def test_expresss_short_secrets_are_refused(secret: str) -> None:
    with pytest.raises(UsageError, match="32 are the least"):
        Signer([secret])


# --- signing and reading back ---------------------------------------------------------------------


def test_the_form_stays_as_it_is() -> None:
    """Cookies outlive a deployment: another form would log everybody out."""
    signer = Signer([NEW])
    assert signer.sign("ann", "user") == "ann.NSvWArXftBzvUYzgBbbs2X_7IlnD8i290mvDOIJ1RRg"
    dated = signer.sign_dated("ann", "user", 1_700_000_000.9)
    assert dated == "ann.1700000000.S5985VPxsr0cDF0df71-pH5s4HO24DhAXMU2QNPEKIE"


def test_the_signature_is_an_hmac_with_a_key_of_its_own_for_each_salt() -> None:
    key = hmac_sha256(NEW.encode(), b"nardis.signing\0user")
    signature = in_base64url(hmac_sha256(key, "é.b".encode()))
    assert Signer([NEW]).sign("é.b", "user") == f"é.b.{signature}"


@given(ANY_TEXT, ANY_TEXT)
def test_any_text_comes_back_for_its_salt(value: str, salt: str) -> None:
    signer = Signer([NEW])
    signed = signer.sign(value, salt)
    assert signer.unsign(signed, salt) == value
    assert signed.startswith(value + ".")
    assert len(signed) == len(value) + 44


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_no_text_comes_back_for_another_salt(value: str, salt: str, other: str) -> None:
    """The salt of a cookie is its name: one cannot be passed off as another."""
    signer = Signer([NEW])
    assert (signer.unsign(signer.sign(value, salt), other) == value) is (salt == other)


@given(ANY_TEXT, ANY_TEXT, st.sampled_from(["", "a"]))
def test_garbage_is_none_and_never_an_error(signed: str, salt: str, more: str) -> None:
    signer = Signer([NEW, OLD])
    for text in (signed, signed + "." + more, "." + signed, f"{signed}.{'A' * 43}"):
        assert signer.unsign(text, salt) is None
        assert signer.unsign_dated(text, salt, 0, 1e9) is None


@given(st.data(), st.text(), st.booleans())
def test_one_changed_character_is_none(data: st.DataObject, value: str, dated: bool) -> None:
    """The last one included, where base64 has four spellings for the same bytes."""
    signer = Signer([NEW])
    signed = signer.sign_dated(value, "a", 0) if dated else signer.sign(value, "a")
    at = data.draw(st.integers(0, len(signed) - 1))
    other = data.draw((st.characters() | st.sampled_from("ABCDEFGHIJ.=")).filter(signed[at].__ne__))
    for changed in (
        signed[:at] + other + signed[at + 1 :],
        signed[:at] + signed[at + 1 :],
        signed[:at] + other + signed[at:],
        signed + other,
    ):
        assert signer.unsign(changed, "a") is None
        assert signer.unsign_dated(changed, "a", 0, 1) is None


def test_a_signature_without_its_dot_is_none() -> None:
    signer = Signer([NEW])
    signed = signer.sign("", "a")
    assert signer.unsign(signed, "a") == ""
    assert signer.unsign(signed[1:], "a") is None


def test_texts_that_utf_8_lacks_are_not_confused() -> None:
    """Neither with one another, nor with what replaces them, nor with a whole character."""
    signer = Signer([NEW])
    texts = ["\ud800", "\udfff", "?", "\ufffd", "\ud83d\ude00", "😀"]
    signatures = {signer.sign(text, "a").rpartition(".")[2] for text in texts}
    assert len(signatures) == len({signer.sign("a", salt) for salt in texts}) == len(texts)


def test_a_signed_cookie_survives_the_wire() -> None:
    signer = Signer([NEW])
    pair = format_cookie("user", signer.sign("Zoë; .", "user"), secure=True).partition(";")[0]
    [(name, signed)] = parse_cookies(pair)
    assert signer.unsign(signed, name) == "Zoë; ."


# --- ages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signed_at", "now", "max_age_s", "fresh"),
    [
        (1000, 1000, 0, True),
        (1000.2, 1000.9, 0, True),
        (1000, 1060, 60, True),
        (1000, 1060.9, 60, True),
        (1000, 1061, 60, False),
        (1000, 1061, 60.5, False),
        (1000, 940, 60, True),
        (1000, 939, 60, False),
        (-5, 5, 10, True),
        (-0.5, 9, 10, True),
        (-0.5, 10, 10, False),
        (0, 1e300, 1e301, True),
        (0, 0, -1, False),
        (0, 0, float("nan"), False),
    ],
)
def test_a_dated_text_comes_back_until_it_is_too_old(
    signed_at: float, now: float, max_age_s: float, fresh: bool
) -> None:
    """One from the future is taken when it is no further away: clocks differ."""
    signer = Signer([NEW])
    signed = signer.sign_dated("a.b", "user", signed_at)
    assert signer.unsign_dated(signed, "user", now, max_age_s) == ("a.b" if fresh else None)


@given(ANY_TEXT, ANY_TEXT, st.integers(-(10**12), 10**12))
def test_a_dated_text_and_an_undated_one_are_never_mistaken(
    value: str, salt: str, now: int
) -> None:
    """Else signing `x.1700000000`, which a user wrote, would make a dated `x`."""
    signer = Signer([NEW])
    dated = signer.sign_dated(value, salt, now)
    assert signer.unsign_dated(dated, salt, now, 0) == value
    assert signer.unsign(dated, salt) is None
    assert signer.unsign(dated, f"{salt}.dated\0") is None
    for other in (salt, f".dated\0{salt}"):
        assert signer.unsign_dated(signer.sign(f"{value}.{now}", other), salt, now, 0) is None


# --- keys -----------------------------------------------------------------------------------------


def test_the_first_key_signs_and_all_verify() -> None:
    """A new key goes in front, and the old one stays until what it signed may be dropped."""
    before, during, after = Signer([OLD]), Signer([NEW, OTHER, OLD]), Signer([NEW])
    old, new = before.sign("a", "s"), during.sign("a", "s")
    assert new == after.sign("a", "s") != old
    assert [signer.unsign(old, "s") for signer in (before, during, after)] == ["a", "a", None]
    assert [signer.unsign(new, "s") for signer in (before, during, after)] == [None, "a", "a"]


def test_a_text_and_its_utf_8_are_the_same_key() -> None:
    key = "schlüssel-" * 4
    assert Signer([key]).sign("a", "s") == Signer([key.encode()]).sign("a", "s")


@pytest.mark.parametrize("signed_by", [0, 1, 2, None])
def test_every_key_is_compared_in_constant_time(
    signed_by: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long it takes does not say which key fits, or whether one does."""
    keys: list[str | bytes] = [NEW, OLD, OTHER]
    signed = "a.forged" if signed_by is None else Signer([keys[signed_by]]).sign("a", "s")
    compared: list[bool] = []
    compare_digest = hmac.compare_digest

    def noting(a: bytes, b: bytes) -> bool:
        compared.append(compare_digest(a, b))
        return compared[-1]

    monkeypatch.setattr(hmac, "compare_digest", noting)
    Signer(keys).unsign(signed, "s")
    assert compared == [index == signed_by for index in range(3)]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([""], r"secret_keys\[0\] has 0 bytes, and 32 are the least.*token_urlsafe\(32\)"),
        ([NEW, "hunter2"], r"secret_keys\[1\] has 7 bytes"),
        ([NEW, b"hunter2"], r"secret_keys\[1\] has 7 bytes"),
        (["hunter2" * 4 + "abc"], "has 31 bytes"),
        ([NEW, None], r"secret_keys\[1\] is a str or bytes, not NoneType"),
        ([bytearray(40)], "not bytearray"),
        ("hunter2" * 10, "a list of keys, not str"),
        (b"hunter2" * 10, "a list of keys, not bytes"),
        (None, "a list of keys, not NoneType"),
        ({NEW}, "a list of keys, not set"),
    ],
)
def test_bad_keys_are_refused_without_being_shown(keys: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Signer(keys)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("key", ["k" * 32, b"k" * 32, "é" * 16, "\udc80" * 32])
def test_32_bytes_are_enough(key: str | bytes) -> None:
    """The last is how `os.environ` gives bytes that are no UTF-8."""
    signer = Signer((key,))
    assert signer.unsign(signer.sign("a", "s"), "s") == "a"


USES: list[Callable[[Signer], object]] = [
    lambda signer: signer.sign("a", "s"),
    lambda signer: signer.unsign("a.b", "s"),
    lambda signer: signer.sign_dated("a", "s", 0),
    lambda signer: signer.unsign_dated("a.b", "s", 0, 0),
]


@pytest.mark.parametrize("use", USES, ids=["sign", "unsign", "sign_dated", "unsign_dated"])
def test_without_keys_the_first_use_says_where_they_belong(use: Callable[[Signer], object]) -> None:
    """Making one is no error: most applications sign nothing."""
    signer = Signer(())
    with pytest.raises(UsageError, match=r"Nardis\(secret_keys=\[\.\.\.\]\)"):
        use(signer)


def test_repr_shows_no_key() -> None:
    signer = Signer([NEW, OLD])
    signer.sign("a", "s")
    assert repr(signer) == "<Signer with 2 keys>"
    assert not hasattr(signer, "__dict__")


# --- work and memory ------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [".", "a", "é", "a."])
def test_a_text_is_read_in_one_pass(piece: str, count_calls: Callable[..., int]) -> None:
    """The calls are the same for each length; what is inside of them looks at each byte once."""
    signer = Signer([NEW, OLD])
    signer.sign("a", "s")
    short, long = (count_calls(signer.unsign, piece * length, "s") for length in (1_000, 1_000_000))
    assert short == long


def test_a_key_is_derived_once(count_calls: Callable[..., int]) -> None:
    signer = Signer([NEW, OLD])
    first, second, third = (count_calls(signer.sign, "a", "s") for _ in range(3))
    assert first > second == third


def test_made_up_salts_do_not_fill_the_memory() -> None:
    signer = Signer([NEW])
    for number in range(signing.CACHED_SALTS * 2):
        signer.unsign("a.b", f"s{number}")
    signer.unsign("a.b", "s" * 100_000)
    derived = signer._derived  # pyright: ignore[reportPrivateUsage]
    assert len(derived) <= signing.CACHED_SALTS
    assert max(len(salt) for _, salt in derived) <= signing.CACHED_SALT_CHARS
