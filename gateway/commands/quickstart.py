"""Quickstart: a real small model and the gateway, in one command and without a key."""

from pathlib import Path
from typing import Annotated

import typer


def quickstart(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="TCP port of the gateway.", show_default=False)
    ] = None,
    data_dir: Annotated[Path, typer.Option(help="Where the demo keeps its state and configuration.")] = Path(
        ".farthing"
    ),
) -> None:
    """Start a real small model on this machine and the gateway in front of it; Ctrl-C ends both."""
    from gateway import quickstart as demo

    demo.run(port=port, data_dir=data_dir)
