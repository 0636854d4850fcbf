"""
Middlewares that come with Nardis, for `app.use`, a router, or a route.

They use only what any program can use.
"""

from .compressing import compression
from .cross_origin import OriginCheck, cors
from .request_ids import RequestIDFilter, current_request_id, request_id

__all__ = [
    "OriginCheck",
    "RequestIDFilter",
    "compression",
    "cors",
    "current_request_id",
    "request_id",
]
