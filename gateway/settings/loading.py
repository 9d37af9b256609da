"""Loading: from files to settings in one step, with every finding at once."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from gateway.settings.build import build
from gateway.settings.findings import Findings
from gateway.settings.messages import explain
from gateway.settings.references import check_references
from gateway.settings.routing_forms import TreeForm
from gateway.settings.sources import Source, read_sources
from gateway.settings.tree import Tree, join
from gateway.settings.values import Settings


def load(path: Path, env: Mapping[str, str]) -> Settings:
    """The settings in the `*.yaml` files of a directory, or in one file; `env` serves `${NAME}` references.

    Raises SettingsError with every finding, each with file, line, column and field.
    """
    return load_sources(read_sources(path), env)


def load_sources(sources: Sequence[Source], env: Mapping[str, str]) -> Settings:
    """The settings in files read before (at least one). Raises SettingsError."""
    findings = Findings()
    tree = join(sources, env, findings)
    form = _fill(tree, findings)
    # A file left out would make every name that it declares look unknown.
    if tree.whole:
        check_references(tree, findings)
    findings.raise_if_any()
    assert form is not None  # without a form there are findings
    return build(form, tree, sources)


def _fill(tree: Tree, findings: Findings) -> TreeForm | None:
    try:
        return TreeForm.model_validate(tree.data)
    except ValidationError as error:
        explain(error, tree, findings)
        return None
