"""How the devnode speaks: tokens, errors, subscriptions, and trouble on request."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from damocles.chain.amounts import Amount
from damocles.chain.messages import Message, SignedMessage
from damocles.devnode import serving, wallet
from damocles.devnode.mischief import Fault
from damocles.devnode.node import Node as Devnode
from damocles.lotus import errors, heads, node, nodes
from damocles.lotus.answers import ChangeType, SendSpec
from damocles.lotus.node import Node
from damocles.lotus.places import Place
from damocles.lotus.view import View
from damocles.rpc import errors as rpc
from damocles.rpc.calling import client

from .helpers import MINER, send, view


async def test_tokens_have_their_permissions(devnode: Devnode, place_of: Callable[..., Place]):
    """A token may do what it is for; none may read; a wrong one nothing, over both transports."""
    async with node.connect(place_of(devnode, "write")) as lotus:
        assert await lotus.permissions(devnode.tokens["write"]) == ["read", "write"]
        key = devnode.wallet.addresses()[0]
        assert await lotus.has_key(key)
        with pytest.raises(errors.Forbidden, match="need 'sign'"):
            await lotus.sign(key, b"x")
    async with node.connect(Place(url=devnode.url)) as lotus:
        assert (await lotus.head()).height == 30
        with pytest.raises(errors.Forbidden, match="need 'write'"):
            await lotus.has_key(key)
    place = place_of(devnode)
    assert place.token_file is not None
    place.token_file.write_text(wallet.token(b"another", ["admin"]))
    async with node.connect(place) as lotus:
        with pytest.raises(errors.BadToken):
            await lotus.head()
        with pytest.raises(errors.NodeError):
            async with lotus.changes() as frames:
                await anext(frames)


async def test_the_head_is_followed_over_a_reorganisation(devnode: Devnode, lotus: Node):
    """First the head, then what comes; a reorganisation takes tipsets back, newest first."""
    async with lotus.changes() as frames:
        (first,) = await anext(frames)
        assert (first.type, first.tipset.height) == (ChangeType.CURRENT, 30)
        await devnode.step()
        (applied,) = await anext(frames)
        assert (applied.type, applied.tipset.height) == (ChangeType.APPLY, 31)
        await devnode.reorganise(2)
        assert [(one.type, one.tipset.height) for one in await anext(frames)] == [("revert", 31), ("revert", 30)]
        devnode.null_rounds(2)
        await devnode.step()
        (after,) = await anext(frames)
        assert after.tipset.height == 34
        assert (await lotus.tipset_at(33, after.tipset.key)).height == 29
        path = await lotus.path(applied.tipset.key, after.tipset.key)
        assert [change.tipset.height for change in path] == [31, 30, 34]


async def test_a_real_follower_gets_it_all_by_the_clock():
    """With a clock the blocks come by themselves, and our own `heads` follows them."""
    async with serving.serving(block_seconds=0.02) as devnode, node.connect(Place(url=devnode.url)) as lotus:

        async def pick() -> Node:
            return lotus

        changes = heads.follow(pick)
        with anyio.fail_after(20):
            seen = [await anext(changes) for _ in range(4)]
        await changes.aclose()
        heights = [change.head.height for change in seen]
        assert heights == sorted(heights)


async def test_randomness_of_tickets_changes_with_the_chain_and_that_of_the_beacon_does_not(
    devnode: Devnode, lotus: Node
):
    """As on a real chain: a ticket drawn before a reorganisation may be worth nothing after it."""
    before = await view(lotus)
    ticket, seed = await before.ticket(MINER, 29), await before.seed(MINER, 29)
    with pytest.raises(errors.NotYet):
        await before.ticket(MINER, 31)
    await devnode.reorganise(5)
    await devnode.step()
    after = await view(lotus)
    assert await after.seed(MINER, 29) == seed
    assert await after.ticket(MINER, 29) != ticket
    assert await after.ticket(MINER, 20) == await before.ticket(MINER, 20)
    assert await View(lotus, before.tipset).ticket(MINER, 29) == ticket, "the abandoned chain can still be asked"


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("error", errors.Refused),
        ("missing", errors.NodeError),
        ("html", errors.NodeError),
        ("hang up", errors.Away),
        ("result", errors.NoNode),
    ],
)
async def test_trouble_comes_on_request_and_goes(devnode: Devnode, lotus: Node, kind: str, error: type[Exception]):
    """Each kind is what our client takes it for, for as many calls as were asked for."""
    devnode.disturb("StateNetworkName", kind, text='{"not": "a name"}', times=1)  # type: ignore[arg-type]
    with pytest.raises(error):
        await lotus.call(str, "StateNetworkName", repeats=False)
    assert await lotus.network_name() == devnode.rules.name


async def test_a_base_fee_spikes_and_goes_down_again(devnode: Devnode, lotus: Node):
    """A message whose cap is below waits until the base fee is down."""
    devnode.set_base_fee(10**9)
    await devnode.step()
    assert (await lotus.head()).base_fee == 10**9
    await devnode.step(3)
    assert 10**8 < (await lotus.head()).base_fee < 10**9


async def test_a_bad_signature_is_not_taken(devnode: Devnode, lotus: Node):
    """Whoever changes a signed message has to sign it again."""
    key = devnode.wallet.addresses()[0]
    made = await lotus.estimate(Message(to=key, sender=key, value=Amount(1)), SendSpec())
    signed = await lotus.sign_message(made)
    changed = SignedMessage(
        Message(**{**{n: getattr(made, n) for n in made.__struct_fields__}, "value": Amount(2)}), signed.signature
    )
    with pytest.raises(errors.NotTaken, match="signature verification failed"):
        await lotus.push(changed)


async def test_a_slow_method_is_too_slow_and_no_other(devnode: Devnode, lotus: Node):
    """The client gives up on it; the next call is answered."""
    devnode.disturb("StateNetworkName", "slow", seconds=60, times=1)
    with pytest.raises(errors.TooSlow):
        await lotus.call(str, "StateNetworkName", seconds=0.2, repeats=False)
    assert await lotus.network_name() == devnode.rules.name


async def test_an_effect_without_an_answer(devnode: Devnode, lotus: Node):
    """The connection breaks after the message was taken: it is there, and pushed again it is told so."""
    await send(lotus, None, value=1)
    (signed,) = devnode.chain.pool.all()
    devnode.chain.pool.remove([signed])
    devnode.disturb("MpoolPush", "hang up", times=1, late=True)
    with pytest.raises(errors.Away):
        await lotus.push(signed)
    assert devnode.chain.pool.all() == [signed]
    with pytest.raises(errors.Pending):
        await lotus.push(signed)


async def test_a_node_that_lags_or_stands_still_is_out_of_step(place_of: Callable[..., Place]):
    """Our `nodes` sees it by the age of the head, and that it is well again."""
    now = [1_800_000_000.0]
    async with serving.serving(clock=lambda: now[0]) as devnode, nodes.connect([place_of(devnode)]) as several:
        several._clock = lambda: now[0]
        for _ in range(20):
            now[0] += devnode.block_delay_seconds
            await devnode.step()
        (member,) = several.members
        assert (await several.look(member)).problem is None
        devnode.mischief.behind = 15
        assert "is it syncing" in ((await several.look(member)).problem or "")
        devnode.mischief.behind = 0
        now[0] += 20 * devnode.block_delay_seconds
        assert "is it syncing" in ((await several.look(member)).problem or "")
        await devnode.step()
        assert (await several.look(member)).problem is None


async def test_a_subscription_that_ends_is_taken_up_again(devnode: Devnode, lotus: Node):
    """Nothing of what happened meanwhile is missed."""

    async def pick() -> Node:
        return lotus

    changes = heads.follow(pick, pause_seconds=0.01)
    try:
        with anyio.fail_after(20):
            await anext(changes)
            devnode.hang_up()
            await devnode.step(3)
            seen = 30
            while seen < 33:
                change = await anext(changes)
                assert [tipset.height for tipset in change.applied][:1] in ([], [seen + 1])
                seen = change.head.height
    finally:
        await changes.aclose()


async def test_of_two_messages_with_a_nonce_at_once_one_is_taken(devnode: Devnode, lotus: Node):
    """The other is refused, as if it had come later."""
    key = devnode.wallet.addresses()[0]
    made = await lotus.estimate(Message(to=key, sender=key, value=Amount(1)), SendSpec())
    fields = {name: getattr(made, name) for name in made.__struct_fields__}
    both = [await lotus.sign_message(Message(**fields | {"value": Amount(value)})) for value in (1, 2)]
    outcomes: list[str] = []

    async def push(signed: SignedMessage) -> None:
        try:
            outcomes.append(await lotus.push(signed))
        except errors.Outbid:
            outcomes.append("outbid")

    async with anyio.create_task_group() as tasks:
        for signed in both:
            tasks.start_soon(push, signed)
    assert outcomes.count("outbid") == 1
    assert len(devnode.chain.pool.all()) == 1


async def test_a_second_address_is_like_a_second_node(devnode: Devnode, place_of: Callable[..., Place]):
    """Same chain, own faults: our `nodes` changes over to it, and back when it lags."""
    async with serving.another(devnode) as (url, mischief):
        place = place_of(devnode)
        async with nodes.connect([place, Place(url=url, token_file=place.token_file)], pauses_seconds=()) as several:
            assert (await several.pick()).url == devnode.url
            devnode.disturb("*", "html")
            assert (await several.pick()).url == url
            assert (await (await several.pick()).head()).key == (devnode.chain.head.key,)
            devnode.mischief.clear()
            mischief.put("ChainHead", Fault(kind="error"))
            assert (await several.pick()).url == devnode.url


async def test_trouble_is_made_over_the_api_with_the_admin_token_alone(
    devnode: Devnode, lotus: Node, place_of: Callable[..., Place]
):
    """Each method of the devnode's own does what the object in a test does."""

    async def ask(method: str, *params: object) -> Any:
        token = devnode.tokens["admin"]
        async with client.connect(devnode.url, timeout_seconds=20) as calls:
            return await calls.call(f"Damocles.Devnode{method}", list(params), returns=Any, token=token)

    async with client.connect(devnode.url, timeout_seconds=20) as calls:
        with pytest.raises(rpc.RpcError, match="need 'admin'"):
            await calls.call("Damocles.DevnodeStep", [1], returns=Any, token=devnode.tokens["sign"])
    assert (await ask("Info"))["AcceptsAnyProof"] is True
    assert await ask("Step", 3) == 33
    assert await ask("Reorganise", 2, False) == 31
    await ask("NullRounds", 2)
    await ask("BaseFee", "5000")
    assert await ask("Step", 1) == 36
    assert devnode.chain.head.base_fee == 5000
    await ask("Lag", 5)
    assert (await lotus.head()).height == 31
    await ask("Fault", "StateNetworkName", {"kind": "error", "text": "no"})
    with pytest.raises(errors.Refused, match="no"):
        await lotus.network_name()
    await ask("Stop")
    await ask("GoOn")
    assert (await lotus.head()).height == 36
    await ask("BlockLimit", 0)
    await ask("Doom", 28, 1, 16)
    await ask("HangUp")
    await ask("BlockLimit", None)
    piece = {"/": "baga6ea4seaqacaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcai"}
    assert await ask("Allocate", "t01000", piece, 2048, 1000) == 1
    with pytest.raises(rpc.RpcError, match="1 to 900 blocks at once, not 0"):
        await ask("Step", 0)
