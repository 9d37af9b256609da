"""Watch: notices that the files changed and loads them; a bad change keeps the old settings and says why."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.settings.findings import Finding, Place, SettingsError
from gateway.settings.loading import load_sources
from gateway.settings.sources import Source, digest, list_files, read_sources, stamps
from gateway.settings.values import Settings


class Watcher:
    """Compares the files with `current` each time it is asked; whoever asks swaps the settings.

    A change is loaded once two polls in a row see the same content: a file that is just being written could be
    half of one, and half a file can be valid. So a change takes effect one to two polls later.
    """

    def __init__(self, path: Path, env: Mapping[str, str], current: Settings) -> None:
        self.current = current
        self.finding: SettingsError | None = None
        """Why the files on disk are not in use; None while they are."""
        self.path, self._env = path, env
        self._stamps: Any = None
        self._seen = self._settled = current.sources_digest

    async def poll(self) -> Settings | None:
        """New settings, or None where nothing changed or what changed cannot be used (then see `finding`)."""
        try:
            stamp = stamps(list_files(self.path))
            if stamp == self._stamps and self._seen == self._settled:
                return None
            self._stamps = stamp
            sources = read_sources(self.path)
        except (SettingsError, OSError) as error:
            self._seen = self._settled = ""
            self._stamps = None
            self.finding = error if isinstance(error, SettingsError) else _vanished(self.path, error)
            return None
        return self._consider(sources)

    def _consider(self, sources: tuple[Source, ...]) -> Settings | None:
        content = digest(sources)
        if content == self.current.sources_digest:
            self._seen = self._settled = content
            self.finding = None
            return None
        if content != self._seen:
            self._seen = content
            return None
        if content == self._settled:
            return None
        self._settled = content
        return self._load(sources)

    def _load(self, sources: tuple[Source, ...]) -> Settings | None:
        try:
            loaded = load_sources(sources, self._env)
        except SettingsError as error:
            self.finding = error
            return None
        self.finding = None
        old, self.current = self.current, loaded
        return None if loaded.fingerprint == old.fingerprint else loaded


def _vanished(path: Path, error: OSError) -> SettingsError:
    problem = f"cannot be read ({error.strerror or error}); check path and rights"
    return SettingsError([Finding(Place(str(path)), "", problem)])
