"""Routes of the pages: login, overview, one request; state changes by POST from our own pages only."""

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from farthing.catalog import Right, VirtualKey
from farthing.errors import AuthenticationError
from farthing.record import Record
from gateway.adminview import AdminView
from gateway.explaintold import now_line, tier_rows
from gateway.pages.figures import MOST_ROWS, Overview, read_overview
from gateway.pages.render import HERE, SECURITY, page
from gateway.pages.session import came_from_here, end_session, read_session, start_session
from gateway.periods import moment_of
from gateway.story import SOURCES, charges, tell, tell_corrections, where_else
from ledger import reports
from ledger.adjustments import adjustments_of

_MOST_FORM_BYTES: Final = 4096
_NOT_THIS_KEY: Final = "That is not the key of an administrator."

Page = Callable[[Request, VirtualKey], Awaitable[Response]]


def page_routes(view: AdminView) -> list[BaseRoute]:
    """Every route of the dashboard."""
    pages = Pages(view)
    style = (HERE / "static" / "farthing.css").read_bytes()

    async def sheet(_: Request) -> Response:
        headers = SECURITY | {"cache-control": "public, max-age=300"}
        return Response(style, media_type="text/css", headers=headers)

    return [
        Route("/dashboard", pages.behind_login(pages.overview)),
        Route("/dashboard/requests/{request_id}", pages.behind_login(pages.request)),
        Route("/dashboard/login", pages.login, methods=["GET", "POST"]),
        Route("/dashboard/logout", pages.logout, methods=["POST"]),
        Route("/dashboard/farthing.css", sheet),
    ]


class Pages:
    """The pages over one view."""

    def __init__(self, view: AdminView) -> None:
        self._view = view

    def behind_login(self, show: Page) -> Callable[[Request], Awaitable[Response]]:
        """The page for those who are logged in; others get the login form."""

        async def guarded(request: Request) -> Response:
            key = read_session(request, self._view)
            return _to("/dashboard/login") if key is None else await show(request, key)

        return guarded

    async def overview(self, request: Request, key: VirtualKey) -> Response:
        """The figures, or how to make the first request."""
        now_ns = self._view.clock.wall_ns()
        figures = await run_in_threadpool(self._overview, now_ns)
        problems = await run_in_threadpool(self._view.problems)
        if figures is None:
            base_url = str(request.base_url).rstrip("/")
            return page("empty.html", key=key, problems=problems, base_url=base_url)
        month = moment_of(now_ns).strftime("%B %Y")
        return page("overview.html", key=key, problems=problems, page=figures, month=month, most=MOST_ROWS)

    def _overview(self, now_ns: int) -> Overview | None:
        view = self._view
        return read_overview(view.database, view.budgets(), now_ns, semantic=view.semantic(), caching=view.caching())

    async def request(self, request: Request, key: VirtualKey) -> Response:
        """One request: its story, its bill, its facts."""
        request_id = request.path_params["request_id"]
        record = await run_in_threadpool(find_record, self._view, request_id)
        if record is None:
            text = await run_in_threadpool(tell_absent, self._view, request_id)
            return page("message.html", status=404, key=key, title="No such request", text=text)
        corrections = await run_in_threadpool(adjustments_of, self._view.database, record.id)
        desk = self._view.explain
        found = await run_in_threadpool(desk.of_row, record, corrections) if desk else None
        return page(
            "request.html",
            key=key,
            record=record,
            tiers=tier_rows(found) if found else [],
            basis=found.tokens.basis if found and found.tokens else "",
            now=now_line(found) if found else "",
            story=[*tell(record), *tell_corrections(corrections)],
            charges=charges(record),
            counted=SOURCES[record.usage.source],
            facts=_facts(record),
        )

    async def login(self, request: Request) -> Response:
        """The form, and what comes back from it."""
        if request.method != "POST":
            return page("login.html", key=None, error="")
        if not came_from_here(request):
            return page("login.html", status=403, key=None, error="Please log in on this page.")
        key = self._admin_of(await _form_value(request, "key"))
        if key is None:
            return page("login.html", status=401, key=None, error=_NOT_THIS_KEY)
        response = _to("/dashboard")
        start_session(response, request, self._view, key)
        return response

    def _admin_of(self, secret: str) -> VirtualKey | None:
        try:
            key = self._view.authenticate(secret.strip().encode())
        except AuthenticationError:
            return None
        return key if Right.ADMIN in key.rights else None

    async def logout(self, request: Request) -> Response:
        """Ends the session of this browser."""
        response = _to("/dashboard/login")
        if came_from_here(request):
            end_session(response)
        return response


def find_record(view: AdminView, request_id: str) -> Record | None:
    """The record, None also where there is no ledger yet. Blocks."""
    return reports.record(view.database, request_id) if view.database.is_there() else None


def tell_absent(view: AdminView, request_id: str) -> str:
    """What is said where there is no such record. Blocks."""
    elsewhere = where_else(view.database, request_id) if view.database.is_there() else "It may still be under way."
    return f"The ledger has no request of this id. {elsewhere}"


def _to(path: str) -> Response:
    return RedirectResponse(path, status_code=303, headers=SECURITY)


async def _form_value(request: Request, name: str) -> str:
    """One field of an urlencoded form of at most 4 KiB, empty where it is missing."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_FORM_BYTES:
            return ""
    return parse_qs(body.decode("latin-1"), max_num_fields=16).get(name, [""])[0]


def _facts(record: Record) -> list[tuple[str, str]]:
    tags = record.tags
    return [
        ("Received", moment_of(record.received_ns).isoformat(" ", timespec="milliseconds")),
        ("Tenant", tags.tenant),
        ("Key", tags.key_id),
        ("Feature", tags.feature),
        ("Task", tags.task),
        ("Run", tags.run),
        ("Environment", tags.environment),
        ("Team", tags.team),
        ("Endpoint", record.endpoint),
        ("Streamed", "yes" if record.stream else "no"),
        ("Outcome", record.outcome),
        ("HTTP status", str(record.status)),
        ("Error", record.error_code),
        ("Refused by", record.refused_by.replace("|", ", ", 1)),
        ("Model asked for", record.model_requested),
        ("Model that answered", record.model_served),
        ("Deployment", record.deployment),
        ("Service tier", record.service_tier),
        ("Tier", record.tier),
        ("Reference tier", record.reference_tier),
        ("Policy", record.policy),
        ("Route reason", record.route_reason),
        ("Cache", record.cache),
        ("Finish reason", record.finish_reason),
    ]
