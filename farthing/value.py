"""Value: the base of the frozen values that every request makes."""

import msgspec


class Value(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A frozen value, compared by its fields; changed by `changed`, which gives a new one.

    A msgspec Struct rather than a frozen dataclass: a request makes about ten of these, and a Struct is built in a
    third of the time. Values hold no cycles, so the collector need not look at them. Subclasses repeat
    `frozen=True, kw_only=True`, which type checkers and msgspec ask for.
    """


changed = msgspec.structs.replace
"""A copy of a value with some fields changed."""
