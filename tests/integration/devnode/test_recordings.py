"""The devnode's answers have the shapes of a real Lotus' answers, and it reads what a real Lotus was asked."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from tests.golden.chain import recordings

from damocles.chain.sealing import AllocationKey, Piece
from damocles.devnode import clients
from damocles.devnode.node import Node as Devnode
from damocles.lotus.node import Node
from damocles.wire import commitments
from damocles.wire.codec import CID, Rows

from .helpers import MINER, WORKER, done, promised, proved, send

# Differ in ways that docs/reference/devnode.md names: inner state, traces, syncs.
INSIDE = {"ExecutionTrace", "ActiveSyncs", "ForkUpgradeParams", "State"}


def schema(values: list[Any]) -> dict[str, Any]:
    """Return what values are: kinds, and what is in lists and objects."""
    made: dict[str, Any] = {"kinds": {type(value).__name__ for value in values}}
    lists = [value for value in values if isinstance(value, list)]
    objects = [value for value in values if isinstance(value, dict)]
    if lists:
        made["items"] = schema([item for value in lists for item in value])
    if objects:
        if all(key.isdigit() for value in objects for key in value):
            made["values"] = schema([item for value in objects for item in value.values()])
        else:
            keys = {key for value in objects for key in value}
            made["keys"] = {key: schema([value[key] for value in objects if key in value]) for key in keys}
    return made


def differences(value: Any, like: dict[str, Any], where: str) -> list[str]:
    """Return where a value is not of a schema."""
    if type(value).__name__ not in like["kinds"]:
        return [f"{where} is {value!r:.60}, recorded are {sorted(like['kinds'])}"] if like["kinds"] else []
    if isinstance(value, list):
        return [text for item in value for text in differences(item, like["items"], f"{where}[]")]
    if not isinstance(value, dict):
        return []
    if "values" in like:
        return [text for item in value.values() for text in differences(item, like["values"], f"{where}.*")]
    if set(value) != set(like["keys"]):
        return [f"{where} has the keys {sorted(value)}, recorded are {sorted(like['keys'])}"]
    inner = [key for key in value if key not in INSIDE]
    return [text for key in inner for text in differences(value[key], like["keys"][key], f"{where}.{key}")]


class Caller:
    """Calls methods as they stand, without a client of ours between."""

    def __init__(self, client: httpx2.AsyncClient, devnode: Devnode) -> None:
        self._client = client
        self._devnode = devnode

    async def __call__(self, method: str, *params: Any, auth: str = "admin") -> tuple[int, dict[str, Any]]:
        """Return status and answer."""
        headers = {"authorization": f"Bearer {self._devnode.tokens[auth]}"} if auth in self._devnode.tokens else {}
        body = {"jsonrpc": "2.0", "id": 7, "method": f"Filecoin.{method}", "params": params}
        answer = await self._client.post(self._devnode.url, content=json.dumps(body), headers=headers)
        return answer.status_code, json.loads(answer.content)

    async def result(self, method: str, *params: Any) -> Any:
        """Return the result of a call."""
        status, answer = await self(method, *params)
        assert "result" in answer, (method, status, answer)
        return answer["result"]


@pytest.fixture
async def caller(devnode: Devnode) -> AsyncIterator[Caller]:
    """Yield what calls a devnode."""
    async with httpx2.AsyncClient(timeout=20) as client:
        yield Caller(client, devnode)


async def test_results_have_the_recorded_shapes(devnode: Devnode, lotus: Node, caller: Caller):
    """Keys and types of each method that a manager calls are those that a real node has."""
    key_of_worker = devnode.key_of(WORKER).text("t")
    allocation, piece = await _allocated(devnode, lotus)
    await proved(devnode, lotus, 1, 2, pieces=None)
    await devnode.step(10)  # so far back a miner's sectors are looked at for its blocks
    await proved(devnode, lotus, 3, pieces=Rows([piece]))
    await promised(devnode, lotus, 4)
    second, _ = await _allocated(devnode, lotus)
    head = await caller.result("ChainHead")
    receipt = await done(devnode, lotus, None, value=1)
    waiting = await send(lotus, None, value=1)
    client = "t0102"
    miner = MINER.text("t")
    info = (await caller.result("StateSectorPreCommitInfo", miner, 4, None))["Info"]
    message = (await caller.result("MpoolPending", None))[0]["Message"]
    template = next(recordings.everywhere("Eproof", recordings.rows("exchanges")))
    calls: list[tuple[str, list[Any]]] = [
        ("Version", []), ("StateNetworkName", []), ("StateNetworkVersion", [None]), ("StateGetNetworkParams", []),
        ("StateActorCodeCIDs", [28]), ("ChainHead", []), ("ChainGetTipSet", [head["Cids"]]), ("SyncState", []),
        ("ChainGetTipSetByHeight", [5, None]), ("ChainGetTipSetAfterHeight", [5, None]), ("NodeStatus", [True]),
        ("ChainGetPath", [head["Cids"], (await caller.result("ChainHead"))["Cids"]]), ("WalletList", []),
        ("ChainGetMessage", [{"/": waiting}]), ("WalletBalance", [miner]), ("WalletHas", [key_of_worker]),
        ("WalletDefaultAddress", []), ("WalletSign", [key_of_worker, "aGVsbG8="]), ("MpoolGetConfig", []),
        ("MpoolGetNonce", [key_of_worker]), ("MpoolPending", [None]), ("StateGetActor", [miner, None]),
        ("StateLookupID", [key_of_worker, None]), ("StateAccountKey", ["t0101", None]),
        ("StateLookupRobustAddress", [miner, None]), ("StateListMiners", [None]), ("StateMinerInfo", [miner, None]),
        ("StateMinerPower", [miner, None]), ("StateMinerAvailableBalance", [miner, None]),
        ("StateReadState", [miner, None]), ("StateMinerProvingDeadline", [miner, None]),
        ("StateMinerDeadlines", [miner, None]), ("StateMinerPartitions", [miner, 0, None]),
        ("StateMinerPartitions", [miner, 47, None]), ("StateMinerAllocated", [miner, None]),
        ("StateMinerSectorAllocated", [miner, 1, None]), ("StateMinerFaults", [miner, None]),
        ("StateMinerRecoveries", [miner, None]), ("StateMinerSectors", [miner, None, None]),
        ("StateMinerActiveSectors", [miner, None]), ("StateMinerSectorCount", [miner, None]),
        ("StateSectorGetInfo", [miner, 1, None]), ("StateSectorGetInfo", [miner, 99, None]),
        ("StateSectorPreCommitInfo", [miner, 4, None]), ("StateSectorPreCommitInfo", [miner, 1, None]),
        ("StateSectorPartition", [miner, 1, None]), ("StateSectorExpiration", [miner, 1, None]),
        ("StateMinerPreCommitDepositForPower", [miner, info, None]), ("StateMinerCreationDeposit", [None]),
        ("StateMinerInitialPledgeForSector", [1000, 2048, 0, None]), ("StateGetAllocations", [client, None]),
        ("StateGetAllocation", [client, second, None]), ("StateGetClaims", [miner, None]),
        ("StateGetClaim", [miner, allocation, None]), ("StateCall", [message, None]),
        ("StateSearchMsg", [None, {"/": receipt.message}, 100, True]), ("StateReplay", [None, {"/": receipt.message}]),
        ("StateWaitMsg", [{"/": receipt.message}, 0, 100, True]),
        ("GasEstimateMessageGas", [message, None, None]), ("GasEstimateFeeCap", [message, 10, None]),
        ("GasEstimateGasPremium", [10, key_of_worker, 1000, None]), ("AuthVerify", [devnode.token]),
        ("StateGetRandomnessFromTickets", [5, 12, "QwDqBw==", head["Cids"]]),
        ("StateGetRandomnessFromBeacon", [6, 12, "QwDqBw==", None]),
        ("MpoolPushMessage", [message | {"Nonce": 0}, None]),
        ("WalletSignMessage", [key_of_worker, message]),
        ("MinerGetBaseInfo", [miner, head["Height"] + 1, head["Cids"]]),
        ("MinerCreateBlock", [template | {"Miner": miner, "Parents": head["Cids"]}]),
    ]  # fmt: skip
    recorded = {row["request"]["method"].removeprefix("Filecoin.") for row in recordings.rows("exchanges")}
    tried = {method for method, _ in calls}
    found = []
    for method, params in calls:
        result = await caller.result(method, *params)
        found += differences(result, schema([one for _, one in recordings.results(method)]), method)
    inside = [one["State"] for _, one in recordings.results("StateReadState") if "Deadlines" in (one["State"] or ())]
    ours = (await caller.result("StateReadState", miner, None))["State"]
    assert found + differences(ours, schema(inside), "StateReadState.State") == []
    only_empty = {"MpoolSelect"}  # of a pool that had nothing
    assert recorded - tried == {"ChainNotify", "MpoolPush", "StateDecodeParams", "StateEncodeParams"} | only_empty


async def _allocated(devnode: Devnode, lotus: Node) -> tuple[int, Piece]:
    """Let the client allocate a piece that fills a sector; return its number, and the piece as a proof claims it."""
    made = commitments.unsealed_cid(bytes([devnode.chain.head.height % 63]) * 32)
    number = await clients.allocate(devnode, MINER, made, 2048)
    return number, Piece(cid=CID(made), size_bytes=2048, allocation=AllocationKey(102, number))


async def test_what_a_real_node_was_asked_is_read(caller: Caller):
    """No recorded request that a real node understood is refused for its form, and those that it did not are alike."""
    for row in recordings.rows("exchanges"):
        request, recorded = row["request"], row["answer"]
        method = request["method"].removeprefix("Filecoin.")
        auth = "admin" if row["auth"] not in {"read", "none"} else row["auth"]
        if row["status"] == 401:
            continue
        if method == "StateWaitMsg" and "result" in recorded:
            continue  # it would wait for ever for a message of another chain, but for what is known
        status, answer = await caller(method, *(request.get("params") or []), auth=auth)
        form = "error" in recorded and recorded["error"]["code"] < 0
        is_refused = "error" in answer and answer["error"]["code"] < 0
        assert is_refused == form, (row["note"], request, answer)
        if form:
            assert (status, answer["error"]["code"]) == (row["status"], recorded["error"]["code"]), (request, answer)
        elif "error" in recorded:
            assert "error" in answer, (request, answer)


async def test_answers_on_the_level_of_http_are_alike(devnode: Devnode):
    """Bad tokens, batches, what is no JSON, other paths; status and code."""
    async with httpx2.AsyncClient(timeout=20) as client:
        for row in recordings.rows("answers"):
            body = row["request"]
            if body == "Filecoin.Version":
                body = '{"jsonrpc":"2.0","id":1,"method":"Filecoin.Version","params":[]}'
            verb = row["note"].split()[0] if row["note"].split()[0] in {"GET", "POST"} else "POST"
            headers = {"authorization": "Bearer nonsense"} if row["status"] == 401 else {}
            url = devnode.url.removesuffix("/rpc/v1") + row["path"]
            answer = await client.request(verb, url, content=body, headers=headers)
            assert answer.status_code == row["status"], (row, answer.content)
            assert bool(answer.content) == bool(row["answer"]), row
            if row["status"] == 500:
                theirs, ours = json.loads(row["answer"]), json.loads(answer.content)
                assert (ours["id"], ours["error"]["code"]) == (theirs["id"], theirs["error"]["code"])


async def test_parameters_are_read_and_written_as_recorded(devnode: Devnode, caller: Caller):
    """What a real node made of CBOR and of JSON, a devnode makes of it as well."""
    own = (await caller.result("StateActorCodeCIDs", 28))["storageminer"]
    compared = 0
    for row in recordings.rows("exchanges"):
        method, answer = row["request"]["method"].removeprefix("Filecoin."), row["answer"]
        params = row["request"].get("params") or []
        if "result" not in answer or method not in {"StateDecodeParams", "StateEncodeParams"}:
            continue
        if method == "StateEncodeParams":
            _, ours = await caller(method, own, *params[1:])
        else:
            _, ours = await caller(method, MINER.text("t"), *params[1:])
        assert ours["result"] == answer["result"], row["note"]
        compared += 1
    assert compared > 3
