"""Tokens over HTTP paths, WebSocket and TLS; peers without tokens; addresses that others reach."""

import asyncio
import contextlib
import functools
import json
import os
import shutil
import socket
import ssl
from pathlib import Path
from typing import Any

import anyio
import httpx2
import msgspec
import pytest
import structlog.testing
from anyio import to_thread
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from damocles.cli import manager as manager_cli
from damocles.cli import worker as worker_cli
from damocles.cli.access import authority
from damocles.manager import daemon
from damocles.manager import errors as manager_errors
from damocles.manager.sectors import ledger
from damocles.manager.serving import auth, trust
from damocles.methods.rules import Scope
from damocles.rpc import address, core, dialects, errors, limits, tls
from damocles.rpc.admission import access
from damocles.rpc.calling import client, sync
from damocles.rpc.serving import asgi, reloading, server
from damocles.stages import job
from damocles.stages.files import pieces as stage_pieces
from damocles.stages.files import uploads
from damocles.stores import pieces
from damocles.testing import simulated_chain
from damocles.text import urls
from damocles.wire import commitments, control, fleet, tasks
from damocles.wire.sectors import SealProof, SectorSize
from damocles.worker.serving import access as worker_access

from .conftest import Daemon, StartManager, StartWorker


def call_body(method: str, *params: object) -> str:
    """Write a call."""
    return json.dumps({"jsonrpc": "2.0", "id": 5, "method": method, "params": params})


class TestPaths:
    async def test_only_health_is_for_everybody(self, start_manager: StartManager) -> None:
        """Without a token every path but the health check is refused with a line that says what is needed."""
        async with start_manager() as manager, httpx2.AsyncClient() as http:
            base = manager.url.removesuffix("/rpc/v0")
            assert 200 == (await http.get(f"{base}/healthcheck")).status_code
            for path in ("/metrics", "/piecestore/bagboea4", "/", "/nothing", "/rpc/v1", "//metrics", "/debug/pprof/"):
                refused = await http.get(base + path)
                assert 401 == refused.status_code, path
                assert f"no token: GET {path} needs a token" in refused.text
            assert 401 == (await http.put(f"{base}/piecestore/bagboea4", content=b"x")).status_code

    async def test_a_worker_s_health_is_for_everybody(self, start_worker: StartWorker) -> None:
        """Without a token a worker tells that it is well, and nothing else."""
        async with start_worker() as worker, httpx2.AsyncClient() as http:
            assert 200 == (await http.get(f"{worker.url}healthcheck")).status_code
            assert 401 == await _status(f"{worker.url}healthcheck")

    async def test_a_scope_opens_a_path(self, start_manager: StartManager) -> None:
        """Metrics are for readers, pieces for workers too, and what is not there is told to the known only."""
        async with start_manager() as manager, httpx2.AsyncClient() as http:
            base = manager.url.removesuffix("/rpc/v0")
            statuses = {}
            for scope in (Scope.READ, Scope.WORKER):
                headers = {"authorization": f"Bearer {await manager.create(scope.value, scope)}"}
                for path in ("/metrics", "/http_sd", "/piecestore/x", "/nothing"):
                    statuses[scope.value, path] = (await http.get(base + path, headers=headers)).status_code
        assert {
            ("read", "/metrics"): 200,
            ("read", "/http_sd"): 200,
            ("read", "/piecestore/x"): 400,
            ("read", "/nothing"): 404,
            ("worker", "/metrics"): 403,
            ("worker", "/http_sd"): 403,
            ("worker", "/piecestore/x"): 400,
            ("worker", "/nothing"): 404,
        } == statuses

    async def test_metrics_can_be_opened(self, start_manager: StartManager) -> None:
        """A scraper without a token reads metrics if that is configured, and nothing else."""
        async with start_manager(open_metrics=True) as manager, httpx2.AsyncClient() as http:
            base = manager.url.removesuffix("/rpc/v0")
            assert 200 == (await http.get(f"{base}/metrics")).status_code
            assert 200 == (await http.get(f"{base}/http_sd")).status_code
            assert 401 == (await http.get(f"{base}/piecestore/x")).status_code

    async def test_strangers_cannot_send_much(self, start_manager: StartManager, start_worker: StartWorker) -> None:
        """Without a valid token a body is read as far as its id is expected, not up to what a call may be."""
        large = call_body("Venus.Version", "x" * limits.STRANGER_BYTES)
        async with start_manager() as manager, start_worker() as worker, httpx2.AsyncClient() as http:
            for daemon in (manager, worker):
                kind = {"content-type": "application/json"}
                refused = await http.post(daemon.url, content=large, headers=kind)
                assert 413 == refused.status_code
                assert "which is the limit without a valid token" in refused.json()["error"]["message"]
                known = await http.post(
                    daemon.url, content=large, headers={**kind, "authorization": f"Bearer {daemon.token}"}
                )
                assert 413 != known.status_code


