"""How a slice asks for texts in the caller's language; bootstrap gives it the messages of `api`."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

# Returns the sentence, in a language, of the first code that has one.
Sentence: TypeAlias = Callable[[Sequence[str], str], str]
# Returns the language of ours that an Accept-Language header likes best.
ChooseLanguage: TypeAlias = Callable[[str], str]
