"""The system's clocks: the one home of reading the time."""

import time


class SystemClock:
    """Port Clock over the operating system."""

    def wall_ns(self) -> int:
        """UTC, nanoseconds since 1970."""
        return time.time_ns()

    def monotonic(self) -> float:
        """Seconds; never goes back."""
        return time.perf_counter()
