"""References to the environment, and secrets."""

from pathlib import Path

import pytest

from gateway.settings import Settings, SettingsError, load
from gateway.settings.environment import BadReference, interpolate

TREE = """\
providers:
  box: {kind: openai, api_key: KEY}
tiers:
  - {name: one, deployments: [{provider: box, model: m}]}
"""


def load_text(directory: Path, text: str, env: dict[str, str]) -> Settings:
    file = directory / "farthing.yaml"
    file.write_text(text, encoding="utf-8")
    return load(file, env)


def refusal(directory: Path, text: str, env: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        load_text(directory, text, env)
    assert len(caught.value.findings) == 1, caught.value.findings
    return str(caught.value.findings[0]).removeprefix(f"{directory}/farthing.yaml:")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("${A}", "one"),
        ("x-${A}-${B}-y", "x-one--y"),
        ("${NONE:-d}", "d"),
        ("${B:-d}", "d"),
        ("${B:-}", ""),
        ("${NONE:-http://h:1/p}", "http://h:1/p"),
        ("$${A}", "${A}"),
        ("$A and $", "$A and $"),
        ("${NEST}", "${A}"),
    ],
)
def test_a_reference_is_replaced_once(text: str, result: str) -> None:
    assert interpolate(text, {"A": "one", "B": "", "NEST": "${A}"}) == result


@pytest.mark.parametrize("text", ["${", "${}", "${A", "${1A}", "${A-b}", "${A:b}", "${ A}"])
def test_a_broken_reference_is_refused(text: str) -> None:
    with pytest.raises(BadReference, match="broken reference"):
        interpolate(text, {"A": "one"})


def test_a_missing_variable_is_a_finding_with_line_and_name(tmp_path: Path) -> None:
    found = refusal(tmp_path, TREE.replace("KEY", "none") + "data_dir: ${NOWHERE}/data\n", {})

    assert found == ("5:11: data_dir: environment variable NOWHERE is not set; set it, or write ${NOWHERE:-default}")


def test_a_number_may_come_from_the_environment(tmp_path: Path) -> None:
    tree = TREE.replace("KEY", "none") + "server: {port: '${PORT}', workers: ${WORKERS:-2}}\n"

    settings = load_text(tmp_path, tree.replace("${WORKERS:-2}", '"${WORKERS:-2}"'), {"PORT": "5000"})

    assert (settings.server.port, settings.server.workers) == (5000, 2)


def test_a_bad_value_of_a_variable_is_not_shown(tmp_path: Path) -> None:
    found = refusal(tmp_path, TREE.replace("KEY", "none") + "server: {port: '${PORT}'}\n", {"PORT": "hunter2"})

    assert "'${PORT}' is not a whole number" in found
    assert "hunter2" not in found


@pytest.mark.parametrize("written", ["none", "${KEY:-none}", "${KEY:-}"])
def test_a_provider_may_need_no_key(tmp_path: Path, written: str) -> None:
    if written == "${KEY:-}":
        found = refusal(tmp_path, TREE.replace("KEY}", f'"{written}"}}', 1), {})
        assert "the variable is empty" in found
        return

    settings = load_text(tmp_path, TREE.replace("KEY}", f'"{written}"}}', 1), {})

    assert settings.catalog.tiers[0].deployments[0].provider.api_key == ""


@pytest.mark.parametrize(
    "secret", ["sk-literal-secret", "12345678", "${KEY}sk-literal", "${KEY:-sk-literal}", "Bearer ${KEY}"]
)
def test_a_secret_in_a_file_is_refused_and_not_repeated(tmp_path: Path, secret: str) -> None:
    found = refusal(tmp_path, TREE.replace("KEY}", f'"{secret}"}}', 1), {"KEY": "sk-from-environment"})

    assert found.startswith("2:32: providers.box.api_key: a secret may not stand in a file;")
    assert "literal" not in found
    assert "sk-from" not in found


def test_a_secret_that_looks_like_a_number_is_refused_too(tmp_path: Path) -> None:
    found = refusal(tmp_path, TREE.replace("KEY", "12345678"), {})

    assert found.startswith("2:32: providers.box.api_key: ")
    assert "12345678" not in found


@pytest.mark.parametrize("name", ["Authorization", "x-api-key", "Cookie", "x-access-token"])
def test_a_secret_header_in_a_file_is_refused_and_not_repeated(tmp_path: Path, name: str) -> None:
    tree = TREE.replace("KEY}", f"none, headers: {{{name}: hunter2}}}}", 1)

    found = refusal(tmp_path, tree, {})

    assert f"providers.box.headers.{name}: this header looks like a secret" in found
    assert "hunter2" not in found


@pytest.mark.parametrize("value", ["", "two words", "line\nbreak", "schlüssel"])
def test_a_key_that_cannot_be_one_is_refused_and_not_repeated(tmp_path: Path, value: str) -> None:
    found = refusal(tmp_path, TREE.replace("KEY}", '"${KEY}"}', 1), {"KEY": value})

    assert "2:32: providers.box.api_key: the variable" in found
    assert not value or value not in found


def test_a_virtual_key_in_place_of_its_hash_is_not_repeated(tmp_path: Path) -> None:
    found = refusal(tmp_path, TREE.replace("KEY", "none") + "keys: [{id: k, hash: fk-literal-key, tenant: t}]\n", {})

    assert "5:22: keys[0].hash: the text (not shown) cannot be used here;" in found
    assert "literal" not in found


@pytest.mark.parametrize(
    "written",
    [
        "http://user:hunter2@proxy:3128",
        "http://hunter2@proxy:3128",
        "http://user:hunter2${TAIL}@proxy:3128",
        "http://user:${PASSWORD:-hunter2}@proxy:3128",
        "${PROXY:-http://user:hunter2@proxy:3128}",
    ],
)
def test_a_password_of_the_proxy_in_a_file_is_refused_and_not_repeated(tmp_path: Path, written: str) -> None:
    tree = TREE.replace("KEY", "none") + f"upstream: {{client: pyreqwest, proxy: '{written}'}}\n"

    found = refusal(tmp_path, tree, {"TAIL": "x"})

    assert found.startswith("5:38: upstream.proxy: a proxy's password may not stand in a file;")
    assert "hunter2" not in found


@pytest.mark.parametrize(
    "value",
    ["hunter2", "ftp://u:hunter2@h", "http://h:hunter2", "http://", "http://u:hunter2@h/path", "http://h?hunter2"],
)
def test_a_proxy_that_cannot_be_one_is_refused_and_not_repeated(tmp_path: Path, value: str) -> None:
    tree = TREE.replace("KEY", "none") + "upstream: {client: pyreqwest, proxy: '${PROXY}'}\n"

    found = refusal(tmp_path, tree, {"PROXY": value})

    assert found.startswith("5:38: upstream.proxy: the text (not shown) is not the address of a proxy;")
    assert "hunter2" not in found


@pytest.mark.parametrize(
    "value", ["http://proxy:3128", "https://[::1]:3128/", "http://u:p%40@proxy", "http://proxy.example"]
)
def test_the_whole_address_of_the_proxy_may_come_from_the_environment(tmp_path: Path, value: str) -> None:
    tree = TREE.replace("KEY", "none") + "upstream: {client: pyreqwest, proxy: '${PROXY}'}\n"

    assert load_text(tmp_path, tree, {"PROXY": value}).upstream.proxy == value
