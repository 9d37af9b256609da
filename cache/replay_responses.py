"""The events of a Responses stream, made from the finished response."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

_BEFORE: Final[Mapping[str, Any]] = {"status": "in_progress", "output": [], "usage": None, "completed_at": None}


def cut_up(text: str, pieces: int) -> list[str]:
    """The text in at most so many pieces of one length, but for the last; at least one."""
    length = max(1, -(-len(text) // max(1, pieces)))
    return [text[at : at + length] for at in range(0, len(text), length)] or [text]


def events(response: Mapping[str, Any], pieces: int = 1) -> Iterator[dict[str, Any]]:
    """From `response.created` to `response.completed`, each with its `sequence_number`; texts in so many pieces."""
    for number, event in enumerate(_events(response, pieces)):
        yield {**event, "sequence_number": number}


def _events(response: Mapping[str, Any], pieces: int) -> Iterator[dict[str, Any]]:
    begun = {name: _BEFORE.get(name, value) for name, value in response.items()}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(response["output"]):
        yield from _item(index, item, pieces)
    yield {"type": "response.completed", "response": dict(response)}


def _item(index: int, item: Mapping[str, Any], pieces: int) -> Iterator[dict[str, Any]]:
    unfinished = {"status": "in_progress"} if "status" in item and item["status"] is not None else {}
    place = {"item_id": item.get("id", ""), "output_index": index}
    empty: dict[str, Any]
    match item["type"]:
        case "message":
            empty, inner = {"content": []}, _message(item, place, pieces)
        case "function_call":
            empty, inner = {"arguments": ""}, _function_call(item, place)
        case _:  # reasoning
            empty, inner = {"summary": []}, _reasoning(item, place)
    yield {"type": "response.output_item.added", "output_index": index, "item": {**item, **empty, **unfinished}}
    yield from inner
    yield {"type": "response.output_item.done", "output_index": index, "item": dict(item)}


def _message(item: Mapping[str, Any], place: Mapping[str, Any], pieces: int) -> Iterator[dict[str, Any]]:
    for index, part in enumerate(item["content"]):
        here = {**place, "content_index": index}
        text, logprobs = part["text"], part.get("logprobs") or []
        bare = {**part, "text": "", "annotations": []}
        if "logprobs" in part:
            bare["logprobs"] = []
        yield {"type": "response.content_part.added", **here, "part": bare}
        for delta in cut_up(text, 1 if logprobs else pieces):
            yield {"type": "response.output_text.delta", **here, "delta": delta, "logprobs": logprobs}
        for number, annotation in enumerate(part.get("annotations") or ()):
            yield {
                "type": "response.output_text.annotation.added",
                **here,
                "annotation_index": number,
                "annotation": annotation,
            }
        yield {"type": "response.output_text.done", **here, "text": text, "logprobs": logprobs}
        yield {"type": "response.content_part.done", **here, "part": dict(part)}


def _function_call(item: Mapping[str, Any], place: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    arguments, name = item["arguments"], item["name"]
    yield {"type": "response.function_call_arguments.delta", **place, "delta": arguments}
    yield {"type": "response.function_call_arguments.done", **place, "arguments": arguments, "name": name}


def _reasoning(item: Mapping[str, Any], place: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for index, part in enumerate(item.get("summary") or ()):
        here = {**place, "summary_index": index}
        yield {"type": "response.reasoning_summary_part.added", **here, "part": {**part, "text": ""}}
        yield {"type": "response.reasoning_summary_text.delta", **here, "delta": part["text"]}
        yield {"type": "response.reasoning_summary_text.done", **here, "text": part["text"]}
        yield {"type": "response.reasoning_summary_part.done", **here, "part": dict(part)}
    for index, part in enumerate(item.get("content") or ()):
        here = {**place, "content_index": index}
        yield {"type": "response.reasoning_text.delta", **here, "delta": part["text"]}
        yield {"type": "response.reasoning_text.done", **here, "text": part["text"]}
