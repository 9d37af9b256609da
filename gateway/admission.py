"""Admission: from a request to a Call, or to the error that says what to send instead."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from farthing.call import Call, Endpoint
from farthing.catalog import Catalog, Feature, Right, Task, VirtualKey
from farthing.errors import (
    AuthenticationError,
    InvalidParameter,
    InvalidTag,
    PermissionDenied,
    UnregisteredFeature,
)
from farthing.tags import UNREGISTERED, Tags, is_tag
from gateway.jsonbody import parse_object
from gateway.request import Request

MAX_CHOICES: Final = 128
MAX_OUTPUT_TOKENS: Final = 10_000_000
UNBOUNDED_INPUT: Final = 1_000_000
"""Input tokens assumed where the body does not bound them (media by reference, state kept upstream)."""
COMPLETIONS_DEFAULT_CAP: Final = 16
"""OpenAI's documented default of max_tokens for /v1/completions."""

Body = dict[str, Any]


def authenticate(keys: Mapping[bytes, VirtualKey], secret: bytes, now_ns: int) -> VirtualKey:
    """The virtual key of this secret; raises AuthenticationError. Looked up by its full SHA-256, byte for byte."""
    key = keys.get(hashlib.sha256(secret).digest()) if secret else None
    if key is None:
        raise AuthenticationError
    if key.expires_ns is not None and key.expires_ns <= now_ns:
        raise AuthenticationError(f"The key '{key.id}' has expired: ask the platform team for a new one.")
    return key


def admit(request: Request, key: VirtualKey, catalog: Catalog, *, count_unregistered: bool) -> Call:
    """The call in a request. Raises RequestError or PermissionDenied with the parameter at fault."""
    if Right.CALL not in key.rights:
        raise PermissionDenied(f"The key '{key.id}' may not call models: give it the right `call`.")
    body = parse_object(request.body)
    model = body.get("model")
    if type(model) is not str or not model or len(model) > 256:
        raise InvalidParameter("`model` must be the name of a model, or `auto`.", param="model")
    stream = _boolean(body, "stream")
    output_cap, choices = _CHECKS[request.endpoint](body)
    return Call(
        id=request.id,
        endpoint=request.endpoint,
        tags=_tags(request, key, body, catalog, count_unregistered=count_unregistered),
        model=model,
        stream=stream,
        wants_usage=_wants_usage(body),
        raw=request.body,
        body=body,
        received_ns=request.received_ns,
        started=request.started,
        input_bound=_input_bound(request, body),
        output_cap=output_cap,
        choices=choices,
        cache_control=request.cache_control,
    )


# --- tags ----------------------------------------------------------------------------------------


def _tags(request: Request, key: VirtualKey, body: Body, catalog: Catalog, *, count_unregistered: bool) -> Tags:
    metadata = body.get("metadata")
    said: Mapping[str, Any] = metadata if type(metadata) is dict else {}
    feature = request.feature or _said(said, "feature") or key.feature
    if feature and key.features and feature not in key.features:
        raise PermissionDenied(f"The key '{key.id}' may not book to feature '{feature}'.", param="x-farthing-feature")
    if feature not in catalog.features:
        if not count_unregistered:
            raise UnregisteredFeature(
                f"The feature '{feature}' is not registered: {_CLOSE}" if feature else f"No feature given: {_CLOSE}",
                param="x-farthing-feature",
            )
        feature = UNREGISTERED
    registered: Feature | None = catalog.features.get(feature)
    return Tags(
        tenant=key.tenant,
        key_id=key.id,
        feature=feature,
        task=request.task or _said(said, "task"),
        run=request.run or _said(said, "run"),
        environment=request.environment or _said(said, "environment") or key.environment,
        team=key.team or (registered.team if registered else ""),
    )


_CLOSE: Final = "send x-farthing-feature with a name from `features:` in the routing configuration, or add it there."


def _said(metadata: Mapping[str, Any], name: str) -> str:
    """A tag in the body's metadata. That field belongs to the client, so only a malformed tag of ours is an error."""
    value = metadata.get(name)
    if value is None:
        return ""
    if type(value) is not str or not is_tag(value):
        raise InvalidTag(f"metadata.{name}: {InvalidTag.__doc__}", param=f"metadata.{name}")
    return value


def known_task(name: str, source: str, catalog: Catalog, *, refuses: bool = True) -> Task | None:
    """The declared task of that name. A header that names an undeclared one is a mistake worth an error, unless the
    configuration `refuses` none; the body's metadata may use the word for something else, so there it only means: no
    task."""
    task = catalog.tasks.get(name)
    if name and task is None and source == "header" and refuses:
        known = ", ".join(sorted(catalog.tasks)) or "none"
        raise InvalidTag(
            f"The task '{name}' is not declared under `tasks:`; declared: {known}.", param="x-farthing-task"
        )
    return task


# --- parameters: only what policy needs is judged; the rest is upstream's business ---------------


