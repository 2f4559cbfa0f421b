"""Where a worker says that it can be called."""

import socket
from pathlib import Path

import msgspec
import pytest

from damocles.worker.config import model
from damocles.worker.serving import connections


@pytest.mark.parametrize(
    ("listen", "ip", "called"),
    [
        ("0.0.0.0", "10.0.0.5", "10.0.0.5"),
        ("::", "10.0.0.5", "10.0.0.5"),
        ("::", "fd00::5", "fd00::5"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        # What is not listened on cannot be called, although the manager is reached from there.
        ("10.0.0.7", "127.0.0.1", "10.0.0.7"),
        ("10.0.0.7", "10.0.0.5", "10.0.0.7"),
        ("::1", "127.0.0.1", "::1"),
        ("127.0.0.1", "::1", "127.0.0.1"),
        ("0.0.0.0", "::1", "127.0.0.1"),
        ("0.0.0.0", "fd00::5", None),
        ("127.0.0.1", "10.0.0.5", None),
    ],
)
def test_a_worker_is_called_where_it_listens(listen: str, ip: str, called: str | None) -> None:
    """From the address listened on, and the one from which the manager is reached, follows the destination."""
    assert called == connections.called_at(listen, ip)


def test_without_sockets_for_both_families_ipv6_is_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system cannot listen on both by one socket, an IPv4 address is no destination of `::`."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    assert "::1" == connections.called_at("::", "127.0.0.1")
    assert None is connections.called_at("::", "10.0.0.5")


@pytest.mark.parametrize(
    ("rpc", "metrics", "told"),
    [
        ("0.0.0.0", "0.0.0.0", 9000),
        ("10.0.0.5", "0.0.0.0", 9000),
        ("10.0.0.5", "10.0.0.5", 9000),
        ("10.0.0.5", "127.0.0.1", msgspec.UNSET),
        ("10.0.0.7", "0.0.0.0", msgspec.UNSET),  # may be another network
    ],
)
def test_metrics_are_told_where_they_can_be_scraped(rpc: str, metrics: str, told: int | msgspec.UnsetType) -> None:
    """At the address that the manager calls, or not at all."""
    table = {"sector_manager": {"rpc_client": {"addr": "http://10.0.0.2:1789"}}, "sealing_thread": []}
    table |= {"worker": {"rpc_server": {"host": rpc}}, "metrics": {"http_listen": f"{metrics}:0"}}
    settings = model.Config.model_validate(table)
    assert told == connections.scraped_at(settings, "10.0.0.5", 9000)


def test_pieces_come_from_the_manager_by_the_authority_that_its_calls_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's path holds in other processes as well."""
    monkeypatch.chdir("/")
    table = {"rpc_client": {"addr": "https://10.0.0.2:1789"}, "ca_file": "etc/ca.pem"}
    settings = model.Config.model_validate({"sector_manager": table, "sealing_thread": []})
    stores = connections.piece_stores(settings)
    assert ("https://10.0.0.2:1789", Path("/etc/ca.pem")) == (stores.origin, stores.authority)
    del table["ca_file"]
    settings = model.Config.model_validate({"sector_manager": table, "sealing_thread": []})
    assert connections.piece_stores(settings).authority is None


def test_pieces_come_from_the_manager_that_is_used() -> None:
    """A token is shown to each only in the way that its address allows."""
    table = {"rpc_client": {"addr": "https://10.0.0.2:1789"}, "addresses": ["http://127.0.0.1:1789"]}
    settings = model.Config.model_validate({"sector_manager": table, "sealing_thread": []})
    used = list(settings.sector_manager.urls)
    stores = connections.piece_stores(settings, lambda: used[0])
    assert ("https://10.0.0.2:1789", False) == (stores.now().origin, stores.now().must_know)
    used.reverse()
    assert {"url": "http://127.0.0.1:1789/piecestore/abc"} == stores.now().find("abc")
    assert stores.now().must_know
