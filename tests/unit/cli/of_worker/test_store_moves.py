"""`damocles-worker store export|import`: a sector and its history from one journal to another."""

import io
import json
import os
import platform
import sys
from pathlib import Path

import msgspec
import pytest

from damocles.sealing import events
from damocles.sealing.sectors import Sector
from damocles.sealing.states import State
from damocles.stores import journal, sealing
from damocles.wire import seal
from damocles.wire.sectors import SectorID


def fill(store: Path, number: int = 1, state: State = State.C1Done) -> None:
    """Make a store whose sector is at a state, with an output of both kinds."""
    sealing.init(store)
    book = journal.Journal(store / "meta" / journal.FILE_NAME)
    empty = Sector(plan="sealer")
    allocated = Sector(
        plan="sealer", state=State.PC1Done, allocated=seal.AllocatedSector(SectorID(10000, number), 5), claim=2
    )
    book.record(empty, events.Failed("Temporary", "no manager\nthere"), empty, at=1.5)
    book.record(empty, events.Resume(), allocated, at=2.0, seconds=0.25)
    done = msgspec.structs.replace(allocated, state=state, pc1out=msgspec.Raw(b'{"a":1}'), c1out=msgspec.Raw(b"[1,2]"))
    book.record(allocated, events.Resume(), done, at=3.0)
    book.close()


def loaded(store: Path) -> tuple[str, Sector | None]:
    """Return the identity and the sector of a store."""
    book = journal.Journal(store / "meta" / journal.FILE_NAME)
    try:
        return book.identity, book.load()
    finally:
        book.close()


def test_what_is_exported_and_imported_is_the_same(run, tmp_path):
    """Record, outputs, history and identity of a store are in another one afterwards; exported again, they are alike."""
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "old.jsonl"
    fill(old)
    sealing.init(new)
    assert {"file": str(file), "stores": 1} == json.loads(run("store", "export", old, "--out", file, "--json")[1])
    assert (0, f"1 store in {file}\n", "") == run("store", "export", old, "--out", file)
    kinds = [next(iter(json.loads(line))) for line in file.read_text().splitlines()]
    assert ["format", "output", "output", "entry", "entry", "entry", "end"] == kinds
    code, out, err = run("store", "import", file, new)
    assert (0, f"{new}: s-t010000-1 at C1Done, 3 entries of history\n") == (code, out)
    assert "" == err  # C2 reads no file
    assert loaded(old) == loaded(new)
    assert run("store", "show", old, "--json") == run("store", "show", new, "--json")
    _, again, _ = run("store", "export", new)
    assert file.read_text() == again.replace(str(new), str(old))
    entries = [json.loads(line)["entry"] for line in again.splitlines() if line.startswith('{"entry"')]
    assert json.loads(run("store", "show", old, "--json")[1]) == entries


def test_only_an_empty_store_takes_one(run, tmp_path):
    """A store with a history, with files of another sector, or in use is refused and stays as it is."""
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "old.jsonl"
    fill(old)
    fill(new, number=2)
    run("store", "export", old, "--out", file)
    before = loaded(new)
    code, _, err = run("store", "import", file, new)
    assert (1, True) == (code, "is not empty: import into a new store, created with `store sealing-init`" in err)
    assert before == loaded(new)
    third = tmp_path / "third"
    sealing.init(third)
    (third / "data" / "sealed").mkdir()
    (third / "data" / "sealed" / "s-t010000-7").touch()
    code, _, err = run("store", "import", file, third)
    assert (1, f"error: {third}/data has files of s-t010000-7: import into an empty store\n") == (code, err)
    (third / "data" / "sealed" / "s-t010000-7").unlink()
    with sealing.opened(third):
        code, _, err = run("store", "import", file, third)
        owner = f"pid {os.getpid()} on {platform.node()}"
        assert (1, f"error: {third} is in use by another worker ({owner})\n") == (code, err)
    assert 1 == run("store", "import", file, tmp_path)[0]
    assert 0 == run("store", "import", file, third)[0]


