"""Request ids: unguessable, and in the order of time so that the ledger appends instead of scattering."""

import secrets


def new_request_id(wall_ns: int) -> str:
    """`req-` + 12 hex digits of milliseconds + 16 random hex digits."""
    return f"req-{wall_ns // 1_000_000:012x}{secrets.token_hex(8)}"
