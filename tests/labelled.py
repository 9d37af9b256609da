"""Labelled requests of two easy tasks and of none, made from a few words, for tests of the classifier."""

import json
from itertools import product
from pathlib import Path

from router_policies.training import Example

SUMS = "sums"
TICKETS = "tickets"


def _sums() -> list[str]:
    asked = ("What is {} plus {}?", "Add {} and {} please", "How much is {} minus {}?", "Multiply {} by {}")
    return [text.format(first, first + 3) for text, first in product(asked, range(10, 20))]


def _tickets() -> list[str]:
    what = ("My card was declined", "My parcel never arrived", "I was charged twice", "I forgot my password")
    where = ("in the shop", "at home", "in the app", "on holiday", "last week", "again", "today", "abroad", "at once")
    return [f"{first} {second}, which class of ticket is this?" for first, second in product(what, where)]


def _others() -> list[str]:
    subject = ("a poem", "a story", "a song", "a letter", "an essay", "a speech")
    about = ("the sea", "autumn leaves", "an old friend", "a lonely whale", "spring")
    return [f"Write {first} about {second} in a gentle tone" for first, second in product(subject, about)]


TEXTS = {SUMS: _sums(), TICKETS: _tickets(), "": _others()}


def examples(*tasks: str) -> list[Example]:
    """Those of these tasks."""
    return [Example(task, text) for task in tasks for text in TEXTS[task]]


def inseparable() -> list[Example]:
    """64 examples of two tasks that have nothing to do with their words."""
    words = [f"{first} {second}" for first in "abcdefgh" for second in "ijklmnop"]
    return [Example((SUMS, TICKETS)[number * 7919 // 13 % 2], text) for number, text in enumerate(words)]


def write_examples(directory: Path) -> None:
    """Files sums.jsonl, tickets.jsonl and others.jsonl, each in another of the shapes that a line may have."""
    shapes = {
        SUMS: lambda text: {"text": text},
        TICKETS: lambda text: {"user": text},
        "": lambda text: {"model": "auto", "messages": [{"role": "user", "content": text}]},
    }
    for task, shape in shapes.items():
        lines = "".join(json.dumps(shape(text)) + "\n" for text in TEXTS[task])
        (directory / f"{task or 'others'}.jsonl").write_text(lines, encoding="utf-8")
