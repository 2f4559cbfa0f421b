"""A node behind TLS."""

import subprocess
from pathlib import Path

import pytest

from damocles.lotus import errors, node
from damocles.lotus.places import Place
from damocles.rpc import tls

from .replay import Replay, serve
from .test_heads import made, opened


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a self-signed certificate for loopback, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    return files


async def test_calls_and_subscriptions_go_over_tls(replay: Replay, certificate: tuple[Path, Path]) -> None:
    """With the authority that is trusted."""
    replay.dialogues = [opened(("current", made(1, 0)))]
    async with (
        serve(replay, tls.server_context(*certificate)) as url,
        node.connect(Place.of(url, trust=certificate[0])) as lotus,
    ):
        assert await lotus.network_name() == "localnet"
        async with lotus.changes() as changes:
            assert [change.tipset.height for change in await anext(changes)] == [1]


async def test_a_certificate_that_is_not_trusted_needs_a_person(replay: Replay, certificate: tuple[Path, Path]) -> None:
    """No call leaves, and none is repeated."""
    async with (
        serve(replay, tls.server_context(*certificate)) as url,
        node.connect(Place.of(url), pauses_seconds=()) as lotus,
    ):
        with pytest.raises(errors.NoNode, match="its certificate is not accepted"):
            await lotus.network_name()
        with pytest.raises(errors.NoNode, match="its certificate is not accepted"):
            async with lotus.changes():
                pass

    assert replay.requests == []
