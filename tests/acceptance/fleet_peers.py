"""Peers of a manager that stand in for real workers, each named for what it is."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from damocles.rpc.admission import tokens
from damocles.rpc.calling import sync
from damocles.testing import farm, web
from damocles.wire import codec, fleet

RECORDED = Path(__file__).parents[1] / "golden" / "fleet" / "recorded.txt"


def ping(manager_port: int, name: str, dest: str, threads: int = 5) -> None:
    """Tell the manager of a worker."""
    token = tokens.read_file(Path(os.environ[farm.HOME_VARIABLE]) / "worker-token")
    with sync.connect(f"http://127.0.0.1:{manager_port}/rpc/v0", token=token, timeout_seconds=10) as manager:
        info = fleet.WorkerInfo(name, dest, "v0.13.1-fake", fleet.Summary(threads, 2, 1, 2, 1, 1))
        manager.call("Venus.WorkerPing", [info])


class FakeOriginal:
    """Fake: a daemon of damocles v0.13 that gives the recorded answers, and knows no other method.

    As a worker it has the five threads of the recording.
    """

    def __init__(self) -> None:
        blocks = [block.strip().split("\n") for block in RECORDED.read_text().split("\n## ")[1:]]
        self._answers = {request: json.loads(answer[2:]) for _, request, answer in map(self._key, blocks)}
        self.asked: list[tuple[Any, ...]] = []
        self.dest = ""

    @staticmethod
    def _key(block: list[str]) -> tuple[str, str, str]:
        request = json.loads(block[1][2:])
        return block[0], json.dumps([request["method"], request["params"]]), block[2]

    def record(self, method: str, params: list[Any], result: Any) -> None:
        """Give this answer from now on."""
        self._answers[json.dumps([method, params])] = {"result": result}

    def answer(self, body: bytes) -> bytes:
        """Answer as recorded."""
        request = json.loads(body)
        unknown = {"error": {"code": -32601, "message": "Method not found"}}
        recorded = self._answers.get(json.dumps([request["method"], request["params"]]), unknown)
        if not request["method"].startswith("Damocles."):
            self.asked.append((request["method"].removeprefix("VenusWorker."), *request["params"]))
        return json.dumps({**recorded, "jsonrpc": "2.0", "id": request["id"]}).encode()


@contextlib.contextmanager
def original_worker() -> Iterator[FakeOriginal]:
    """Run a fake original worker."""
    fake = FakeOriginal()
    with _serving(fake.answer) as dest:
        fake.dest = dest
        yield fake


@contextlib.contextmanager
def original_manager(workers: Sequence[tuple[str, str]] = ()) -> Iterator[int]:
    """Run a fake original manager with workers by name and address, or the one of the recording; yield its port."""
    fake = FakeOriginal()
    if workers:
        pings = [fleet.PingInfo(fleet.WorkerInfo(name, dest), int(time.time()) - 7) for name, dest in workers]
        fake.record("Venus.WorkerPingInfoList", [], codec.to_builtins(pings))
    with _serving(fake.answer) as dest:
        yield int(dest.rpartition(":")[2])


@contextlib.contextmanager
def hanging_worker() -> Iterator[str]:
    """Listen and never answer; yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def _serving(answer: Callable[[bytes], bytes]) -> Iterator[str]:
    class Handler(web.Handler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.answer(200, answer(self.body()), content_type="application/json; charset=utf-8")

    with web.serving(Handler) as url:
        yield url.removeprefix("http://")
