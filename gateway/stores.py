"""Stores: the shared half of the exact cache, as the configuration names it, for gateways and for commands."""

from typing import Final

from cache.epochs import EpochRows
from cache.stores.epochs import SQLiteEpochs
from cache.stores.sqlite import SQLiteStore
from farthing.ports import Clock, Store
from gateway.files import Files
from gateway.settings import Settings

MEBIBYTE: Final = 1024 * 1024


def open_epochs(settings: Settings, clock: Clock) -> EpochRows:
    """Where purges are written. Raises OSError or sqlite3.Error where that cannot be used."""
    return SQLiteEpochs.open(_files(settings).answers, clock)


def open_store(settings: Settings) -> Store:
    """Where answers are kept. Raises OSError or sqlite3.Error where that cannot be used."""
    return SQLiteStore.open(_files(settings).answers, max_bytes=settings.cache.exact.disk_mb * MEBIBYTE)


def _files(settings: Settings) -> Files:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return Files.below(settings.data_dir)
