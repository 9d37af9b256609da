"""Revisions: which model answered behind a name, as far as its provider tells, and whether that one was tested."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

TEXT_MAX: Final = 120
"""Characters of a name that are kept: names come from providers."""
KEPT_MAX: Final = 32
"""Revisions of a tier that are told apart; a provider that tells a new one each time tells nothing."""


class Revision(NamedTuple):
    """`served`: the model that the answer names, such as gpt-4o-2024-08-06 behind gpt-4o; `system`: its
    system_fingerprint. Empty where the provider says nothing."""

    served: str
    system: str

    @property
    def text(self) -> str:
        """As it stands on a scorecard: the model, and behind a space the fingerprint if there is one."""
        return f"{self.served} {self.system}".rstrip()


def revision_of(answer: Mapping[str, Any]) -> Revision:
    """That of a plain answer of any endpoint."""
    return Revision(_name(answer.get("model")), _name(answer.get("system_fingerprint")))


def _name(value: Any) -> str:
    return "_".join(value[:TEXT_MAX].split()) if isinstance(value, str) else ""


def read_revision(text: str) -> Revision:
    """The revision whose `text` this is."""
    served, _, system = text.partition(" ")
    return Revision(served, system)


@dataclass(frozen=True, slots=True)
class Tested:
    """The revisions that were seen when a tier was tested."""

    served: frozenset[str]
    systems: frozenset[str]

    @property
    def tells_systems(self) -> bool:
        """True where a new fingerprint means a change: while the tier was tested there was one for each model at most.
        Providers that answer from several backends at once rotate theirs, and so a further one says nothing."""
        return 0 < len(self.systems) <= len(self.served)

    def change(self, revision: Revision) -> str:
        """What is new about a revision, as a phrase; empty where it was tested, or nothing can be said."""
        if self.served and revision.served and revision.served not in self.served:
            return f"model {revision.served} in place of {_list(self.served)}"
        if self.tells_systems and revision.system and revision.system not in self.systems:
            return f"fingerprint {revision.system} in place of {_list(self.systems)}"
        return ""


def read_tested(texts: Iterable[str]) -> Tested:
    """From the texts of the revisions that were seen."""
    seen = [read_revision(text) for text in texts]
    return Tested(
        frozenset(revision.served for revision in seen if revision.served),
        frozenset(revision.system for revision in seen if revision.system),
    )


def _list(names: frozenset[str]) -> str:
    return " or ".join(sorted(names)[:3])
