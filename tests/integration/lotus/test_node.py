"""One node: time limits, repetition, tokens, and what is no node."""

import base64
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from tests.golden.chain import recordings

from damocles.chain import cids
from damocles.chain.addresses import Address
from damocles.chain.messages import Message, Signature, SignatureType, SignedMessage
from damocles.lotus import checks, errors, node
from damocles.lotus.node import Node
from damocles.lotus.places import Place
from damocles.rpc import errors as rpc
from damocles.wire import codec

from .replay import Replay, serve

OLD, NEW = "aaa.bbb.ccc", "ddd.eee.fff"
MINER = Address.of_id(1000)
KEY = Address.parse("f3rbeb2fanu6qitbgfrckijcudsrxghrlfscfuj6wx7lgy7pmhezwokvoz7uljznwb22ou3pddxycbgbak5l7q")
HEAD_TIMESTAMP = 1795945864  # of the recorded head
SIGNED = SignedMessage(Message(to=KEY, sender=KEY), Signature(SignatureType.BLS, bytes(96)))


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_what_may_be_repeated_is_repeated_while_the_node_is_away(
    replay: Replay, lotus: Node, status: int
) -> None:
    """A proxy before a node that restarts is no answer."""
    replay.faults = [(status, b"<html>Bad Gateway</html>")] * 2

    assert await lotus.network_name() == "localnet"
    assert replay.methods() == ["StateNetworkName"] * 3


async def test_a_node_that_stays_away_is_told_with_its_address(replay: Replay, lotus: Node) -> None:
    """After as many tries as there are pauses."""
    replay.faults = [(502, b"")] * 3

    with pytest.raises(errors.Away, match=rf"^{lotus.url} .*HTTP 502"):
        await lotus.network_name()
    assert len(replay.requests) == 3


async def test_a_push_is_not_repeated(replay: Replay, lotus: Node) -> None:
    """It may have had its effect: that is for the caller to find out."""
    replay.faults = [(504, b"")]

    with pytest.raises(errors.Away):
        await lotus.push(SIGNED)
    assert replay.methods() == ["MpoolPush"]


async def test_every_call_has_a_time_limit(replay: Replay, lotus: Node) -> None:
    """A node that is too slow is not given the same work again."""
    replay.faults = [60.0]

    with pytest.raises(errors.TooSlow, match="did not answer within"):
        await lotus.call(str, "StateNetworkName", seconds=0.05)
    assert len(replay.requests) == 1


async def test_nobody_there_is_away() -> None:
    """A port that nobody listens on."""
    async with node.connect(Place(url="http://127.0.0.1:1/rpc/v1"), pauses_seconds=()) as nobody:
        with pytest.raises(errors.Away, match="cannot be reached"):
            await nobody.head()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, b"<html><body>Welcome</body></html>"), "HTTP 200, '<html>"),
        ((404, b"404 page not found\n"), "HTTP 404, '404 page not found'"),
        ((200, b'{"jsonrpc":"2.0","id":1,"result":5}'), "Expected `str`, got `int`"),
        ((500, b'{"error":{"code":-32601,"message":"method not found"},"id":1,"jsonrpc":"2.0"}'), "has no StateNetworkName"),
        ((500, b'{"error":{"code":-32602,"message":"wrong param count"},"id":1,"jsonrpc":"2.0"}'), "does not understand"),
    ],
)  # fmt: skip
async def test_what_is_no_node_is_said_in_one_line(
    replay: Replay, lotus: Node, answer: tuple[int, bytes], said: str
) -> None:
    """With the address and what came; it is not tried again."""
    replay.faults = [answer]

    with pytest.raises(errors.NoNode) as caught:
        await lotus.network_name()

    assert said in str(caught.value)
    assert lotus.url in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(replay.requests) == 1


async def test_the_token_is_shown_and_read_again_when_it_is_no_longer_good(replay: Replay, tmp_path: Path) -> None:
    """A token that was exchanged in its file takes effect without a restart; one that was not is an error."""
    file = tmp_path / "token"
    file.write_text(f"{OLD}\n")
    file.chmod(0o600)
    async with serve(replay) as url, node.connect(Place(url=url, token_file=file)) as lotus:
        await lotus.network_name()
        replay.token = NEW
        with pytest.raises(errors.BadToken, match=r"does not accept our token"):
            await lotus.network_name()
        file.write_text(f"{NEW}\n")
        await lotus.network_name()
        file.chmod(0o644)
        replay.token = OLD
        with pytest.raises(errors.BadToken, match="chmod 600"):
            await lotus.network_name()

    assert [token for _, token in replay.requests][:2] == [OLD, OLD]
    assert [token for _, token in replay.requests][-2:] == [NEW, NEW]


def _signed_by_lotus() -> Any:
    return next(result for _, result in recordings.results("WalletSignMessage"))


async def test_a_wallet_signs_what_we_would_have_signed(replay: Replay, lotus: Node) -> None:
    """The binary CID of the message goes there; message and signature are those that Lotus makes of it itself."""
    whole = codec.from_builtins(_signed_by_lotus(), SignedMessage)
    replay.answer("WalletSign", _signed_by_lotus()["Signature"])

    assert whole == await lotus.sign_message(whole.message)
    (asked, _), *_ = replay.requests
    assert base64.b64decode(asked["params"][1]) == cids.to_bytes(whole.cid)


