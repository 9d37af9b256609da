"""Watch: what a team says of itself, without which some surprises cannot be told from plans."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Environments by their purpose, features that evals are booked to, features that somebody answers for, and the
    texts that each feature has embedded, where that is known better than from its hours."""

    production: Set[str] = frozenset({"", "production"})
    ci: Set[str] = frozenset({"ci"})
    evals: Set[str] = frozenset({"evals"})
    owned: Set[str] = frozenset()
    corpora: Mapping[str, int] = field(default_factory=dict)
