"""The worker's tokens and audit on disk, its token for the manager, and variables set from outside."""

import os
import stat
from pathlib import Path

import pytest
import structlog.testing

from damocles import durable
from damocles.methods.rules import Scope
from damocles.rpc import callers, errors
from damocles.rpc.admission import keyring, tokens
from damocles.wire import control
from damocles.worker.config import model
from damocles.worker.serving import access, audit, environment

RPC = model.RpcClient(addr="/ip4/127.0.0.1/tcp/1789")


def mode(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


class TestTokens:
    async def test_the_first_start_makes_them(self, tmp_path: Path) -> None:
        """The worker's own token is an admin's, and none of the files can be read by others."""
        home = tmp_path / "home"
        ring = await access.open_keyring(home)
        text = tokens.read_file(home / "token")
        assert callers.Principal("local", frozenset({Scope.ADMIN})) == await ring.identify(text)
        assert {"token": 0o600, "tokens.json": 0o600} == {path.name: mode(path) for path in home.iterdir()}
        assert text not in (home / "tokens.json").read_text()

    async def test_the_next_start_knows_them(self, tmp_path: Path) -> None:
        """Tokens, revocations and uses outlive the process."""
        ring = await access.open_keyring(tmp_path)
        _, kept = await ring.create("alice", Scope.READ, None, "bob")
        _, gone = await ring.create("carol", Scope.READ, None, "bob")
        await ring.identify(kept)
        await ring.revoke("carol")
        again = await access.open_keyring(tmp_path)
        assert ["local", "alice", "carol"] == [token.name for token in again.all()]
        assert "alice" == (await again.identify(kept)).name
        assert again.named("alice")[0].used is not None
        with pytest.raises(callers.Unidentified, match="revoked"):
            await again.identify(gone)

    @pytest.mark.parametrize("name", ["token", "tokens.json"])
    async def test_a_damaged_file_is_told(self, tmp_path: Path, name: str) -> None:
        """Nobody is let in or out by a file that cannot be read: the worker does not start, and says which."""
        await access.open_keyring(tmp_path)
        (tmp_path / name).write_text("[")
        with pytest.raises(access.Unusable, match=rf"/{name} .*; delete it, and a new one is created"):
            await access.open_keyring(tmp_path)

    async def test_a_full_disk_keeps_nobody_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """If the use of a token cannot be noted, it is good nevertheless."""
        ring = await access.open_keyring(tmp_path)

        def full(path: Path, content: bytes) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(durable, "replace", full)
        with structlog.testing.capture_logs() as logs:
            await ring.identify(tokens.read_file(tmp_path / "token"))
        assert ["the use of a token cannot be noted"] == [entry["event"] for entry in logs]


class TestManagerToken:
    @pytest.fixture(autouse=True)
    def _home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))

    def test_the_variable_wins_over_the_file(self, tmp_path: Path) -> None:
        """The environment says it for this run, the configuration for all."""
        file = tmp_path / "given"
        tokens.ensure_file(file)
        settings = model.SectorManager(rpc_client=RPC, token_file=file)
        variable = {"DAMOCLES_MANAGER_TOKEN": "dmc_variable\n"}
        assert "dmc_variable" == access.manager_token(settings, on_loopback=True, environment=variable)()
        assert file.read_text().strip() == access.manager_token(settings, on_loopback=True, environment={})()

    def test_what_is_no_token_is_not_sent(self, tmp_path: Path) -> None:
        """A variable with something else keeps the worker from starting; a file is waited for, as it may still come."""
        file = tmp_path / "given"
        settings = model.SectorManager(rpc_client=RPC, token_file=file)
        with pytest.raises(access.Unusable, match="DAMOCLES_MANAGER_TOKEN holds no token"):
            access.manager_token(settings, on_loopback=True, environment={"DAMOCLES_MANAGER_TOKEN": "a\nb"})
        file.write_bytes(b"dmc_\xff\xfe")
        assert None is access.manager_token(settings, on_loopback=True, environment={})()

    def test_a_manager_of_this_machine_is_found(self, tmp_path: Path) -> None:
        """On loopback the token is taken from the manager's usual home; elsewhere it would be another manager's."""
        text = tokens.ensure_file(tmp_path / ".damocles-manager" / "worker-token")
        settings = model.SectorManager(rpc_client=RPC)
        assert text == access.manager_token(settings, on_loopback=True, environment={})()
        remote = access.manager_token(settings, on_loopback=False, environment={})
        assert (None, "nowhere") == (remote(), str(remote))

    def test_a_file_may_come_later_and_change(self, tmp_path: Path) -> None:
        """The worker may start before its manager, and need not start again for a new token."""
        file = tmp_path / "token"
        token = access.manager_token(
            model.SectorManager(rpc_client=RPC, token_file=file), on_loopback=True, environment={}
        )
        assert None is token()
        durable.replace(file, b"dmc_one\n", private=True)
        assert "dmc_one" == token()
        durable.replace(file, b"dmc_two\n", private=True)
        assert "dmc_two" == token()
        with structlog.testing.capture_logs() as logs:
            file.unlink()
            assert [None, None] == [token(), token()]
        assert ["the token for the manager cannot be read any more"] == [entry["event"] for entry in logs]


