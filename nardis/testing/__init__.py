"""A test client: it calls an application in this process, and checks what a server is owed."""

from __future__ import annotations

from .client import Client
from .events import NotAnEventStream, StreamedEvents
from .requests import RequestOptions
from .responses import StreamedResponse, TestResponse
from .rules import AppError, ASGIViolation
from .websocket import TestWebSocket, WebSocketClosed, WebSocketDenied

__all__ = [
    "ASGIViolation",
    "AppError",
    "Client",
    "NotAnEventStream",
    "RequestOptions",
    "StreamedEvents",
    "StreamedResponse",
    "TestResponse",
    "TestWebSocket",
    "WebSocketClosed",
    "WebSocketDenied",
]
