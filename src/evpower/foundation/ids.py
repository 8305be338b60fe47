"""Random ids."""

import secrets
from typing import Final
from uuid import UUID, uuid4

_ALPHABET: Final = "23456789abcdefghjkmnpqrstuvwxyz"  # no 0 o 1 l i: people read these aloud


def new_uuid() -> UUID:
    """A random UUID (version 4), the form Supabase Auth uses."""
    return uuid4()


def new_code(length: int = 12) -> str:
    """A short random code a person can read aloud; 12 characters hold 59 bits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
