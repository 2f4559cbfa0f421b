"""The transfer stage on a real file system."""

import threading
from pathlib import Path

import pytest

from damocles import durable
from damocles.stages import job
from damocles.stages.files import copies, fences
from damocles.wire import tasks


def route(source: Path | str, destination: Path | str, *, link: bool = False) -> tasks.Route:
    """Return a route between two local paths."""
    opt = {"is_dir": False, "allow_link": True} if link else None
    return tasks.Route({"store_name": None, "uri": str(source)}, {"store_name": "s", "uri": str(destination)}, opt)


def transfer(*routes: tasks.Route, disable_link: bool = False) -> bool:
    """Follow routes."""
    return copies.run(tasks.Transfer({}, list(routes)), job.Job(), disable_link=disable_link)


def names(folder: Path) -> list[str]:
    """Return what lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_file_is_copied_with_its_folders(tmp_path: Path) -> None:
    """A file appears under its name, in folders that are made for it, and nothing else appears."""
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    assert transfer(route(tmp_path / "a", tmp_path / "store/sealed/a"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "store/sealed/a").read_bytes()
    assert ["a"] == names(tmp_path / "store/sealed")


def test_existing_file_is_replaced(tmp_path: Path) -> None:
    """An older copy, and what a killed try has left, give way."""
    (tmp_path / "a").write_text("new")
    (tmp_path / "b").write_text("older and longer")
    (tmp_path / ".b.part").write_text("half")
    transfer(route(tmp_path / "a", tmp_path / "b"))
    assert "new" == (tmp_path / "b").read_text()
    assert ["a", "b"] == names(tmp_path)


def test_folder_is_copied_and_replaces_the_old_one(tmp_path: Path) -> None:
    """A folder is copied whole, and files of an older copy are gone."""
    (tmp_path / "cache/deep").mkdir(parents=True)
    (tmp_path / "cache/p_aux").write_text("1")
    (tmp_path / "cache/deep/t_aux").write_text("2")
    (tmp_path / "store/cache").mkdir(parents=True)
    (tmp_path / "store/cache/old").touch()
    transfer(route(tmp_path / "cache", tmp_path / "store/cache"))
    assert ["deep", "p_aux"] == names(tmp_path / "store/cache")
    assert "2" == (tmp_path / "store/cache/deep/t_aux").read_text()


def test_link_is_made_where_allowed(tmp_path: Path) -> None:
    """With `allow_link` a symbolic link is made, also over one that points to nothing; without links a copy."""
    (tmp_path / "a").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for _ in range(2):
        transfer(route(tmp_path / "a", tmp_path / "link", link=True))
        assert tmp_path / "a" == (tmp_path / "link").readlink()
    transfer(route(tmp_path / "a", tmp_path / "link", link=True), disable_link=True)
    assert not (tmp_path / "link").is_symlink()
    assert "x" == (tmp_path / "link").read_text()


def test_copy_replaces_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    """Copying over a link leaves the link's target alone."""
    (tmp_path / "a").write_text("new")
    (tmp_path / "target").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    transfer(route(tmp_path / "a", tmp_path / "link"))
    assert ("new", "precious") == ((tmp_path / "link").read_text(), (tmp_path / "target").read_text())


def test_file_is_not_copied_onto_itself(tmp_path: Path) -> None:
    """A route from a file to itself keeps the file."""
    (tmp_path / "a").write_text("precious")
    transfer(route(tmp_path / "a", tmp_path / "x" / ".." / "a"), route(tmp_path / "a", tmp_path / "a", link=True))
    assert "precious" == (tmp_path / "a").read_text()


def test_routes_are_followed_in_order_until_one_fails(tmp_path: Path) -> None:
    """The first failure ends the task; what was copied before stays."""
    (tmp_path / "a").write_text("x")
    routes = [route(tmp_path / "a", tmp_path / "1"), route(tmp_path / "b", tmp_path / "2"), route("/", "relative")]
    with pytest.raises(copies.TransferRefused, match="src path not exists"):
        transfer(*routes)
    assert ["1", "a"] == names(tmp_path)


