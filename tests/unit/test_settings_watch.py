"""Hot reload: a change is noticed, taken when it stands still, and a bad one changes nothing."""

from pathlib import Path

from gateway.settings import load
from gateway.settings.watch import Watcher

GOOD = """\
providers: {box: {kind: vllm}}
tiers: [{name: one, deployments: [{provider: box, model: m}]}]
"""


def started(directory: Path) -> tuple[Path, Watcher]:
    file = directory / "farthing.yaml"
    file.write_text(GOOD)
    return file, Watcher(directory, {}, load(directory, {}))


async def test_nothing_changed_means_no_new_settings(tmp_path: Path) -> None:
    _, watcher = started(tmp_path)

    assert await watcher.poll() is None
    assert await watcher.poll() is None
    assert watcher.finding is None


async def test_a_change_is_taken_when_two_polls_see_the_same(tmp_path: Path) -> None:
    file, watcher = started(tmp_path)

    file.write_text(GOOD + "server: {port: 5000}\n")
    first = await watcher.poll()
    second = await watcher.poll()

    assert first is None
    assert second is not None
    assert second.server.port == 5000
    assert watcher.current is second
    assert await watcher.poll() is None


async def test_a_file_that_is_still_being_written_is_not_taken(tmp_path: Path) -> None:
    file, watcher = started(tmp_path)

    file.write_text(GOOD + "server: {port: 50}\n")
    await watcher.poll()
    file.write_text(GOOD + "server: {port: 5000}\n")
    still_moving = await watcher.poll()
    settled = await watcher.poll()

    assert still_moving is None
    assert settled is not None
    assert settled.server.port == 5000


async def test_a_bad_change_keeps_the_old_settings_and_says_why(tmp_path: Path) -> None:
    file, watcher = started(tmp_path)
    old = watcher.current

    file.write_text(GOOD + "servr: {}\n")
    polled = [await watcher.poll() for _ in range(3)]

    assert polled == [None, None, None]
    assert watcher.current is old
    assert "did you mean 'server'?" in str(watcher.finding)


async def test_mending_a_bad_change_clears_the_finding(tmp_path: Path) -> None:
    file, watcher = started(tmp_path)
    file.write_text("servr: {}\n")
    await watcher.poll()
    await watcher.poll()

    file.write_text(GOOD + "data_dir: elsewhere\n")
    await watcher.poll()
    mended = await watcher.poll()

    assert mended is not None
    assert mended.data_dir == Path("elsewhere")
    assert watcher.finding is None


async def test_going_back_to_the_settings_in_use_clears_the_finding(tmp_path: Path) -> None:
    file, watcher = started(tmp_path)
    file.write_text("servr: {}\n")
    await watcher.poll()
    await watcher.poll()

    file.write_text(GOOD)

    assert await watcher.poll() is None
    assert watcher.finding is None


async def test_a_new_comment_is_no_new_setting(tmp_path: Path) -> None:
    file, watcher = started(tmp_path)

    file.write_text("# reviewed\n" + GOOD)

    assert await watcher.poll() is None
    assert await watcher.poll() is None
    assert watcher.finding is None


async def test_a_new_file_is_noticed(tmp_path: Path) -> None:
    _, watcher = started(tmp_path)

    (tmp_path / "more.yaml").write_text("server: {port: 6000}\n")
    await watcher.poll()
    loaded = await watcher.poll()

    assert loaded is not None
    assert [file.name for file in loaded.files] == ["farthing.yaml", "more.yaml"]


async def test_a_vanished_directory_keeps_the_old_settings_until_it_is_back(tmp_path: Path) -> None:
    directory = tmp_path / "config"
    directory.mkdir()
    file, watcher = started(directory)
    old = watcher.current

    file.rename(tmp_path / "aside.yaml")
    directory.rmdir()
    gone = await watcher.poll()
    finding = watcher.finding
    directory.mkdir()
    (tmp_path / "aside.yaml").rename(file)
    back = await watcher.poll()

    assert gone is None
    assert "does not exist" in str(finding)
    assert back is None
    assert watcher.current is old
    assert watcher.finding is None
