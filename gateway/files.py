"""Files: where one installation keeps its state."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The files of one installation, below `data_dir`."""

    ledger: Path
    answers: Path
    meanings: Path
    scorecards: Path
    secret: Path

    @classmethod
    def below(cls, data_dir: Path) -> "Files":
        """The files of this installation; nothing is created."""
        return cls(
            ledger=data_dir / "ledger.db",
            answers=data_dir / "cache.db",
            meanings=data_dir / "semantic.db",
            scorecards=data_dir / "evals.db",
            secret=data_dir / "secret",
        )
