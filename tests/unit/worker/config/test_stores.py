"""What a configuration says of its stores together, and what is in them."""

from pathlib import Path

import pytest

from damocles.stores import identity, journal, persist, sealing
from damocles.worker.config import load


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return a folder with two sealing stores, a persist store and the worker's home."""
    for name in ("store1", "store2"):
        sealing.init(tmp_path / name)
    persist.init(tmp_path / "persist")
    return tmp_path


def write(base: Path, *, persist: str = "persist", extra: str = "", **changes: str) -> Path:
    """Write a configuration; paths are below `base`."""
    store2, home = changes.get("store2", "store2"), changes.get("home", "home")
    file = base / "worker.toml"
    file.write_text(f"""
[worker]
home = "{base / home}"
{changes.get("worker", "")}
[sector_manager]
rpc_client.addr = "/ip4/127.0.0.1/tcp/1789"
[[sealing_thread]]
location = "{base / "store1"}"
plan = "{changes.get("plan", "sealer")}"
[[sealing_thread]]
location = "{base / store2}"
[[attached]]
name = "p"
location = "{base / persist}"
{extra}
""")
    return file


def warnings(file: Path) -> list[str]:
    """Return the warnings of a configuration that is fit for use."""
    return [str(problem) for problem in load.load(file).warnings]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"persist": "store1/data"}, "is in {base}/store1/data, which a sealing store clears away"),
        ({"persist": "store1/data/sealed/deep"}, "is in {base}/store1/data, which a sealing store clears away"),
        ({"persist": "store2/trash"}, "is in {base}/store2/trash, which a sealing store clears away"),
        ({"store2": "store1/data/store2"}, "is in {base}/store1/data, which a sealing store clears away"),
        ({"store2": "persist/cache/store2"}, "is in {base}/persist/cache, which a persist store keeps its sectors in"),
        ({"home": "store1/meta/home"}, "is in {base}/store1/meta, which a sealing store clears away"),
        ({"persist": "link/data"}, "is in {base}/store1/data, which a sealing store clears away"),
    ],
)
def test_a_store_inside_another_one_s_files_is_refused(base: Path, changes: dict[str, str], said: str) -> None:
    """What lies there would be cleared away with a sector, or taken for one."""
    (base / "link").symlink_to(base / "store1")
    for name in ("persist", "store2"):
        if name in changes:
            (base / changes[name]).mkdir(parents=True, exist_ok=True)
    with pytest.raises(load.ConfigError) as caught:
        load.load(write(base, **changes))
    (problem,) = caught.value.errors
    assert said.format(base=base) in str(problem)


@pytest.mark.parametrize("place", ["store1", ".", "store1/persist"])
def test_a_store_beside_or_around_another_one_is_taken(base: Path, place: str) -> None:
    """Nothing is lost where a persist store has folders of its own."""
    (base / place).mkdir(exist_ok=True)
    assert [] == warnings(write(base, persist=place))


def test_a_thread_whose_sectors_have_nowhere_to_go_is_named(base: Path) -> None:
    """With readonly stores alone a plan that persists finishes nothing; one that does not is good."""
    told = [line for line in warnings(write(base, extra="readonly = true", plan="unseal")) if "readonly" in line]
    assert 1 == len(told)
    assert "sealing_thread[1].plan" in told[0]
    assert "begins no sector: every [[attached]] store is readonly" in told[0]
    (base / "more").mkdir()
    more = f'readonly = true\n[[attached]]\nname = "q"\nlocation = "{base / "more"}"'
    assert [] == warnings(write(base, extra=more))


@pytest.mark.parametrize("scanned", [False, True])
def test_disks_that_are_not_mounted_are_named(base: Path, scanned: bool) -> None:
    """Sealing stores, attached stores and scanned ones that were there before, and are not now."""
    memory = identity.Memory(base / "home")
    extra, worker = "", ""
    if scanned:
        persist.init(base / "scan" / "one")
        (base / "scan/one/sectorstore.json").write_text('{"Name": "one"}')
        memory.admit(base / "scan/one")
        worker = f'scan_persist_stores = ["{base}/scan/*"]'
    file = write(base, extra=extra, worker=worker)
    for name in ("store1", "persist"):
        memory.admit(base / name)
    assert [] == warnings(file)
    gone = [base / "persist", *([base / "scan/one"] if scanned else [])]
    for folder in gone:
        folder.rename(f"{folder}.away" if folder.parent == base else base / "away")
        folder.mkdir()
    (base / "store1").rename(base / "store1.away")
    told = warnings(file)
    assert len(gone) + 1 == len(told) == sum("is the disk mounted?" in line for line in told)


def original(location: Path, *files: str) -> Path:
    """Make what the original's worker leaves in a sealing store."""
    for name in (".holder", "meta/CURRENT", "meta/000004.log", *files):
        (location / name).parent.mkdir(parents=True, exist_ok=True)
        (location / name).touch()
    (location / "data").mkdir(exist_ok=True)
    return location


def test_a_store_of_the_original_is_named_and_left_alone(base: Path) -> None:
    """Neither `config check` nor a thread takes it over; nothing is written into it, and the way out is shown."""
    store = original(base / "original", "data/sealed/s-t010000-7")
    before = sorted(store.rglob("*"))
    (told,) = warnings(write(base, store2="original"))
    for part in ("is a sealing store of the original, with files of s-t010000-7", "finish its sector", "sealing-init"):
        assert part in told
    with pytest.raises(sealing.StoreError, match="sealing store of the original"), sealing.opened(store):
        pass
    assert before == sorted(store.rglob("*"))


def test_files_that_no_journal_knows_are_left_alone(base: Path) -> None:
    """A store that lost its journal is refused as long as files of a sector are in it, and good without."""
    store = base / "store2"
    (store / "data/cache/s-t010000-7").mkdir(parents=True)
    for file in (store / "meta").iterdir():
        file.unlink()
    with pytest.raises(sealing.StoreError, match="no journal that knows them"), sealing.opened(store):
        pass
    assert not (store / "meta" / journal.FILE_NAME).exists()
    (store / "data/cache/s-t010000-7").rmdir()
    with sealing.opened(store):
        pass
