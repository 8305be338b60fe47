"""What people read, by code, in Russian, Kyrgyz and English. Every raised code has all three."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from evpower.api.messages import en, ky, ru

LANGUAGES: Final[Mapping[str, Mapping[str, str]]] = {"ru": ru.TEXTS, "ky": ky.TEXTS, "en": en.TEXTS}
DEFAULT: Final = "ru"
# What a code without a text of its own says; by HTTP status.
_BY_STATUS: Final = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "body_too_slow",
    409: "conflict",
    413: "too_large",
    422: "invalid_request",
    429: "too_many_requests",
    500: "internal_error",
}


def text(code: str, status: int, language: str, params: Mapping[str, str | int]) -> str:
    """Returns the sentence for a person; a code without a text gets that of its status."""
    texts = LANGUAGES[language]
    pattern = texts.get(code) or texts[_BY_STATUS.get(status, "service_unavailable")]
    try:
        return pattern.format_map(params)
    except (KeyError, IndexError, ValueError):
        return texts[_BY_STATUS.get(status, "service_unavailable")]


def sentence(codes: Iterable[str], language: str = DEFAULT) -> str:
    """Returns the sentence of the first code that has one. Raises LookupError if none has."""
    texts = LANGUAGES[language]
    for code in codes:
        if code in texts:
            return texts[code]
    raise LookupError("no code has a text")


@lru_cache(maxsize=512)
def choose_language(accept_language: str) -> str:
    """The language of ours that the header likes best; Russian when it names none."""
    best, best_weight = DEFAULT, 0.0
    for part in accept_language[:200].split(","):
        tag, _, rest = part.strip().partition(";")
        language = tag.strip().lower().split("-", 1)[0]
        weight = _weight(rest)
        if language in LANGUAGES and weight > best_weight:
            best, best_weight = language, weight
    return best


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
