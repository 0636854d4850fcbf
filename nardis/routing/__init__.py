"""Routing: which function answers which method and path."""

from .layer import Layer, Route
from .matchers import (
    BaseHTTPMatcher,
    Delete,
    Get,
    Head,
    Options,
    Patch,
    Post,
    Put,
    default_404,
    default_500,
)
from .pattern import PathMatcher, RegexPattern
from .router import Router, RouterRoute

__all__ = [
    "BaseHTTPMatcher",
    "Delete",
    "Get",
    "Head",
    "Layer",
    "Options",
    "Patch",
    "PathMatcher",
    "Post",
    "Put",
    "RegexPattern",
    "Route",
    "Router",
    "RouterRoute",
    "default_404",
    "default_500",
]
