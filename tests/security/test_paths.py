"""A path that somebody else chose leads nowhere but below the configured folders, and replaces nothing."""

import os
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from damocles.stages import job
from damocles.stages.files import copies
from damocles.stores import layout, outlets, sealing
from damocles.stores.persist import PersistStore
from damocles.wire import tasks
from damocles.worker.config import load
from damocles.worker.serving import connections

PIECE = b"the piece"
SECTOR = "s-t010000-77"


class Ground:
    """A machine: a folder that takes pieces, stores, a home, and files of others with links all over."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.open, self.store, self.home = base / "open", base / "open/persist", base / "open/machine"
        self.piece = base / "open/sealing/data/unsealed/piece"
        for folder in (self.open / "in", self.store / "pieces", self.home, base / "victim", self.piece.parent):
            folder.mkdir(parents=True)
        (self.open / "disk").mkdir()
        (self.store / "update-cache").symlink_to(self.open / "disk")
        for kind in sorted(layout.OF_SECTORS - {"update", "update-cache"}):  # of which nobody has made the first
            (self.store / kind).mkdir()
            (self.store / kind / SECTOR).write_text("a replica")
        self.piece.write_bytes(PIECE)
        for name in (
            "victim/precious.txt",
            "open/machine/tokens.json",
            "open/there",
            "open/in/there",
            "open/persist/.damocles-store",
        ):
            (base / name).write_text("precious")
        links: dict[str, Path] = {
            "open/up": base,
            "open/victim": base / "victim",
            "open/precious": base / "victim/precious.txt",
            "open/dangling": base / "victim/new.txt",
            "open/here": base / "open",
            "open/sectors": self.store / "sealed",
            "open/home": self.home,
            "open/persist/pieces/sectors": self.store / "cache",
            "open/persist/out": base / "victim",
            "open/loop": base / "open/loop",
            "alias": self.open,
        }
        for name, target in links.items():
            (base / name).symlink_to(target)
        self.stores = (PersistStore(name="persist", path=self.store),)
        self.outlets = outlets.Outlets(folders=(self.open,), spared=(self.home, base / "open/sealing"))

    def put(self, url: str) -> Path:
        """Put the piece to a destination as a worker does, and return the place."""
        if url.startswith("store:"):
            found = self.outlets.in_store(url, self.stores[0], self.stores)
        else:
            found = self.outlets.file(url, self.stores)
        ends = {"store_name": None, "uri": str(self.piece)}, {"store_name": None, "uri": str(found)}
        copies.run(tasks.Transfer({}, [tasks.Route(*ends)], fresh=True), job.Job())
        return found

    def files(self) -> dict[str, bytes | str]:
        """Return what is where; folders and links too."""
        content: dict[str, bytes | str] = {}
        for path in sorted(self.base.rglob("*")):
            name = str(path.relative_to(self.base))
            content[name] = (
                str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else "dir"
            )
        return content


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """Return a machine."""
    return Ground(tmp_path / "machine")


ATTACKS = [
    "file://{base}/victim/precious.txt",
    "file://{base}/victim/new/deep/dir/x.bin",
    "file://{base}/open/../victim/new.txt",
    "file://{base}/open/%2e%2e/victim/new.txt",
    "file://{base}/open/%2E%2e%2Fvictim%2Fnew.txt",
    "file://{base}/open/in/..%2f..%2f/victim/new.txt",
    "file://{base}/open/%252e%252e/victim/new.txt",
    "file://{base}/open/victim/new.txt",
    "file://{base}/open/up/victim/new.txt",
    "file://{base}/open/precious",
    "file://{base}/open/dangling",
    "file://{base}/open/loop",
    "file://{base}/open/there",
    "file://{base}/open/in",
    "file://{base}/open/in/",
    "file://{base}/open",
    "file://{base}/open/x%00.txt",
    "file://{base}/open/x%0a.txt",
    "file://{base}/open/%e2%80%aex",
    "file://{base}/open/%ff",
    "file://{base}/open/\uff0e\uff0e/x",
    "file://{base}/open/\u2024\u2024/x",
    "file://{base}/open/\u2025/x",
    "file://{base}/open/a\uff0fb",
    "file://{base}/open/a\\..\\b",
    "file://{base}/open/.ssh/authorized_keys",
    "file://{base}/open/\uff0essh/authorized_keys",
    "file://{base}/open/x?y",
    "file://{base}/open/x#y",
    "file://host{base}/open/x",
    "file:///open/x",
    "file://{base}/open/" + "x" * 250,
    "file://{base}/open/sectors/s-t010000-78",
    "file://{base}/open/home/new",
    "file://{base}/open/persist/sealed/" + SECTOR,
    "file://{base}/open/persist/update/s-t010000-78",
    "file://{base}/open/persist/UPDATE/s-t010000-78",
    "file://{base}/open/persist/\uff55\uff50\uff44\uff41\uff54\uff45/x",
    "file://{base}/open/persist/sectorstore.json",
    "file://{base}/open/in/SectorStore.json",
    "file://{base}/open/persist/.damocles-store",
    "file://{base}/open/machine/tokens.json",
    "file://{base}/open/machine/new",
    "file://{base}/open/sealing/data/sealed/x",
    "file://{base}/open/sealing/new",
    "file://{base}/open/disk/s-t010000-78",
    "store://persist/%2Ftmp%2Fescaped.txt",
    "store://persist/%2Ftmp/escaped.txt",
    "store://persist//tmp/escaped.txt",
    "store://persist/..",
    "store://persist/../x",
    "store://persist/%2e%2e/x",
    "store://persist/pieces/%2e%2e%2f%2e%2e%2fx",
    "store://persist/pieces/..%5cx",
    "store://persist/out/x",
    "store://persist/out/precious.txt",
    "store://persist/sealed/" + SECTOR,
    "store://persist/sealed/s-t010000-78",
    "store://persist/Sealed/s-t010000-78",
    "store://persist/pieces/sectors/s-t010000-78",
    "store://persist/update-cache/s-t010000-78/p_aux",
    "store://persist/update/s-t010000-78",
    "store://persist/.fences/s-t010000-78",
    "store://persist/.damocles-store",
    "store://persist/sectorstore.json",
    "store://persist/",
    "store://persist",
]


@pytest.mark.parametrize("url", ATTACKS)
def test_an_attack_on_a_path_changes_nothing(ground: Ground, url: str) -> None:
    """It is refused, and every file, folder and link of the machine is as it was."""
    before = ground.files()
    with pytest.raises((outlets.Refused, copies.TransferRefused)):
        ground.put(url.replace("{base}", str(ground.base)))
    assert before == ground.files()


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("file://{base}/open/new", "open/new"),
        ("file://{base}/open/in/with%20space/a%3Fb", "open/in/with space/a?b"),
        ("file://{base}/open/in/100%25", "open/in/100%"),
        ("file://{base}/open/in/gr%C3%BC%C3%9Fe", "open/in/gr\xfc\xdfe"),
        ("file://{base}/alias/in/new", "open/in/new"),
        ("file://{base}/open/here/new", "open/new"),
        ("file://{base}/open/persist/pieces/new", "open/persist/pieces/new"),
        ("store://persist/new", "open/persist/new"),
        ("store://persist/pieces/deep/new", "open/persist/pieces/deep/new"),
        ("store://persist/pieces/sealed/new", "open/persist/pieces/sealed/new"),
    ],
)
def test_what_is_allowed_is_put_there_for_its_owner_alone(ground: Ground, url: str, place: str) -> None:
    """The file has mode 0600, and folders that were made for it 0700; it may be put there again."""
    before = ground.files()
    for _ in range(2):
        assert ground.base / place == ground.put(url.replace("{base}", str(ground.base)))
    made = {name: content for name, content in ground.files().items() if name not in before}
    assert PIECE == made.pop(place)
    assert {"dir"} >= {*made.values()}
    assert 0o600 == (ground.base / place).stat().st_mode & 0o777
    assert {0o700} >= {(ground.base / name).stat().st_mode & 0o777 for name in made}


def test_without_a_folder_no_file_is_put_anywhere(ground: Ground) -> None:
    """By default `file://` leads nowhere, and the error names the key."""
    closed = outlets.Outlets(spared=(ground.home,))
    with pytest.raises(outlets.Refused, match=r"worker\.unseal_dirs"):
        closed.file(f"file://{ground.open}/new", ground.stores)


def test_a_readonly_store_takes_nothing_by_its_folder_either(ground: Ground) -> None:
    """A `file://` URL into a store that is readonly here is refused as `store://` is."""
    store = PersistStore(name="persist", path=ground.store, read_only=True)
    for url in (f"file://{ground.store}/pieces/new", "store://persist/pieces/new"):
        find = ground.outlets.file if url.startswith("file") else None
        with pytest.raises(outlets.Refused, match="readonly"):
            find(url, [store]) if find else ground.outlets.in_store(url, store, [store])


def test_a_folder_whose_disk_is_not_mounted_is_waited_for(ground: Ground) -> None:
    """Nothing is made in its place."""
    away = outlets.Outlets(folders=(ground.base / "away",))
    with pytest.raises(outlets.NotThere, match="is the disk mounted"):
        away.file(f"file://{ground.base}/away/new", ground.stores)


def test_what_is_there_under_the_part_s_name_is_left_alone(ground: Ground) -> None:
    """A link, or a folder, in place of our part file is not followed and not removed; our own is made anew."""
    part = ground.open / ".new.part"
    part.symlink_to(ground.base / "victim/precious.txt")
    with pytest.raises(copies.TransferRefused, match="not a part file of ours"):
        ground.put(f"file://{ground.open}/new")
    assert "precious" == (ground.base / "victim/precious.txt").read_text()
    part.unlink()
    part.write_text("half a piece, of a run that was killed")
    ground.put(f"file://{ground.open}/new")
    assert (PIECE, False) == ((ground.open / "new").read_bytes(), part.exists())


def test_a_link_that_appears_after_the_check_is_not_followed(ground: Ground) -> None:
    """Where a folder on the way has become a link meanwhile, nothing is written behind it."""
    found = ground.outlets.file(f"file://{ground.open}/in/deep/new", ground.stores)
    shutil.rmtree(ground.open / "in")
    (ground.open / "in").symlink_to(ground.base / "victim")
    with pytest.raises(copies.TransferRefused, match="meanwhile"):
        copies.put(ground.piece, found, job.Job())
    assert ["precious.txt"] == [path.name for path in (ground.base / "victim").rglob("*") if path.is_file()]


def test_a_link_that_appears_while_it_is_copied_is_not_followed(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The piece goes into the folder that was checked, wherever that is now."""
    is_there = copies.is_there

    def swapped(source: Path, destination: Path) -> bool:
        found = is_there(source, destination)
        (ground.open / "in").rename(ground.open / "moved")
        (ground.open / "in").symlink_to(ground.base / "victim")
        return found

    monkeypatch.setattr(copies, "is_there", swapped)
    with pytest.raises(FileNotFoundError):  # by the sync, which looks at the name once more
        ground.put(f"file://{ground.open}/in/new")
    assert ["precious.txt"] == [path.name for path in (ground.base / "victim").iterdir()]


