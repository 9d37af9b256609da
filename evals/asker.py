"""Asker: puts the questions of graders through the gateway, tagged and booked as those of the run."""

from collections.abc import Mapping, Sequence

import httpx

from evals.asked import Asked, Asker, Embedded, as_vector
from evals.gateway import AskFailed, Asking, RunStopped, cost_of, post
from evals.purse import Purse


class GatewayAsker:
    """An asker that is a client of the gateway, like the run itself."""

    def __init__(self, client: httpx.AsyncClient, asking: Asking) -> None:
        self._client, self._asking = client, asking

    async def ask(self, model: str, messages: Sequence[Mapping[str, str]], *, max_tokens: int, attempt: int) -> Asked:
        """What the model says, at temperature 0. A further attempt has a seed of its own, so that no cache answers it
        with what the first one got. Raises AskFailed or RunStopped."""
        body = {"model": model, "messages": list(messages), "max_tokens": max_tokens, "temperature": 0}
        if attempt:
            body["seed"] = attempt
        response, answered = await post(self._client, "chat/completions", body, self._asking)
        try:
            text = answered["choices"][0]["message"].get("content") or ""
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise AskFailed("malformed_answer") from error
        return Asked(text=text if isinstance(text, str) else "", cost=cost_of(response.headers))

    async def embed(self, model: str, texts: Sequence[str]) -> Embedded:
        """The vectors of the texts. Raises AskFailed, RunStopped or Ungraded."""
        body = {"model": model, "input": list(texts), "encoding_format": "float"}
        response, answered = await post(self._client, "embeddings", body, self._asking)
        try:
            rows = sorted(answered["data"], key=lambda row: int(row["index"]))
            vectors = [as_vector(row["embedding"]) for row in rows]
        except (KeyError, TypeError, ValueError) as error:
            raise AskFailed("malformed_answer") from error
        return Embedded(vectors=vectors, cost=cost_of(response.headers))


class CappedAsker:
    """An asker that asks no further than a purse reaches, and pays from it. Raises RunStopped where it does not."""

    def __init__(self, asker: Asker, purse: Purse) -> None:
        self._asker, self._purse = asker, purse

    async def ask(self, model: str, messages: Sequence[Mapping[str, str]], *, max_tokens: int, attempt: int) -> Asked:
        """As the asker does."""
        self._check()
        asked = await self._asker.ask(model, messages, max_tokens=max_tokens, attempt=attempt)
        self._purse.graded(asked.cost)
        return asked

    async def embed(self, model: str, texts: Sequence[str]) -> Embedded:
        """As the asker does."""
        self._check()
        embedded = await self._asker.embed(model, texts)
        self._purse.graded(embedded.cost)
        return embedded

    def _check(self) -> None:
        if not self._purse.affords_grade:
            raise RunStopped(self._purse.refusal)
