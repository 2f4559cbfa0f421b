"""Fetching parameter files from mirrors that misbehave."""

import fcntl
import hashlib
import random
import shutil
import socket
from pathlib import Path

import anyio
import pytest

from damocles.parameters import arrivals, catalog, download, inspection

CONTENT = random.Random(1).randbytes(1_000_000)
NAME = "v28-test.params"


class Watcher:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.begun: list[tuple[str, int]] = []
        self.advanced = 0

    def begin(self, name, doing, size_bytes, done_bytes):
        """Remember."""
        self.begun.append((doing, done_bytes))

    def advance(self, name, count):
        """Remember."""
        self.advanced += count

    def end(self, name):
        """Nothing to do."""

    def pulse(self, name, text):
        """Nothing to do."""

    def say(self, text):
        """Remember."""
        self.said.append(text)


DIGEST = hashlib.blake2b(CONTENT).hexdigest()[:32]
FILE = catalog.File(catalog.Kind.POREP, 2048, NAME, "QmTest", DIGEST)
SET = catalog.FileSet(catalog.Kind.POREP, 2048, (FILE,))


class Cache:
    """A folder to fetch into, in small pieces and with pauses that take no time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target = folder / NAME
        self.watcher = Watcher()
        self.waits: list[float] = []

    async def fetch(self, *mirrors: str) -> list[str]:
        """Fetch the file; return what went wrong."""
        manner = download.Manner(pieces=4, smallest_piece_bytes=100_000, silence_seconds=5, tries=3, sleep=self._sleep)
        return await download.fetch([SET], self.folder, mirrors, self.watcher, manner=manner)

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


@pytest.fixture
def cache(tmp_path) -> Cache:
    """Return an empty cache folder."""
    return Cache(tmp_path)


@pytest.fixture
def unused_url():
    """Return the address of a mirror at which nobody listens while the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/files"


async def test_fetches_a_file_in_pieces(serving, cache):
    """A large file is fetched in several ranges and stands under its name, with nothing else left but the lock."""
    with serving({NAME: CONTENT}) as good:
        failures = await cache.fetch(good.url)
    assert [] == failures
    assert CONTENT == cache.target.read_bytes()
    assert [(0, 250_000), (250_000, 500_000), (500_000, 750_000), (750_000, 1_000_000)] == sorted(good.bodies())
    assert {NAME, f"{NAME}.lock"} == {path.name for path in cache.folder.iterdir()}


async def test_goes_on_after_each_cut(serving, cache):
    """A mirror that breaks every connection delivers the file all the same, without a pause and without repeats."""
    with serving({NAME: CONTENT}, cut_after=90_000) as flaky:
        failures = await cache.fetch(flaky.url)
    assert [] == failures
    assert CONTENT == cache.target.read_bytes()
    assert [] == cache.waits


async def test_takes_a_mirror_without_ranges(serving, cache):
    """A mirror that answers every request with the whole file is good enough."""
    with serving({NAME: CONTENT}, ranges=False) as simple:
        assert [] == await cache.fetch(simple.url)
    assert CONTENT == cache.target.read_bytes()


async def test_completes_what_another_mirror_began(serving, cache):
    """What one mirror has delivered before it went away is kept, also if the next one only sends whole files."""
    with (
        serving({NAME: CONTENT}, stop_after=600_000) as dying,
        serving({NAME: CONTENT}, ranges=False) as simple,
    ):
        assert [] == await cache.fetch(dying.url, simple.url)
    assert CONTENT == cache.target.read_bytes()
    assert any(done > 0 for doing, done in cache.watcher.begun if doing == "fetching")


async def test_drops_a_mirror_with_wrong_bytes(serving, cache):
    """A mirror whose file has another digest is named and not asked again; the next one delivers."""
    with (
        serving({NAME: CONTENT[:-1] + b"?"}) as wrong,
        serving({NAME: CONTENT}) as good,
    ):
        assert [] == await cache.fetch(wrong.url, good.url)
    assert CONTENT == cache.target.read_bytes()
    assert any(wrong.url in text and "digest is wrong" in text for text in cache.watcher.said)


