"""Task examples: labelled requests from files, and the classifier that is made of them, to and from its file."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from farthing.call import Endpoint
from farthing.catalog import Catalog
from farthing.errors import ConfigError, InvalidJSON
from farthing.tasksigns import Reading
from gateway.files import Files
from gateway.jsonbody import parse_object
from gateway.settings.findings import Finding, Place, SettingsError
from gateway.settings.values import Settings, TaskSettings
from router_policies.centroid import BadArtefact, CentroidClassifier, from_text, to_text
from router_policies.signals import Signals
from router_policies.training import Example, digest_of

MOST_BYTES: Final = 16 * 2**20
MOST_LINES: Final = 5_000
_SHAPES: Final = 'write {"text": …}, {"system": …, "user": …}, or the body of a request'


def read_examples(catalog: Catalog, settings: TaskSettings) -> list[Example]:
    """The examples of every task that has some, and those of none. Raises SettingsError with every finding."""
    files = {task.name: Path(task.signs.examples) for task in catalog.tasks.values() if task.signs.examples}
    if settings.other_examples is not None:
        files[""] = settings.other_examples
    findings: list[Finding] = []
    found = [example for task, file in files.items() for example in _of_file(file, task, settings.reading, findings)]
    if findings:
        raise SettingsError(findings)
    return found


def _of_file(file: Path, task: str, reading: Reading, findings: list[Finding]) -> Iterator[Example]:
    try:
        with file.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as error:
        findings.append(Finding(Place(str(file)), "", f"cannot be read ({error.strerror or error}); check the path"))
        return
    lines = data.splitlines()
    if len(data) > MOST_BYTES or len(lines) > MOST_LINES:
        problem = f"is larger than {MOST_BYTES} bytes or {MOST_LINES} lines; a few hundred examples are enough"
        findings.append(Finding(Place(str(file)), "", problem))
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            text = _text_of(parse_object(line), reading)
        except InvalidJSON:
            findings.append(Finding(Place(str(file), number, 1), "", f"is no JSON object; {_SHAPES}"))
            continue
        if text.strip():
            yield Example(task, text)
        else:
            findings.append(Finding(Place(str(file), number, 1), "", f"holds no text; {_SHAPES}"))


def _text_of(members: Mapping[str, Any], reading: Reading) -> str:
    if type(text := members.get("text")) is str:
        return text
    if "messages" in members or "input" in members:
        endpoint = Endpoint.CHAT if "messages" in members else Endpoint.RESPONSES
        return Signals(endpoint, members, reading).text
    said = [{"role": role, "content": members[role]} for role in ("system", "user") if type(members.get(role)) is str]
    return Signals(Endpoint.CHAT, {"messages": said}, reading).text


# --- the classifier's file -----------------------------------------------------------------------


def write_classifier(path: Path, classifier: CentroidClassifier) -> None:
    """Whole or not at all, so that a gateway that runs never reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(to_text(classifier), encoding="utf-8")
    draft.replace(path)


def classifier_file(settings: Settings) -> Path:
    """Where the classifier of these settings lies, if there is one."""
    return settings.tasks.classifier or Files.below(settings.data_dir).classifier


def classifier_problems(settings: Settings) -> list[str]:
    """What is wrong with the examples and with the classifier that was made of them; nothing where there are none. A
    classifier that nobody named need not be there yet."""
    path = classifier_file(settings)
    try:
        examples = read_examples(settings.catalog, settings.tasks)
        if settings.tasks.classifier is None and not path.exists():
            return []
        classifier = read_classifier(path, settings.catalog)
    except SettingsError as error:
        return [str(finding) for finding in error.findings]
    except ConfigError as error:
        return [error.message]
    if classifier is not None and classifier.source != digest_of(examples):
        return [f"{path} was made of other examples: run `farthing tasks train`."]
    return []


def read_classifier(path: Path, catalog: Catalog) -> CentroidClassifier | None:
    """The classifier in the file, None where there is none or no task has examples. Raises ConfigError where it cannot
    be used."""
    wanted = _with_examples(catalog)
    if not wanted:
        return None
    try:
        classifier = from_text(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"There is no {path}: tasks are not told by examples until `farthing tasks train`.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({type(error).__name__}).") from None
    except BadArtefact as error:
        raise ConfigError(f"{path} cannot be used: {error}.") from None
    if classifier.tasks != wanted:
        names = ", ".join(sorted(classifier.tasks ^ wanted))
        raise ConfigError(
            f"{path} does not know the tasks that have examples (they differ in {names}): run `farthing tasks train`."
        )
    return classifier


def knows_tasks(classifier: CentroidClassifier, catalog: Catalog) -> bool:
    """Whether it knows those tasks that have examples, and no others."""
    return classifier.tasks == _with_examples(catalog)


def _with_examples(catalog: Catalog) -> frozenset[str]:
    return frozenset(task.name for task in catalog.tasks.values() if task.signs.examples)
