"""The HTTP edge: everything around a request before and after the slices."""

from evpower.api.app import create_app
from evpower.api.gateway import ConnectionBounds, HttpProtocol, WaitingLimit
from evpower.api.messages import sentence
from evpower.api.module import module

__all__ = ["ConnectionBounds", "HttpProtocol", "WaitingLimit", "create_app", "module", "sentence"]
