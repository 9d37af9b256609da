"""Any text at all gives settings or a list of findings, never another exception."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.settings import Settings, SettingsError
from gateway.settings.loading import load_sources
from gateway.settings.schema import rows
from gateway.settings.sources import Source
from gateway.settings.watch import Watcher

GOOD = b"providers: {box: {kind: vllm}}\ntiers: [{name: one, deployments: [{provider: box, model: m}]}]\n"
ENV = {"A": "value", "EMPTY": "", "ODD": "\udcff\x00 ${A}", "NUMBER": "7"}
WORDS = sorted({part.removesuffix("[]") for path, _, _ in rows() for part in path.split(".")} - {"NAME"})

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        ["one", "box", "auto", "tier/one", "vllm", "openai", "azure", "none", "${A}", "${ODD}", "${EMPTY}", "${X}",
         "${NUMBER}", "${", "30s", "1h", "0.5", "1e9", "day", "run", "fixed", "true", "UTC", "2027-01-01",
         "sha256:" + "0" * 64, "http://h/v1", "http://[", "http://h:99999", "feature", "[key]"]
    ),
)  # fmt: skip
NAMES = st.one_of(st.sampled_from(WORDS), st.text(max_size=8))
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=25,
)
# Mostly the right shapes with the wrong contents: these reach the checks between sections.
ENTRY = st.dictionaries(st.sampled_from(WORDS), TREES, max_size=6)
SECTIONS = st.fixed_dictionaries(
    {},
    optional={
        name: st.one_of(TREES, ENTRY, st.lists(ENTRY, max_size=3), st.dictionaries(NAMES, ENTRY, max_size=3))
        for name in sorted({path.partition(".")[0].removesuffix("[]") for path, _, _ in rows()})
    },
)


def settings_or_findings(data: bytes) -> Settings | SettingsError:
    try:
        return load_sources([Source(Path("any.yaml"), data)], ENV)
    except SettingsError as error:
        assert error.findings
        return error


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))))
@settings(deadline=None)  # the machine may be busy; nothing here is timed
def test_any_bytes_give_settings_or_findings(data: bytes) -> None:
    settings_or_findings(data)


@given(st.text(alphabet="{}[]:,-?&*!|>'\"%@`#~<=. \n\tanoye01${}", max_size=80))
@settings(deadline=None)  # the machine may be busy; nothing here is timed
def test_any_text_of_yaml_signs_gives_settings_or_findings(text: str) -> None:
    settings_or_findings(text.encode())


@given(SECTIONS)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=100)
def test_any_tree_gives_settings_or_findings_that_point_into_the_file(tree: dict[str, Any]) -> None:
    data = yaml.safe_dump(tree, allow_unicode=False).encode("utf-8", "replace")

    outcome = settings_or_findings(data)

    if isinstance(outcome, SettingsError):
        lines = data.count(b"\n") + 1
        assert all(0 <= finding.place.line <= lines for finding in outcome.findings)
        assert all("\n" not in str(finding) for finding in outcome.findings)


@given(st.integers(min_value=0, max_value=len(GOOD)), st.binary(max_size=4))
@settings(deadline=None)  # the machine may be busy; nothing here is timed
def test_no_damage_to_the_files_changes_the_settings_in_use_unless_it_loads(cut: int, junk: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "farthing.yaml"
        file.write_bytes(GOOD)
        current = load_sources([Source(file, GOOD)], {})
        watcher = Watcher(file, {}, current)
        file.write_bytes(GOOD[:cut] + junk)

        polled = [asyncio.run(watcher.poll()) for _ in range(3)]

        loaded = [one for one in polled if one is not None]
        assert len(loaded) <= 1
        assert watcher.current is (loaded[0] if loaded else watcher.current)
        if not loaded and watcher.finding:
            assert watcher.current is current
