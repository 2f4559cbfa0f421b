"""Which messages an act comes to."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from damocles.chain import methods as chain_methods
from damocles.chain import versions
from damocles.lotus import errors
from damocles.lotus.view import View
from damocles.manager.upkeep import extending, miners, sectors
from damocles.manager.upkeep.drafts import Plan, Refused
from damocles.methods import acts

_PLANS: Mapping[type[Any], Callable[[Any, View], Awaitable[Plan]]] = {
    acts.Extend: extending.extend,
    acts.Recover: sectors.recover,
    acts.DeclareFaulty: sectors.declare_faulty,
    acts.Terminate: sectors.terminate,
    acts.CompactPartitions: sectors.compact_partitions,
    acts.Withdraw: miners.withdraw,
    acts.TopUp: miners.top_up,
    acts.RepayDebt: miners.repay_debt,
    acts.SetControl: miners.set_control,
    acts.ProposeWorker: miners.propose_worker,
    acts.ConfirmWorker: miners.confirm_worker,
    acts.ProposeOwner: miners.propose_owner,
    acts.ConfirmOwner: miners.confirm_owner,
    acts.ProposeBeneficiary: miners.propose_beneficiary,
    acts.ConfirmBeneficiary: miners.confirm_beneficiary,
    acts.CompactNumbers: miners.compact_numbers,
    acts.CreateMiner: miners.create_miner,
}


async def plan(act: acts.Upkeep | acts.Affair, view: View) -> Plan:
    """Return the messages of an act, from the chain as it is at the view; none means that nothing is to be done.

    Raises:
        Refused: It cannot be done, or would do nothing.
        errors.Away: The node went away.
    """
    try:
        return await _PLANS[type(act)](act, view)
    except (versions.UnknownNetwork, chain_methods.Unavailable) as error:
        raise Refused(str(error)) from error
    except errors.NotThere as error:
        raise Refused(f"not on the chain: {error.text}") from error
