"""Which parameter sets are here and whole, and making them."""

import hashlib
from pathlib import Path

import pytest

from damocles.parameters import catalog, download, generation, inspection, mirrors, preflight
from damocles.parameters.catalog import Kind
from damocles.parameters.inspection import Status
from damocles.testing import farm
from damocles.wire import sectors

NAMES = ("v28-test.params", "v28-test.vk")
CONTENTS = (b"parameters", b"key")
SET = catalog.FileSet(
    Kind.POREP,
    2048,
    tuple(
        catalog.File(Kind.POREP, 2048, name, "QmTest", hashlib.blake2b(content).hexdigest()[:32])
        for name, content in zip(NAMES, CONTENTS, strict=True)
    ),
)


class Quiet:
    """Listens to messages only."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def begin(self, name, doing, size_bytes, done_bytes):
        """Nothing to do."""

    def advance(self, name, count):
        """Nothing to do."""

    def end(self, name):
        """Nothing to do."""

    def pulse(self, name, text):
        """Nothing to do."""

    def say(self, text):
        """Remember."""
        self.said.append(text)


def put(folder: Path, *contents: bytes) -> None:
    """Write the set's files."""
    for name, content in zip(NAMES, contents, strict=False):
        (folder / name).write_bytes(content)


def statuses(folder: Path) -> list[Status]:
    """Check the set."""
    return [report.status for report in inspection.check([SET], folder)]


@pytest.mark.parametrize("size", sectors.SectorSize)
def test_every_size_has_parameters_and_key_of_every_kind(size):
    """Each sector size needs two files of each kind, and aggregation one file for all sizes."""
    sets = catalog.sets([size], (*catalog.DEFAULT_KINDS, Kind.SRS))
    assert [2, 2, 2, 2, 1] == [len(wanted.files) for wanted in sets]
    for wanted in sets[:-1]:
        assert {f"{wanted.identifier}.params", f"{wanted.identifier}.vk"} == {file.name for file in wanted.files}


def test_the_set_of_the_documentation_is_known():
    """The file that the original's manual misses in its example is the PoRep set of 2KiB."""
    (wanted,) = catalog.sets([sectors.SectorSize.KIB2], [Kind.POREP])
    assert (
        "v28-stacked-proof-of-replication-merkletree-poseidon_hasher-8-0-0-sha256_hasher-"
        "032d3138d22506ec0082ed72b2dcba18df18477904e35bafee82b3793b06832f"
    ) == wanted.identifier


def test_the_table_is_the_manifest_of_the_proofs():
    """Names, digests and kinds are those of the library that reads the files."""
    pytest.importorskip("damocles_proofs")
    from damocles import proofs

    manifest = {**proofs.parameters_manifest(), **proofs.srs_manifest()}
    for wanted in catalog.sets(sectors.SectorSize, tuple(Kind)):
        for file in wanted.files:
            assert {"cid": file.cid, "digest": file.digest, "sector_size": file.sector_size} == manifest[file.name]
        if wanted.kind is not Kind.SRS:
            params, key, _ = proofs.parameter_files(wanted.kind.value, wanted.sector_size)
            assert {params, key} == {file.name for file in wanted.files}


def test_published_files_are_ok(tmp_path):
    """Files with the published digests are fit for every network."""
    put(tmp_path, *CONTENTS)
    assert [Status.PRESENT, Status.PRESENT] == [report.status for report in inspection.look([SET], tmp_path)]
    assert [Status.OK, Status.OK] == statuses(tmp_path)


def test_missing_and_damaged_files_are_told_apart(tmp_path):
    """A file that is not there is missing, one with another digest is bad, and so is an empty one."""
    put(tmp_path, b"damaged")
    assert [Status.BAD, Status.MISSING] == statuses(tmp_path)
    put(tmp_path, b"", *CONTENTS[1:])
    assert [Status.BAD, Status.OK] == statuses(tmp_path)


def test_a_mark_makes_home_made_files_valid_and_guards_them(tmp_path):
    """Files that were made here pass as generated, until they change."""
    put(tmp_path, b"home", b"made")
    inspection.write_mark(SET, tmp_path, inspection.mark_of(SET, tmp_path))
    assert [Status.GENERATED, Status.GENERATED] == statuses(tmp_path)
    put(tmp_path, b"HOME")
    assert [Status.BAD, Status.GENERATED] == statuses(tmp_path)
    put(tmp_path, b"longer than before")
    assert Status.BAD is inspection.look([SET], tmp_path)[0].status


def test_a_damaged_mark_counts_as_none(tmp_path):
    """A mark that cannot be read vouches for nothing."""
    put(tmp_path, b"home", b"made")
    inspection.mark_path(SET, tmp_path).write_text("{")
    assert [Status.BAD, Status.BAD] == statuses(tmp_path)


