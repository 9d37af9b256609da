"""Cache keys: whose answer it is first, what was asked last, under a keyed hash.

A key is BLAKE2b, keyed with the secret of the installation, over length-prefixed fields: no list of fields can
be read as another, and nobody without the secret can tell from a key what was asked.
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import orjson

from cache.prompts import last_turn
from farthing.call import Call

IGNORED: Final = frozenset({"user", "safety_identifier", "prompt_cache_key", "metadata", "stream", "stream_options"})
"""The only members of a body that may differ between two calls with one answer: they say for whom (`user` and
the two fields that replaced it), for which books (`metadata`) and in which form, never what. `store` is not among
them: who asks the provider to keep the answer must not be given one that was not kept."""

NULL_IS_ABSENT: Final = frozenset(
    {
        *("n", "stop", "seed", "temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias"),
        *("logprobs", "top_logprobs", "max_tokens", "max_completion_tokens", "max_output_tokens"),
        *("tools", "tool_choice", "parallel_tool_calls", "response_format", "service_tier", "store"),
        *("reasoning_effort", "modalities", "audio", "prediction", "instructions", "previous_response_id"),
    }
)
"""Members that may be null by OpenAI's reference, which then means what leaving them out means. SDKs write them so."""

KEY_BYTES: Final = 32
_MAX_SECRET: Final = 64  # BLAKE2b takes no longer key
_EXACT_IN_FLOAT: Final = 2**53


def exact_key(secret: bytes, call: Call, partition: str) -> bytes:
    """32 bytes, equal for two calls exactly when one may be answered with the other's answer.

    Tenant, feature, environment, endpoint and `partition` (whatever else decides the answer: policy, generation
    of the catalogue) come before the body; in the body the order of keys, 1 or 1.0, `n: 1` and the nulls of
    NULL_IS_ABSENT do not count.
    """
    tags = call.tags
    identity = _fields("exact", tags.tenant, tags.feature, tags.environment, call.endpoint, partition)
    return _keyed(secret, identity, _canonical(call.body, call.raw))


def semantic_scope(secret: bytes, call: Call, partition: str, embedder_version: str) -> bytes | None:
    """32 bytes for the calls among which a paraphrase may be served, or None where nothing can be matched.

    It is identity and configuration: all of the exact key but the text of the last user turn. System prompt
    and earlier turns count byte for byte.
    """
    turn = last_turn(call.endpoint, call.body)
    if turn is None:
        return None
    tags = call.tags
    identity = _fields(
        "semantic", tags.tenant, tags.feature, tags.environment, call.endpoint, partition, embedder_version
    )
    return _keyed(secret, identity, _canonical(turn.rest, call.raw))


def _keyed(secret: bytes, identity: bytes, body: bytes) -> bytes:
    key = secret if len(secret) <= _MAX_SECRET else hashlib.blake2b(secret).digest()
    return hashlib.blake2b(identity + body, key=key, digest_size=KEY_BYTES).digest()


@lru_cache(maxsize=4096)
def _fields(*fields: str) -> bytes:
    encoded = [field.encode("utf-8", "surrogatepass") for field in fields]
    return b"".join(len(field).to_bytes(8, "big") + field for field in encoded)


def _canonical(body: Mapping[str, Any], raw: bytes) -> bytes:
    """The last field of the hash, hence not length-prefixed; its first byte tells which form follows."""
    asked = {
        name: value
        for name, value in body.items()
        if name not in IGNORED and not (value is None and name in NULL_IS_ABSENT)
    }
    if type(asked.get("n")) is int and asked["n"] == 1:
        del asked["n"]  # the one default that is the same everywhere; others depend on provider and model
    try:
        text = orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)
        if b".0" in text:
            text = orjson.dumps(_whole_numbers(asked), option=orjson.OPT_SORT_KEYS)
    except (TypeError, RecursionError):
        # Half a surrogate pair, huge integers, very deep nesting: the bytes as they came are a stricter key.
        return b"r" + raw
    return b"c" + text


def _whole_numbers(value: Any) -> Any:
    """The same value with 1.0 written as 1, as far as a float holds whole numbers exactly."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _EXACT_IN_FLOAT else value
    if isinstance(value, dict):
        return {name: _whole_numbers(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(member) for member in value]
    return value
