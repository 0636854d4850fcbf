"""
Verbs that were called and never awaited: found by name, wherever in a handler they stand.

A verb is a plain function that returns a coroutine. The response keeps the last one; when the next
verb is called and that one has not begun, it is kept beside it, because
`gather(res.write(a), res.write(b))` calls both before it awaits either. Who does not await them has
lost a piece of the body, so

 - a verb that may end the response looks first whether all before it have begun,
 - the end of a handler, and of `res.sse()`, looks too,
 - and so does each verb that is called a second later, because an endless loop has no end.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final, Protocol, TypeAlias, cast

from ..errors import ForgottenAwait
from .reply import ReplyHead

__all__ = ["Called", "Verb", "Verbs"]

Verb: TypeAlias = Coroutine[Any, Any, None]

# Verbs that were called one behind the other may wait so long for their turn.
PATIENCE_S: Final = 1.0

SOMEBODY: Final = "a handler"


class Called(Protocol):
    """
    What a verb returned: a coroutine, as CPython makes it.

    Attributes:
        cr_frame: None when it has ended, or was closed.
        cr_running: It runs now.
        cr_suspended: It waits.
    """

    __name__: str
    cr_frame: Any
    cr_running: bool
    cr_suspended: bool

    def close(self) -> None:
        """Let it not be awaited any more."""
        ...


class Verbs(ReplyHead):
    """
    A response that knows which of its verbs were called.

    Attributes:
        unawaited: The last verb called. A `write()` that begins behind the head takes itself out,
            and so does a whole answer: then nobody need look whether it has begun; see `Calls` of
            the exchange.
        earlier: Those before it that had not begun when the next was called; None if there were
            none.
    """

    __slots__ = ("earlier", "unawaited")

    # Set by the response's constructor.
    unawaited: Called | None
    earlier: list[Called] | None

    sends_events: bool = False  # on the class, as the next: few responses do
    _missed_at: float = 0.0

    def miss(self, verb: Called) -> None:
        """
        Note that *verb* had not ended when the next one was called.

        Raises:
            ForgottenAwait: It, or one before it, waits for too long already.
        """
        if not _is_untouched(verb):
            return  # another task awaits it
        now = self._exchange.sweeper.clock()
        earlier = self.earlier
        if earlier is None or not _is_untouched(earlier[0]):
            # Those behind it may have begun too; each list is gone through once.
            self.earlier = [each for each in earlier or () if _is_untouched(each)]
            self.earlier.append(verb)
            self._missed_at = now
        elif now - self._missed_at <= PATIENCE_S:
            earlier.append(verb)
        else:
            raise ForgottenAwait(self.forgotten() or "write", SOMEBODY)

    def _keep(self, verb: Verb, name: str) -> Verb:
        last, called = self.unawaited, cast(Called, verb)
        if last is not None and last is not called and last.cr_frame is not None:
            try:
                self.miss(last)
            except BaseException:
                verb.close()
                raise
        # The name shows in tracebacks, in "was never awaited" warnings, and in ForgottenAwait.
        called.__name__ = name
        if self.earlier is not None:
            self.earlier.append(called)  # to be closed with them
            called = cast(Called, self._behind(called))
            called.__name__ = name
        self.unawaited = called
        return cast(Verb, called)

    def keep(self, verb: Verb, name: str) -> None:
        """For Nardis itself: keep a verb that ends nothing, as `write()` does with its own."""
        last = self.unawaited
        if last is not None and last.cr_frame is not None:
            try:
                self.miss(last)
            except BaseException:
                verb.close()
                raise
        called = cast(Called, verb)
        called.__name__ = name
        self.unawaited = called

    async def _behind(self, verb: Any) -> None:
        """Await *verb*, which may end the response, if all before it have begun."""
        name = self._first_of([each for each in self.earlier or () if each is not verb])
        if name is not None:
            verb.close()
            raise ForgottenAwait(name, SOMEBODY)
        self.earlier = None
        await verb

    def forgotten(self) -> str | None:
        """Return the name of the first verb that was called and has not begun; close them all."""
        verbs, self.earlier = self.earlier or [], None
        last = self.unawaited
        if last is not None and _is_untouched(last):
            verbs.append(last)
            self.unawaited = None
        return self._first_of(verbs)

    def _first_of(self, verbs: list[Called]) -> str | None:
        untouched = [each for each in verbs if _is_untouched(each)]
        for each in untouched:
            each.close()
        if not untouched:
            return None
        names = {"answer": "send", "write": "events.send" if self.sends_events else "write"}
        name = untouched[0].__name__
        return names.get(name, name)


def _is_untouched(verb: Called) -> bool:
    """Whether nobody has begun to await *verb*."""
    return verb.cr_frame is not None and not (verb.cr_suspended or verb.cr_running)
