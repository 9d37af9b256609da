"""Tests. Linear algebra has one thread in each of the processes that run them: several would wait for one another."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is loaded, so before anything else
