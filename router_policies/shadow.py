"""The policy `shadow`: the reference answers, and a candidate is asked besides, off the path, for comparison."""

from farthing.routing import Choice, RouteQuestion
from router_policies.eligible import not_demoted


class Shadow:
    """Asks `tier`, else the task's cheapest candidate, beside a `share` of the calls. Its answers reach nobody."""

    def __init__(self, share: float, tier: str = "") -> None:
        self._share, self._tier = share, tier

    def choose(self, question: RouteQuestion) -> Choice:
        task = question.task
        if task is None:
            return Choice(tier=question.catalog.default_tier, reason="reference: no task given")
        names = [tier.name for tier in not_demoted(question, task)]
        asked = next((name for name in names if self._tier in ("", name)), "")
        if not asked:
            return Choice(tier=task.reference, reason=f"reference: {task.name} has no candidate to be asked besides")
        reason = f"reference: {task.reference}, and {asked} is asked besides for {self._share:.3g} of the calls"
        return Choice(tier=task.reference, reason=reason, shadow=asked, shadow_share=self._share)