def test_a_file_that_appears_after_the_check_is_not_replaced(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step gives the file its name only where nothing has it, also where there are no hard links."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    target = ground.open / "new"
    monkeypatch.setattr(copies, "is_there", lambda *_: target.write_text("somebody else's") == 0)
    for link in (os.link, refused):
        monkeypatch.setattr(os, "link", link)
        target.unlink(missing_ok=True)
        with pytest.raises(copies.TransferRefused, match="nothing is replaced"):
            copies.put(ground.piece, target, job.Job())
        assert "somebody else's" == target.read_text()


def test_a_file_system_without_hard_links_takes_pieces(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """There a rename does it."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    assert PIECE == ground.put(f"file://{ground.open}/new").read_bytes()


def test_a_kill_right_after_the_link_leaves_no_part(ground: Ground) -> None:
    """The piece counts as put, and the second name of it goes."""
    found = ground.put(f"file://{ground.open}/new")
    part = ground.open / ".new.part"
    os.link(found, part)
    assert copies.is_there(ground.piece, found)
    assert not part.exists()


# Names as attackers write them: dots, separators and reserved names, in every encoding and by look-alikes.
_DOTS = [
    "..",
    ".",
    "%2e%2e",
    "%2E.",
    ".%2e",
    "%252e%252e",
    "%25252e.",
    "\uff0e\uff0e",
    "\u2024.",
    "\u2025",
    "%c0%ae%c0%ae",
    "...",
]
_SEPARATORS = [
    "/",
    "//",
    "%2f",
    "%2F",
    "%5c",
    "\\",
    "%252f",
    "\uff0f",
    "\u2215",
    "\u2044",
    "%c0%af",
    "/./",
    "%00",
    "%0a",
    ";/",
]
_NAMES = [
    *(
        "open",
        "persist",
        "pieces",
        "in",
        "there",
        "new",
        "victim",
        "up",
        "precious",
        "dangling",
        "here",
        "alias",
        "loop",
    ),
    *(
        "home",
        "machine",
        "tokens.json",
        "sealing",
        "disk",
        "data",
        "sealed",
        "%73ealed",
        "SEALED",
        "\uff53ealed",
        "cache",
        "update",
    ),
    *(
        "sectors",
        "out",
        ".fences",
        "sectorstore.json",
        ".damocles-store",
        SECTOR,
        "",
        "~",
        "x",
        "%",
        "%zz",
        "a b",
        "\u200b",
    ),
]
_PARTS = st.lists(st.tuples(st.sampled_from(_SEPARATORS), st.sampled_from([*_DOTS, *_NAMES])), max_size=6)
_STARTS = st.sampled_from(
    ["file://{base}/open", "file://{base}/alias", "file://{base}", "file://", "file:///", "store://persist", "file://h"]
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """Return a machine that all examples of a property attack."""
    return Ground(tmp_path_factory.mktemp("machine") / "machine")


@given(start=_STARTS, parts=_PARTS, tail=st.text(max_size=5))
@example(start="file://{base}/open", parts=[("/", "up"), ("/", "home"), ("/", "new")], tail="")
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_url_leaves_the_allowed_folders(shared: Ground, start: str, parts: list[tuple[str, str]], tail: str) -> None:
    """Whatever a URL looks like: what it puts anywhere is below an allowed folder, beside the sectors, and new."""
    before = shared.files()
    try:
        found = shared.put(start.replace("{base}", str(shared.base)) + "".join(a + b for a, b in parts) + tail)
    except (outlets.Refused, copies.TransferRefused):
        assert before == shared.files()
        return
    new = {name: content for name, content in shared.files().items() if before.get(name) != content}
    assert not new.keys() & before.keys()
    assert PIECE == new.pop(str(found.relative_to(shared.base)))
    assert {"dir"} >= {*new.values()}
    inside = found.relative_to(shared.open).parts
    assert not any(part.startswith(".") for part in inside)
    assert (
        inside[0] != "persist" or inside[1] in {"pieces", "new", "x"} or inside[1].casefold() not in layout.OF_SECTORS
    )
    top = shared.base / min([*new, str(found.relative_to(shared.base))], key=len)
    shutil.rmtree(top) if top.is_dir() else top.unlink()
    assert before == shared.files()


@given(names=st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), min_size=1, max_size=4))
def test_a_name_is_what_it_was_before_it_was_encoded(names: list[str]) -> None:
    """A name that can be chosen comes out as it went in; one with a separator in it, however written, never does."""
    try:
        parts = outlets.parts("file:///" + "/".join(quote(name, safe="") for name in names))
    except outlets.Refused:
        return
    assert tuple(names) == parts
    assert not any({"/", "\\", "\0"} & {*name} or name in {".", ".."} for name in parts)


def configured(base: Path, *folders: str) -> Path:
    """Write a configuration whose worker may put pieces into these folders."""
    for name in ("store", "persist"):
        (base / name).mkdir()
    shutil.rmtree(base / "store")
    sealing.init(base / "store")
    file = base / "worker.toml"
    file.write_text(
        f'[worker]\nhome = "{base}/home"\nunseal_dirs = {[folder.replace("{base}", str(base)) for folder in folders]}\n'
        '[sector_manager]\nrpc_client.addr = "/ip4/127.0.0.1/tcp/1789"\n'
        f'[[sealing_thread]]\nlocation = "{base}/store"\n[[attached]]\nname = "p"\nlocation = "{base}/persist"\n'
    )
    return file


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("pieces", "expected a folder with its whole path"),
        ("/", "expected a folder with its whole path"),
        ("{base}/store", "where no piece is put"),
        ("{base}/store/other", "where no piece is put"),
        ("{base}/persist/sealed", "where no piece is put"),
        ("{base}/link/update-cache/x", "where no piece is put"),
        ("{base}/home", "where no piece is put"),
    ],
)
def test_a_folder_that_cannot_take_pieces_is_refused_by_the_check(tmp_path: Path, folder: str, message: str) -> None:
    """The configuration is refused with the key, before a worker starts."""
    (tmp_path / "link").symlink_to(tmp_path / "persist")
    with pytest.raises(load.ConfigError) as caught:
        load.load(configured(tmp_path, folder))
    (problem,) = caught.value.errors
    assert ("worker.unseal_dirs[0]", True) == (problem.key, message in problem.message)


def test_a_folder_that_is_not_there_is_warned_about(tmp_path: Path) -> None:
    """Its disk may be mounted later; one that is there is taken, also beside the sectors of a persist store."""
    (tmp_path / "persist").mkdir()
    (tmp_path / "persist").rmdir()
    file = configured(tmp_path, "{base}/away", "{base}/persist/pieces")
    (tmp_path / "persist/pieces").mkdir()
    loaded = load.load(file)
    (warning,) = loaded.warnings
    assert ("worker.unseal_dirs[0]", "does not exist; is the disk mounted?") == (warning.key, warning.message)
    assert (tmp_path / "away", tmp_path / "persist/pieces") == loaded.config.worker.unseal_dirs


def test_a_worker_spares_its_home_and_all_its_sealing_stores(tmp_path: Path) -> None:
    """What the configuration names comes to be the rule, also where a folder that takes pieces is around everything."""
    loaded = load.load(configured(tmp_path, "{base}"))
    own = [one.location for one in loaded.config.sealing_thread if one.location is not None]
    rule = connections.outlets_of(loaded.config, [loaded.config.worker.home, *own])
    stores = loaded.persist_stores
    assert tmp_path / "new" == rule.file(f"file://{tmp_path}/new", stores)
    for inside in ("home/token", "store/data/sealed/x", "store/config.toml", "persist/cache/s-t010000-1/p_aux"):
        with pytest.raises(outlets.Refused):
            rule.file(f"file://{tmp_path}/{inside}", stores)
