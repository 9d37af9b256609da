"""Session: who is logged in to the pages, as a cookie that only the installation's secret can make.

The value is `KEY_ID.EXPIRES.MAC`. The MAC also covers the hash of the key, so a key that was removed or
replaced ends its sessions at once; there is no state to keep.
"""

import hmac
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from farthing.catalog import Right, VirtualKey
from gateway.adminview import AdminView
from gateway.periods import NS

COOKIE: Final = "farthing_session"
COOKIE_PATH: Final = "/dashboard"
LASTS_S: Final = 12 * 3600


def _mac(secret: bytes, key: VirtualKey, expires_s: int) -> str:
    text = f"farthing session\0{key.id}\0{key.sha256.hex()}\0{expires_s}"
    return hmac.digest(secret, text.encode(), "sha256").hex()


def start_session(response: Response, request: Request, view: AdminView, key: VirtualKey) -> None:
    """Log the browser in: HttpOnly, SameSite=Strict, Secure wherever the page came by TLS."""
    expires_s = view.clock.wall_ns() // NS + LASTS_S
    response.set_cookie(
        COOKIE,
        f"{key.id}.{expires_s}.{_mac(view.secret, key, expires_s)}",
        max_age=LASTS_S,
        path=COOKIE_PATH,
        # A header may only make the cookie stricter, so it need not be trusted.
        secure="https" in (request.url.scheme, request.headers.get("x-forwarded-proto")),
        httponly=True,
        samesite="strict",
    )


def end_session(response: Response) -> None:
    """Log the browser out."""
    response.delete_cookie(COOKIE, path=COOKIE_PATH, httponly=True, samesite="strict")


def read_session(request: Request, view: AdminView) -> VirtualKey | None:
    """The admin key of a live session, or None."""
    rest, _, mac = request.cookies.get(COOKIE, "").rpartition(".")
    key_id, _, expires = rest.rpartition(".")
    if not (expires.isascii() and expires.isdigit() and len(expires) < 16):
        return None
    now_ns = view.clock.wall_ns()
    key = view.find_key(key_id)
    if key is None or Right.ADMIN not in key.rights or int(expires) * NS <= now_ns:
        return None
    if key.expires_ns is not None and key.expires_ns <= now_ns:
        return None
    genuine = hmac.compare_digest(mac.encode(), _mac(view.secret, key, int(expires)).encode())
    return key if genuine else None


def came_from_here(request: Request) -> bool:
    """False for a form that another site made the browser send.

    Browsers send Sec-Fetch-Site, older ones Origin; a client that sends neither holds no cookie to abuse.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    # The host alone: behind a proxy that ends TLS the scheme here is not the browser's.
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")
