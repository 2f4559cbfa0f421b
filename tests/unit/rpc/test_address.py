"""Addresses of managers and workers."""

import pytest

from damocles.rpc import address


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("/ip4/127.0.0.1/tcp/1789", "http://127.0.0.1:1789/rpc/v0"),
        ("/ip4/127.0.0.1/tcp/1789/http", "http://127.0.0.1:1789/rpc/v0"),
        ("/ip6/fd00::7/tcp/1789", "http://[fd00::7]:1789/rpc/v0"),
        ("/dns/sealer.example/tcp/443/https", "https://sealer.example:443/rpc/v0"),
        ("/dns4/sealer.example/tcp/1789/", "http://sealer.example:1789/rpc/v0"),
        ("/dns6/sealer.example/tcp/1789", "http://sealer.example:1789/rpc/v0"),
        ("http://10.0.0.1:1789", "http://10.0.0.1:1789/rpc/v0"),
        ("https://sealer.example/some/path?x=1", "https://sealer.example:443/rpc/v0"),
        ("ws://10.0.0.1:1789/rpc/v0", "http://10.0.0.1:1789/rpc/v0"),
        ("wss://sealer.example", "https://sealer.example:443/rpc/v0"),
        ("http://[fd00::7]:1789", "http://[fd00::7]:1789/rpc/v0"),
        ("10.0.0.1:1790", "http://10.0.0.1:1790/rpc/v0"),
        ("b\u00fccher.example:1", "http://xn--bcher-kva.example:1/rpc/v0"),
        (" sealer.example ", "http://sealer.example:1789/rpc/v0"),
        (":1789", "http://127.0.0.1:1789/rpc/v0"),
        ("0.0.0.0:1789", "http://127.0.0.1:1789/rpc/v0"),
    ],
)
def test_manager_addresses(text: str, url: str) -> None:
    """A manager is found by multiaddr, URL or host and port; its path is fixed; all interfaces mean this machine."""
    assert url == address.manager_url(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("10.0.0.7:17891", "http://10.0.0.7:17891/"),
        ("10.0.0.7", "http://10.0.0.7:17890/"),
        ("worker-1", "http://worker-1:17890/"),
        ("[fd00::7]:17891", "http://[fd00::7]:17891/"),
        ("[fd00::7]", "http://[fd00::7]:17890/"),
        ("fd00::7", "http://[fd00::7]:17890/"),
        ("fd00::7:17890", "http://[fd00::7]:17890/"),
        ("http://10.0.0.7:17890/x", "http://10.0.0.7:17890/"),
    ],
)
def test_worker_addresses(text: str, url: str) -> None:
    """A worker is found by host and port; IPv6 may lack its brackets, as in the original's pings."""
    assert url == address.worker_url(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("/ip4/127.0.0.1/tcp/1234/http", "http://127.0.0.1:1234/rpc/v1"),
        ("/dns/node.example/tcp/443/https", "https://node.example:443/rpc/v1"),
        ("10.0.0.1", "http://10.0.0.1:1234/rpc/v1"),
        ("ws://10.0.0.1:1234/rpc/v1", "http://10.0.0.1:1234/rpc/v1"),
        ("https://node.example", "https://node.example:443/rpc/v1"),
        ("https://node.example/lotus/rpc/v1/", "https://node.example:443/lotus/rpc/v1"),
        ("0.0.0.0:1234", "http://127.0.0.1:1234/rpc/v1"),
    ],
)
def test_node_addresses(text: str, url: str) -> None:
    """A chain node is found likewise, and may have a path of its own behind a proxy."""
    assert url == address.node_url(text)


def test_the_old_api_of_a_node_is_refused() -> None:
    """The two APIs take other parameters."""
    with pytest.raises(ValueError, match="write /rpc/v1 instead"):
        address.node_url("http://10.0.0.1:1234/rpc/v0")


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "/",
        "/ip4/10.0.0.1",
        "/tcp/1789",
        "/ip4/fd00::7/tcp/1789",
        "/ip6/10.0.0.1/tcp/1789",
        "/ip4/10.0.0.1/udp/1789",
        "/ip4/10.0.0.1/tcp/none",
        "/ip4/10.0.0.1/tcp",
        "ftp://10.0.0.1:1789",
        "http://",
        "http://10.0.0.1:99999",
        "http://[fd00::7",
        "10.0.0.1:port",
        "10.0.0.1:70000",
        "10.0.0.1:\uff11\uff17",
        "user@host:1789",
        "host/path",
        "[fd00::7",
        "[fd00::7]1789",
        "[10.0.0.1]:1789",
        "a:b:c",
        "http://exa..mple:1789",
        "exa..mple",
        "ex\u0430mple..com:1",
        "a\x1b[31m:1",
        "/dns/exa..mple/tcp/1789",
        "x" * 64 + ":1789",
    ],
)
def test_malformed_addresses(text: str) -> None:
    """A malformed address is an error that repeats it."""
    with pytest.raises(ValueError) as caught:
        address.manager_url(text)

    assert repr(text) in str(caught.value)


def test_endpoints_bracket_ipv6() -> None:
    """An endpoint prints as it is written in URLs."""
    assert "[::1]:1789" == str(address.Endpoint("::1", 1789))
    assert "https://[::1]:1789/x" == address.Endpoint("::1", 1789).url("/x", "https")
