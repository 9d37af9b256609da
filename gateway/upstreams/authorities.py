"""The operator's own certificate authorities: a PEM file, read before anything is sent."""

import ssl
from pathlib import Path

from farthing.errors import ConfigError


def trust(context: ssl.SSLContext, file: Path) -> None:
    """Trust the authorities of a PEM bundle too. Raises ConfigError where it cannot be used."""
    try:
        context.load_verify_locations(file)
    except ssl.SSLError:
        raise ConfigError(
            f"The CA file {file} (`upstream.ca_file`) holds no PEM certificate, or a broken one: mend it."
        ) from None
    except OSError as error:
        raise ConfigError(
            f"The CA file {file} (`upstream.ca_file`) cannot be read: {error.strerror}. Check path and rights."
        ) from None
