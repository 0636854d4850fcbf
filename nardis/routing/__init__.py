"""Routing: which function answers which method and path."""

from .router import Layer, Route, Router, RouterRoute

__all__ = ["Layer", "Route", "Router", "RouterRoute"]
