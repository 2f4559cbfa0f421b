"""What operators do on the chain: shown before, sent once it is confirmed, and told by the state afterwards."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from damocles.chain import methods
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.bitfields import Bitfield
from damocles.chain.messages import Message
from damocles.cli.terminal import tables
from damocles.manager import errors
from damocles.wire import seal
from damocles.wire.sectors import SectorID

from .conftest import Farm
from .scene import Scene, partition
from .sending import SENDER, Node

GOLDEN = Path(__file__).parents[2] / "golden" / "operations" / "acts.txt"
RECOVER = ("sealer", "proving", "recover-faults", "--miner", "f01002")
TERMINATE = ("sealer", "sectors", "terminate", "--miner", "f01002")
EXTEND = ("sealer", "sectors", "extend", "--miner", "f01002")
ACTOR = ("sealer", "actor", "--miner", "f01002")
REALLY = "--really-do-it"


def declared(message: Message) -> list[tuple[int, int, list[int]]]:
    """Return what the declarations of a message name: deadline, partition, sectors."""
    params = methods.OF_MINER[message.method].read_params(message.params)
    (rows,) = (getattr(params, name) for name in params.__struct_fields__)
    return [(one.deadline, one.partition, list(one.sectors)) for one in rows]


async def test_faulty_sectors_are_declared_recovered(farm: Farm, node: Node, scene: Scene) -> None:
    """Those that are faulty and not declared yet; the state afterwards says that it worked."""

    def effect(_: Message) -> None:
        scene.partitions[7] = [partition(10, 11, 12, faulty=(11, 12), recovering=(11, 12))]

    node.effect = effect
    code, out, err = await farm.run(*RECOVER)
    assert 0 == code, err
    (sent,) = node.pushed
    assert (11, SENDER, [(7, 0, [11])]) == (sent.method, sent.sender, declared(sent))
    assert "DeclareFaultsRecovered (11)" in out
    assert "exit code 0 (Ok)" in out
    assert "1 of 1 sectors are declared recovered, and count from their next window PoSt on" in out


async def test_exit_code_0_that_did_nothing_is_a_failure(farm: Farm, node: Node) -> None:
    """The message landed with 0, and the sector is as faulty as before: that is said, and the exit code is 1."""
    code, out, err = await farm.run(*RECOVER)
    assert 1 == code
    assert 1 == len(node.pushed)
    assert "still faulty and not declared: 11" in out
    assert "error: not everything was done: see above\n" in err


async def test_nothing_is_sent_without_a_confirmation(farm: Farm, node: Node, scene: Scene) -> None:
    """A dry run, and an act that is not confirmed, show the message decoded, gas, fee and verdict."""
    fee = Amount(57 * 10**9).to_cbor()
    node.verdict = lambda sent: (0, _bytes(fee) if sent.method > 1000 else b"\x81\xf5", "")
    code, out, err = await farm.run(*TERMINATE, "0", "2", "--dry-run")
    assert 0 == code, err
    assert "sectors 2: not alive (any more)" in out
    assert "terminates 1 sectors for ever; the fee is 0.000000057 FIL at most as of now" in out
    assert '{"Terminations":[{"Deadline":0,"Partition":0,"Sectors":"0"}]}' in out.replace("\n", "")
    assert "limit 20875000" in out
    code, out, err = await farm.run(*TERMINATE, "0")
    assert 2 == code
    assert "nothing was sent: check the above, then pass --really-do-it" in err
    assert [] == node.pushed

    def effect(_: Message) -> None:
        scene.partitions[0][0] = partition(0, 1, 2, dead=(0, 2))

    node.effect = effect
    code, out, err = await farm.run(*TERMINATE, "0", REALLY)
    assert 0 == code, err
    assert [(0, 0, [0])] == declared(node.pushed[0])
    assert "1 of 1 sectors are terminated" in out


def _bytes(payload: bytes) -> bytes:
    """Return the CBOR of a short byte string."""
    return bytes([0x40 + len(payload)]) + payload


async def test_what_is_shown_before_and_meanwhile(farm: Farm, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run, an act that would fail, and the list of messages on a terminal of 80 columns, as they were looked at once."""
    monkeypatch.setattr(tables, "on_terminal", lambda: True)
    shown = []

    async def show(*words: str) -> None:
        _, out, err = await farm.run(*words)
        shown.append(f"$ damocles-manager util {' '.join(words)}\n{out}{err}")

    await show(*RECOVER, "--dry-run")
    node.verdict = lambda _: (16, b"", "failed recovery declaration at deadline 7")
    await show(*RECOVER)
    node.verdict = lambda _: (0, b"", "")
    node.takes = False
    await show(*RECOVER, "--send-only")
    while not node.pushed:
        await anyio.sleep(0.01)
    await show("message", "list")
    assert GOLDEN.read_text(encoding="utf-8") == "\n".join(shown)