async def test_generate_leaves_what_is_here_alone(tmp_path):
    """Marked sets and published files are not made again."""
    watcher = Quiet()
    put(tmp_path, *CONTENTS)
    assert [] == await generation.generate([SET], tmp_path, watcher)
    put(tmp_path, b"home", b"made")
    inspection.write_mark(SET, tmp_path, inspection.mark_of(SET, tmp_path))
    assert [] == await generation.generate([SET], tmp_path, watcher)
    assert {"porep 2KiB: already here"} == {text for text in watcher.said if "--adopt" not in text}
    assert [Status.GENERATED, Status.GENERATED] == statuses(tmp_path)


async def test_generate_marks_files_only_if_asked_to(tmp_path):
    """Files of unknown origin stay as they are, and are marked as made here with `adopt`."""
    put(tmp_path, b"home", b"made")
    watcher = Quiet()
    assert [] == await generation.generate([SET], tmp_path, watcher)
    assert "--adopt" in watcher.said[-1]
    assert [Status.BAD, Status.BAD] == statuses(tmp_path)
    assert [] == await generation.generate([SET], tmp_path, Quiet(), adopt=True)
    assert [Status.GENERATED, Status.GENERATED] == statuses(tmp_path)


@pytest.fixture
def child(monkeypatch):
    """Return what puts a function in the place of the child that makes the files."""

    def put_in(makes):
        async def run(*_: object) -> str | None:
            failure: str | None = makes()
            return failure

        monkeypatch.setattr(generation, "_run_child", run)

    return put_in


async def test_a_set_whose_making_was_killed_is_known_to_be_home_made(tmp_path, child):
    """Killed after the files have their names, their set passes as generated, and its mark is completed next time."""

    def makes():
        put(tmp_path, b"home", b"made")
        raise KeyboardInterrupt

    child(makes)
    with pytest.raises(KeyboardInterrupt):
        await generation.generate([SET], tmp_path, Quiet())
    assert [Status.GENERATED, Status.GENERATED] == statuses(tmp_path)
    assert [] == await generation.generate([SET], tmp_path, Quiet())
    assert inspection.mark_of(SET, tmp_path) == inspection.read_mark(SET, tmp_path)


async def test_a_mark_without_files_does_not_stay(tmp_path, child):
    """A set of which nothing was made is not marked; a mark whose files are gone does not keep one from fetching."""
    child(lambda: "no memory")
    assert ["porep 2KiB: no memory"] == await generation.generate([SET], tmp_path, Quiet())
    assert not inspection.mark_path(SET, tmp_path).exists()
    inspection.write_mark(SET, tmp_path, inspection.Mark(SET.kind, SET.sector_size, {}))
    failures = await download.fetch([SET], tmp_path, [], Quiet())
    assert [f"{name}: cannot be fetched: " for name in NAMES] == failures
    assert not inspection.mark_path(SET, tmp_path).exists()


async def test_files_that_stay_keep_their_digests(tmp_path, child):
    """While a missing file is made anew, the mark still guards the other one."""
    put(tmp_path, b"home", b"made")
    whole = inspection.mark_of(SET, tmp_path)
    inspection.write_mark(SET, tmp_path, whole)
    (tmp_path / NAMES[0]).unlink()
    child(lambda: "no memory")
    await generation.generate([SET], tmp_path, Quiet())
    kept = inspection.read_mark(SET, tmp_path)
    assert {NAMES[1]: whole.files[NAMES[1]]} == (kept.files if kept else None)


async def test_generate_never_marks_published_files(tmp_path):
    """Published files are not called home-made, even if asked to."""
    put(tmp_path, *CONTENTS)
    assert [] == await generation.generate([SET], tmp_path, Quiet(), adopt=True)
    assert not inspection.mark_path(SET, tmp_path).exists()


async def test_generate_does_not_build_on_a_damaged_set(tmp_path):
    """A file that differs from its mark has to go before the set is made again."""
    put(tmp_path, b"home", b"made")
    inspection.write_mark(SET, tmp_path, inspection.mark_of(SET, tmp_path))
    put(tmp_path, b"longer than before")
    (failure,) = await generation.generate([SET], tmp_path, Quiet())
    assert "delete it first" in failure


async def test_generate_passes_the_childs_last_words_on(tmp_path):
    """A child that fails leaves its reason, and no mark."""
    impossible = catalog.FileSet(Kind.POREP, 4096, SET.files)
    (failure,) = await generation.generate([impossible], tmp_path, Quiet())
    assert failure.startswith("porep 2KiB: ")
    assert len(failure) > len("porep 2KiB: ")
    assert not inspection.mark_path(impossible, tmp_path).exists()


async def test_generate_refuses_sizes_of_real_networks(tmp_path):
    """Nobody makes 32GiB sets at home."""
    failures = await generation.generate(catalog.sets([sectors.SectorSize.GIB32]), tmp_path, Quiet())
    assert 4 == len(failures)
    assert "for real networks" in failures[0]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", [Kind.WDPOST, Kind.SRS])
