"""Schemas: whether a JSON value fits a schema that a caller sent, in bounded time.

A caller's schema is anybody's: patterns can backtrack for hours, and a few nested `anyOf` take 2^n steps. So keywords
with patterns are not looked at, and a validation that takes too many steps ends without a finding.
"""

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final

MOST_STEPS: Final = 5_000
"""Keywords looked at, some microseconds each."""
_NOT_LOOKED_AT: Final = (
    *("pattern", "patternProperties", "uniqueItems", "format"),
    *("unevaluatedProperties", "unevaluatedItems"),
)
"""Patterns, what compares each item with each other, and what walks the schema again."""
_LEFT: ContextVar[list[int]] = ContextVar("steps left")


class _TooManySteps(Exception):
    """The validation is given up."""


def fits(schema: Mapping[str, Any], value: Any) -> bool:
    """True where the value is as the schema says, as far as that can be told; also for a schema that cannot be used,
    since the provider has taken it. Nothing that it refers to is fetched."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    _LEFT.set([MOST_STEPS])
    try:
        validator = _bounded(validator_for(schema, default=Draft202012Validator))
        return bool(validator(schema, registry=Registry()).is_valid(value))
    except (SchemaError, Unresolvable, _TooManySteps, RecursionError):
        return True
    except (TypeError, ValueError, AttributeError, KeyError, ArithmeticError):
        return True  # a keyword has a value that none may have


@lru_cache(maxsize=16)
def _bounded(base: Any) -> Any:
    """A validator class that counts its steps."""
    from jsonschema.validators import extend

    counted = {name: _counted(check) for name, check in base.VALIDATORS.items()}
    return extend(base, counted | dict.fromkeys(_NOT_LOOKED_AT, _nothing))


def _counted(check: Any) -> Any:
    def checked(validator: Any, keyword: Any, instance: Any, schema: Any) -> Iterator[Any]:
        left = _LEFT.get()
        left[0] -= 1
        if left[0] < 0:
            raise _TooManySteps
        if not (check.__name__ == "additionalProperties" and "patternProperties" in schema):
            yield from check(validator, keyword, instance, schema) or ()

    return checked


def _nothing(*_: object) -> tuple[()]:
    return ()