async def test_an_open_deadline_is_immutable(farm: Farm, node: Node, scene: Scene) -> None:
    """What is in the open deadline or the next is left out with the time to come back; nothing is sent for nothing."""
    scene.partitions[30] = [partition(50)]
    scene.partitions[31] = [partition(51, 52, faulty=(52,))]
    code, out, _ = await farm.run(*TERMINATE, "50-51", REALLY)
    assert 0 == code
    assert "sectors 50: deadline 30 is open or next: terminate them after epoch" in out
    assert "sectors 51: deadline 31 is open or next" in out
    assert "nothing to send" in out
    code, out, _ = await farm.run(*RECOVER, "52")
    assert "sectors 52: deadline 31 opens too soon" in out
    assert [] == node.pushed


async def test_what_the_actor_would_refuse_is_not_recorded(farm: Farm, node: Node) -> None:
    """The actor's verdict, from an execution on trial, is told instead."""
    node.verdict = lambda _: (18, b"", "caller f01003 is not one of supported")
    code, out, err = await farm.run(*RECOVER)
    assert 1 == code
    assert "DeclareFaultsRecovered would fail with exit code 18 (ErrForbidden)" in err
    assert "caller f01003 is not one of supported" in err
    code, out, _ = await farm.run(*RECOVER, "--dry-run")
    assert 1 == code
    assert "exit code 18 (ErrForbidden)" in out
    code, out, _ = await farm.run("message", "list")
    assert "no messages are on their way\n" == out


async def test_a_wallet_without_the_key_is_said_before(farm: Farm, scene: Scene, node: Node) -> None:
    """Nothing is ordered that could never be signed: a key that is not there, an owner that is a multisig."""
    scene.replay.answer("WalletHas", False)
    code, _, err = await farm.run(*ACTOR, "withdraw", REALLY)
    assert 1 == code
    assert "import it there with `lotus wallet import`" in err
    scene.replay.refuse(
        "StateAccountKey", "failed to get account actor state for t0100: actor code is not account: multisig"
    )
    code, _, err = await farm.run(*ACTOR, "withdraw", REALLY)
    assert 1 == code
    assert "propose the message there" in err
    code, out, _ = await farm.run(*ACTOR, "withdraw", "--dry-run", "--json")
    assert "81450023636b74" == json.loads(out)["drafts"][0]["params_hex"]


async def test_sectors_are_extended_with_their_claims(farm: Farm, node: Node, scene: Scene) -> None:
    """By partition and new end; a claim that ends sooner keeps its sector out, dead and faulty ones never go along."""
    claim = {
        "Provider": 1002,
        "Client": 100,
        "Data": {"/": "baga6ea4seaqacmmyuecfqaqxjkoncuodz6u7lmivjm3waqajupjqcamexw7sgaq"},
    }
    claim |= {"Size": 2048, "TermMin": 518400, "TermStart": 95}
    scene.claims = {
        "5": {**claim, "TermMax": 5256000, "Sector": 1},
        "6": {**claim, "TermMax": 1555200, "Sector": 3},
    }

    def effect(sent: Message) -> None:
        params = methods.EXTEND.read_params(sent.params)
        for one in params.extensions:
            for number in (*one.sectors, *(named.sector_number for named in one.sectors_with_claims)):
                scene.sectors[number] = scene.sector(number, Expiration=one.new_expiration)

    node.effect = effect
    code, out, err = await farm.run(*EXTEND, "0-3,10-12,99", "--new-expiration", "2000000", REALLY)
    assert 0 == code, err
    (sent,) = node.pushed
    made = methods.EXTEND.read_params(sent.params).extensions
    assert [(0, 0, [0], 2000000), (7, 0, [10], 2000000)] == [
        (one.deadline, one.partition, list(one.sectors), one.new_expiration) for one in made
    ]
    assert [(1, (5,), ())] == [
        (one.sector_number, tuple(one.maintain), tuple(one.drop)) for one in made[0].sectors_with_claims
    ]
    for note in (
        "sectors 99: not on the chain",
        "sector 2: terminated: only active sectors can be extended",
        "sector 3: claims [6] end at 1555295",
        "sector 11: faulty: only active sectors can be extended",
        "3 of 3 sectors live as long as was wanted",
    ):
        assert note in out
    code, out, _ = await farm.run(*EXTEND, "0", "--new-expiration", "2000000", REALLY)
    assert (0, True) == (code, "nothing to send" in out)


