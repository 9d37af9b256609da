"""Tags: whom a call serves, and the one rule for what a tag may look like."""

import re
from typing import Final

from farthing.value import Value

UNREGISTERED: Final = "unregistered"
"""The feature under which calls of an unknown feature are counted, where that is allowed."""

SHADOW: Final = "farthing-shadow"
"""The feature to which the gateway books what it asks on its own account, to know how often its caches are wrong."""

MOST_TAG: Final = 128
"""Characters of a tag."""

CACHE: Final = "farthing-cache"
"""The feature to which the gateway books what the semantic cache itself spends: a provider's embeddings."""

_TAG: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")


def is_tag(text: str) -> bool:
    """True for 1 to 128 characters of letters, digits and `. _ : / -`, opening with a letter or digit."""
    return _TAG.fullmatch(text) is not None


class Tags(Value, frozen=True, kw_only=True):
    """The attribution of one call. Empty text means: not given. `tenant` is the organisation."""

    tenant: str
    key_id: str
    feature: str
    task: str = ""
    run: str = ""
    environment: str = ""
    team: str = ""

    def scope(self, name: str) -> str:
        """The value of a budget scope or report dimension, by its name in the configuration."""
        return str(getattr(self, "key_id" if name == "key" else name))
