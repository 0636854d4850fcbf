"""How much of everything one request may take."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["Limits", "check_limits"]


# Nobody who has to do something in 0 seconds can.
_ABOVE_0 = frozenset({"body_idle_s", "handler_s", "write_stall_s"})


@dataclass(frozen=True, slots=True)
class Limits:
    """
    What one request may cost.

    The application has limits, and a route's `limits=` replaces all of them; it does not extend
    them. Over a limit the client gets 413 for the size of a body, 431 for header fields, 400 for
    counts in the query, 408 when it stopped sending, 503 when the handler took too long. After the
    head has left, a limit aborts the response.

    Raises:
        TypeError: A limit is no number of its kind.
        ValueError: It is below 0; or it is 0 seconds of waiting, which nobody could keep.

    Attributes:
        buffered_body_bytes: Most that `req.bytes()`, `text()` and `json()` gather.
        streamed_body_bytes: Most that a handler may take chunk by chunk; `None` is no bound.
        body_idle_s: Longest wait for the next piece of a body, counted only while a handler waits
            for it.
        body_min_rate: Slowest body, in bytes a second of the time that a handler waits for it. Each
            byte buys its share of a second; a client that is behind by `body_idle_s`, and by 5
            seconds, is too slow. 0 is no bound, for conversations that pause. The default is a
            quarter of the slowest GPRS channel.
        write_stall_s: Longest time in which a client takes no byte of what waits for it. A slow
            client that goes on reading does not stall.
        handler_s: Longest run of a handler, from the arrival of the request; `None` is no bound.
        headers: Most header lines of a request.
        query_pairs: Most pairs in a query string.
        cookies: Most cookies in a request.
        ranges: Most ranges that a Range field may ask for; one with more is ignored.
        form_parts: Most parts of a form, files included; pairs, in a urlencoded one.
        form_field_bytes: Longest value of a form's field: of each part without a file name, in
            `req.parts()` too.
        form_fields_bytes: Most bytes of all fields of a form together, names included.
        file_bytes: Largest file of a form; `None` is no bound. `streamed_body_bytes` bounds the
            whole.
        part_header_bytes: Longest head of a part, all its lines together.
        part_headers: Most lines in the head of a part.
        spool_bytes: Most bytes of the files of `req.form()` that are kept in memory, all together;
            what is more goes to a temporary file.
        decoded_ratio: How many times larger than what came the body may be that
            `req.decode_content()` makes of it.
        json_depth: Deepest nesting of a JSON body.
        line_bytes: Longest line of `req.lines()` and `req.ndjson()`, without its end.
        websocket_message_bytes: Largest message of a WebSocket, after it was decompressed; a text
            counts as UTF-8. Over it the WebSocket is closed with 1009.
        cleanup_s: Time for everything that was given to `req.defer()`, for the application's
            tasks at shutdown, and for a handler whose WebSocket was closed while it read.
    """

    buffered_body_bytes: int = 1024 * 1024
    streamed_body_bytes: int | None = None
    body_idle_s: float = 30
    body_min_rate: float = 240
    write_stall_s: float = 60
    handler_s: float | None = None
    headers: int = 100
    query_pairs: int = 1_000
    cookies: int = 100
    ranges: int = 16
    form_parts: int = 1_000
    form_field_bytes: int = 1024 * 1024
    form_fields_bytes: int = 8 * 1024 * 1024
    file_bytes: int | None = None
    part_header_bytes: int = 8 * 1024
    part_headers: int = 32
    spool_bytes: int = 1024 * 1024
    decoded_ratio: int = 100
    json_depth: int = 200
    line_bytes: int = 1024 * 1024
    websocket_message_bytes: int = 1024 * 1024
    cleanup_s: float = 5

    def __post_init__(self) -> None:
        for field in fields(self):
            value, kinds = getattr(self, field.name), str(field.type)
            if value is None and "None" in kinds:
                continue
            if not isinstance(value, (int, float) if "float" in kinds else int):
                error: type[Exception] = TypeError
            elif value > 0 or (value == 0 and field.name not in _ABOVE_0):  # which NaN is not
                continue
            else:
                error = ValueError
            raise error(f"Limits({field.name}=...) takes {_kind(field.name, kinds)}, not {value!r}")


def _kind(name: str, kinds: str) -> str:
    """
    Say what a limit is, by its name, and by its type as it is written.

    >>> print(_kind("line_bytes", "int"))
    a whole number of bytes, such as 64 * 1024
    >>> print(_kind("handler_s", "float | None"))
    a number of seconds above 0, or None for no limit
    >>> _kind("cleanup_s", "float"), _kind("body_min_rate", "float"), _kind("cookies", "int")
    ('a number of seconds, at least 0', 'a number, at least 0', 'a whole number, at least 0')
    """
    if name.endswith("_bytes"):
        said = "a whole number of bytes, such as 64 * 1024"
    else:
        said = "a number of seconds" if name.endswith("_s") else "a whole number"
        said = "a number" if name.endswith("_rate") else said
        said += " above 0" if name in _ABOVE_0 else ", at least 0"
    return f"{said}, or None for no limit" if "None" in kinds else said


def check_limits(given: object) -> None:
    """
    Refuse what is given as `limits=` and is none.

    Raises:
        TypeError: It is neither `Limits` nor None.

    >>> check_limits({"line_bytes": 100})
    Traceback (most recent call last):
    TypeError: limits= takes Limits, not {'line_bytes': 100}: write limits=Limits(...)
    """
    if not (given is None or isinstance(given, Limits)):
        raise TypeError(f"limits= takes Limits, not {given!r}: write limits=Limits(...)")
