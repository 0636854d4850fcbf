"""
What Nardis costs beside raw ASGI and its peers.

Run `nox -s bench`, or `python -m benchmarks`; see docs/performance.md.
"""
