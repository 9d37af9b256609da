"""Tasks: what kind of task a call is, and which rule said so."""


def resolve_task(*, header: str, metadata: str, key_default: str, feature_default: str) -> tuple[str, str]:
    """(task, source): the first that is given, in the order header, metadata, key, feature; else ("", "default").

    Every argument is "" where it was not given. Whether the catalogue knows it is another question.
    """
    offers = (
        ("header", header),
        ("metadata", metadata),
        ("key", key_default),
        ("feature", feature_default),
    )
    for source, task in offers:
        if task:
            return task, source
    return "", "default"
