"""Random ids."""

import secrets
from typing import Final
from uuid import UUID, uuid4

_ALPHABET: Final = "23456789abcdefghjkmnpqrstuvwxyz"  # no 0 o 1 l i: these codes are read aloud


def new_uuid() -> UUID:
    """Returns a random UUID (version 4), the form Supabase Auth uses."""
    return uuid4()


def new_code(length: int = 12) -> str:
    """Returns a short random code that can be read aloud; 12 characters hold 59 bits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
