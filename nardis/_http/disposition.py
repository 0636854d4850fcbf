"""
The Content-Disposition field: the name under which a body is saved, written and read.

A name outside of ASCII goes out twice: as `filename*` in UTF-8, and as `filename` for clients that
know only that.

Source: RFC 6266; RFC 8187 (`filename*`); RFC 9110 §5.5 and §5.6.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from ..errors import FieldError
from .grammar import CONTROL, MAX_MEMBERS, QUOTED_TEXT, TOKEN, unescape

__all__ = ["content_disposition", "parse_disposition"]

_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_UNPRINTABLE = re.compile(r"[^ -~]")
_ASTRAL = re.compile(r"[\U00010000-\U0010ffff]")
_TO_ESCAPE = re.compile(r'["\\]')

# One parameter. The blanks around `=` are those that RFC 6266 §4.1 implies. An unquoted value may
# hold blanks and anything else but `;`. Text behind a closing quote is skipped. Before a quote that
# stays open the match ends at the `=`, where no other parameter begins. So only such a quote lets
# text be scanned twice, and it is the last thing scanned.
_PARAMETER = re.compile(rf';[ \t]*([^;=]*)(?:=[ \t]*+(?:"({QUOTED_TEXT})"[^;]*|(?!")([^;]*)))?')

# value-chars of RFC 8187 §3.2.1, and everything else in ASCII that clients forget to encode.
_VALUE_CHARS = re.compile(r"[ -$&-~]*(?:%[0-9A-Fa-f]{2}[ -$&-~]*)*")

# RFC 8187 §3.2.1 has only UTF-8, RFC 5987 §3.2.1 before it Latin-1 too. `utf8` is a common mistake,
# which Express reads as well.
_CHARSETS = {"utf-8": "utf-8", "utf8": "utf-8", "iso-8859-1": "latin-1"}


# --- writing --------------------------------------------------------------------------------------


def content_disposition(
    filename: str | None = None, kind: str = "attachment", *, fallback: str | None = None
) -> str:
    r"""
    Write a Content-Disposition field; the result is printable ASCII, whatever the name holds.

    A name that is not printable ASCII, or has a percent escape that some clients would decode, gets
    a `filename*` too. A control character, such as CR, LF or NUL, becomes `?` in `filename` and is
    percent-encoded in `filename*`; so none reaches the wire. A lone surrogate becomes U+FFFD.
    Nothing else is changed: `/` and `..` stay. Take the last component of a path yourself.

    Args:
        filename: The name to save the body under; with `None` the field is only its type.
        kind: `"attachment"`, `"inline"`, or another disposition type.
        fallback: The name for clients that do not know `filename*`, instead of one with `?`.

    Raises:
        FieldError: The name is no str, *kind* is no token, or *fallback* is not printable ASCII.

    Source: RFC 6266 §4 and Appendix D; RFC 8187 §3.2; `content-disposition` 2.0, but a lone
        surrogate is no error.
    >>> content_disposition("the plans.pdf")
    'attachment; filename="the plans.pdf"'
    >>> content_disposition("€.pdf", "inline", fallback="euro.pdf")
    "inline; filename=euro.pdf; filename*=UTF-8''%E2%82%AC.pdf"
    """
    if not TOKEN.fullmatch(kind):
        raise FieldError(
            f"{kind[:64]!r} cannot be a disposition type: use 'attachment', 'inline' or another "
            "token"
        )
    if filename is None:
        return kind
    try:
        has_escape = _ESCAPE.search(filename) is not None
    except TypeError as exc:  # a Path, or bytes
        raise FieldError(
            f"a file name is a str, not {type(filename).__name__}: of a Path, give its .name"
        ) from exc
    if not filename.isascii():
        # Through UTF-16, so that a surrogate pair is read as the character it stands for, and only
        # a lone one is replaced.
        filename = filename.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if fallback is None:
        # Two for an astral character, since JavaScript and so Express count it as two.
        plain = _UNPRINTABLE.sub("?", _ASTRAL.sub("??", filename))
    elif _UNPRINTABLE.search(fallback):
        raise FieldError("the fallback of a file name is printable ASCII")
    else:
        plain = fallback
    value = f"{kind}; filename={_quoted_if_needed(plain)}"
    if plain == filename and not has_escape:
        return value
    # Of attr-char (RFC 8187 §3.2.1) `#$&+^` and the backtick are encoded too, as in Express.
    return f"{value}; filename*=UTF-8''{quote(filename, safe='!')}"


def _quoted_if_needed(text: str) -> str:
    """Write a parameter's value: a token as it is, anything else quoted (RFC 9110 §5.6.6)."""
    return text if TOKEN.fullmatch(text) else '"' + _TO_ESCAPE.sub(r"\\\g<0>", text) + '"'


# --- reading --------------------------------------------------------------------------------------


def parse_disposition(value: str) -> tuple[str, dict[str, str]]:
    """
    Read a Content-Disposition field: its type in lower case, and its parameters by lower-case name.

    Nothing is an error. A parameter `name*` that can be decoded is returned as `name` and wins over
    a plain one. Its own text stays under `name*`: where it is forbidden, as in multipart/form-data
    (RFC 7578 §4.2), the caller sees that it came. Of two parameters with one name the first counts.
    A parameter without `=`, or whose name is no token, is skipped. A quote that never closes ends
    the reading. Parameters after the hundredth are ignored.

    Control characters are read as SP, and a `name*` that encodes one is not decoded: of all control
    characters only HTAB can be in a result. A file name may still be a path, so never join it to a
    directory as it is.

    Args:
        value: The field value as received, in Latin-1 text.

    Source: RFC 6266 §4.1 to §4.3; RFC 8187 §3.2.1 and §4.2; RFC 9110 §5.5 (controls).
    >>> parse_disposition('Attachment; FILENAME="a b.txt"; size')
    ('attachment', {'filename': 'a b.txt'})
    >>> parse_disposition("inline; filename*=UTF-8''%e2%82%ac")[1]["filename"]
    '€'
    """
    value = CONTROL.sub(" ", value)
    kind, _, _ = value.partition(";")
    parameters: dict[str, str] = {}
    decoded: dict[str, str] = {}
    end = len(kind)
    for _ in range(MAX_MEMBERS):
        match = _PARAMETER.match(value, end)
        if match is None:
            break
        end = match.end()
        name, quoted, plain = match[1].rstrip(" \t").lower(), match[2], match[3]
        if name in parameters or not TOKEN.fullmatch(name):
            continue
        if quoted is not None:
            parameters[name] = unescape(quoted)
        elif plain is not None:
            parameters[name] = text = plain.rstrip(" \t")
            base, star, behind = name.partition("*")
            if base and star and not behind and (whole := _decode(text)) is not None:
                decoded[base] = whole
    return kind.strip(" \t").lower(), parameters | decoded


def _decode(text: str) -> str | None:
    """Decode an ext-value, charset'language'value-chars; `None` if it is none (RFC 8187 §3.2.1)."""
    charset, _, rest = text.partition("'")
    _, quote_sign, encoded = rest.partition("'")
    encoding = _CHARSETS.get(charset.lower())
    if encoding is None or not quote_sign or not _VALUE_CHARS.fullmatch(encoded):
        return None
    try:
        decoded = unquote(encoded, encoding, errors="strict")
    except UnicodeDecodeError:
        return None
    return None if CONTROL.search(decoded) else decoded
