"""Statement: what a provider says about one answer: its tokens, in which tier they were served, what they cost."""

from farthing.money import Nano
from farthing.usage import TOKEN_CLASSES, Usage
from farthing.value import Value


class Portion(Value, frozen=True, kw_only=True):
    """The part of an answer that one model made. `model` is empty for the model that was asked; `kind` is the
    provider's word for it (Anthropic: message, compaction, advisor_message).

    `extras` are counts by name of what has a price beside the token classes: tokens that are in a class already but
    cost something else than it (`cached_audio`, `cached_image`, `input_video`, `output_image`,
    `output_video`), and things that are
    not in any (`output_citation`, `web_searches`, `storage_searches`). See `ledger.prices`.
    """

    usage: Usage
    model: str = ""
    kind: str = ""
    extras: tuple[tuple[str, int], ...] = ()


class Statement(Value, frozen=True, kw_only=True):
    """All portions of an answer. `service_tier` is the provider's word, empty where it gave none; `stated_cost` is
    the provider's own figure in nano-dollars, None where it gave none: it is kept beside ours and never replaces it."""

    portions: tuple[Portion, ...]
    service_tier: str = ""
    stated_cost: Nano | None = None

    @property
    def usage(self) -> Usage:
        """The tokens of all portions together."""
        if len(self.portions) == 1:
            return self.portions[0].usage
        return total_usage(self.portions)

    @property
    def extras(self) -> dict[str, int]:
        """The counts of all portions together."""
        counts: dict[str, int] = {}
        for portion in self.portions:
            for name, count in portion.extras:
                counts[name] = counts.get(name, 0) + count
        return counts


def total_usage(portions: tuple[Portion, ...]) -> Usage:
    """The sum over portions, class by class."""
    return Usage(**{name: sum(getattr(portion.usage, name) for portion in portions) for name in TOKEN_CLASSES})
