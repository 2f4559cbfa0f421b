"""How a command finds a daemon: by what it left in its home, and by a bundle that was carried elsewhere."""

import json
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio.to_thread
import pytest

from damocles.cli import manager, worker
from damocles.manager import daemon
from damocles.manager.sectors.ledger import Miner
from damocles.rpc import address, tls
from damocles.rpc.calling import profiles
from damocles.stores import persist, sealing
from damocles.testing import simulated_chain
from damocles.testing.believing import Believing
from damocles.wire.sectors import SealProof, SectorSize

Run = Callable[..., Awaitable[tuple[int, str, str]]]
LIST = ("util", "worker", "list")
NOBODY = "no worker has pinged this manager yet\n"


def certificate(folder: Path) -> tls.Files:
    """Make an authority and a certificate for this machine."""
    assert 0 == manager.main(["auth", "ca", "--dir", str(folder), "--host", "here"])
    return tls.Files(folder / "here.pem", folder / "here.key")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return what runs a command in a thread, and gives exit code, stdout and stderr."""

    async def run(main: Callable[[list[str]], int], *words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = await anyio.to_thread.run_sync(main, [str(word) for word in words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
async def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """Yield the home of a manager with a private certificate, which is not the one of who calls it."""
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    files = await anyio.to_thread.run_sync(certificate, tmp_path / "tls")
    home = tmp_path / "home"
    miner = Miner(id=1000, proof=SealProof.of(SectorSize.KIB2))
    settings = daemon.Settings(
        home=home,
        listen=address.host_port("127.0.0.1:0", 0),
        chain=simulated_chain.Source(miner=miner),
        certificate=files,
    )
    async with daemon.serve(settings, Believing()):
        yield home


async def test_on_its_machine_a_daemon_is_found_by_its_home(home: Path, run: Run) -> None:
    """Neither its port nor its authority has to be said; nobody else may read where it is."""
    code, _, err = await run(manager.main, *LIST, "--home", home)
    assert (0, NOBODY) == (code, err)
    file = home / profiles.FILE_NAME
    assert 0o600 == (await anyio.Path(file).stat()).st_mode & 0o777
    place = profiles.found(home)
    assert place is not None
    assert place.url.startswith("https://127.0.0.1:")
    assert (home.parent / "tls" / "here.pem") == Path(place.ca_file or "")


async def test_a_bundle_is_all_that_a_colleague_needs(home: Path, run: Run, tmp_path: Path) -> None:
    """Address, token and authority are in one file, which the command line takes only if nobody else can read it."""
    bundle, url = tmp_path / "bob", (profiles.found(home) or profiles.Place(url="")).url
    create = ("auth", "create", "bob", "--scope", "read", "--bundle", bundle, "--home", home)
    code, _, err = await run(manager.main, *create)
    assert (2, True) == (code, "this machine's own address: add --url" in err)
    code, out, err = await run(manager.main, *create, "--url", url)
    assert (0, f"{bundle}\n", "") == (code, out, err)
    assert 0o600 == bundle.stat().st_mode & 0o777
    code, _, err = await run(manager.main, *LIST, "--profile", bundle)
    assert (0, NOBODY) == (code, err)
    code, _, err = await run(manager.main, "auth", "list", "--profile", bundle)
    assert 7 == code, err
    bundle.chmod(0o640)
    code, _, err = await run(manager.main, *LIST, "--profile", bundle)
    assert (1, True) == (code, f"others can read it (mode 0640): chmod 600 {bundle}" in err), err


async def test_the_token_of_a_bundle_goes_to_its_manager_alone(home: Path, run: Run, tmp_path: Path) -> None:
    """At another address that is given beside it, nothing of it is shown."""
    bundle, url = tmp_path / "bob", (profiles.found(home) or profiles.Place(url="")).url
    words = ("auth", "create", "bob", "--scope", "read", "--bundle", bundle, "--url", url, "--home", home)
    assert 0 == (await run(manager.main, *words))[0]
    elsewhere = url.replace("127.0.0.1", "localhost")
    ca = home.parent / "tls" / "ca.pem"
    code, _, err = await run(manager.main, *LIST, "--profile", bundle, "--listen", elsewhere, "--ca-file", ca)
    assert (7, True) == (code, "no token was found" in err), err


async def test_a_bundle_that_is_made_by_a_bundle_has_its_authority(home: Path, run: Run, tmp_path: Path) -> None:
    """An administrator elsewhere has the authority in a bundle alone, and a colleague needs it as well."""
    first, second, url = tmp_path / "root", tmp_path / "bob", (profiles.found(home) or profiles.Place(url="")).url
    words = ("auth", "create", "root", "--scope", "admin", "--bundle", first, "--url", url, "--home", home)
    assert 0 == (await run(manager.main, *words))[0]
    words = ("auth", "create", "bob", "--scope", "read", "--bundle", second, "--url", url, "--profile", first)
    code, _, err = await run(manager.main, *words)
    assert (0, "") == (code, err)
    assert profiles.read(first).authority == profiles.read(second).authority
    code, _, err = await run(manager.main, *LIST, "--profile", second)
    assert (0, NOBODY) == (code, err)


async def test_a_new_worker_comes_from_a_bundle(home: Path, run: Run, tmp_path: Path) -> None:
    """Its configuration can be used at once, its secrets are its own, and nothing that is there is replaced."""
    bundle, url = tmp_path / "gpu1", (profiles.found(home) or profiles.Place(url="")).url
    create = ("auth", "create", "gpu1", "--scope", "worker", "--worker", "gpu1", "--bundle", bundle)
    assert 0 == (await run(manager.main, *create, "--url", url, "--home", home))[0]
    await anyio.to_thread.run_sync(_stores, tmp_path)
    config, its = tmp_path / "worker.toml", tmp_path / "gpu1-home"
    words = ("init", "--bundle", bundle, "--config", config, "--home", its, "--store", tmp_path / "store")
    attach = ("--attach", f"p1={tmp_path}/persist")
    code, out, err = await run(worker.main, *words, *attach, "--json")
    assert (0, [str(config), f"{its}/manager-token", f"{its}/ca.pem"]) == (code, json.loads(out)), err
    assert {0o600} == {file.stat().st_mode & 0o777 for file in its.iterdir()}
    code, _, err = await run(worker.main, "config", "check", config, "--strict")
    assert (0, "") == (code, err)
    code, out, _ = await run(worker.main, "doctor", "-c", config, "--json")
    told = [one["text"] for one in json.loads(out)["findings"] if one["about"] == "manager"]
    assert f"{url} answers, and takes our token" in told, told
    code, _, err = await run(worker.main, *words, *attach)
    assert (1, True) == (code, f"{config} exists" in err)


async def test_a_bundle_names_all_managers_that_a_worker_may_go_to(home: Path, run: Run, tmp_path: Path) -> None:
    """The first `--url` is where it begins, the others are its further addresses; a token goes to none of them unencrypted."""
    bundle, url = tmp_path / "gpu2", (profiles.found(home) or profiles.Place(url="")).url
    create = ("auth", "create", "gpu2", "--scope", "worker", "--worker", "gpu2", "--bundle", bundle, "--home", home)
    code, _, err = await run(manager.main, *create, "--url", url, "--url", "http://198.51.100.7:1789")
    assert (2, True) == (code, "to http://198.51.100.7:1789/rpc/v0 unencrypted" in err)
    other = "https://198.51.100.7:1789"
    assert 0 == (await run(manager.main, *create, "--url", url, "--url", other))[0]
    config = tmp_path / "worker.toml"
    assert 0 == (await run(worker.main, "init", "--bundle", bundle, "--config", config, "--home", tmp_path / "w"))[0]
    table = tomllib.loads(config.read_text())["sector_manager"]
    assert (url, [f"{other}/rpc/v0"]) == (table["rpc_client"]["addr"], table["addresses"])
    words = ("auth", "create", "bob", "--scope", "read", "--bundle", tmp_path / "b", "--url", url, "--url", other)
    code, _, err = await run(manager.main, *words, "--home", home)
    assert (2, True) == (code, "pass --url once" in err)


async def test_a_bundle_of_an_operator_makes_no_worker(home: Path, run: Run, tmp_path: Path) -> None:
    """What one person may do is not what a machine is for."""
    bundle, url = tmp_path / "bob", (profiles.found(home) or profiles.Place(url="")).url
    words = ("auth", "create", "bob", "--scope", "operate", "--bundle", bundle, "--url", url, "--home", home)
    assert 0 == (await run(manager.main, *words))[0]
    code, _, err = await run(worker.main, "init", "--bundle", bundle, "--config", tmp_path / "w.toml")
    assert (2, True) == (code, "is of scope operate: a worker needs one of scope worker" in err)


def _stores(base: Path) -> None:
    sealing.init(base / "store")
    persist.init(base / "persist")


def test_a_place_on_another_machine_is_none(tmp_path: Path) -> None:
    """What lies in a home speaks of its own machine; so does a file that is damaged, of nothing."""
    file = tmp_path / profiles.FILE_NAME
    file.write_text(json.dumps({"url": "https://198.51.100.7:1789/rpc/v0"}))
    assert None is profiles.found(tmp_path)
    file.write_text("{")
    assert None is profiles.found(tmp_path)
