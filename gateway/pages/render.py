"""Rendering: templates to HTML answers, escaped by default, under a policy that runs no script at all."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from farthing.money import format_usd, usd_from_nano
from gateway.cachemembers import share, states
from gateway.periods import moment_of

HERE: Final = Path(__file__).parent
SECURITY: Final = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def page(template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """The template with these values as a complete answer."""
    text = _templates().get_template(template).render(values)
    return HTMLResponse(text, status_code=status, headers=SECURITY)


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.filters.update(
        usd=usd,
        usd_exact=format_usd,
        percent=percent,
        fine_percent=share,
        states=states,
        count=lambda number: f"{number:,}",
        words=lambda text: str(text).replace("_", " "),
        moment=lambda ns: moment_of(ns).strftime("%m-%d %H:%M:%S"),
        utc=lambda text: datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M"),
        iso=lambda ns: moment_of(ns).isoformat(),
    )
    return templates


def usd(amount: int) -> str:
    """Nano-dollars for people: cents above a dollar, else three significant digits."""
    value = usd_from_nano(abs(amount))
    sign = "-" if amount < 0 else ""
    if value >= 1 or not value:
        return f"{sign}${value:,.2f}"
    places = min(9, 2 - value.adjusted())
    return f"{sign}${value:.{places}f}"


def percent(share: float) -> str:
    """A share in whole percent, with one decimal where whole ones would say too little."""
    number = share * 100
    return f"{number:.1f}%" if 0 < number < 10 or 99 < number < 100 else f"{number:.0f}%"