async def test_untangles_bytes_of_two_mirrors(serving, cache):
    """Wrong bytes of a mirror that went away do not spoil the right ones: the file is fetched anew from one mirror."""
    with (
        serving({NAME: b"?" * len(CONTENT)}, stop_after=300_000) as wrong,
        serving({NAME: CONTENT}) as good,
    ):
        assert [] == await cache.fetch(wrong.url, good.url)
    assert CONTENT == cache.target.read_bytes()


async def test_never_gives_a_wrong_file_its_name(serving, cache):
    """If every mirror is wrong, the fetch fails, says so of each, and leaves no file behind."""
    with serving({NAME: b"not found, sorry"}) as wrong:
        (failure,) = await cache.fetch(wrong.url)
    assert f"{NAME}: cannot be fetched: {wrong.url}: sends another file: the digest is wrong" == failure
    assert not cache.target.exists()


async def test_prefers_the_size_that_makes_progress(serving, cache):
    """An error page that a mirror sends as the file does not cost what another mirror has delivered."""
    with (
        serving({NAME: CONTENT}, cut_after=90_000) as flaky,
        serving({NAME: b"<html>sorry</html>"}, ranges=False) as page,
    ):
        assert [] == await cache.fetch(flaky.url, page.url)
    assert CONTENT == cache.target.read_bytes()
    assert any("has a file of 18 bytes" in text for text in cache.watcher.said)


async def test_goes_on_after_a_restart(serving, cache):
    """A second run fetches only what the first one had not got when its mirror died."""
    with serving({NAME: CONTENT}, stop_after=700_000) as dying:
        (failure,) = await cache.fetch(dying.url)
    assert "503" in failure
    with serving({NAME: CONTENT}) as good:
        assert [] == await cache.fetch(good.url)
    assert CONTENT == cache.target.read_bytes()
    assert 400_000 > sum(end - start for start, end in good.bodies())


async def test_damage_between_two_runs_is_not_held_against_the_mirror(serving, cache):
    """If the part on disk was damaged since, the file is fetched anew from the same mirror."""
    with serving({NAME: CONTENT}, stop_after=700_000) as dying:
        await cache.fetch(dying.url)
        part = cache.folder / f"{NAME}.fetch.part"
        part.write_bytes(b"?" * len(CONTENT))
        dying.stop_after = None
        assert [] == await cache.fetch(dying.url)
    assert CONTENT == cache.target.read_bytes()


async def test_waits_longer_after_each_round_in_vain(serving, cache):
    """Mirrors that fail for now are asked again after pauses that double, then the fetch gives up."""
    with serving({NAME: CONTENT}, statuses=[503] * 99) as busy:
        (failure,) = await cache.fetch(busy.url)
    assert [1.0, 2.0] == cache.waits
    assert 3 == len(busy.asked)
    assert f"{busy.url}: answers 503 Service Unavailable" in failure


async def test_recovers_from_a_passing_refusal(serving, cache):
    """A mirror that asks for patience gets it."""
    with serving({NAME: CONTENT}, statuses=[429]) as busy:
        assert [] == await cache.fetch(busy.url)
    assert [1.0] == cache.waits


async def test_does_not_repeat_a_final_refusal(serving, cache):
    """A mirror that has not got the file is asked once."""
    with serving({}) as empty:
        (failure,) = await cache.fetch(empty.url)
    assert 1 == len(empty.asked)
    assert "answers 404" in failure


async def test_tells_of_a_mirror_that_is_down(cache):
    """A mirror that cannot be reached is named in the failure."""
    (failure,) = await cache.fetch("http://127.0.0.1:9/x")
    assert "http://127.0.0.1:9/x: fails: " in failure


async def test_leaves_a_good_file_alone(serving, cache):
    """A file that is here and whole is not asked for."""
    cache.target.write_bytes(CONTENT)
    with serving({NAME: CONTENT}) as good:
        assert [] == await cache.fetch(good.url)
    assert [] == good.asked


async def test_replaces_a_damaged_file(serving, cache):
    """A file with another digest is fetched again."""
    cache.target.write_bytes(CONTENT[:1000])
    with serving({NAME: CONTENT}) as good:
        assert [] == await cache.fetch(good.url)
    assert CONTENT == cache.target.read_bytes()