async def test_a_signature_of_something_else_is_not_taken(replay: Replay, lotus: Node) -> None:
    """Nor is a sender asked for that has no key."""
    whole = codec.from_builtins(_signed_by_lotus(), SignedMessage)
    replay.answer("WalletSign", _signed_by_lotus()["Signature"])

    with pytest.raises(errors.NoNode, match="has signed something else"):
        await lotus.sign_message(msgspec.structs.replace(whole.message, nonce=99))
    with pytest.raises(ValueError, match="no key that can sign"):
        await lotus.sign_message(msgspec.structs.replace(whole.message, sender=MINER))
    assert len(replay.requests) == 1


async def test_without_a_token_none_is_shown(replay: Replay, lotus: Node) -> None:
    """Lotus lets anybody read."""
    await lotus.network_name()

    assert [token for _, token in replay.requests] == [None]


async def test_a_missing_permission_says_what_to_do(lotus: Node) -> None:
    """It shows at the first message."""
    error = errors.of(
        rpc.RpcError(1, "missing permission to invoke 'MpoolPush' (need 'write')"), lotus.url, "MpoolPush"
    )

    assert isinstance(error, errors.Forbidden)
    assert error.permission == "write"
    assert "lotus auth create-token --perm write" in str(error)


async def _started(url: str, place: Place, **options: object) -> list[str]:
    async with node.connect(place, pauses_seconds=()) as lotus:
        found = await checks.problems(lotus, clock=lambda: HEAD_TIMESTAMP + 4, **options)  # type: ignore[arg-type]
    return [line.replace(url, "URL") for line in found]


def _able(replay: Replay) -> None:
    """Let a node be as it has to be."""
    info = next(result for note, result in recordings.results("StateMinerInfo") if note == "genesis miner")
    results = {
        "StateNetworkVersion": 28,
        "AuthVerify": ["read", "write", "sign"],
        "StateMinerInfo": info,
        "WalletHas": True,
        "WalletBalance": "5",
    }
    for method, result in results.items():
        replay.answer(method, result)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """Return a file with a token."""
    file = tmp_path / "token"
    file.write_text(OLD)
    file.chmod(0o600)
    return file


async def test_a_node_that_is_well_has_no_problems(replay: Replay, token_file: Path) -> None:
    """Version, token, network, head, miner and sender."""
    _able(replay)
    async with serve(replay) as url:
        place = Place(url=url, token_file=token_file)
        assert await _started(url, place, network="localnet", miners=[MINER], senders=[KEY]) == []


@pytest.mark.parametrize(
    ("method", "result", "lines"),
    [
        ("Version", {"Version": "v1.20.0", "APIVersion": 0x010500}, ["URL has the API 1 of v1.20.0: Lotus v1.36 or later is needed"]),
        ("AuthVerify", ["read"], [
            "URL: its token may only read, and write and sign is needed: make one with `lotus auth create-token --perm sign`"]),
        ("StateNetworkVersion", 30, [
            "the network has version 30, newer than this damocles knows (up to 29): install a newer one; nothing is sent until then"]),
        ("WalletHas", False, [f"the wallet of URL has no key of {KEY}: import it with `lotus wallet import`"]),
        ("WalletBalance", "0", [f"{KEY} has no FIL and cannot pay for messages: send it some"]),
    ],
)  # fmt: skip
async def test_what_is_wrong_with_a_node_is_one_line(
    replay: Replay, token_file: Path, method: str, result: object, lines: list[str]
) -> None:
    """It says what to do."""
    _able(replay)
    replay.answer(method, result)
    async with serve(replay) as url:
        place = Place(url=url, token_file=token_file)
        assert lines == await _started(url, place, network="localnet", miners=[MINER], senders=[KEY])


async def test_a_wrong_network_and_a_missing_token_are_both_told(replay: Replay) -> None:
    """All problems that can be seen are, at once."""
    _able(replay)
    async with serve(replay) as url:
        found = await _started(url, Place(url=url), network="mainnet")

    assert found == [
        "URL: there is no token for it, and write and sign is needed: make one with `lotus auth create-token --perm sign`",
        "URL is on the network localnet, not on mainnet",
    ]


async def test_a_miner_that_does_not_exist_is_told(replay: Replay, token_file: Path) -> None:
    """The text of the node is shown."""
    _able(replay)
    replay.refuse("StateMinerInfo", "failed to load miner actor: actor not found")
    async with serve(replay) as url:
        place = Place(url=url, token_file=token_file)
        found = await _started(url, place, miners=[Address.of_id(999999)])

    assert found == ["f0999999 is no miner on this network: failed to load miner actor: actor not found"]


async def test_a_token_that_may_only_read_is_one_line(replay: Replay, token_file: Path) -> None:
    """Its wallet is not asked then, which would be refused with another line."""
    _able(replay)
    replay.answer("AuthVerify", ["read"])
    replay.refuse("WalletHas", "missing permission to invoke 'WalletHas' (need 'write')")
    async with serve(replay) as url:
        found = await _started(url, Place(url=url, token_file=token_file), senders=[KEY])

    assert len(found) == 1


async def test_html_at_the_address_is_one_problem(replay: Replay) -> None:
    """Nothing else is asked then."""
    replay.faults = [(200, b"<html>nginx</html>")]
    async with serve(replay) as url:
        found = await _started(url, Place(url=url))

    assert len(found) == 1
    assert "expected the JSON-RPC of Lotus" in found[0]


async def test_several_tasks_may_call_at_once(replay: Replay, lotus: Node) -> None:
    """Answers are not mixed up."""
    names: list[str] = []

    async def ask() -> None:
        names.append(await lotus.network_name())

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)

    assert names == ["localnet"] * 20
