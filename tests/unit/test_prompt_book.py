"""Counts of system prompts that no task claims: by hash, bounded, kept over restarts, never their text."""

from pathlib import Path

from gateway.promptbook import MOST_KEPT, CountedPrompt, PromptBook, read_prompts


def counted(digest: str, requests: int, first_ns: int, last_ns: int, task: str = "") -> CountedPrompt:
    return CountedPrompt(hash=digest, feature="chat", requests=requests, first_ns=first_ns, last_ns=last_ns, task=task)


def flush(book: PromptBook) -> None:
    book.take(lambda text: f"like {text}")()


def test_counts_of_several_flushes_and_of_several_workers_add_up(tmp_path: Path) -> None:
    path = tmp_path / "tasks.db"
    one, other = PromptBook(path), PromptBook(path)

    for at_ns in (5, 6):
        one.note("aa", "chat", at_ns)
    flush(one)
    one.note("aa", "chat", 9)
    one.note("bb", "chat", 9)
    other.note("aa", "chat", 7)
    flush(one)
    flush(other)

    assert read_prompts(path) == [counted("aa", 4, 5, 9), counted("bb", 1, 9, 9)]
    assert read_prompts(path, {"aa"}) == [counted("bb", 1, 9, 9)]


def test_a_prompt_of_two_features_is_counted_for_each(tmp_path: Path) -> None:
    book = PromptBook(tmp_path / "tasks.db")
    book.note("aa", "chat", 1)
    book.note("aa", "search", 2)
    flush(book)

    assert {(one.feature, one.requests) for one in read_prompts(book.path)} == {("chat", 1), ("search", 1)}


def test_a_sample_suggests_a_task_and_is_not_written(tmp_path: Path) -> None:
    book = PromptBook(tmp_path / "tasks.db")
    book.note("aa", "chat", 1, "sums")
    flush(book)
    book.note("aa", "chat", 2)
    flush(book)

    assert read_prompts(book.path) == [counted("aa", 2, 1, 2, "like sums")]
    book = PromptBook(tmp_path / "other.db")
    book.note("aa", "chat", 1, "a secret text")
    book.take()()
    assert b"secret" not in book.path.read_bytes()


def test_prompts_that_differ_each_time_push_out_none_that_recurs(tmp_path: Path) -> None:
    book = PromptBook(tmp_path / "tasks.db")
    for _ in range(2):
        book.note("recurs", "chat", 1)
    flush(book)
    for round_ in range(3):
        for number in range(MOST_KEPT + 10):
            book.note(f"{round_}-{number}", "chat", 2 + round_)
        flush(book)

    found = read_prompts(book.path)

    assert (len(found), found[0].hash, book.left_out) == (MOST_KEPT, "recurs", 30)
    assert {one.last_ns for one in found[1:]} == {4}


def test_there_is_nothing_where_there_is_no_file(tmp_path: Path) -> None:
    assert read_prompts(tmp_path / "tasks.db") == []
