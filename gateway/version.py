"""Version: which Farthing this is."""

from importlib.metadata import PackageNotFoundError, version


def own_version() -> str:
    """The installed version, `0` in a checkout that was never installed."""
    try:
        return version("farthing")
    except PackageNotFoundError:
        return "0"
