"""The sentences in which the failures of a provider are told: who, what, and which setting to look at.

They never quote a URL, a header or a body: those may hold keys, prompts and answers.
"""

from farthing.catalog import Provider
from farthing.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable


class NoneFree(UpstreamUnreachable):
    """No connection for reasons of our own, such as that all which `upstream.max_connections` allows are busy: the
    provider itself may be well."""


_TIMEOUTS = {
    "first_byte": "sent no answer within",
    "idle": "sent nothing more for",
    "total": "did not finish its answer within",
}


def timed_out(provider: Provider, setting: str) -> UpstreamTimeout:
    """`setting` is first_byte, idle or total."""
    seconds: float = getattr(provider.timeouts, setting)
    return UpstreamTimeout(
        f"Provider '{provider.name}' {_TIMEOUTS[setting]} {seconds:g} s (its setting `timeouts.{setting}`)."
    )


def connect_timed_out(provider: Provider) -> UpstreamUnreachable:
    """Not an UpstreamTimeout: nothing was sent, so nothing can have been billed."""
    return UpstreamUnreachable(
        f"Provider '{provider.name}' took no connection within {provider.timeouts.connect:g} s "
        "(its setting `timeouts.connect`)."
    )


def unreachable(provider: Provider, cause: str) -> UpstreamUnreachable:
    """Nothing was sent."""
    return UpstreamUnreachable(
        f"No connection to provider '{provider.name}' ({cause}): check its `base_url`, and that it is running."
    )


def none_free(provider: Provider) -> UpstreamUnreachable:
    """Nothing was sent, and it is our own bound that kept it back."""
    return NoneFree(
        f"No connection to provider '{provider.name}': all that `upstream.max_connections` allows are busy."
    )


def broken(provider: Provider, what: str) -> UpstreamBroken:
    """`what` completes the sentence `Provider 'x' ...`."""
    return UpstreamBroken(f"Provider '{provider.name}' {what}.")
