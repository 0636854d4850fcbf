"""
The frames of WebSockets (RFC 6455 §5), and their compression (RFC 7692), without any `await`.

hypercorn has wsproto for these. It is not used beyond the handshake, for what it cannot do: a
message has no bound before it is in memory, nor has what a compressed one inflates to, and an echo
of 1 KiB costs twice the time.
"""
