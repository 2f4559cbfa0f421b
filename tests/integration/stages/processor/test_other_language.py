"""A processor in C, as the page about the protocol has it: nothing else was read to write it."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from damocles.stages import descriptors, errors
from damocles.stages.supervision import executor, pool
from damocles.testing import farm
from damocles.wire import tasks

PAGE = (Path(__file__).parents[4] / "docs/reference/processor-protocol.md").read_text()
COMPILER = shutil.which("cc")


@pytest.fixture(scope="module")
def copier(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the program of the page, compiled."""
    if COMPILER is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("copier")
    found = re.search(r"```c\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    (folder / "copier.c").write_text(found[1])
    command = [COMPILER, "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(folder / "copier"), str(folder / "copier.c")]
    subprocess.run(command, check=True)
    return str(folder / "copier")


def route(source: Path, target: Path) -> tasks.Route:
    """Return a route from a file to a file in a store."""
    return tasks.Route({"store_name": None, "uri": str(source)}, {"store_name": "p", "uri": str(target)})


async def test_it_copies_and_says_what_it_cannot(copier: str, tmp_path: Path) -> None:
    """Tasks one after the other, in one process; the error's text is what it answers; other names of paths are read too."""
    seen: list[executor.Status] = []
    odd = tmp_path / 'a "b\\c'
    odd.write_bytes(bytes(range(256)) * 1000)
    (tmp_path / "two").write_bytes(b"2")
    async with executor.Stages(groups={"transfer": [pool.ProcessorGroup(bin=copier, concurrent=1)]}) as stages:

        async def run(*routes: tasks.Route) -> object:
            task = tasks.Transfer({"p": tasks.StoreInfo("p", {"k": "v"})}, list(routes), fresh=True)
            return await stages.run("transfer", task, lane=0, on_status=seen.append)

        assert await run(route(odd, tmp_path / "p/cache/s/one"), route(tmp_path / "two", tmp_path / "p/two"))
        assert odd.read_bytes() == (tmp_path / "p/cache/s/one").read_bytes()
        assert b"2" == (tmp_path / "p/two").read_bytes()
        with pytest.raises(errors.StageFailed) as failed:
            await run(route(tmp_path / "no", tmp_path / "p/three"))
        assert f"{tmp_path}/no: No such file or directory" == str(failed.value)
        assert await run(route(tmp_path / "two", tmp_path / "p/four"))
    assert 1 == len({status.pid for status in seen if status.state == "running"})


def test_a_sector_is_persisted_by_it(copier: str, tmp_path: Path) -> None:
    """A worker that has it as its processor of transfer seals as ever; the files in the persist store are the sealed ones."""
    group = f'[[processors.transfer]]\nbin = "{copier}"\nconcurrent = 1\n'
    with farm.Farm(tmp_path, threads=1, max_sectors=1, processors=group) as running:
        running.start_manager()
        running.start_worker()
        farm.wait_until(lambda: "Persist" in running.events(0), "the files are persisted")
        sealed = next((tmp_path / "persist").glob("sealed/*"))
        assert sealed.read_bytes() == (running.stores[0] / "data/sealed" / sealed.name).read_bytes()
        cached = list((tmp_path / "persist/cache" / sealed.name).iterdir())
        assert {"p_aux", "t_aux", "sc-02-data-tree-r-last.dat"} <= {path.name for path in cached}


def test_every_task_of_the_original_is_on_the_page() -> None:
    """Its keys in their spelling, and those of what is in it."""
    rows = {found[1]: found[0] for found in re.finditer(r"^\| `(\w+)` \| (`.*) \|$", PAGE, re.MULTILINE)}
    stages = {name for name, stage in descriptors.STAGES.items() if not stage.is_ours and name != "winning_post"}
    assert stages == set(rows)
    ours = frozenset({"tokens", "authorities", "must_know", "fence", "keep", "fresh"})
    for name in stages:
        keys = set(inner_keys(descriptors.named(name).task, ours))
        assert {key for key in keys if f"`{key}`" not in rows[name]} - {"commitment", "size"} == set(), name


def inner_keys(struct: type, without: frozenset[str] = frozenset()) -> list[str]:
    """Return the keys of a struct, and of the structs in it."""
    keys = []
    for each in msgspec.structs.fields(struct):
        if each.name in without:
            continue
        keys.append(each.encode_name)
        for kind in (each.type, *get_args(each.type)):
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                keys += inner_keys(kind)
    return keys
