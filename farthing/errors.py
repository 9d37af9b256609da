"""The error tree: every error a caller can meet, with its HTTP status, its OpenAI code and what to do.

A class carries data; its docstring is the sentence that opens the message.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from farthing.money import Nano, format_usd

NEVER_RETRY: Final = {"x-should-retry": "false"}
RETRY_SOON: Final = {"x-should-retry": "true", "retry-after": "2"}


class FarthingError(Exception):
    """Farthing could not answer."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"
    code: ClassVar[str] = "internal_error"
    retry: ClassVar[Mapping[str, str]] = {}

    def __init__(self, message: str = "", *, param: str | None = None) -> None:
        super().__init__(message or self.__doc__)
        self.param = param

    @property
    def message(self) -> str:
        """The whole sentence shown to the caller."""
        return str(self.args[0])

    def extra(self) -> dict[str, Any]:
        """Further members of the error object."""
        return {}

    def envelope(self) -> dict[str, Any]:
        """OpenAI's error envelope: `{"error": {message, type, param, code}}`."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
                **self.extra(),
            }
        }


# --- what the caller sent ------------------------------------------------------------------------


class RequestError(FarthingError):
    """The request cannot be served as it is."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class InvalidJSON(RequestError):
    """The body is not valid JSON: send one UTF-8 JSON object without NaN, Infinity or duplicate keys."""

    code = "invalid_json"


class InvalidParameter(RequestError):
    """A parameter has a value that cannot be used."""

    code = "invalid_parameter"


class InvalidTag(RequestError):
    """A tag may hold letters, digits and . _ : / - only, at most 128 characters."""

    code = "invalid_tag"


class UnregisteredFeature(RequestError):
    """The feature is not registered: add it under `features:` in config/routing.yaml."""

    code = "unregistered_feature"


class BodyTooLarge(RequestError):
    """The body is larger than `server.max_body_bytes` allows."""

    status = 413
    code = "request_too_large"


class UnsupportedEncoding(RequestError):
    """Compressed request bodies are not accepted: send the JSON as it is, without Content-Encoding."""

    status = 415
    code = "unsupported_content_encoding"


class HeadersTooLarge(RequestError):
    """The request has more or longer headers than the gateway accepts."""

    status = 431
    code = "headers_too_large"


class MethodNotAllowed(RequestError):
    """This path does not take that HTTP method."""

    status = 405
    code = "method_not_allowed"


class NotFound(RequestError):
    """There is nothing at this path: the OpenAI endpoints lie below /v1, as in base_url http://HOST:PORT/v1."""

    status = 404
    code = "not_found"


class NotCached(RequestError):
    """No cache holds an answer to this call, and `cache-control: only-if-cached` asks for nothing else."""

    status = 504  # RFC 9111, 5.2.1.7
    code = "not_cached"
    retry = NEVER_RETRY


class ModelNotFound(RequestError):
    """No deployment serves that model: ask GET /v1/models for the list, or send `auto`."""

    status = 404
    code = "model_not_found"


class AuthenticationError(FarthingError):
    """No valid key: send `Authorization: Bearer <virtual key>`; `farthing keys new` makes one."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class PermissionDenied(FarthingError):
    """This key may not do that."""

    status = 403
    type = "permission_error"
    code = "permission_denied"


# --- money: fails closed -------------------------------------------------------------------------


class MoneyError(FarthingError):
    """The books do not allow this call."""

    status = 402
    type = "insufficient_quota"
    code = "budget_exceeded"
    retry = NEVER_RETRY


class BudgetExceeded(MoneyError):
    """A hard budget has too little left for this call's worst case."""

    def __init__(
        self,
        *,
        budget: str,
        scope: str,
        window: str,
        limit: Nano,
        spent: Nano,
        held: Nano,
        needed: Nano,
        resets_at: str | None,
    ) -> None:
        super().__init__(
            f"Budget '{budget}' ({scope}, per {window}) has {format_usd(max(limit - spent - held, 0))} USD left of "
            f"{format_usd(limit)}; this call may cost up to {format_usd(needed)} USD. Lower max_tokens, "
            f"{_way_out(resets_at)}"
        )
        self.left, self.needed = Nano(max(limit - spent - held, 0)), needed
        self.budget = {
            "id": budget,
            "scope": scope,
            "window": window,
            "limit_usd": format_usd(limit),
            "spent_usd": format_usd(spent),
            "reserved_usd": format_usd(held),
            "estimate_usd": format_usd(needed),
            "resets_at": resets_at,
        }

    def extra(self) -> dict[str, Any]:
        return {"budget": self.budget}


def _way_out(resets_at: str | None) -> str:
    """What helps, beside a smaller call. Budgets of a run alone never reset."""
    if resets_at is None:
        return "raise the cap of this run (POST /api/runs with a higher `cap_usd`), or begin another run."
    return f"wait (it resets at {resets_at}), or ask the platform team to raise it under `budgets:`."


class RunClosed(MoneyError):
    """The run has been closed, or its time is over: begin another one, under another name."""

    code = "run_closed"


class UnpricedModel(MoneyError):
    """The model has no price, and Farthing never books an unknown price as zero."""

    status = 400
    type = "invalid_request_error"
    code = "unpriced_model"

    def __init__(self, provider: str, model: str, prices_file: str = "config/prices.yaml") -> None:
        super().__init__(
            f"No price is known for model '{model}' of provider '{provider}'. Add an entry with provider: {provider}, "
            f"model: {model}, input_per_mtok and output_per_mtok under `prices:` in {prices_file}.",
            param="model",
        )
        self.provider, self.model = provider, model


class LedgerUnavailable(MoneyError):
    """The ledger cannot be written, so nothing may be spent: try again shortly."""

    status = 503
    type = "api_error"
    code = "ledger_unavailable"
    retry = RETRY_SOON


# --- the other side ------------------------------------------------------------------------------


class UpstreamError(FarthingError):
    """The model provider could not answer."""

    status = 502
    code = "upstream_error"


class UpstreamUnreachable(UpstreamError):
    """No connection to the model provider."""

    code = "upstream_unreachable"


class UpstreamTimeout(UpstreamError):
    """The model provider did not answer in time."""

    status = 504
    code = "upstream_timeout"


class UpstreamBroken(UpstreamError):
    """The model provider sent something that cannot be relayed."""

    code = "upstream_broken"


class Overloaded(FarthingError):
    """The gateway is shutting down or too busy: try again shortly."""

    status = 503
    code = "overloaded"
    retry = RETRY_SOON


class CacheUnavailable(FarthingError):
    """The purge could not be written where all gateways read it, so nothing was purged: try again."""

    status = 503
    code = "cache_unavailable"
    retry = RETRY_SOON


# --- the platform team's files -------------------------------------------------------------------


class ConfigError(FarthingError):
    """The configuration cannot be used; the message lists every finding with file, line and field."""

    code = "invalid_configuration"
