"""Files: where one installation keeps its state."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The files of one installation, below `data_dir`."""

    ledger: Path
    answers: Path
    leases: Path
    meanings: Path
    scorecards: Path
    prompts: Path
    classifier: Path
    secret: Path
    archive: Path

    @classmethod
    def below(cls, data_dir: Path) -> "Files":
        """The files of this installation; nothing is created."""
        return cls(
            ledger=data_dir / "ledger.db",
            answers=data_dir / "cache.db",
            leases=data_dir / "cache.leases",
            meanings=data_dir / "semantic.db",
            scorecards=data_dir / "evals.db",
            prompts=data_dir / "tasks.db",
            classifier=data_dir / "task-classifier.json",
            secret=data_dir / "secret",
            archive=data_dir / "archive",
        )


def made_once(path: Path, content: bytes) -> bytes:
    """The bytes of a private file (mode 0600), written if there is none. Whole or not at all, and of several
    processes that make it at one moment the first wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_bytes()
