"""Environment references in the operator's files: `${NAME}` and `${NAME:-default}`, replaced once."""

import re
from collections.abc import Mapping
from typing import Final

_REFERENCE: Final = re.compile(
    r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<colon>:-(?P<default>[^}]*))?\}|\$\{", re.ASCII
)
# A secret's default may only say that there is none.
_SECRET: Final = re.compile(r"none|\$\{[A-Za-z_][A-Za-z0-9_]*(?::-(?:none)?)?\}", re.ASCII)


class BadReference(ValueError):
    """A reference that cannot be replaced; the message says why and what to do, without any value."""


def interpolate(text: str, env: Mapping[str, str]) -> str:
    """The text with every reference replaced; what a variable holds is not looked at again.

    `$${` stands for a literal `${`. As in a shell, the default also serves where the variable is empty.
    Raises BadReference.
    """

    def replace(found: re.Match[str]) -> str:
        name = found["name"]
        if name is None:
            if found[0] == "$${":
                return "${"
            raise BadReference("holds a broken reference; write ${NAME} or ${NAME:-default}, or $${ for a literal ${")
        if found["colon"]:
            return env.get(name) or found["default"]
        if name not in env:
            raise BadReference(f"environment variable {name} is not set; set it, or write ${{{name}:-default}}")
        return env[name]

    return _REFERENCE.sub(replace, text)


def is_secret_reference(text: str) -> bool:
    """True for `none`, `${NAME}`, `${NAME:-}` and `${NAME:-none}`: the ways to give a secret."""
    return _SECRET.fullmatch(text) is not None