def _check_chat(body: Body) -> tuple[int | None, int]:
    messages = body.get("messages")
    if type(messages) is not list or not messages:
        raise InvalidParameter("`messages` must be a list with at least one message.", param="messages")
    for index, message in enumerate(messages):
        if type(message) is not dict or type(message.get("role")) is not str:
            raise InvalidParameter(f"`messages[{index}]` must be an object with a `role`.", param=f"messages[{index}]")
    cap = _count(body, "max_completion_tokens", MAX_OUTPUT_TOKENS)
    older = _count(body, "max_tokens", MAX_OUTPUT_TOKENS)
    # Providers differ in which of the two wins, so the bound takes the larger.
    return max((value for value in (cap, older) if value is not None), default=None), _choices(body)


def _check_completions(body: Body) -> tuple[int | None, int]:
    prompt = body.get("prompt")
    if type(prompt) is not str and type(prompt) is not list:
        raise InvalidParameter("`prompt` must be a string or a list.", param="prompt")
    prompts = len(prompt) if type(prompt) is list and prompt and type(prompt[0]) in (str, list) else 1
    choices = max(_choices(body), _count(body, "best_of", MAX_CHOICES) or 1) * prompts
    return _count(body, "max_tokens", MAX_OUTPUT_TOKENS), choices


def _check_embeddings(body: Body) -> tuple[int | None, int]:
    given = body.get("input")
    if (type(given) is not str and type(given) is not list) or not given:
        raise InvalidParameter("`input` must be a text, a list of texts, or token ids.", param="input")
    if body.get("stream"):
        raise InvalidParameter("Embeddings cannot be streamed.", param="stream")
    return 0, 1


def _check_responses(body: Body) -> tuple[int | None, int]:
    given = body.get("input")
    if given is not None and type(given) is not str and type(given) is not list:
        raise InvalidParameter("`input` must be a text or a list of items.", param="input")
    if body.get("background"):
        raise InvalidParameter(
            "Background responses finish where the gateway cannot see their cost: send background=false.",
            param="background",
        )
    return _count(body, "max_output_tokens", MAX_OUTPUT_TOKENS), 1


_CHECKS: Final[Mapping[Endpoint, Callable[[Body], tuple[int | None, int]]]] = {
    Endpoint.CHAT: _check_chat,
    Endpoint.COMPLETIONS: _check_completions,
    Endpoint.EMBEDDINGS: _check_embeddings,
    Endpoint.RESPONSES: _check_responses,
}


def _choices(body: Body) -> int:
    return _count(body, "n", MAX_CHOICES) or 1


def _count(body: Body, name: str, most: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= most:
        raise InvalidParameter(f"`{name}` must be a whole number from 1 to {most}.", param=name)
    return value


def _boolean(body: Body, name: str) -> bool:
    value = body.get(name)
    if value is not None and type(value) is not bool:
        raise InvalidParameter(f"`{name}` must be true or false.", param=name)
    return bool(value)


def _wants_usage(body: Body) -> bool:
    options = body.get("stream_options")
    if options is not None and type(options) is not dict:
        raise InvalidParameter("`stream_options` must be an object.", param="stream_options")
    return bool(options and options.get("include_usage"))


def _input_bound(request: Request, body: Body) -> int:
    """Tokens never exceed the bytes of the JSON that carries the text: a byte-level tokeniser emits at most one token
    a byte, and a message's JSON frame (27 bytes and more) outweighs a chat template's tokens for it. Media and
    state kept upstream are not in those bytes."""
    return UNBOUNDED_INPUT if _reaches_beyond(request.endpoint, body) else len(request.body)


_INLINE_PARTS: Final = frozenset({"text", "input_text", "output_text", "refusal", "reasoning_text", "summary_text"})
_INLINE_ITEMS: Final = frozenset(
    {"message", "reasoning", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"}
)
_OWN_TOOLS: Final = frozenset({"function", "custom"})


def _reaches_beyond(endpoint: Endpoint, body: Body) -> bool:
    """True where the model may be given more than the body holds: media, state or templates kept upstream, and tools
    that the provider runs itself. Judged on parsed values, since JSON can spell a name in many ways."""
    if endpoint is Endpoint.CHAT:
        turns = body["messages"]
        if "web_search_options" in body:
            return True
    elif endpoint is Endpoint.RESPONSES:
        turns = body.get("input")
        if body.get("previous_response_id") or body.get("conversation") or body.get("prompt"):
            return True
    else:
        return False
    tools = body.get("tools")
    if type(tools) is list and not all(_is_own(tool) for tool in tools):
        return True
    return type(turns) is list and any(_is_beyond(turn) for turn in turns)


def _is_own(tool: Any) -> bool:
    kind = tool.get("type") if type(tool) is dict else None
    return type(kind) is str and kind in _OWN_TOOLS


def _is_beyond(turn: Any) -> bool:
    if type(turn) is not dict:
        return False
    kind = turn.get("type")
    if kind is not None and (type(kind) is not str or kind not in _INLINE_ITEMS):
        return True
    if kind == "reasoning" and not turn.get("encrypted_content"):
        return True  # its tokens are upstream, under its id
    for parts in (turn.get("content"), turn.get("output")):
        if type(parts) is list and not all(_is_text(part) for part in parts):
            return True
    return False


def _is_text(part: Any) -> bool:
    if type(part) is not dict:
        return type(part) is str
    kind = part.get("type")
    return type(kind) is str and kind in _INLINE_PARTS
