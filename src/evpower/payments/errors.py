"""Errors of providers: what happened to the question, for use cases that must decide what is known.

ProviderError
├── ProviderRefused      it answered no: nothing was made there
├── ProviderUnavailable  no answer, or none to be understood: it may have been made there
└── UnknownToProvider    it answered that it knows no such invoice
"""


class ProviderError(Exception):
    """A provider could not do what was asked; the text is for logs, never for drivers."""


class ProviderRefused(ProviderError):
    """It answered no: nothing was made there."""


class ProviderUnavailable(ProviderError):
    """Nobody knows: it was down, slow, broken, or the answer was lost on the way."""


class UnknownToProvider(ProviderError):
    """It knows no such invoice."""
