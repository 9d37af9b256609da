"""What is written about the settings is current: schema, documentation, modelines."""

import json
from pathlib import Path

import jsonschema
import yaml

from gateway.settings import demo, schema

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "config").glob("*.yaml"))
DEMO = sorted(Path(demo.__file__).parent.glob("*.yaml"))


def test_the_committed_schema_is_current() -> None:
    committed = (ROOT / "config" / "schemas" / schema.FILE_NAME).read_text(encoding="utf-8")

    assert committed == schema.text(), "run: python -c 'from gateway.settings import schema; ...write(...)'"


def test_the_documentation_has_every_setting_with_its_default_and_meaning() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")

    missing = [line for line in (schema.table() + "\n" + schema.kinds_table()).splitlines() if line not in page]
    assert missing == []


def test_every_setting_has_a_sentence() -> None:
    assert [path for path, _, about in schema.rows() if not about.endswith(".")] == []


def test_every_shipped_file_points_an_editor_to_the_schema() -> None:
    assert len(SHIPPED) == len(DEMO) == 5
    for file in [*SHIPPED, *DEMO]:
        first = file.read_text(encoding="utf-8").splitlines()[0]
        assert first == f"# yaml-language-server: $schema=schemas/{schema.FILE_NAME}", file


def test_every_shipped_file_satisfies_the_schema() -> None:
    document = json.loads(schema.text())
    jsonschema.Draft202012Validator.check_schema(document)
    validator = jsonschema.Draft202012Validator(document)

    for file in [*SHIPPED, *DEMO]:
        # The base loader leaves text as it is; editors resolve numbers, which the loader below does too.
        data = json.loads(json.dumps(yaml.safe_load(file.read_text(encoding="utf-8")), default=str))
        assert [error.message for error in validator.iter_errors(data)] == [], file


def test_the_demo_package_lists_every_file_it_ships() -> None:
    assert {file.name for file in DEMO} == set(demo.FILES)
