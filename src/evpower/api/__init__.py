"""The HTTP edge: everything around a request before and after the slices."""

from evpower.api.app import create_app
from evpower.api.gateway import ConnectionBounds, HttpProtocol, WaitingLimit
from evpower.api.messages import choose_language, sentence
from evpower.api.module import module

__all__ = [
    "ConnectionBounds",
    "HttpProtocol",
    "WaitingLimit",
    "choose_language",
    "create_app",
    "module",
    "sentence",
]
