"""`Mpool…`, `Gas…`, and messages as the state has them: trials, searches, receipts."""

import contextlib
import itertools
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from damocles.chain import exits, tuples
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.messages import Message, SignedMessage
from damocles.devnode import rules, wallet
from damocles.devnode.actors import execution
from damocles.devnode.actors.draft import Unverifiable
from damocles.devnode.actors.execution import Outcome
from damocles.devnode.api import shapes
from damocles.devnode.api.context import Api, Key, fail
from damocles.devnode.api.service import Service
from damocles.devnode.chain import Found
from damocles.devnode.mischief import Mischief
from damocles.devnode.node import Node
from damocles.devnode.pool import NotTaken
from damocles.devnode.state import State, with_
from damocles.devnode.tipsets import TipSet
from damocles.wire import codec
from damocles.wire.codec import CID

_CALL_GAS_LIMIT = 4611686018427387903
_REVERTED = 3
_FEE_CAP_EPOCHS = 20  # of growing base fees, that an estimate outlives


class MessagesApi(Api):
    """Methods about messages."""

    def __init__(self, node: Node, mischief: Mischief) -> None:
        super().__init__(node, mischief)
        self._pushing = anyio.Lock()  # two messages of a sender must not get the same nonce

    def serve(self, service: Service) -> None:
        """Serve them."""
        service.serve(
            "read",
            {
                "MpoolPending": self.pending,
                "MpoolSelect": self.select,
                "MpoolGetNonce": self.next_nonce,
                "MpoolGetConfig": self.config,
                "GasEstimateMessageGas": self.estimate,
                "GasEstimateGasLimit": self.estimate_limit,
                "GasEstimateFeeCap": self.estimate_fee_cap,
                "GasEstimateGasPremium": self.estimate_premium,
                "StateCall": self.call,
                "StateReplay": self.replay,
                "StateSearchMsg": self.search,
                "StateWaitMsg": self.wait,
                "StateDecodeParams": self.decode_params,
                "StateEncodeParams": self.encode_params,
            },
        )
        service.serve("write", {"MpoolPush": self.push})
        service.serve("sign", {"MpoolPushMessage": self.push_message})

    # The pool.

    async def pending(self, key: Key) -> list[dict[str, Any]]:
        """Return the messages that wait."""
        return [shapes.signed_message(signed) for signed in self.chain.pool.all()]

    async def select(self, key: Key, quality: float) -> list[dict[str, Any]] | None:
        """Return the messages that the next block would have."""
        head = self.tipset(key)
        state, _ = await self.after(head)
        return [shapes.signed_message(signed) for signed in self.chain.pool.best(state, head.base_fee)] or None

    async def next_nonce(self, address: Address) -> int:
        """Return the nonce after those on the chain and in the pool."""
        _, state = await self.now()
        number = state.id_of(address)
        if number is None:
            fail("actor not found")
        account = state.accounts.get(number)
        if account is None or account.key is None:
            fail("ID address not found in lookback state")
        return self.chain.pool.next_nonce(account.key, account.nonce)

    async def config(self) -> dict[str, Any]:
        """Return the rules of the pool."""
        return {
            "PriorityAddrs": None,
            "SizeLimitHigh": 30000,
            "SizeLimitLow": 20000,
            "ReplaceByFeeRatio": rules.REPLACE_BY_FEE[0] / rules.REPLACE_BY_FEE[1],
            "PruneCooldown": 60_000_000_000,
            "GasLimitOverestimation": rules.OVERESTIMATION[0] / rules.OVERESTIMATION[1],
        }

    async def push(self, signed: SignedMessage) -> dict[str, str]:
        """Take a signed message."""
        try:
            return shapes.link(await self.node.push(signed))
        except NotTaken as exc:
            fail(str(exc))

    async def push_message(self, message: Message, spec: dict[str, Any] | None) -> dict[str, Any]:
        """Estimate a message, sign it with a key of the wallet, and take it."""
        uuid = str((spec or {}).get("MsgUuid") or "").strip("0-") and str((spec or {})["MsgUuid"])
        async with self._pushing:
            known = await self.node.pushed(uuid) if uuid else None
            signed = known or await self._pushed(message, _max_fee(spec))
            if uuid and known is None:
                await self.node.remember(uuid, signed)
        return shapes.signed_message(signed)

    async def _pushed(self, message: Message, max_fee: int) -> SignedMessage:
        if message.nonce:
            fail(f"MpoolPushMessage expects message nonce to be 0, was {message.nonce}")
        message = _with(message, sender=self.node.key_of(message.sender))
        try:
            message = await self._estimated(message, self.head, max_fee)
        except WouldFail as exc:
            fail(f"GasEstimateMessageGas error: {exc}")
        message = _with(message, nonce=await self.next_nonce(message.sender))
        try:
            signed = await anyio.to_thread.run_sync(self.node.wallet.sign_message, message)
        except wallet.NoKey:
            fail(f"mpool push: failed to sign message: key not found for {shapes.text(message.sender)}")
        try:
            await self.node.push(signed)
        except NotTaken as exc:
            fail(f"mpool push: failed to push message: {exc}")
        return signed

    # Estimates.

    async def estimate(self, message: Message, spec: dict[str, Any] | None, key: Key) -> dict[str, Any]:
        """Return a message with gas limit, premium and fee cap as far as it has none."""
        try:
            return shapes.message(await self._estimated(message, self.tipset(key), _max_fee(spec)))
        except WouldFail as exc:
            fail(str(exc), _REVERTED, "0x")

    async def _estimated(self, message: Message, tipset: TipSet, max_fee: int) -> Message:
        limit = message.gas_limit
        if not limit:
            used = await self._used(message)
            limit = used * rules.OVERESTIMATION[0] // rules.OVERESTIMATION[1]
        premium = int(message.gas_premium) or rules.PREMIUM
        cap = int(message.gas_fee_cap) or _grown(tipset.base_fee, _FEE_CAP_EPOCHS) + premium
        cap = min(cap, (max_fee or rules.DEFAULT_MAX_FEE) // limit)
        return _with(message, gas_limit=limit, gas_fee_cap=Amount(cap), gas_premium=Amount(min(premium, cap)))

    async def _used(self, message: Message) -> int:
        """Return the gas that a message takes after those of its sender that wait: at the head, as in Lotus."""
        tipset, state = await self.now()
        outcome = await self._tried(message, tipset, state, after_pool=True)
        if outcome.exit_code:
            name = exits.words(outcome.exit_code).partition("(")[2].partition(")")[0]
            raise WouldFail(
                f"message execution failed (exit=[{name}({outcome.exit_code})], vm error=[{outcome.error}])"
            )
        return outcome.gas_used

    async def _tried(self, message: Message, tipset: TipSet, state: State, *, after_pool: bool) -> Outcome:
        around = self.around(tipset)
        waiting = self.chain.pool.of(self.node.key_of(message.sender)) if after_pool else []
        # As Lotus does it: those before the nonce of the message, or all if none has it.
        before = list(itertools.takewhile(lambda signed: signed.message.nonce != message.nonce, waiting))

        def work() -> Outcome:
            now = state
            for signed in before:
                now, _ = execution.simulate(now, signed.message, around)
            return execution.simulate(now, message, around)[1]

        if state.id_of(message.sender) is None:
            fail(f"sender {shapes.text(message.sender)} not found on chain: sender validation failed")
        try:
            return await anyio.to_thread.run_sync(work)
        except Unverifiable as exc:
            fail(str(exc))

    async def estimate_limit(self, message: Message, key: Key) -> int:
        """Return the gas that a message takes."""
        try:
            return await self._used(message)
        except WouldFail as exc:
            fail(str(exc), _REVERTED, "0x")

    async def estimate_fee_cap(self, message: Message, epochs: int, key: Key) -> str:
        """Return the fee cap that holds for some epochs of growing base fees."""
        return str(_grown(self.tipset(key).base_fee, epochs) + int(message.gas_premium))

    async def estimate_premium(self, epochs: int, sender: Address, gas_limit: int, key: Key) -> str:
        """Return the premium by which a message lands soon: always the same."""
        return str(rules.PREMIUM)

    # Trials and receipts.

    async def call(self, message: Message, key: Key) -> dict[str, Any]:
        """Execute a message for its verdict alone."""
        tipset = self.tipset(key)
        state, _ = await self.after(tipset)
        outcome = await self._tried(message, tipset, state, after_pool=False)
        number = state.id_of(message.sender)
        nonce = state.account(number).nonce if number is not None else 0
        shown = _with(message, gas_limit=_CALL_GAS_LIMIT, nonce=nonce)
        return shapes.invocation(shown, outcome, None)

    async def replay(self, key: Key, cid: CID) -> dict[str, Any]:
        """Return what became of a message that has landed, with the actor's words."""
        found = self._find(self.tipset(key), cid, -1, replaced=True)
        if found is None:
            fail(f"failed to find message {cid} on the chain")
        return shapes.invocation(found.message.message, found.outcome, found.message.cid)

    async def search(self, key: Key, cid: CID, limit: int, replaced: bool) -> dict[str, Any] | None:
        """Return where a message was executed, up to some epochs back."""
        tipset = self.tipset(key)
        found = self._find(tipset, cid, limit, replaced=replaced)
        return None if found is None else _lookup(found)

    async def wait(self, cid: CID, confidence: int, limit: int, replaced: bool) -> dict[str, Any]:
        """Return where a message was executed, once that lies some epochs back; there is no time limit."""
        if confidence > rules.FINALITY:
            text = f"message confidence exceeds maximum: {confidence} > {rules.FINALITY}"
            fail(f"{text}: message confidence exceeds maximum")
        while True:
            found = self._find(self.head, cid, limit, replaced=replaced)
            if found is not None and self.head.height >= found.tipset.height + confidence:
                return _lookup(found) | {"ReturnDec": self._decoded(found)}
            await self.node.changed.wait()

    # Parameters.

    async def decode_params(self, address: Address, number: int, params: bytes | None, key: Key) -> Any:
        """Return the parameters of a method as JSON."""
        state = self.state(key)
        actor = state.id_of(address)
        method = None if actor is None else execution.method_of(state, actor, number)
        if method is None:
            fail(f"method {number} not found on actor {shapes.text(address)}")
        if method.params is None:
            return None
        try:
            return shapes.plain(tuples.decode(params or b"", method.params))
        except ValueError as exc:
            fail(f"decoding params: {exc}")

    async def encode_params(self, code: CID, number: int, params: msgspec.Raw) -> str | None:
        """Return the parameters of a miner's method as CBOR."""
        method = execution.miner_method(number)
        if code != shapes.code("storageminer") or method is None:
            fail(f"method {number} not found on actor {code}")
        if method.params is None:
            return None
        try:
            return shapes.octets(tuples.encode(codec.decode(params, method.params), method.params))
        except ValueError as exc:
            fail(f"unmarshaling params: {exc}")

    def _find(self, tipset: TipSet, cid: CID, limit: int, *, replaced: bool) -> Found | None:
        signed = self.chain.seen.get(cid)
        if signed is None:
            fail(f"%!w(*errors.errorString=&{{failed to load message}}): ipld: could not find {cid}")
        found = self.chain.find(signed.message, cid, tipset, limit)
        if found is None or found.message.cid == cid:
            return found
        ours, landed = signed.message, found.message.message
        same = (ours.to, ours.value, ours.method, ours.params) == (
            landed.to,
            landed.value,
            landed.method,
            landed.params,
        )
        if not (replaced and same):
            fail(
                f"found message with equal nonce as the one we are looking for that is NOT a valid replacement message"
                f" (F:{cid} n {ours.nonce}, TS: {found.message.cid} n{landed.nonce})"
            )
        return found

    def _decoded(self, found: Found) -> Any:
        """Return the return value of a message as JSON, as far as its method is known."""
        message = found.message.message
        if found.outcome.exit_code or not found.outcome.returned:
            return None
        state = found.tipset.state
        number = state.id_of(message.to) if state is not None else None
        method = None if number is None or state is None else execution.method_of(state, number, message.method)
        if method is None or method.returns is None:
            return None
        with contextlib.suppress(ValueError):
            return shapes.plain(tuples.decode(found.outcome.returned, method.returns))
        return None


class WouldFail(Exception):
    """A message would fail; the text is the node's."""


def _with(message: Message, **fields: Any) -> Message:
    return with_(message, **fields)


def _max_fee(spec: dict[str, Any] | None) -> int:
    """Return the bound of an estimate; what is not set or not a number is the node's own."""
    text = (spec or {}).get("MaxFee") or "0"
    return int(text) if isinstance(text, str) and text.isdigit() else 0


def _grown(base_fee: int, epochs: int) -> int:
    """Return a base fee after epochs of full blocks: an eighth more each."""
    return int(base_fee * 1.125 ** min(max(epochs, 0), 100))


def _lookup(found: Found) -> dict[str, Any]:
    return {
        "Message": shapes.link(found.message.cid),
        "Receipt": shapes.receipt(found.outcome),
        "ReturnDec": None,
        "TipSet": [shapes.link(found.tipset.key)],
        "Height": found.tipset.height,
    }
