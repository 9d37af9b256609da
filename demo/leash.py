"""Runs a module as the main program and ends the process when the parent's end of its stdin closes.

Started by path (`python demo/leash.py MODULE ARGUMENTS`), not imported. The kernel closes the pipe however
the parent dies, SIGKILL included, on Linux and macOS alike; Linux's PR_SET_PDEATHSIG instead fires when
the parent's *thread* ends, which would kill a server that was started from a short-lived thread.
"""

import os
import runpy
import signal
import sys
import threading
from pathlib import Path

PATIENCE_SECONDS = 5.0


def end_with_parent() -> None:
    """Blocks until stdin is at its end, then asks the main program to end, and insists after 5 s."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(PATIENCE_SECONDS)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # workers which the program started, and itself
    os._exit(1)


def main() -> None:
    """Put the project's root where this file's folder was on the path, then become the module."""
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    module = sys.argv[1]
    sys.argv = sys.argv[1:]
    threading.Thread(target=end_with_parent, name="leash", daemon=True).start()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
