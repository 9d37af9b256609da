"""Asker: puts the questions of graders through the gateway, tagged and booked as those of the run."""

from collections.abc import Mapping, Sequence

import httpx

from evals.asked import Asked, Embedded, as_vector
from evals.gateway import AskFailed, Asking, cost_of, post


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
