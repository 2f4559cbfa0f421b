"""Whatever strangers send: a daemon's memory and its open files stay as they are."""

import random
import socket
from pathlib import Path

import psutil
import pytest

from damocles.testing.farm import Farm, wait_until

_ROUNDS = 4  # the first two warm up
_REQUESTS = 700
_MEGABYTES = 8


def garbage(dice: random.Random) -> bytes:
    """Return a request that nobody should send: no HTTP, half a head, no JSON, deep JSON, unknown methods, wrong types."""
    bodies = [
        b"[" * dice.randrange(1, 5000),
        dice.randbytes(dice.randrange(3000)),
        b'{"jsonrpc":"2.0","id":%d,"method":"Venus.X%d","params":[]}' % (dice.randrange(9), dice.randrange(10**9)),
        b'{"jsonrpc":"2.0","id":{"a":1},"method":"Venus.WorkerPing","params":{"x":"%s"}}' % (b"y" * 2000),
        b'{"jsonrpc":"2.0","id":1,"method":"Venus.AllocateSector","params":[[[[{}]]]]}',
        b"",
    ]
    body = dice.choice(bodies)
    token = b"Authorization: Bearer %d\r\n" % dice.randrange(10**12)
    head = b"POST /rpc/v0 HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n" % (token, len(body))
    return dice.choice([head + body, head + body, head + body, head[: dice.randrange(len(head))], body])


def send(port: int, what: bytes) -> None:
    """Send, and wait for an answer or for the end, but not for long."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(what)
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(5)
        try:
            while connection.recv(65536):
                pass
        except ConnectionError:
            return


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_what_strangers_send_leaves_nothing_behind(tmp_path: Path) -> None:
    """After thousands of malformed and refused requests memory and descriptors are where they were after the first ones."""
    dice = random.Random(1)
    with Farm(tmp_path, threads=0, parameters=tmp_path, max_sectors=0) as f:
        f.start_manager()
        assert f.manager is not None
        manager = psutil.Process(f.manager.pid)
        sizes = []
        descriptors = 0
        for number in range(_ROUNDS):
            for _ in range(_REQUESTS):
                send(f.manager_port, garbage(dice))
            if number == 1:
                descriptors = manager.num_fds()
            sizes.append(manager.memory_info().rss / 1e6)
        assert sizes[-1] - sizes[1] < _MEGABYTES, sizes
        wait_until(lambda: manager.num_fds() <= descriptors, "all connections are closed")
        assert f.ask_manager("ListSectors", ["online", 0], list[dict[str, object]]) == []