async def test_less_than_asked_for_is_paid_out(farm: Farm, node: Node) -> None:
    """A withdrawal of more than there is ends with 0; what came is said, and that it is not all."""
    node.verdict = lambda _: (0, _bytes(Amount(593718132).to_cbor()), "")
    code, out, _ = await farm.run(*ACTOR, "withdraw", "1 FIL", REALLY)
    assert 1 == code
    assert "1 FIL are more than that: the chain pays out what there is" in out
    assert "0.000000000593718132 FIL were paid out, of 1 FIL that were asked for" in out
    (sent,) = node.pushed
    assert (16, Amount(10**18)) == (sent.method, methods.WITHDRAW.read_params(sent.params).amount)


async def test_a_worker_is_changed_in_two_steps(farm: Farm, node: Node, scene: Scene) -> None:
    """Proposed it is pending; confirming too early, for which the chain says 0 and does nothing, is refused here."""

    def pending(_: Message) -> None:
        scene.info = {**scene.info, "NewWorker": "t01044", "WorkerChangeEpoch": scene.epoch + 900}

    node.effect = pending
    code, out, err = await farm.run(*ACTOR, "propose-change-worker", "f01044", REALLY)
    assert 0 == code, err
    params = methods.CHANGE_WORKER.read_params(node.pushed[0].params)
    assert (Address.of_id(1044), [Address.of_id(1044)]) == (params.new_worker, list(params.new_control_addresses))
    assert "f01044 is pending, and can be confirmed from epoch" in out
    code, _, err = await farm.run(*ACTOR, "confirm-change-worker", "f01044", REALLY)
    assert 1 == code
    assert "until then the chain would answer 0 and do nothing" in err
    code, _, err = await farm.run(*ACTOR, "propose-change-worker", "f0100", REALLY)
    assert "f0100 is the worker of f01002 already; f01044 stays pending" in err

    scene.info["WorkerChangeEpoch"] = 3000
    node.effect = lambda _: scene.info.update(NewWorker="<empty>", Worker="t01044")
    code, out, err = await farm.run(*ACTOR, "confirm-change-worker", "f01044", REALLY)
    assert 0 == code, err
    assert "the worker is f01044" in out
    assert [3, 21] == [sent.method for sent in node.pushed]


async def test_control_addresses_are_replaced_at_once(farm: Farm, node: Node, scene: Scene) -> None:
    """What goes and comes is said before; the same ones again are refused."""
    code, _, err = await farm.run(*ACTOR, "control", "set", "f01044", REALLY)
    assert 1 == code
    assert "f01002 has these control addresses already" in err
    node.effect = lambda _: scene.info.update(ControlAddresses=["t01050"])
    code, out, err = await farm.run(*ACTOR, "control", "set", "f01050", REALLY)
    assert 0 == code, err
    assert "removes f01044" in out
    assert "adds f01050" in out
    assert "control addresses: f01050" in out


@pytest.mark.parametrize(
    ("command", "change", "said"),
    [
        (("set-owner", "f01055"), {"PendingOwnerAddress": "t01055"}, "f01055 is pending: it confirms with its own key"),
        (("set-owner", "f01055"), {}, "the owner is f0100, and f01055 is not pending"),
        (
            ("propose-change-beneficiary", "f01055", "5", "900000"),
            {
                "PendingBeneficiaryTerm": {
                    "NewBeneficiary": "t01055",
                    "NewQuota": "5000000000000000000",
                    "NewExpiration": 900000,
                    "ApprovedByBeneficiary": True,
                    "ApprovedByNominee": False,
                }
            },
            "the change waits for the approval of the new one f01055",
        ),
    ],
)
async def test_owner_and_beneficiary(  # noqa: PLR0917, what varies and what it runs on
    farm: Farm, node: Node, scene: Scene, command: tuple[str, ...], change: dict[str, Any], said: str
) -> None:
    """They change in two steps, and the state says how far it has come."""
    node.effect = lambda _: scene.info.update(change)
    code, out, _ = await farm.run(*ACTOR, *command, REALLY)
    assert said in out
    assert code == (0 if change else 1)


async def test_a_miner_is_made(farm: Farm, node: Node, scene: Scene) -> None:
    """The deposit that the network asks for is sent with a margin; the new miner's number is in the return value."""
    scene.replay.answer("StateMinerCreationDeposit", "1000")
    new = Address.of_id(1100).to_cbor()
    node.verdict = lambda _: (0, b"\x82" + _bytes(new) + _bytes(new), "")
    command = ("miner", "create", "--from", "f0100", "--sector-size", "32GiB", REALLY)
    code, out, err = await farm.run(*command)
    assert 0 == code, err
    (sent,) = node.pushed
    made = methods.CREATE_MINER.read_params(sent.params)
    assert (methods.POWER_ACTOR, 1010, 13) == (sent.to, sent.value, made.window_post_proof_type)
    assert "miner actor: f01100 (f01100)" in out