class TestAuditFile:
    ENTRY = control.AuditEntry(at=1.0, who="alice", address="10.0.0.7:1", what="Damocles.Drain", ok=True)

    async def test_one_line_for_each_change(self, tmp_path: Path) -> None:
        """Entries are added in order, numbered by their lines, for the owner's eyes."""
        ledger = audit.Ledger(tmp_path / "home")
        await ledger.begin(self.ENTRY)
        await ledger.begin(self.ENTRY)
        assert [1, 2] == [entry.id for entry in audit.read(tmp_path / "home")]
        assert 0o600 == mode(tmp_path / "home" / "audit.jsonl")

    async def test_half_a_line_harms_only_itself(self, tmp_path: Path) -> None:
        """After a power cut the next entry begins a new line, and what cannot be read is listed as it is."""
        ledger = audit.Ledger(tmp_path)
        await ledger.begin(self.ENTRY)
        with (tmp_path / "audit.jsonl").open("ab") as file:
            file.write(b'{"at":2.0,"who":"al')
        await ledger.begin(self.ENTRY)
        found = list(audit.read(tmp_path))
        assert [1, 2, 3] == [entry.id for entry in found]
        assert ("(unreadable)", '{"at":2.0,"who":"al\n', False) == (found[1].what, found[1].params, found[1].ok)

    def test_no_file_is_no_entry(self, tmp_path: Path) -> None:
        """A worker through which nothing was changed has no audit yet."""
        assert [] == list(audit.read(tmp_path))


class TestEnvironment:
    @pytest.fixture(autouse=True)
    def _clean(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("DUMP_ERR_RESP_17", raising=False)

    async def test_what_is_allowed_is_set_and_removed(self) -> None:
        """A variable that matches a pattern is set in the process, and removed again; removing twice is no error."""
        ours = environment.Environment(["DUMP_ERR_RESP_*"])
        await ours.set("DUMP_ERR_RESP_17", "/tmp")
        assert "/tmp" == os.environ["DUMP_ERR_RESP_17"]
        await ours.remove("DUMP_ERR_RESP_17")
        await ours.remove("DUMP_ERR_RESP_17")
        assert "DUMP_ERR_RESP_17" not in os.environ

    @pytest.mark.parametrize("name", ["LD_PRELOAD", "PATH", "dump_err_resp_17", "XDUMP_ERR_RESP_17"])
    @pytest.mark.parametrize("allowed", [[], ["DUMP_ERR_RESP_*"]])
    async def test_all_else_is_refused(self, name: str, allowed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is set by default; what may be set is in the text."""
        monkeypatch.setenv(name, "before")
        ours = environment.Environment(allowed)
        for attempt in (ours.set(name, "x"), ours.remove(name)):
            with pytest.raises(errors.RpcError) as raised:
                await attempt
            assert errors.Code.INVALID_PARAMS == raised.value.code
            assert (
                f"environment variable {name} is refused: worker.allow_env of the worker's configuration allows"
                f" {', '.join(allowed) or 'none'}" == raised.value.message
            )
        assert "before" == os.environ[name]

    @pytest.mark.parametrize(("name", "value"), [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0")])
    async def test_what_is_no_variable_is_said_as_in_the_original(self, name: str, value: str) -> None:
        """Names and values that no system takes are refused with the original's texts."""
        ours = environment.Environment(["*"])
        with pytest.raises(errors.RpcError, match=r"^invalid environment variable name or value$"):
            await ours.set(name, value)
        if "\0" not in value:
            with pytest.raises(errors.RpcError, match=r"^invalid environment variable name$"):
                await ours.remove(name)


async def test_an_admitted_manager_may_operate(tmp_path: Path) -> None:
    """The original's manager and command line, let in by address, may pause and resume, and not make tokens."""
    ring = keyring.Keyring(access.Shelf(tmp_path / "tokens.json"))
    settings = model.RpcServer(admit=("10.0.0.2",))
    with structlog.testing.capture_logs() as logs:
        guard = access.guard(ring, settings)
    assert [["10.0.0.2=operate"]] == [entry["addresses"] for entry in logs]
    await guard.authorize("VenusWorker.WorkerResume", None, "10.0.0.2:1")
    with pytest.raises(errors.RpcError):
        await guard.authorize("Damocles.AuthCreate", None, "10.0.0.2:1")
    with pytest.raises(errors.RpcError, match=r"worker\.rpc_server\.admit = \[\"ADDRESS\"\]"):
        await guard.authorize("VenusWorker.WorkerResume", None, "10.0.0.3:1")
