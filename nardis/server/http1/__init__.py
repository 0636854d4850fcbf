"""
HTTP/1.1, by pull: what is not asked for is not read, and what was written is with the system.

One task has the connection. It reads a head, calls the application, and goes on when that has
returned; `receive` reads the socket, `send` writes to it. So nothing lies in a queue, no second
task can fail beside the first, and a client is made to wait by not being read.

Rules, beside those of RFC 9110 and RFC 9112; the tests cite them by number.
 H1  A head is read in its turn: not before the request before it was answered. So a fault in it is
     answered after what is due, and what follows a request that closes is never looked at.
 H2  While a request is under way, at most one piece (64 KiB) beyond it is read.
 H3  The head of a response leaves with the first message of its body, in one segment.
 H4  A response that was not ended looks cut: the connection ends before its last chunk or length,
     by a reset where the end of the connection would be the end of the body. (A unix socket cannot
     be reset: there a client of HTTP/1.0 does not see it.)
 H5  A call has its own `receive` and `send`. After the end of its response they reach nobody
     else's.
"""

from __future__ import annotations

__all__: list[str] = []
