"""The pages on errors and on the HTTP door name everything that the code can answer with."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from farthing.call import Endpoint
from farthing.errors import FarthingError
from farthing.record import CacheOutcome
from gateway import admission, http, jsonbody, wire

ROOT = Path(__file__).parents[2]
ERRORS = (ROOT / "docs/errors.md").read_text()
DOOR = (ROOT / "docs/http.md").read_text()
SPEAKING = ("gateway/http.py", "gateway/request.py", "gateway/replies.py", "gateway/wire.py", "farthing/errors.py")
SOURCES = {name: (ROOT / name).read_text() for name in SPEAKING}


def kinds(parent: type[FarthingError] = FarthingError) -> Iterator[type[FarthingError]]:
    if parent.__module__ in ("farthing.errors", wire.__name__):
        yield parent
    for child in parent.__subclasses__():
        yield from kinds(child)


@pytest.mark.parametrize("kind", sorted(set(kinds()), key=lambda kind: kind.__name__))
def test_every_error_is_documented_with_its_code_and_status(kind: type[FarthingError]) -> None:
    row = re.search(rf"^\| `{kind.code}` \| (\S+) \| [^|]* \| [^|]+ \| [^|]+ \|$", ERRORS, re.MULTILINE)

    assert row is not None, f"docs/errors.md has no row for {kind.code}"
    # Parents of a family are never raised themselves where a child has their code with another status.
    assert row[1] in ("none", *(str(other.status) for other in kinds() if other.code == kind.code))


def test_no_error_is_documented_that_does_not_exist() -> None:
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", ERRORS, re.MULTILINE))

    assert documented == {kind.code for kind in kinds()}


def test_every_header_in_the_code_is_documented() -> None:
    named = {
        name
        for text in SOURCES.values()
        for name in re.findall(r'"(x-[a-z-]+[a-z]|x-ratelimit-|retry-after|retry-after-ms|age|openai-[a-z-]+)"', text)
    }

    assert {"x-farthing-cache", "x-ratelimit-", "x-api-key", "retry-after"} <= named
    assert {name for name in named if f"| `{name}" not in DOOR} == set()


def test_every_farthing_header_that_is_documented_exists() -> None:
    code = "".join(SOURCES.values())

    assert [
        name for name in re.findall(r"^\| `(x-farthing-[a-z-]+)`", DOOR, re.MULTILINE) if f'"{name}"' not in code
    ] == []


def test_every_endpoint_and_cache_outcome_is_documented() -> None:
    assert all(f"| `/v1/{endpoint.value}` |" in DOOR for endpoint in Endpoint)
    assert all(f"`{outcome.value}`" in DOOR for outcome in CacheOutcome)


@pytest.mark.parametrize(
    "limit",
    [
        f"{jsonbody.MAX_DEPTH} levels",
        f"{jsonbody.MAX_KEYS:,}",
        f"{jsonbody.MAX_CONTAINERS:,}; {jsonbody.MAX_QUOTES:,}",
        f"`n`, `best_of` | {admission.MAX_CHOICES} ",
        f"{admission.MAX_OUTPUT_TOKENS:,}",
        f"{wire.PatientProtocol.head_s:.0f} s from the connection",
        f"{wire.PatientProtocol.body_s:.0f} s from the head",
        f"{wire.PatientProtocol.write_s:.0f} s without taking",
        f"{wire.PatientProtocol.slack_bytes // 2**20} MiB | 431",
    ],
)
def test_every_limit_is_documented_as_it_is(limit: str) -> None:
    assert limit in DOOR
    assert http.LINGER_S == 1.0, "docs/http.md says: a second"
