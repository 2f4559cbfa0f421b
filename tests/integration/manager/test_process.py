"""The manager as a process: starting, being killed, stopping, and what its command line says."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from damocles import methods
from damocles.cli import manager
from damocles.rpc import address, errors
from damocles.rpc.admission import tokens
from damocles.rpc.calling import sync
from damocles.testing.farm import wait_until
from damocles.wire import commitments, fleet, records, seal
from damocles.wire.sectors import SectorID, SectorSize

PROGRAM = [sys.executable, "-c", "import sys; from damocles.cli.manager import main; sys.exit(main())"]
SECTOR = SectorID(10000, 1)
G1 = bytes.fromhex("97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb")
G2 = bytes.fromhex(
    "93e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e"
    "024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8"
)
COMM_R = commitments.commitment_of(commitments.sealed_cid(bytes(range(32))))


def command(home: Path, *options: str, listen: str = "127.0.0.1:0") -> list[str]:
    """Return the command line of a mock manager."""
    return [
        *(*PROGRAM, "mock", "--miner", "10000", "--sector-size", "2KiB"),
        *("--home", str(home), "--listen", listen, "--log-json", *options),
    ]


@contextmanager
def running(
    home: Path, *options: str, parameters: Path | None = None
) -> Iterator[tuple["subprocess.Popen[str]", sync.Client]]:
    """Run a manager until the block ends; yield it with a client."""
    env = {**os.environ, "FIL_PROOFS_PARAMETER_CACHE": str(parameters or home / "no-parameters")}
    process = subprocess.Popen(command(home, *options), stderr=subprocess.PIPE, text=True, env=env)
    assert process.stderr is not None
    try:
        lines = map(json.loads, process.stderr)
        bound = next(line["address"] for line in lines if line["event"] == "listening")
        token = tokens.read_file(home / "token")
        with sync.connect(address.manager_url(bound), token=token) as client:
            yield process, client
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
        process.stderr.close()


def handed_in(client: sync.Client) -> seal.PreCommit:
    """Draw a ticket for the first sector and submit its pre-commit."""
    ticket = client.call(methods.sealer.assign_ticket(SECTOR))
    content = seal.PreCommit(COMM_R, commitments.zero_comm_d(SectorSize.KIB2), ticket)
    client.call("Venus.SubmitPreCommit", [seal.AllocatedSector(SECTOR, 5), content, False])
    return content


def polled_until(client: sync.Client, wanted: Callable[[seal.OnChainState], bool]) -> seal.Polled:
    """Wait for a state of the first sector's pre-commit."""

    def polled() -> seal.Polled | None:
        found = client.call("Venus.PollPreCommitState", [SECTOR], returns=seal.Polled)
        return found if wanted(found.state) else None

    found: seal.Polled = wait_until(polled, "the pre-commit has got on")
    return found


def pre_commit(client: sync.Client) -> None:
    """Bring the pre-commit of the first sector onto the chain."""
    handed_in(client)
    polled_until(client, lambda state: state == seal.OnChainState.LANDED)