async def test_leaves_a_set_made_here_alone(cache):
    """A set that was made on this machine is not overwritten by half with published files."""
    cache.target.write_bytes(b"home-made")
    inspection.write_mark(SET, cache.folder, inspection.mark_of(SET, cache.folder))
    assert [] == await cache.fetch("http://127.0.0.1:9/x")
    assert b"home-made" == cache.target.read_bytes()
    assert "generated on this machine" in cache.watcher.said[0]


async def test_waits_for_another_process(serving, cache):
    """While another process fetches a file, this one says so and waits, then finds the file there."""
    with (cache.folder / f"{NAME}.lock").open("w") as lock, serving({NAME: CONTENT}) as good:
        fcntl.flock(lock, fcntl.LOCK_EX)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cache.fetch, good.url)
            with anyio.fail_after(60):
                while not cache.watcher.said:
                    await anyio.sleep(0.01)
            cache.target.write_bytes(CONTENT)
            fcntl.flock(lock, fcntl.LOCK_UN)
    assert [
        f"{NAME}: another process is fetching it, waiting",
        f"{NAME}: already here, digest ok",
    ] == cache.watcher.said
    assert [] == good.asked


async def test_refuses_what_the_disk_cannot_hold(serving, cache, monkeypatch):
    """Too little free space is found out before the bytes arrive."""
    usage = shutil.disk_usage(cache.folder)._replace(free=999_999)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with serving({NAME: CONTENT}) as good:
        (failure,) = await cache.fetch(good.url)
    why = f"{cache.folder} has 976.6KiB free, 976.6KiB are needed"
    assert f"{NAME}: cannot be fetched: {good.url}: {why}" == failure


async def test_tells_of_a_folder_that_cannot_be_made(cache):
    """A cache folder in an impossible place is one line, not a traceback."""
    (cache.folder / "file").write_text("")
    cache.folder = folder = cache.folder / "file" / "cache"
    (failure,) = await cache.fetch("http://127.0.0.1:9/x")
    assert f"{NAME}: cannot be written to {folder}: Not a directory" == failure


def test_a_state_that_does_not_fit_its_file_is_forgotten(tmp_path):
    """A part file of another size than its state tells starts from nothing."""
    target = tmp_path / NAME
    with arrivals.Partial(target) as part:
        part.begin(1000, 2)
        part.write(part.open_pieces[0], b"x" * 400, "a")
    part.path.write_bytes(b"short")
    with arrivals.Partial(target) as again:
        assert 0 == again.arrived_bytes
        assert again.size_bytes is None


class Several:
    """Two files to fetch, and the pauses that were made for each."""

    def __init__(self, folder: Path) -> None:
        names = ("v28-one.params", "v28-two.params")
        self.files = tuple(catalog.File(catalog.Kind.POREP, 2048, name, "QmTest", DIGEST) for name in names)
        self.served = dict.fromkeys(names, CONTENT)
        self.folder = folder
        self.waits: list[float] = []

    async def fetch(self, *mirrors: str) -> list[str]:
        """Fetch the files; return what went wrong."""
        wanted = catalog.FileSet(catalog.Kind.POREP, 2048, self.files)
        manner = download.Manner(silence_seconds=5, tries=3, sleep=self._sleep)
        return await download.fetch([wanted], self.folder, mirrors, Watcher(), manner=manner)

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


async def test_a_dead_mirror_is_waited_for_once(tmp_path, unused_url):
    """Nobody answers: the first file is tried as often as wanted, each further one once, and the option is named."""
    several = Several(tmp_path)
    first, second = await several.fetch(unused_url)
    assert [1.0, 2.0] == several.waits
    assert first.endswith("; 3 tries in a row brought nothing (see --tries)")
    assert second.startswith("v28-two.params: cannot be fetched: http://127.0.0.1:")


async def test_a_mirror_beside_a_dead_one_keeps_its_tries(serving, tmp_path, unused_url):
    """That one mirror is dead takes nothing from the other one, which may stumble."""
    several = Several(tmp_path)
    assert 2 == len(await several.fetch(unused_url))
    with serving(several.served, statuses=[503, 503]) as good:
        assert [] == await several.fetch(unused_url, good.url)