async def test_generate_makes_a_set(tmp_path, kind):
    """The window PoSt set of 2KiB, and the file of aggregation, are made in a child, marked, and found whole."""
    pytest.importorskip("damocles_proofs")
    sets = catalog.sets([sectors.SectorSize.KIB2], [kind])
    assert [] == await generation.generate(sets, tmp_path, Quiet())
    assert {Status.GENERATED} == {report.status for report in inspection.check(sets, tmp_path)}
    assert [] == catalog.missing([sectors.SectorSize.KIB2], [kind], tmp_path)


def test_aggregation_of_real_networks_is_not_made_here(tmp_path):
    """The file is the same for all sizes; one that is made here must not be asked for with a size of real networks."""
    at = {"FIL_PROOFS_PARAMETER_CACHE": str(tmp_path)}
    command = ("damocles-worker", "params", "generate", "--sector-size", "2KiB,32GiB", "--for", "srs")
    done = farm.cli(*command, check=False, env=at)
    assert (2, True) == (done.returncode, "sectors of 32GiB are for real networks" in done.stderr), done
    assert [] == list(tmp_path.iterdir())


def test_preflight_names_plan_size_files_and_command(tmp_path):
    """A worker that lacks parameters says for which plan, how to get them, and last the long names of the files."""
    (line,) = preflight.warnings({"sealer": [sectors.SectorSize.KIB2], "unseal": [sectors.SectorSize.KIB2]}, tmp_path)
    assert line.startswith("plan sealer cannot prove sectors of 2KiB without PoRep (C2) parameters; fetch them: ")
    remedy, _, lacking = line.partition(f"; {tmp_path} lacks v28-")
    assert remedy.endswith(
        "or make a set for a test network: damocles-worker params generate --sector-size 2KiB --for porep"
    )
    assert "--for porep, or make a set" in remedy
    assert lacking
    (line,) = preflight.warnings({"sealer": [sectors.SectorSize.GIB32]}, tmp_path)
    assert f"damocles-worker params fetch --sector-size 32GiB --for porep; {tmp_path} lacks " in line


def test_missing_files_are_counted_by_plan_and_size(tmp_path):
    """Without sizes for all of them; a plan that proves nothing needs none, and what is there is not missing."""
    plans = {"sealer": [sectors.SectorSize.MIB8], "unseal": [sectors.SectorSize.MIB8], "wdpost": None}
    before = preflight.missing_files(plans, tmp_path)
    assert {("sealer", "8MiB"), *(("wdpost", size.label) for size in sectors.SectorSize)} == before.keys()
    assert all(before.values())
    for file in catalog.sets([sectors.SectorSize.MIB8], [Kind.POREP])[0].files:
        (tmp_path / file.name).write_bytes(b"x")
    assert 0 == preflight.missing_files(plans, tmp_path)["sealer", "8MiB"]


def test_preflight_is_silent_when_nothing_is_missing(tmp_path):
    """Files that are there are not mentioned; of a worker that takes any size, one size is enough."""
    for file in catalog.sets([sectors.SectorSize.MIB8], [Kind.POREP])[0].files:
        (tmp_path / file.name).write_bytes(b"x")
    assert [] == preflight.warnings({"sealer": [sectors.SectorSize.MIB8]}, tmp_path)
    assert [] == preflight.warnings({"sealer": None}, tmp_path)
    assert 1 == len(preflight.warnings({"snapup": None}, tmp_path))


def test_mirrors_are_taken_from_the_first_place_that_names_some():
    """The command line wins over the environment, the environment over the configuration; there is no default."""
    environment = {"DAMOCLES_PARAMETER_MIRRORS": "http://b, http://c", "IPFS_GATEWAY": "https://d/ipfs/"}
    assert ["http://a"] == mirrors.chosen(["http://a"], ["http://e"], environment)
    assert ["http://b", "http://c", "https://d/ipfs/"] == mirrors.chosen([], ["http://e"], environment)
    assert ["http://e"] == mirrors.chosen([], ["http://e"], {})
    with pytest.raises(mirrors.NoMirror, match="--mirror"):
        mirrors.chosen([], [], {})
    with pytest.raises(ValueError, match="ftp://x"):
        mirrors.chosen(["ftp://x"], [], {})


@pytest.mark.parametrize(
    ("mirror", "url"),
    [
        ("http://m/files", "http://m/files/v28-test.params"),
        ("http://m/files/", "http://m/files/v28-test.params"),
        ("https://gateway/ipfs/", "https://gateway/ipfs/QmTest"),
        ("https://m/get?cid={cid}&as={name}", "https://m/get?cid=QmTest&as=v28-test.params"),
    ],
)
def test_mirrors_are_folders_gateways_or_templates(mirror, url):
    """A gateway is asked for the CID, a folder for the name, a template says itself."""
    assert url == mirrors.url_of(mirror, SET.files[0])
