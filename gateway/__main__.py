"""`python -m gateway` is the command `farthing`."""

from gateway.cli import main

main()
