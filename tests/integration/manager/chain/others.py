"""Further miners and keys on a devnode."""

from tests.integration.devnode.helpers import WORKER, done, send

from damocles.chain import methods
from damocles.chain.addresses import Address
from damocles.chain.amounts import ATTO
from damocles.chain.messages import SignatureType
from damocles.chain.ownership import ChangeWorkerAddress, CreateMiner, CreateMinerReturn
from damocles.devnode import wallet
from damocles.devnode.node import Node as Devnode
from damocles.lotus.node import Node
from damocles.wire.codec import Rows

OWNER = Address.of_id(100)
POWER = Address.of_id(4)
OF_2KIB, OF_8MIB = 10, 11


async def made(devnode: Devnode, lotus: Node, window_proof: int, control: Address | None = None) -> int:
    """Make a miner with money, and with a control address if one is given; return its number."""
    params = CreateMiner(owner=OWNER, worker=WORKER, window_post_proof_type=window_proof)
    found = await done(devnode, lotus, methods.CREATE_MINER, params, to=POWER, sender=OWNER, value=1000 * ATTO)
    answer: CreateMinerReturn = methods.CREATE_MINER.read_return(found.receipt.returned)
    if control is not None:
        change = ChangeWorkerAddress(WORKER, Rows([control]))
        await done(devnode, lotus, methods.CHANGE_WORKER, change, to=answer.id_address, sender=OWNER)
    return answer.id_address.id


async def key_with(devnode: Devnode, lotus: Node, name: str, money: int) -> Address:
    """Return a new key in the node's wallet, with an account that has so much."""
    address = devnode.wallet.add(wallet.made(b"tests", name, SignatureType.SECP256K1))
    await send(lotus, None, to=address, sender=WORKER, value=money)
    await devnode.step(2)
    return address
