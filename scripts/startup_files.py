"""Fails where an installed package would run its own code at every start of Python.

python -I -S scripts/startup_files.py VENV

Python executes `.pth` files, `sitecustomize.py` and `usercustomize.py` of an environment before anything else, in
every process: stolen releases of well-known packages have hidden there. Run with -S, so that nothing of the kind
runs in this check.
"""

import sys
from pathlib import Path

SETUPTOOLS = (
    "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; enabled = os.environ.get(var, 'local') == 'local'; "
    "enabled and __import__('_distutils_hack').add_shim();"
)
CHECKOUT = Path(__file__).resolve().parent.parent


def is_expected(file: Path) -> bool:
    """True for the two files that our own installation writes, judged by their content too."""
    content = file.read_text(encoding="utf-8", errors="replace").strip()
    if file.name == "distutils-precedence.pth":
        return content == SETUPTOOLS
    return file.name.startswith("__editable__.farthing-") and content == str(CHECKOUT)


def unexpected_files(venv: Path) -> list[Path]:
    """The files in the environment's site-packages that start with Python and are not ours."""
    found: list[Path] = []
    for folder in sorted({path.resolve() for path in venv.glob("lib*/python3*/site-packages")}):
        for pattern in ("*.pth", "sitecustomize*", "usercustomize*"):
            found += [file for file in sorted(folder.glob(pattern)) if file.is_dir() or not is_expected(file)]
    return found


def main() -> int:
    """Exit status: 0 clean, 1 something found or nothing to look at."""
    venv = Path(sys.argv[1])
    if not list(venv.glob("lib*/python3*/site-packages")):
        print(f"{venv} is no virtual environment", file=sys.stderr)
        return 1
    found = unexpected_files(venv)
    for file in found:
        print(f"{file}: would run at every start of Python; find out which package wrote it", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
