"""One node: calls with time limits, repeated where that does no harm; what it says of itself, its mempool and wallet.

async with node.connect(place) as lotus:
    head = await lotus.head()
    state = View(lotus, head)
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Optional, TypeVar

import anyio
import anyio.to_thread

from damocles import failpoints, signing
from damocles.chain import messages
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.blocks.header import BlockMessage, Template
from damocles.chain.messages import Message, Signature, SignedMessage
from damocles.lotus import errors
from damocles.lotus.answers import HeadChange, Key, MpoolConfig, NetworkParams, SendSpec, TipSet, Version
from damocles.lotus.places import BadTokenFile, Place
from damocles.methods import Ask
from damocles.rpc import errors as rpc
from damocles.rpc.calling import client, subscription
from damocles.wire.codec import CID, Rows

T = TypeVar("T")

SECONDS = 30.0
# Where the node executes a message: the first aggregate that it verifies takes ten seconds alone.
EXECUTION_SECONDS = 90.0
# Before a call that may be repeated is repeated.
PAUSES_SECONDS = (0.2, 1.0, 3.0)


class Node:
    """A node; made by `connect`. Any number of tasks may call at once."""

    def __init__(self, place: Place, calls: client.Client, token: str | None, pauses_seconds: Sequence[float]) -> None:
        self.place = place
        self.url = place.url
        self.token = token
        self._calls = calls
        self._pauses_seconds = pauses_seconds

    async def call(
        self, returns: type[T], method: str, *params: Any, seconds: float = SECONDS, repeats: bool = True
    ) -> T:
        """Call a method of Lotus, named without `Filecoin.`; repeat it with pauses if it may be and the node is away.

        Raises:
            errors.NodeError: See `damocles.lotus.errors` for the kinds, and what to do.
        """
        for pause_seconds in (*(self._pauses_seconds if repeats else ()), None):
            try:
                return await self._with_token(returns, method, params, seconds)
            except errors.Away as exc:
                if pause_seconds is None or isinstance(exc, errors.TooSlow):
                    raise
                await anyio.sleep(pause_seconds)
        raise AssertionError

    async def maybe(self, returns: type[T], method: str, *params: Any, seconds: float = SECONDS) -> T | None:
        """Call a method that answers null for what is not there."""
        result: T | None = await self.call(Optional[returns], method, *params, seconds=seconds)  # type: ignore[arg-type] # noqa: UP045, at run time
        return result

    async def _with_token(self, returns: type[T], method: str, params: Sequence[Any], seconds: float) -> T:
        """Call with the token; once more if it has been exchanged in its file meanwhile."""
        failpoints.reach(f"node.before:{method}")
        try:
            return await self._once(returns, method, params, seconds)
        except errors.BadToken:
            if not await self._has_new_token():
                raise
            return await self._once(returns, method, params, seconds)

    async def _once(self, returns: type[T], method: str, params: Sequence[Any], seconds: float) -> T:
        try:
            ask = Ask(f"Filecoin.{method}", list(params), returns)
            return await self._calls.call(ask, timeout_seconds=seconds, token=self.token)
        except rpc.CallError as exc:
            raise errors.of(exc, self.url, method) from exc
        finally:
            failpoints.reach(f"node.after:{method}")

    async def _has_new_token(self) -> bool:
        try:
            token = await anyio.to_thread.run_sync(self.place.token)
        except BadTokenFile as exc:
            raise errors.BadToken(f"{self.url} does not accept the token it got, and {exc}") from exc
        was, self.token = self.token, token
        return token != was

    @contextlib.asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[list[HeadChange]]]:
        """Yield what happens to the head from now on; the first is the head itself. See `heads` for what lasts.

        Raises:
            errors.NodeError: The node is away, or breaks off.
        """
        method = "ChainNotify"
        try:
            async with subscription.open_stream(
                self.url,
                f"Filecoin.{method}",
                (),
                returns=list[HeadChange],
                token=self.token,
                trust=self.place.trust,
            ) as values:
                yield values
        except rpc.CallError as exc:
            raise errors.of(exc, self.url, method) from exc

    # What it says of itself and of the network.

    async def version(self) -> Version:
        """Return its version."""
        return await self.call(Version, "Version")

    async def permissions(self, token: str) -> list[str]:
        """Return what a token may do: `read`, `write`, `sign`, `admin`."""
        return await self.call(list[str], "AuthVerify", token)

    async def network_name(self) -> str:
        """Return the name of its network: `mainnet`, `calibrationnet`."""
        return await self.call(str, "StateNetworkName")

    async def network_params(self) -> NetworkParams:
        """Return what differs between networks."""
        return await self.call(NetworkParams, "StateGetNetworkParams")

    # The chain; what has a key is the same for ever, what has none is as the node sees it now.

    async def head(self) -> TipSet:
        """Return the head."""
        return await self.call(TipSet, "ChainHead")

    async def tipset(self, key: Key) -> TipSet:
        """Return a tipset by its key, on the chain or abandoned."""
        return await self.call(TipSet, "ChainGetTipSet", key)

    async def tipset_at(self, height: int, below: Key) -> TipSet:
        """Return the tipset of an epoch on the chain that ends with `below`; for a null round the one before it."""
        return await self.call(TipSet, "ChainGetTipSetByHeight", height, below)

    async def tipset_after(self, height: int, below: Key) -> TipSet:
        """Return likewise; for a null round the one after it."""
        return await self.call(TipSet, "ChainGetTipSetAfterHeight", height, below)

    async def path(self, start: Key, end: Key) -> list[HeadChange]:
        """Return what is reverted, newest first, and then applied on the way from one tipset to another."""
        return await self.call(list[HeadChange], "ChainGetPath", start, end)

    async def message(self, cid: CID) -> Message:
        """Return a message that the node has seen."""
        return await self.call(Message, "ChainGetMessage", cid)

    # Its mempool and wallet.

    async def next_nonce(self, sender: Address) -> int:
        """Return the nonce after those of a key that are on the chain or pending."""
        return await self.call(int, "MpoolGetNonce", sender)

    async def mpool_config(self) -> MpoolConfig:
        """Return the rules of its mempool."""
        return await self.call(MpoolConfig, "MpoolGetConfig")

    async def pending(self) -> Rows[SignedMessage]:
        """Return the messages in its mempool, of everybody."""
        return await self.call(Rows[SignedMessage], "MpoolPending", None)

    async def push(self, message: SignedMessage) -> CID:
        """Hand over a signed message, and return its id. Not repeated here: the caller knows whether it is recorded.

        Raises:
            errors.Pending: It is in the mempool already, which is as good.
            errors.NotTaken: It is not taken; see the kinds.
        """
        return await self.call(CID, "MpoolPush", message, repeats=False)

    async def has_key(self, key: Address) -> bool:
        """Return whether its wallet can sign with a key."""
        return await self.call(bool, "WalletHas", key)

    async def balance(self, address: Address) -> Amount:
        """Return the balance of any address, zero where there is nothing."""
        return await self.call(Amount, "WalletBalance", address)

    async def sign(self, key: Address, data: bytes) -> Signature:
        """Sign bytes with a key of its wallet. For a message these are its binary CID, whatever the key."""
        return await self.call(Signature, "WalletSign", key, data)

    async def sign_message(self, message: Message) -> SignedMessage:
        """Sign a message with the key of its sender in the node's wallet, and verify that.

        Raises:
            ValueError: The sender is no key; ask for it (`View.key_of`).
            errors.NoNode: The signature is not one of this message by this key.
        """
        messages.kind_of_signature(message.sender)
        signature = await self.sign(message.sender, messages.signing_bytes(message))
        signed = SignedMessage(message, signature)
        if not await anyio.to_thread.run_sync(signing.is_valid, signed):
            raise errors.NoNode(
                f"{self.url} has signed something else than the message of {message.sender}: do not use it"
            )
        return signed

    # Blocks.

    async def select(self, parents: Key, quality: float) -> Rows[Any]:
        """Return messages for a block on top of a tipset as they stand; `quality` is that of the block's ticket."""
        return await self.call(Rows[Any], "MpoolSelect", parents, quality)

    async def create_block(self, template: Template) -> BlockMessage:
        """Have a block made, and signed by the worker's key in the wallet. Not repeated here: the caller has recorded it."""
        return await self.call(BlockMessage, "MinerCreateBlock", template, seconds=EXECUTION_SECONDS, repeats=False)

    async def submit_block(self, block: BlockMessage) -> None:
        """Hand in a block, which the node checks and passes on; the same block again does no harm.

        Raises:
            errors.NodeError: It is not taken.
        """
        await self.call(type(None), "SyncSubmitBlock", block, seconds=EXECUTION_SECONDS)

    # Estimates, at the head.

    async def estimate(self, message: Message, spec: SendSpec, at: Key | None = None) -> Message:
        """Return a message with gas limit, fee cap and premium, by executing it.

        A bound that is too small is no error: fee cap and premium are cut, and the push is refused.

        Raises:
            errors.WouldFail: It would fail, with the actor's reason.
        """
        return await self.call(Message, "GasEstimateMessageGas", message, spec, at, seconds=EXECUTION_SECONDS)

    async def estimate_premium(self, within_epochs: int, sender: Address, gas_limit: int) -> Amount:
        """Return the premium by which a message lands within some epochs, in attoFIL per unit of gas."""
        return await self.call(Amount, "GasEstimateGasPremium", within_epochs, sender, gas_limit, None)

    async def estimate_fee_cap(self, message: Message, within_epochs: int) -> Amount:
        """Return the fee cap that holds for some epochs of growing base fees."""
        return await self.call(Amount, "GasEstimateFeeCap", message, within_epochs, None)


@contextlib.asynccontextmanager
async def connect(place: Place, *, pauses_seconds: Sequence[float] = PAUSES_SECONDS) -> AsyncIterator[Node]:
    """Yield a node; the first call connects.

    Raises:
        BadTokenFile: The file with its token cannot be used.
    """
    token = await anyio.to_thread.run_sync(place.token)
    async with client.connect(place.url, trust=place.trust, timeout_seconds=SECONDS) as calls:
        yield Node(place, calls, token, pauses_seconds)