def test_one_of_several_is_chosen(run, tmp_path):
    """A file with several stores wants to know which one; folder and identity are names."""
    stores, file = [tmp_path / name for name in "ab"], tmp_path / "all.jsonl"
    for number, store in enumerate(stores, 1):
        fill(store, number)
    run("store", "export", *stores, "--out", file)
    new, newer = tmp_path / "new", tmp_path / "newer"
    sealing.init(new)
    sealing.init(newer)
    code, _, err = run("store", "import", file, new)
    assert (2, f"error: {file} holds {stores[0]}, {stores[1]}: choose one with --store\n") == (code, err)
    assert 2 == run("store", "import", file, new, "--store", "c")[0]
    assert "s-t010000-2 at C1Done" in run("store", "import", file, new, "--store", stores[1])[1]
    assert "s-t010000-1 at C1Done" in run("store", "import", file, newer, "--store", loaded(stores[0])[0])[1]


def test_a_pipe_will_do(run, tmp_path, monkeypatch):
    """Export writes to the standard output, import reads - from the standard input: `export … | ssh … import - …`."""
    old, new = tmp_path / "old", tmp_path / "new"
    fill(old)
    sealing.init(new)
    _, out, _ = run("store", "export", old)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(out.encode())))
    assert 0 == run("store", "import", "-", new)[0]
    assert loaded(old) == loaded(new)


def test_missing_files_are_named(run, tmp_path):
    """What the sector's state reads and is not there yet is said; the import is done all the same."""
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "old.jsonl"
    fill(old, state=State.PC1Done)
    sealing.init(new)
    run("store", "export", old, "--out", file)
    code, out, err = run("store", "import", file, new)
    assert (0, f"{new}: s-t010000-1 at PC1Done, 3 entries of history\n") == (code, out)
    assert f"warning: {new}/data lacks " in err
    newer = tmp_path / "newer"
    sealing.init(newer)
    told = json.loads(run("store", "import", file, newer, "--json")[1])
    assert ("s-t010000-1", "PC1Done", 3) == (told["sector"], told["state"], told["entries"])
    assert (
        err == f"warning: {new}/data lacks {', '.join(told['missing'])}: put the files of the old store there before "
        "its worker runs\n"
    )


def test_a_store_in_use_is_pointed_out(run, tmp_path):
    """The export of a store whose worker runs works, with a warning that it must not go on in two places."""
    old = tmp_path / "old"
    fill(old)
    with sealing.opened(old):
        code, out, err = run("store", "export", old)
    assert (0, 7, f"warning: {old} is in use: stop its worker before you use the export elsewhere\n") == (
        code,
        len(out.splitlines()),
        err,
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda lines: lines[:-1], "line 6: the file is cut off, the end of"),
        (lambda lines: [*lines[:3], *lines[4:]], "line 6: lines are missing: there were 2 outputs and 3 entries"),
        (lambda lines: lines[1:], "line 1: belongs to no store"),
        (lambda lines: [lines[0], *lines], "line 2: the store before it has no end"),
        (lambda lines: [lines[0], lines[1][:9], *lines[2:]], "line 2: Input data was truncated"),
        (lambda lines: [lines[0].replace('"format":1', '"format":2'), *lines[1:]], "line 1: Invalid enum value 2"),
        (lambda lines: [lines[0].replace("sealer", "dealer"), *lines[1:]], "of the plan dealer, which"),
        (lambda lines: [lines[0], '{"hello":1}'], "line 2: is no line of an export of stores"),
        (lambda _: [], "does not hold a store"),
    ],
)
def test_a_bad_line_is_named_and_nothing_imported(run, tmp_path, change, text):
    """A file that is cut off, has lines missing or wrong is refused as a whole."""
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "old.jsonl"
    fill(old)
    sealing.init(new)
    before = loaded(new)
    run("store", "export", old, "--out", file)
    file.write_text("".join(f"{line}\n" for line in change(file.read_text().splitlines())))
    code, _, err = run("store", "import", file, new)
    assert code in {1, 2}
    assert text in err
    assert before == loaded(new)


def test_what_is_no_store_is_not_exported(run, tmp_path):
    """A folder that is no store is named, and no file is left behind."""
    code, _, err = run("store", "export", tmp_path, "--out", tmp_path / "x")
    assert (1, True, False) == (code, f"{tmp_path} is not a sealing store" in err, (tmp_path / "x").exists())
    assert 2 == run("store", "export")[0]