class TestWebSocket:
    async def test_with_a_token_it_converses(self, start_manager: StartManager) -> None:
        """The token of the handshake holds for each call; when it is revoked, the conversation is over."""
        async with start_manager() as manager:
            token = await manager.create("alice", Scope.READ)
            url = manager.url.replace("http", "ws")
            async with connect(url, additional_headers={"Authorization": f"Bearer {token}"}) as peer:
                await peer.send(call_body("Venus.Version"))
                assert "result" in json.loads(await peer.recv())
                await peer.send(call_body("Venus.WorkerPingInfoRemove", "w"))
                assert 403 == json.loads(await peer.recv())["error"]["code"]
                await manager.call("Damocles.AuthRevoke", "alice")
                with pytest.raises(ConnectionClosed, match=r"1008 .* the token is no longer valid"):
                    await peer.recv()

    async def test_without_it_is_told_why_and_closed(self, start_manager: StartManager) -> None:
        """The original's command line shows the answer to its first call: that is what it gets, and no more."""
        async with start_manager() as manager, connect(manager.url.replace("http", "ws")) as peer:
            await peer.send(call_body("Venus.WorkerPingInfoList"))
            error = json.loads(await peer.recv())["error"]
            assert 401 == error["code"]
            assert "admitted by their address: --admit ADDRESS" in error["message"]
            with pytest.raises(ConnectionClosed) as closed:
                await peer.recv()
            assert closed.value.rcvd is not None
            assert 1008 == closed.value.rcvd.code

    async def test_without_it_silence_is_ended(
        self, start_manager: StartManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever has no token and says nothing is sent away, though it answers pings; admitted peers may rest."""
        monkeypatch.setattr(asgi, "STRANGER_SECONDS", 0.05)
        async with start_manager() as manager, connect(manager.url.replace("http", "ws")) as peer:
            with pytest.raises(ConnectionClosed) as closed:
                await peer.recv()
            assert closed.value.rcvd is not None
            assert 1008 == closed.value.rcvd.code
        async with (
            start_manager(admit=access.admitted(["127.0.0.0/8"], auth.ADMITTED)) as manager,
            connect(manager.url.replace("http", "ws")) as peer,
        ):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(peer.recv(), 0.3)
            await peer.send(call_body("Venus.Version"))
            assert "result" in json.loads(await peer.recv())

    async def test_silent_ones_hold_nobody_up(
        self, start_manager: StartManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However many peers without a token are connected, one with a token is served."""
        monkeypatch.setattr(limits, "STRANGERS_OF_A_HOST", 5)
        async with start_manager() as manager, contextlib.AsyncExitStack() as crowd:
            for _ in range(8):
                await crowd.enter_async_context(connect(manager.url.replace("http", "ws")))
            assert (await manager.call("Venus.Version")).startswith("v")
            assert 401 == await _status(manager.url)

    @pytest.mark.parametrize("path", ["/metrics", "/healthcheck", "/nothing"])
    async def test_no_other_path_converses(self, start_manager: StartManager, path: str) -> None:
        """Not even an admin opens a WebSocket elsewhere."""
        async with start_manager() as manager:
            url = manager.url.replace("http", "ws").removesuffix("/rpc/v0") + path
            with pytest.raises(InvalidStatus):
                async with connect(url, additional_headers={"Authorization": f"Bearer {manager.token}"}):
                    pass


class TestAdmission:
    async def test_the_original_worker_and_command_line(self, start_manager: StartManager) -> None:
        """Peers let in by address do what workers do, and read; they neither operate nor make tokens."""
        with structlog.testing.capture_logs() as logs:
            async with (
                start_manager(admit=access.admitted(["127.0.0.0/8"], auth.ADMITTED)) as manager,
                manager.client(None) as peer,
            ):
                await peer.call("Venus.WorkerPing", [fleet.WorkerInfo("w", "127.0.0.1:1")])
                (ping,) = await peer.call("Venus.WorkerPingInfoList", returns=list[fleet.PingInfo])
                assert "w" == ping.info.name
                for method in ("Venus.WorkerPingInfoRemove", "Damocles.AuthRevoke"):
                    with pytest.raises(
                        errors.RpcError, match=r"admitted 127\.0\.0\.1 has scope read and worker"
                    ) as raised:
                        await peer.call(method, ["w"])
                    assert errors.Code.FORBIDDEN == raised.value.code
        assert "peers are admitted by address, without tokens" in [entry["event"] for entry in logs]

    async def test_the_original_command_line_operates_from_an_address_that_may(
        self, start_manager: StartManager
    ) -> None:
        """What `worker remove` and the like of the original call is done for an address with that scope, and audited."""
        admit = access.admitted(["127.0.0.1=read,worker,operate"], auth.ADMITTED)
        async with start_manager(admit=admit) as manager, manager.client(None) as peer:
            await peer.call("Venus.WorkerPing", [fleet.WorkerInfo("w", "127.0.0.1:1")])
            await peer.call("Venus.WorkerPingInfoRemove", ["w"])
            assert [] == await peer.call("Venus.WorkerPingInfoList", returns=list[fleet.PingInfo])
            entries = await manager.call("Damocles.AuditList", control.AuditQuery(), returns=list[control.AuditEntry])
            assert [("admitted 127.0.0.1", "Venus.WorkerPingInfoRemove")] == [(one.who, one.what) for one in entries]
            with pytest.raises(errors.RpcError, match=r"--admit 127\.0\.0\.1=read,operate,admin,worker$"):
                await peer.call("Damocles.AuthList")

    async def test_the_original_manager(self, start_worker: StartWorker) -> None:
        """A manager let in by address pauses and resumes; the list is off by default."""
        async with start_worker('rpc_server.admit = ["127.0.0.1"]') as worker, worker.client(None) as peer:
            with pytest.raises(errors.RpcError, match="worker #0 not found"):
                await peer.call("VenusWorker.WorkerResume", [0, None], returns=bool)
            with pytest.raises(errors.RpcError) as raised:
                await peer.call("Damocles.AuthList")
            assert errors.Code.FORBIDDEN == raised.value.code


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority and certificates, as the command makes them."""
    folder = tmp_path_factory.mktemp("tls")
    assert 0 == manager_cli.main(["auth", "ca", "--dir", str(folder), "--host", "gpu1,10.0.0.7", "--host", "fd00::8"])
    return folder


class TestTLS:
    def certificate(self, farm: Path) -> tls.Files:
        """Return the files of a host."""
        return tls.Files(farm / "gpu1.pem", farm / "gpu1.key")

    async def test_a_farm_talks_by_its_authority(self, start_manager: StartManager, farm: Path) -> None:
        """Whoever trusts the authority gets through, by both clients; no plain text is answered."""
        async with start_manager(certificate=self.certificate(farm)) as manager:
            async with client.connect(manager.url, token=manager.token, trust=farm / "ca.pem") as peer:
                assert (await peer.call("Venus.Version", returns=str)).startswith("v")
            plain = manager.url.replace("https", "http")
            async with client.connect(plain, token=manager.token) as peer:
                with pytest.raises(errors.CallError):
                    await peer.call("Venus.Version", returns=str)

    async def test_a_renewed_certificate_needs_no_restart(
        self, start_manager: StartManager, farm: Path, tmp_path: Path
    ) -> None:
        """New connections get what the files hold when they are read again; files that do not fit change nothing."""
        files = tls.Files(tmp_path / "host.pem", tmp_path / "host.key")
        for file, end in zip(files, ("pem", "key"), strict=True):
            shutil.copy(farm / f"gpu1.{end}", file)
        # Other tests make further certificates here.
        other = min({path.with_suffix("") for path in farm.glob("*.key")} - {farm / "gpu1", farm / "ca"})
        context, reloads = tls.server_context(*files), reloading.Reloads()
        reloads.add("the certificate", functools.partial(tls.renew, context, files))

        def shown() -> bytes | None:
            with socket.create_connection(bound) as plain:
                trusting = ssl.create_default_context(cafile=farm / "ca.pem")
                trusting.check_hostname = False
                with trusting.wrap_socket(plain) as peer:
                    return peer.getpeercert(binary_form=True)

        async with server.serve(asgi.worker_app(core.Service(dialects.WORKER)), "127.0.0.1", 0, tls=context) as bound:
            before = await anyio.to_thread.run_sync(shown)
            shutil.copy(f"{other}.pem", files.certificate)
            await reloads.run()
            assert before == await anyio.to_thread.run_sync(shown), "the key does not fit"
            shutil.copy(f"{other}.key", files.key)
            await reloads.run()
            assert before != await anyio.to_thread.run_sync(shown)

    async def test_pieces_go_by_the_authority_too(
        self, start_manager: StartManager, farm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A worker's stages fetch pieces from the manager, and bring some, with whom the configuration trusts alone."""
        cid = commitments.unsealed_cid(bytes(32))
        store, authority_file = tmp_path / "pieces", str(farm / "ca.pem")
        store.mkdir()
        (store / cid).write_bytes(b"payload")
        async with start_manager(certificate=self.certificate(farm), deals=store) as manager:
            origin = urls.origin(manager.url)
            source = tasks.PieceSource({"url": f"{origin}{pieces.PATH}{cid}"}, 7, 127)

            def fetch(authorities: dict[str, str], log: list[Any]) -> bytes:
                around = job.Job(log.append)
                with stage_pieces.source(source, around, {origin: manager.token}, authorities) as descriptor:
                    assert descriptor is not None
                    return os.read(descriptor, 7)

            assert b"payload" == await to_thread.run_sync(fetch, {origin: authority_file}, [])
            log: list[Any] = []
            for authorities in ({}, {"https://elsewhere": authority_file}):
                with pytest.raises(
                    stage_pieces.PieceUnavailable, match=f"{tls.UNTRUSTED} .*set sector_manager.ca_file"
                ):
                    await to_thread.run_sync(fetch, authorities, log)
            assert [] == log  # no waiting
            with pytest.raises(stage_pieces.PieceUnavailable, match=r"the authorities in /nowhere cannot be used"):
                await to_thread.run_sync(fetch, {origin: "/nowhere"}, log)

            other = commitments.unsealed_cid(bytes([1]) * 32)
            headers = {"Authorization": f"Bearer {manager.token}"}
            (tmp_path / "piece").write_bytes(b"unsealed")
            upload = tasks.Upload(str(tmp_path / "piece"), f"{origin}{pieces.PATH}{other}", headers)
            with pytest.raises(uploads.UploadFailed, match=tls.UNTRUSTED):
                await to_thread.run_sync(uploads.run, upload, job.Job())
            trusted = msgspec.structs.replace(upload, authority=authority_file)
            assert 8 == await to_thread.run_sync(uploads.run, trusted, job.Job())
            assert b"unsealed" == (store / other).read_bytes()

    async def test_silence_in_place_of_a_handshake_is_ended(
        self, start_manager: StartManager, farm: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever does not begin TLS leaves after some seconds, or earlier for another that comes."""
        monkeypatch.setattr(limits, "STRANGERS_OF_A_HOST", 2)
        for seconds, others in ((1, 0), (60, 2)):  # enough for who does begin, beside other tests
            monkeypatch.setattr(server, "HANDSHAKE_SECONDS", seconds)
            async with (
                start_manager(certificate=self.certificate(farm)) as manager,
                contextlib.AsyncExitStack() as crowd,
            ):
                where = address.host_port(manager.url.split("/")[2], 0)
                silent = await crowd.enter_async_context(await anyio.connect_tcp(*where))
                for _ in range(others):
                    await crowd.enter_async_context(await anyio.connect_tcp(*where))
                with anyio.fail_after(60), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await silent.receive()
                async with client.connect(manager.url, token=manager.token, trust=farm / "ca.pem") as peer:
                    assert (await peer.call("Venus.Version", returns=str)).startswith("v")

    async def test_another_authority_is_told(
        self, start_manager: StartManager, farm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A certificate of somebody else is refused before any token is sent, with what to do, by all clients."""
        other = tmp_path / "other"
        authority.ca(directory=other, host=["gpu1"])
        capsys.readouterr()
        async with start_manager(certificate=self.certificate(farm)) as manager:
            for trust in (None, other / "ca.pem"):
                async with client.connect(manager.url, token=manager.token, trust=trust) as peer:
                    with pytest.raises(errors.Untrusted, match=r"its certificate is not accepted: .*--ca-file"):
                        await peer.call("Venus.Version", returns=str)
            await to_thread.run_sync(_sync_version, manager, other / "ca.pem")
            arguments = ["--listen", manager.url, "--home", str(manager.home), "--ca-file"]
            assert 4 == await to_thread.run_sync(
                manager_cli.main, ["util", "worker", "list", *arguments, str(other / "ca.pem")]
            )
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith(f"error: manager: {manager.url}: its certificate is not accepted: ")
            assert 0 == await to_thread.run_sync(
                manager_cli.main, ["util", "worker", "list", *arguments, str(farm / "ca.pem")]
            )

    async def test_another_name_is_told(
        self, start_manager: StartManager, farm: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A host is only who its certificate says."""
        monkeypatch.setattr(authority, "_LOOPBACK", ())
        authority.ca(directory=farm, host=["elsewhere"])
        files = tls.Files(farm / "elsewhere.pem", farm / "elsewhere.key")
        async with (
            start_manager(certificate=files) as manager,
            client.connect(manager.url, token=manager.token, trust=farm / "ca.pem") as peer,
        ):
            with pytest.raises(errors.Untrusted, match=r"IP address mismatch.*name the host in its certificate"):
                await peer.call("Venus.Version", returns=str)

    async def test_a_worker_is_reached_by_its_configuration(
        self, start_worker: StartWorker, farm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The worker's command line finds URL, token and authority in the configuration file."""
        keys = f'rpc_server.tls_cert = "{farm}/gpu1.pem"\nrpc_server.tls_key = "{farm}/gpu1.key"'
        async with start_worker(keys) as worker:
            port = worker.url.split(":")[-1].strip("/")
            file = tmp_path / "cli.toml"
            text = (tmp_path / "worker.toml").read_text().replace("port = 0", f"port = {port}")
            file.write_text(text.replace("[sector_manager]", f'[sector_manager]\nca_file = "{farm}/ca.pem"'))
            capsys.readouterr()
            assert 0 == await to_thread.run_sync(worker_cli.main, ["auth", "list", "-c", str(file)])
            assert "local" in capsys.readouterr().out

    async def test_the_home_of_another_user_is_told(
        self,
        start_worker: StartWorker,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """By the default home the token is looked for in that of whoever asks: where, and what to do, is in the line."""
        root = tmp_path / "root"
        (root / ".damocles-worker").mkdir(parents=True)
        async with start_worker() as worker:
            port = worker.url.split(":")[-1].strip("/")
            file = tmp_path / "cli.toml"
            text = (tmp_path / "worker.toml").read_text().replace("port = 0", f"port = {port}")
            monkeypatch.setenv("HOME", str(root))

            async def ask(home: str, *options: str) -> str:
                file.write_text(text.replace(f'home = "{worker.home}"', home))
                capsys.readouterr()
                assert 7 == await to_thread.run_sync(worker_cli.main, ["auth", "list", "-c", str(file), *options])
                return capsys.readouterr().err

            told = (
                f"; looked for its token in {root}/.damocles-worker, since worker.home is ~/.damocles-worker: if the"
                f" worker runs as another user, set worker.home to an absolute path in {file}, or pass --token-file\n"
            )
            assert (await ask("")).endswith(told)
            for command in (["worker", "list", "--json"], ["worker", "pause", "0"], ["ps"]):
                assert 7 == await to_thread.run_sync(worker_cli.main, [*command, "-c", str(file)])
                assert capsys.readouterr().err.endswith(told), command
            assert (await ask('home = "~/.damocles-worker"')).endswith(told)
            (root / ".damocles-worker/token").write_text("dmc_" + "a" * 43)
            assert (await ask("")).endswith(told)  # this user has a worker too
            assert "absolute path" not in await ask("", "--token-file", str(root / ".damocles-worker/token"))
            assert "absolute path" not in await ask(f'home = "{root}/.damocles-worker"')

    @pytest.mark.parametrize("broken", ["missing", "other key", "no certificate"])
    async def test_a_certificate_that_cannot_be_used_is_told(
        self, start_manager: StartManager, start_worker: StartWorker, farm: Path, tmp_path: Path, broken: str
    ) -> None:
        """The daemon does not start, and names the files."""
        certificate, key = tmp_path / "c.pem", farm / "ca.key"
        if broken != "missing":
            certificate.write_bytes(b"" if broken == "no certificate" else (farm / "gpu1.pem").read_bytes())
        said = f"the certificate {certificate} with the key {key} cannot be used"
        with pytest.raises(manager_errors.StartError, match=said):
            async with start_manager(certificate=tls.Files(certificate, key)):
                pass
        if broken != "missing":  # which the check of the configuration finds
            with pytest.raises(worker_access.Unusable, match=said):
                async with start_worker(f'rpc_server.tls_cert = "{certificate}"\nrpc_server.tls_key = "{key}"'):
                    pass


class TestExposure:
    """Listening where other machines can reach it."""

    def settings(self, tmp_path: Path, host: str, **options: Any) -> daemon.Settings:
        """Return the settings of a manager on a host."""
        return daemon.Settings(
            home=tmp_path,
            chain=simulated_chain.Source(miner=ledger.Miner(id=1, proof=SealProof.of(SectorSize.KIB2))),
            listen=address.Endpoint(host, 1789),
            **options,
        )

    @pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "gpu1"])
    def test_a_manager_there_wants_tls_or_the_word(self, tmp_path: Path, farm: Path, host: str) -> None:
        """Settings that would send tokens in the clear cannot be made; with insecure a warning is logged."""
        with pytest.raises(ValueError, match="say --insecure, or give a certificate with --tls-cert and --tls-key"):
            self.settings(tmp_path, host)
        with structlog.testing.capture_logs() as logs:
            for options in ({"insecure": True}, {"certificate": TestTLS().certificate(farm)}):
                made = self.settings(tmp_path, host, **options)
                trust.given(made.listen, made.certificate, made.ca_file)
        assert ["no TLS on a network: anybody who can intercept it can read tokens"] == [
            entry["event"] for entry in logs
        ]

    def test_the_command_says_so(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A wrong command line is one line, and nothing is made."""
        home = tmp_path / "home"
        common = ["mock", "--miner", "1000", "--sector-size", "2KiB", "--home", str(home)]
        assert 2 == manager_cli.main([*common, "--listen", "0.0.0.0:1789"])
        assert "tokens would go there unencrypted" in capsys.readouterr().err
        assert 2 == manager_cli.main([*common, "--tls-cert", "a.pem"])
        assert "--tls-cert and --tls-key go together" in capsys.readouterr().err
        assert 2 == manager_cli.main([*common, "--admit", "10.0.0.0/8x"])
        assert "is neither an address nor a network" in capsys.readouterr().err
        assert 2 == manager_cli.main([*common, "--admit", "10.0.0.2=owner"])
        assert "'owner' is not a valid Scope: write scopes like read,operate,admin,worker" in capsys.readouterr().err
        assert not home.exists()


async def _status(url: str) -> int:
    async with httpx2.AsyncClient() as http:
        answer = await http.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "Venus.Version"})
    return answer.status_code


def _sync_version(manager: Daemon, trust: Path) -> None:
    with (
        sync.connect(manager.url, token=manager.token, trust=trust, timeout_seconds=10) as peer,
        pytest.raises(errors.Untrusted, match=r"its certificate is not accepted: .*--ca-file"),
    ):
        peer.call("Venus.Version", returns=str)
