"""
The response of an application that makes no ETags: `Nardis(etag=False)`.

It has a class of its own, so that no other response need ask.
"""

from __future__ import annotations

from ._sending.head import OTHER
from ._sending.verbs import Verb
from .response import Response

__all__ = ["UntaggedResponse", "untag"]


class UntaggedResponse(Response):
    """A response that gives its body no ETag; one of the handler means what it always does."""

    __slots__ = ()

    def send(self, body: object = None, *, more: bool = False) -> Verb:
        """Send the whole answer: see `Response.send`."""
        reads, self._reads = self._reads, OTHER  # as for a method whose answers have no ETag
        try:
            verb = super().send(body, more=more)
        finally:
            self._reads: int = reads
        return verb if more else self._compared(verb)

    def json(self, obj: object) -> Verb:
        """Send *obj* as JSON: see `Response.json`."""
        reads, self._reads = self._reads, OTHER
        try:
            verb = super().json(obj)
        finally:
            self._reads = reads
        return self._compared(verb)

    def _compared(self, verb: Verb) -> Verb:
        """Make it a 304 if the client has what the handler says that it is."""
        is_named = self.peek(b"etag") is not None or self.peek(b"last-modified") is not None
        if is_named and self._status == 200 and self._reads and not self.sealed:
            self._spare()
        return verb


def untag(res: Response) -> None:
    """
    Turn a response that was just made into one without ETags.

    Which class it has is not asked where it is made: that would cost plain requests.
    """
    res.__class__ = UntaggedResponse
