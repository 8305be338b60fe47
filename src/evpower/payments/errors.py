"""Errors of provider calls; each says whether the provider may have created the invoice.

ProviderError
├── ProviderRefused      the provider refused: it created nothing
├── ProviderUnavailable  no response, or an unreadable one: it may have created the invoice
└── UnknownToProvider    the provider has no such invoice
"""


class ProviderError(Exception):
    """A provider call failed; the text is for logs, never for drivers."""


class ProviderRefused(ProviderError):
    """The provider refused: it created nothing."""


class ProviderUnavailable(ProviderError):
    """The outcome is unknown: the provider was down, slow or broken, or its response was lost."""


class UnknownToProvider(ProviderError):
    """The provider has no such invoice."""