@pytest.mark.parametrize(
    ("source", "destination", "message"),
    [
        ("a", "/b", "src path is relative: a"),
        ("{}/a", "b", "dest path is relative: b"),
        ("{}/a", "{}/folder", "is a file, but dest .*folder is a folder"),
        ("{}/folder", "{}/a", "is a folder, but dest .*a is a file"),
    ],
)
def test_impossible_routes_are_refused(tmp_path: Path, source: str, destination: str, message: str) -> None:
    """Relative paths, and a destination of the other kind, are errors that name the path."""
    (tmp_path / "a").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(copies.TransferRefused, match=message):
        transfer(route(source.format(tmp_path), destination.format(tmp_path)))


def test_cancelled_copy_leaves_no_destination(tmp_path: Path) -> None:
    """A copy that is given up leaves nothing under the name."""
    (tmp_path / "a").write_text("x")
    around = job.Job()
    around.cancel()
    with pytest.raises(job.Cancelled):
        copies.follow(route(tmp_path / "a", tmp_path / "b"), around)
    assert not (tmp_path / "b").exists()


def fenced(source: Path, destination: Path, attempt: int, around: job.Job | None = None) -> bool:
    """Copy under an attempt's number."""
    fence = tasks.Fence(str(destination.parents[1] / ".fences/s-t01000-1"), attempt)
    return copies.run(tasks.Transfer({}, [route(source, destination)], fence), around or job.Job())


def test_an_older_attempt_does_not_replace_what_a_newer_one_has_put(tmp_path: Path) -> None:
    """The newest attempt has the last word, however often and in which order they come."""
    for name in ("old", "new"):
        (tmp_path / name).write_text(name)
    target = tmp_path / "store/sealed/s-t01000-1"
    fenced(tmp_path / "old", target, 3)
    fenced(tmp_path / "new", target, 4)
    (target.parent / f".{target.name}.2.part").write_text("of an attempt that was killed")
    fenced(tmp_path / "new", target, 4)
    assert [target.name] == names(target.parent)
    with pytest.raises(fences.Overtaken, match="attempt 3 at s-t01000-1 is over: attempt 4 has written"):
        fenced(tmp_path / "old", target, 3)
    assert "new" == target.read_text()


def test_a_newer_attempt_waits_for_one_that_is_frozen_with_the_lock(tmp_path: Path) -> None:
    """Who is frozen just before its rename makes it when it wakes up, and the newer one puts its file over that."""
    (tmp_path / "old").write_text("old")
    (tmp_path / "new").write_text("new")
    target = tmp_path / "store/sealed/s-t01000-1"
    fence = tasks.Fence(str(tmp_path / "store/.fences/s-t01000-1"), 3)
    newer = threading.Thread(target=fenced, args=(tmp_path / "new", target, 4))
    with fences.turn(fence, job.Job()):
        newer.start()
        waiting = job.Job()
        threading.Timer(0.1, waiting.cancel).start()
        with pytest.raises(job.Cancelled):
            fenced(tmp_path / "new", target, 5, waiting)
        assert not target.exists()
        copies.follow(route(tmp_path / "old", target), job.Job())
    newer.join(10)
    assert not newer.is_alive()
    assert "new" == target.read_text()


def test_a_late_attempt_whose_half_copy_was_removed_hears_that_it_is_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that a file is missing, which would send its operator looking for a broken disk."""
    (tmp_path / "new").write_text("new")
    target = tmp_path / "store/sealed/s-t01000-1"
    fenced(tmp_path / "new", target, 4)

    def removed(part: Path) -> None:
        part.unlink()
        part.stat()

    monkeypatch.setattr(durable, "sync", removed)
    with pytest.raises(fences.Overtaken):
        fenced(tmp_path / "new", target, 3)
