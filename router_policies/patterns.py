"""Patterns: regular expressions that take time linear in the text, whatever the pattern (RE2)."""

from collections.abc import Callable
from typing import Final

import re2

LONGEST: Final = 512
"""Characters of a pattern."""
MOST_STEPS: Final = 2_000
"""Of the program that a pattern becomes: where RE2's automaton outgrows its memory, each letter costs so many steps."""
TEXT_CHARS: Final = 8_192
"""Of a text that are searched."""
_MEMORY: Final = 1 << 20


class BadPattern(ValueError):
    """The pattern cannot be used; the text says why."""


def head(text: str) -> bytes:
    """The part of a text that is searched, as the engine wants it."""
    return text[:TEXT_CHARS].encode("utf-8", "replace")


def searcher(pattern: str) -> Callable[[bytes], bool]:
    """Whether the pattern occurs in the `head` of a text. Raises BadPattern."""
    if len(pattern) > LONGEST:
        raise BadPattern(f"it is longer than {LONGEST} characters")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        compiled = re2.compile(pattern.encode(), options)
    except re2.error as error:
        said = error.args[0] if error.args else b""
        raise BadPattern(said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)) from None
    if compiled.programsize > MOST_STEPS:
        raise BadPattern("it repeats too much; use smaller numbers in braces")
    search = compiled.search
    return lambda beginning: search(beginning) is not None
