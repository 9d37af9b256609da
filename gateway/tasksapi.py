"""Tasks API: the system prompts that no task claims, for administrators who label them."""

from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from farthing.catalog import VirtualKey
from gateway.adminview import AdminView
from gateway.taskdesk import prompt_members


def task_routes(
    view: AdminView, require_admin: Callable[[Request], VirtualKey], reply: Callable[..., Response]
) -> list[Route]:
    """The routes, for callers whom `require_admin` lets in."""

    async def prompts(request: Request) -> Response:
        """GET /api/tasks/prompts: by hash, the most frequent first."""
        require_admin(request)
        found = await run_in_threadpool(view.prompts)
        return reply({"prompts": [prompt_members(one) for one in found]})

    return [Route("/api/tasks/prompts", prompts)]