async def test_partitions_are_compacted(farm: Farm, node: Node, scene: Scene) -> None:
    """Those with dead sectors and without faulty ones; afterwards the dead are gone."""
    scene.partitions[7] = [
        partition(10, 11, 12, dead=(12,), faulty=(11,)),
        partition(20, 21, dead=(20,)),
        partition(22),
    ]

    def effect(_: Message) -> None:
        scene.partitions[7] = [partition(10, 11, faulty=(11,)), partition(21), partition(22)]

    node.effect = effect
    command = ("sealer", "proving", "compact-partitions", "--deadline", "7", "--miner", "f01002", REALLY)
    code, out, err = await farm.run(*command)
    assert 0 == code, err
    assert Bitfield([1]) == methods.COMPACT_PARTITIONS.read_params(node.pushed[0].params).partitions
    assert "partition 0 has faulty sectors: recover or terminate them first" in out
    assert "partition 1: removes 1 dead sectors (sectors 20)" in out
    assert "deadline 7 has 3 partitions, with 0 dead sectors" in out


async def test_a_message_that_waits_is_listed_and_replaced(farm: Farm, node: Node) -> None:
    """With the same nonce and more to pay; one that has landed cannot be."""
    node.takes = False
    code, out, err = await farm.run(*RECOVER, "--send-only")
    assert (0, True) == (code, "ordered: message 1" in out), err
    while not node.pushed:  # by the outbox's next turn
        code, out, _ = await farm.run("message", "list")
    _, out, _ = await farm.run("message", "list", "--json")
    (shown,) = json.loads(out)
    assert ("signed", 0, 1) == (shown["state"], shown["nonce"], shown["signed"])
    code, out, err = await farm.run("message", "replace", "1", "--json")
    assert 0 == code, err
    node.takes = True
    again = json.loads(out)
    assert (0, 2) == (again["nonce"], again["signed"])
    assert int(again["most_cost"]) > int(shown["most_cost"])
    assert again["cid"] != shown["cid"]
    while '"landed"' not in out:
        _, out, _ = await farm.run("message", "list", "1", "--json")
    code, _, err = await farm.run("message", "replace", "1")
    assert 1 == code
    assert "message 1 is landed: only one that is signed can be replaced" in err
    code, _, err = await farm.run("message", "replace", "9")
    assert "the outbox has no order 9" in err


async def test_the_originals_command_line_terminates_and_polls(farm: Farm, node: Node) -> None:
    """Accepted once, a duplicate while it is on its way, and rejected with the reason where nothing would be sent."""
    node.verdict = lambda sent: (0, _bytes(Amount(5).to_cbor()) if sent.method > 1000 else b"\x81\xf5", "")
    node.takes = False
    sector, dead = SectorID(1002, 0), SectorID(1002, 2)
    assert seal.Submitted(seal.SubmitResult.ACCEPTED) == await farm.doing.terminate(sector)
    again = await farm.doing.terminate(sector)
    assert seal.SubmitResult.DUPLICATE == again.res
    rejected = await farm.doing.terminate(dead)
    assert (seal.SubmitResult.REJECTED, "sectors 2: not alive (any more)") == (rejected.res, rejected.desc)
    node.takes = True
    while not (found := await farm.doing.termination(sector)).terminated_at_epoch:
        await anyio.sleep(0.01)
    assert found.terminate_cid in node.executed
    assert 0 < found.added_epoch <= found.terminated_at_epoch
    with pytest.raises(errors.SectorNotFound):
        await farm.doing.termination(dead)


async def test_a_newer_network_gets_no_messages(farm: Farm, node: Node, scene: Scene) -> None:
    """What it takes was never read about, and is not guessed."""
    scene.replay.answer("StateNetworkVersion", 30)
    code, _, err = await farm.run(*RECOVER)
    assert 1 == code
    assert "newer than this damocles knows" in err
    assert [] == node.pushed


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((*TERMINATE, REALLY), "no sectors are named"),
        ((*TERMINATE, "7-3"), "'7-3' is not a sector number"),
        ((*EXTEND,), "no sectors are named: name some, or pass --from"),
        (("sealer", "actor", "withdraw"), "no miner is named"),
        ((*ACTOR, "withdraw", "much"), "AMOUNT: 'much' is no amount"),
        ((*ACTOR, "control", "set"), "name all new control addresses"),
        ((*ACTOR, "set-owner", "f1zz"), "OWNER: 'f1zz' is no address"),
        ((*ACTOR, "confirm-change-beneficiary"), "pass --existing-beneficiary or --new-beneficiary"),
        (("miner", "create", "--from", "f0100", "--sector-size", "3KiB"), "--sector-size"),
    ],
)
async def test_wrong_usage_is_one_line(farm: Farm, arguments: tuple[str, ...], what: str) -> None:
    """Nobody is asked, and the line says what to write."""
    code, _, err = await farm.run(*arguments)
    assert 2 == code
    assert what in err
    assert 1 == err.count("\n")
