"""Prompt hash: the one name of a system prompt, whatever editors and SDKs did to its white space."""

import hashlib
import unicodedata
from typing import Final

PREFIX: Final = "sha256:"


def normalised(text: str) -> str:
    """Unicode NFC; every line break a line feed; no white space at the ends of lines; no blank lines around the whole.

    Everything else counts: letters in another case, or a blank line in the middle, are another prompt.
    """
    whole = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join([line.rstrip() for line in whole.split("\n")]).strip()


def prompt_hash(text: str) -> str:
    """64 hexadecimal digits: SHA-256 of the normalised text in UTF-8; empty for a text of white space alone."""
    normal = normalised(text)
    return hashlib.sha256(normal.encode("utf-8", "surrogatepass")).hexdigest() if normal else ""
