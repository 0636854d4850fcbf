"""
One call of the application: its request body, its response, and who ends its handler.

Three promises rest on this room: bytes flow, work follows the client, endings are honest. These are
its rules; comments elsewhere cite them by number.

The response (`exchange`) moves `IDLE → STARTED → ENDED | ABORTED`, and never back.
 R1  One head: `http.response.start` leaves once, and before any body message.
 R2  The final message leaves once, after the handler returned or ended the response. It never
     leaves after the handler failed past the head, or was cancelled there by a middleware.
 R3  Nothing leaves after the final message, after an abort, or after the client left.
 R4  With a declared Content-Length the body is exactly as long, or the exchange is aborted. A write
     beyond it sends nothing.
 R5  A chunk goes out whole, in the order of the calls, whoever calls. A cancellation that is due
     comes before a chunk, and leaves no trace; on asyncio one that the same task asks for is due
     when the event loop has had a turn. A chunk whose sending was interrupted tears the response:
     it can only be aborted.
 R6  HEAD, 204, 205 and 304 send no body byte.
 R7  What filters hold back leaves within two ticks, and pings after their silence, in turn with the
     chunks of R5 (`pulse`). A stream has a task for that only while something is being sent.

The request body (`intake`, on `inflow`) has one reader at a time.
 Q1  One task at a time is inside the server's `receive`: the reader, or the watcher of this
     exchange.
 Q2  Every body byte reaches the reader once, in order, or is discarded after the answer. A
     cancelled read loses none.
 Q3  The reader asks for no more than it takes. The watcher takes one message ahead; 13 once one lay
     unread for a tick.
 Q4  After `http.disconnect` neither `receive` nor `send` of the server is called again.

A WebSocket (`handshake`, then `socket`) is accepted or denied once, and closed once; R5 and Q1 hold
for its messages too.
 W1  Nothing is sent before the accept, after the Close of either side, or after a denial but that.
 W2  The first end counts, whoever hears it: the reader, the watcher or the runner, or our own
     close. A handler that reads has `cleanup_s` then. So has one that has not read all that came
     before an orderly Close. Any other is cancelled at once, unless it opted out.
 W3  No message is larger than `websocket_message_bytes`: 1009. The watcher takes 64 KiB ahead, and
     none where the runner tells of the end.
 W4  The end of the handler is said to the client: 1000 if it returned, 1003, 1007, 1008 or 1009 for
     what the client did wrong, 1011 if it failed or took too long, 1012 at the shutdown.

The end of the handler (`lifetime`) has one reason.
 C1  `close_reason` is set once: `gone`, `stalled`, `deadline` or `shutdown`; the first one stays.
 C2  A disconnect cancels the handler, unless the final message has begun or the route opted out.
     Stalls, deadlines and the shutdown always do.
 C3  Watcher and pulse end with their exchange, and let nothing but cancellation out.

One exchange is one failure domain: what leaves it, except its own cancellation, is its failure and
reaches nothing else.

Costs decide the shape. A cancel scope is affordable for each request, a task is not. So one sweeper
looks at all exchanges four times a second, but for WebSockets at which nothing can be due, and
starts a watcher only for those that are older than that.
"""

from __future__ import annotations

__all__: list[str] = []