def test_a_killed_manager_goes_on(tmp_path: Path) -> None:
    """Killed right after an answer, the manager goes on from it: number, ticket, pre-commit, store, seed, worker."""
    with running(tmp_path) as (process, client):
        assert SECTOR == client.call("Venus.AllocateSector", [{}], returns=seal.AllocatedSector).id
        process.kill()
    with running(tmp_path) as (process, client):
        ticket = handed_in(client).ticket
        process.kill()
    with running(tmp_path) as (process, client):
        polled_until(client, lambda state: state == seal.OnChainState.LANDED)
        store = client.call("Venus.StoreReserveSpace", [SECTOR, 4096, ["a", "b"]], returns=seal.StoreBasicInfo)
        seed = client.call("Venus.WaitSeed", [SECTOR, 5], returns=seal.WaitSeedResp).seed
        client.call("Venus.WorkerPing", [fleet.WorkerInfo("worker-1", "127.0.0.1:17890")])
        process.kill()
    with running(tmp_path) as (_, client):
        assert 2 == client.call("Venus.AllocateSector", [{}], returns=seal.AllocatedSector).id.number
        record = client.call("Venus.FindSector", ["online", SECTOR], returns=records.SectorState)
        assert (ticket, seed) == (record.ticket, record.seed)
        assert record.pre_commit is not None
        assert commitments.sealed_cid(COMM_R) == record.pre_commit.comm_r
        polled = client.call("Venus.PollPreCommitState", [SECTOR], returns=seal.Polled)
        assert seal.OnChainState.LANDED == polled.state
        again = client.call("Venus.StoreReserveSpace", [SECTOR, 4096, ["b", "a"]], returns=seal.StoreBasicInfo)
        assert store == again
        (ping,) = client.call("Venus.WorkerPingInfoList", [], returns=list[fleet.PingInfo])
        assert "worker-1" == ping.info.name


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and SIGINT end the manager with exit code 0."""
    with running(tmp_path) as (process, client):
        client.call("Venus.Version", [], returns=str)
        process.send_signal(number)
        assert 0 == process.wait(20)


def test_without_verifying_keys_the_call_names_them(tmp_path: Path) -> None:
    """A proof that cannot be checked is neither accepted nor refused: the error names the file and the command."""
    pytest.importorskip("damocles_proofs")
    with running(tmp_path) as (_, client):
        client.call("Venus.AllocateSector", [{}])
        pre_commit(client)
        with pytest.raises(errors.RpcError) as raised:
            client.call("Venus.SubmitProof", [SECTOR, seal.Proof(bytes(192)), False])
    assert 1 == raised.value.code
    assert str(tmp_path / "no-parameters") in raised.value.message
    assert "832f.vk;" in raised.value.message
    assert "damocles-worker params fetch --sector-size 2KiB --for porep" in raised.value.message


def test_a_used_address_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    """A manager that cannot listen says so in one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(command(tmp_path, listen=listen), capture_output=True, text=True, timeout=30, check=False)
    assert 1 == done.returncode
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert line.startswith(f"error: {listen} is in use")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--listen", ":1789"], "listen on 127.0.0.1:1789, or say --insecure"),
        (["--sector-size", "3KiB"], "'3KiB' is not a sector size: use one of 2KiB"),
        (["--store", "name"], "--store 'name': write NAME=PATH"),
        (["--store", "name=/no/such/folder"], "--store name: /no/such/folder is not a folder"),
        (["--block-delay", "0s"], "an epoch of 0 s is too short"),
        (["--challenge-delay", "-1"], "--challenge-delay"),
    ],
)
def test_wrong_options_are_one_line_and_exit_code_2(
    tmp_path: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Options that make no sense are refused before anything starts."""
    given = {"--miner": "10000", "--sector-size": "2KiB", "--home": str(tmp_path / "home")} | dict([options])
    assert 2 == manager.main(["mock", *(word for pair in given.items() for word in pair)])
    assert said in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


@pytest.mark.params
@pytest.mark.parametrize(
    ("proof", "reason"),
    [
        (bytes(10), "invalid proof: expected exactly 192 bytes but got 10"),
        (bytes(192), "invalid proof: not on curve"),
        # Three points of the curves, and yet no proof: the generators.
        (G1 + G2 + G1, "invalid proof (compute error?)"),
    ],
)
def test_an_invalid_proof_is_rejected_by_the_real_verifier(
    tmp_path: Path, porep_parameters: list[Path], proof: bytes, reason: str
) -> None:
    """With verifying keys at hand a wrong proof is rejected, and the reason is the library's."""
    with running(tmp_path, parameters=porep_parameters[0].parent) as (_, client):
        client.call("Venus.AllocateSector", [{}])
        pre_commit(client)
        submitted = client.call("Venus.SubmitProof", [SECTOR, seal.Proof(proof), False], returns=seal.Submitted)
    assert seal.Submitted(seal.SubmitResult.REJECTED, reason) == submitted


def test_a_daemon_imports_nothing_for_a_devnode() -> None:
    """What only a manager with a devnode of its own needs takes memory, and is left out of the others."""
    code = "import sys, damocles.cli.of_manager.daemon, damocles.manager.chain.opening; print(*sys.modules)"
    names = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert "damocles.manager.chains" in names
    assert set() == {name for name in names if name.startswith("damocles.devnode")}


def test_a_home_of_an_earlier_mock_is_refused_in_one_line_and_stays_as_it_is(tmp_path: Path) -> None:
    """Its sectors are on a chain that was in its database: without a devnode that has them, nothing is begun."""
    with running(tmp_path) as (_, client):
        client.call("Venus.AllocateSector", [{}])
    shutil.rmtree(tmp_path / "devnode")
    done = subprocess.run(command(tmp_path), capture_output=True, text=True, timeout=120, check=False)
    assert 1 == done.returncode
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert line.startswith(f"error: the home {tmp_path} has sectors, and no devnode that they are on")
    assert line.endswith("They stay as they are. Choose another --home")
    assert not (tmp_path / "devnode").exists()
    with closing(sqlite3.connect(tmp_path / "manager.db")) as database:
        assert [(10000, 1)] == database.execute("SELECT miner, number FROM sectors").fetchall()


def test_sectors_of_another_size_are_refused_with_the_option_that_fits(tmp_path: Path) -> None:
    """Before the devnode is touched, whose rules would not fit either."""
    with running(tmp_path) as (_, client):
        client.call("Venus.AllocateSector", [{}])
    again = [*command(tmp_path)[: len(PROGRAM)], "mock", "--miner=10000", "--sector-size=8MiB", f"--home={tmp_path}"]
    done = subprocess.run(again, capture_output=True, text=True, timeout=120, check=False)
    assert 1 == done.returncode
    assert "start it with --miner 10000 --sector-size 2KiB, or choose another --home" in done.stderr


def test_the_first_messages_fail_where_that_is_asked_for(tmp_path: Path) -> None:
    """The pre-commit lands with an exit code; handed in again, it lands well."""
    with running(tmp_path, "--fail-messages", "1") as (_, client):
        client.call("Venus.AllocateSector", [{}])
        content = handed_in(client)
        polled = polled_until(client, lambda state: state > seal.OnChainState.LANDED)
        assert seal.OnChainState.FAILED == polled.state
        client.call("Venus.SubmitPreCommit", [seal.AllocatedSector(SECTOR, 5), content, True])
        polled_until(client, lambda state: state == seal.OnChainState.LANDED)


def test_a_message_waits_for_as_many_epochs_as_it_is_told(tmp_path: Path) -> None:
    """Nothing that happens on the chain meanwhile brings it into a block."""
    with running(tmp_path, "--pre-commit-delay", "1000000") as (_, client):
        client.call("Venus.AllocateSector", [{}])
        handed_in(client)
        wait_until(lambda: any(order.signed for order in client.call(methods.chain.orders([1]))), "its message is sent")
        assert seal.OnChainState.PENDING == polled_until(client, lambda _: True).state
