"""A node that takes messages, over a miner that replays: what is pushed is executed with the next head."""

import base64
from collections.abc import Callable
from typing import Any

from damocles import bls, signing
from damocles.chain.messages import Message, SignatureType, SignedMessage
from damocles.wire import codec

from .scene import Scene

KEY = signing.PrivateKey(SignatureType.BLS, bls.new_key(bytes(32)))
SENDER = KEY.address
GAS = 16_700_000


class Node:
    """What a node answers about messages.

    `verdict` is what executing one comes to: exit code, return value, text. `effect` is what that does to the miner.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.pushed: list[Message] = []
        self.executed: dict[str, dict[str, Any]] = {}
        self.verdict: Callable[[Message], tuple[int, bytes, str]] = lambda _: (0, b"", "")
        self.effect: Callable[[Message], None] = lambda _: None
        self.takes = True
        answers = scene.replay.answer
        answers("StateAccountKey", str(SENDER))
        answers("StateLookupID", lambda params: params[0])
        answers("WalletHas", True)
        answers("WalletSign", self._sign)
        answers("StateGetActor", lambda _: {"Code": {"/": "bafkqactqnrqwg2a"}, "Nonce": 0, "Balance": str(10**18)})
        answers("MpoolGetNonce", lambda _: len(self.pushed))
        answers("GasEstimateMessageGas", lambda params: {**params[0], "GasLimit": GAS * 5 // 4, "GasPremium": "11"})
        answers("StateCall", self._call)
        answers("MpoolPush", self._push)
        answers("StateSearchMsg", lambda params: self.executed.get(params[1]["/"]))

    def _sign(self, params: list[Any]) -> dict[str, Any]:
        data = bls.sign(KEY.secret, base64.b64decode(params[1]))
        return {"Type": 2, "Data": base64.b64encode(data).decode()}

    def _call(self, params: list[Any]) -> dict[str, Any]:
        message = codec.from_builtins(params[0], Message)
        code, returned, text = self.verdict(message)
        receipt = {"ExitCode": code, "Return": base64.b64encode(returned).decode(), "GasUsed": GAS}
        cost = dict.fromkeys(("BaseFeeBurn", "OverEstimationBurn", "MinerTip", "TotalCost"), "0")
        return {"Msg": params[0], "MsgRct": receipt, "GasCost": cost, "Error": text}

    def _push(self, params: list[Any]) -> dict[str, str]:
        signed = codec.from_builtins(params[0], SignedMessage)
        if signed.message.nonce == len(self.pushed):
            self.pushed.append(signed.message)
        if self.takes:
            code, returned, _ = self.verdict(signed.message)
            self.effect(signed.message)
            receipt = {"ExitCode": code, "Return": base64.b64encode(returned).decode(), "GasUsed": GAS}
            self.executed[signed.cid] = {
                "Message": {"/": signed.cid},
                "Receipt": receipt,
                "TipSet": [],
                "Height": self.scene.epoch + 1,
            }
        return {"/": signed.cid}
