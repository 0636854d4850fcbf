"""
Content negotiation: which of our offers a client prefers.

The fields are Accept, Accept-Encoding, Accept-Charset and Accept-Language. Where the RFC leaves a
choice, the answer is Express's (its package `negotiator`).

Source: RFC 9110 §12.4 (weights) and §12.5 (the fields); RFC 4647 §3.3.1 (language ranges).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias, TypeVar, overload

from .grammar import TOKEN, remembered, split, unescape
from .media_types import MEDIA_TYPE, type_by_extension

__all__ = ["accepts_charsets", "accepts_encodings", "accepts_languages", "accepts_types"]

T = TypeVar("T")

# A tuple that cannot be empty, for which the answer is an offer and never the client's list.
_SomeOffers: TypeAlias = tuple[str, *tuple[str, ...]]

# weight = OWS ";" OWS "q=" qvalue, RFC 9110 §12.4.2. Read as JavaScript's parseFloat would: `.5`
# and `0.87654` are common.
_WEIGHT = re.compile(r"\+?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


@overload
def accepts_types(header: str | None, offers: None = None) -> list[str]: ...


@overload
def accepts_types(header: str | None, offers: _SomeOffers) -> str | None: ...


@overload
def accepts_types(header: str | None, offers: Sequence[str]) -> str | list[str] | None: ...


def accepts_types(
    header: str | None, offers: Sequence[str] | None = None
) -> str | list[str] | None:
    """
    Choose the media type to answer with from an Accept field.

    An offer has the weight of the most specific member that matches it. The heaviest offer wins,
    then the more specific match, then the client's order, then the order of the offers. A member
    with parameters only matches an offer that has them. Without a field (or with an empty one) the
    first offer wins. At most 100 members are looked at; malformed ones are skipped. A weight
    without a value is 1, a malformed one is 0.

    Args:
        header: The field value, or `None`.
        offers: Media types or extensions such as `"json"`, best first.

    Returns:
        The best offer as it was given, or `None` if none is accepted. Without offers the client's
        list, most wanted first.

    Source: RFC 9110 §12.5.1 and §12.4.
    >>> accepts_types("text/html;q=0.5, application/json;q=0.9", ["html", "json"])
    'json'
    """
    if not offers:
        return list(_wanted_types("*/*" if header is None else header, ()))
    return _choose_type(header, tuple(offers)) if header else offers[0]


@overload
def accepts_encodings(header: str | None, offers: None = None) -> list[str]: ...


@overload
def accepts_encodings(header: str | None, offers: _SomeOffers) -> str | None: ...


@overload
def accepts_encodings(header: str | None, offers: Sequence[str]) -> str | list[str] | None: ...


def accepts_encodings(
    header: str | None, offers: Sequence[str] | None = None
) -> str | list[str] | None:
    """
    Choose the content coding to answer with from an Accept-Encoding field.

    `identity` is always accepted, as the least wanted, unless the field excludes it by name or by
    `*;q=0`. Without a field only `identity` is: the RFC would allow any coding, but a client that
    sends no field seldom decodes.

    Args and result as for `accepts_types`.

    Source: RFC 9110 §12.5.3.
    >>> accepts_encodings("gzip;q=0.5, br", ["gzip", "br"]), accepts_encodings("gzip")
    ('br', ['gzip', 'identity'])
    """
    return (
        _choose_encoding(header or "", tuple(offers))
        if offers
        else list(_wanted_encodings(header or "", ()))
    )


def choose_coding(header: str | None, offers: Sequence[str]) -> str | None:
    """
    Choose a content coding as `accepts_encodings`, but of those wanted equally the first of ours.

    Browsers name all of theirs with one weight, and mean no order by it.

    Args:
        header: The Accept-Encoding field, None if there is none.
        offers: In small letters, the most wanted first; `identity` is one of them, and the last.

    Source: RFC 9110 §12.5.3.
    >>> choose_coding("gzip, deflate, br", ["br", "gzip", "identity"])
    'br'
    >>> choose_coding("br;q=0.5, gzip", ["br", "gzip", "identity"])
    'gzip'
    """
    return _choose_coding(header or "", tuple(offers))


@overload
def accepts_charsets(header: str | None, offers: None = None) -> list[str]: ...


@overload
def accepts_charsets(header: str | None, offers: _SomeOffers) -> str | None: ...


@overload
def accepts_charsets(header: str | None, offers: Sequence[str]) -> str | list[str] | None: ...


def accepts_charsets(
    header: str | None, offers: Sequence[str] | None = None
) -> str | list[str] | None:
    """
    Choose the charset to answer with from an Accept-Charset field.

    Without a field all are accepted.

    Args and result as for `accepts_types`.

    Source: RFC 9110 §12.5.2.
    >>> accepts_charsets("utf-8, iso-8859-1;q=0.8", ["iso-8859-1", "utf-8"])
    'utf-8'
    """
    header = "*" if header is None else header
    return _choose_charset(header, tuple(offers)) if offers else list(_wanted(header, ()))


@overload
def accepts_languages(header: str | None, offers: None = None) -> list[str]: ...


@overload
def accepts_languages(header: str | None, offers: _SomeOffers) -> str | None: ...


@overload
def accepts_languages(header: str | None, offers: Sequence[str]) -> str | list[str] | None: ...


def accepts_languages(
    header: str | None, offers: Sequence[str] | None = None
) -> str | list[str] | None:
    """
    Choose the language to answer in from an Accept-Language field.

    Without a field all are accepted.

    A range matches the same tag, a tag it begins (`en` takes `en-US`), and the bare language of a
    longer range (`en-US` takes `en`), in this order of preference where weights are equal.

    Args and result as for `accepts_types`.

    Source: RFC 9110 §12.5.4; RFC 4647 §3.3.1, widened as Express does.
    >>> accepts_languages("da, en-gb;q=0.8, en;q=0.7", ["en-US", "en-GB"])
    'en-GB'
    """
    header = "*" if header is None else header
    return _choose_language(header, tuple(offers)) if offers else list(_wanted(header, ()))


# --- choosing -------------------------------------------------------------------------------------


class _Member(NamedTuple):
    """One member of an Accept field, or an offer in the same form."""

    name: str
    parameters: dict[str, str]  # in lower case
    weight: float


@remembered
def _choose_type(header: str, offers: tuple[str, ...]) -> str | None:
    return _best(
        offers, [_offered_type(offer) for offer in offers], _ranges(header), _type_precision
    )


@remembered
def _choose_encoding(header: str, offers: tuple[str, ...]) -> str | None:
    return _best(offers, [offer.lower() for offer in offers], _codings(header), _coding_precision)


@remembered
def _choose_coding(header: str, offers: tuple[str, ...]) -> str | None:
    return _best(offers, offers, _codings(header), _coding_precision, ours_first=True)


@remembered
def _choose_charset(header: str, offers: tuple[str, ...]) -> str | None:
    return _best(
        offers, [offer.lower() for offer in offers], list(_members(header)), _name_precision
    )


@remembered
def _choose_language(header: str, offers: tuple[str, ...]) -> str | None:
    return _best(
        offers, [offer.lower() for offer in offers], list(_members(header)), _language_precision
    )


@remembered
def _wanted_types(header: str, _: tuple[str, ...]) -> tuple[str, ...]:
    return _by_weight(_ranges(header))


@remembered
def _wanted_encodings(header: str, _: tuple[str, ...]) -> tuple[str, ...]:
    return _by_weight(_codings(header))


@remembered
def _wanted(header: str, _: tuple[str, ...]) -> tuple[str, ...]:
    return _by_weight(_members(header))


def _by_weight(members: Iterable[_Member]) -> tuple[str, ...]:
    wanted = [member for member in members if member.weight > 0]
    return tuple(member.name for member in sorted(wanted, key=lambda member: -member.weight))


def _best(
    offers: Sequence[str],
    subjects: Sequence[T],
    members: Sequence[_Member],
    precision: Callable[[T, _Member], int],
    *,
    ours_first: bool = False,
) -> str | None:
    """
    Return the best of *offers*, or None.

    The heaviest wins, then the most precisely named, then the client's first, then our first.

    Args:
        offers: What is returned.
        subjects: The same, in the form that *precision* compares.
        members: What the client accepts.
        precision: How precisely a member names a subject; 0 when it does not.
        ours_first: The heaviest wins, then our first.
    """
    best: str | None = None
    best_rank = (0.0, 0, 0)
    for offer, subject in zip(offers, subjects, strict=True):
        found = max(
            (
                (precision(subject, member), member.weight, order)
                for order, member in enumerate(members)
            ),
            default=None,
        )
        if found is not None and found[0] > 0 and found[1] > 0:
            rank = (found[1], 0, 0) if ours_first else (found[1], found[0], -found[2])
            if best is None or rank > best_rank:
                best, best_rank = offer, rank
    return best


def _type_precision(offer: _Member | None, member: _Member) -> int:
    """Return how precisely a media range names an offer, from 1 for `*/*`; 0 when it does not."""
    if offer is None:
        return 0
    kind, _, subtype = member.name.lower().partition("/")
    offered_kind, _, offered_subtype = offer.name.partition("/")
    if kind not in ("*", offered_kind) or subtype not in ("*", offered_subtype):
        return 0
    wanted = member.parameters
    # Unlike RFC 9110's examples a `*` as a value matches any: negotiator has it, and nobody means
    # an asterisk by it.
    if any(value not in ("*", offer.parameters.get(name, "")) for name, value in wanted.items()):
        return 0
    return 1 + 4 * (kind != "*") + 2 * (subtype != "*") + bool(wanted)


def _name_precision(offer: str, member: _Member) -> int:
    name = member.name.lower()
    return 2 if name == offer else int(name == "*")


def _coding_precision(offer: str, member: _Member) -> int:
    is_old = offer == "gzip" and member.name.lower() == "x-gzip"  # RFC 9110 §8.4.1.3
    return 2 if is_old else _name_precision(offer, member)


def _language_precision(offer: str, member: _Member) -> int:
    wanted = member.name.lower()
    if wanted == offer:
        return 5
    if wanted.partition("-")[0] == offer:
        return 3
    if wanted == offer.partition("-")[0]:
        return 2
    return int(wanted == "*")


# --- reading --------------------------------------------------------------------------------------


def _offered_type(offer: str) -> _Member | None:
    """Read an offer of the application; `None` for an unknown extension or a malformed type."""
    member = _member(offer if "/" in offer else type_by_extension(offer) or "")
    return member._replace(name=member.name.lower()) if MEDIA_TYPE.fullmatch(member.name) else None


def _ranges(header: str) -> list[_Member]:
    return list(_members(header, MEDIA_TYPE))


def _codings(header: str) -> list[_Member]:
    members = list(_members(header))
    if not any(member.name.lower() in ("*", "identity") for member in members):
        # As little wanted as the least wanted of the others. Those with weight 0 are refused, not
        # little wanted.
        least = min((member.weight or 1.0 for member in members), default=1.0)
        members.append(_Member("identity", {}, min(least, 1.0)))
    return members


def _members(header: str, grammar: re.Pattern[str] = TOKEN) -> Iterator[_Member]:
    """Read the members of a list (RFC 9110 §5.6.1.2): empty and malformed ones are skipped."""
    for text in split(header, ","):
        member = _member(text)
        if grammar.fullmatch(member.name):
            yield member


def _member(text: str) -> _Member:
    """
    Read one member; its `q` may stand before other parameters (RFC 9110 §12.5.1).

    Of two parameters with one name the first counts. One without `=` says nothing.
    """
    name, *rest = split(text, ";")
    parameters: dict[str, str] = {}
    for parameter in rest:
        key, equals, value = parameter.partition("=")
        key = key.strip(" \t").lower()
        value = value.strip(" \t")
        if value.startswith('"'):
            value = unescape(value[1:].removesuffix('"'))
        if key and equals:
            parameters.setdefault(key, value.lower())
    return _Member(name.strip(" \t"), parameters, _weight(parameters.pop("q", "")))


def _weight(value: str) -> float:
    if not value:
        return 1.0
    number = _WEIGHT.match(value)
    return float(number[0]) if number else 0.0
