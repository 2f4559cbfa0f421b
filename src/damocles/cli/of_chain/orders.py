"""The manager's own messages: `util message list` and `util message replace`."""

from typing import Annotated

from cyclopts import Parameter

from damocles import methods
from damocles.cli.connecting import manager_at
from damocles.cli.of_chain import acting, words
from damocles.cli.terminal import exits, tables, watching
from damocles.cli.threads import options
from damocles.methods.acts import OrderSeen
from damocles.wire import codec

_TABLE = tables.Table[OrderSeen](
    columns=("Id", "Miner", "What", "State", "Nonce", "MostCost", "Why", "Sender"),
    cells=lambda one: [
        str(one.id),
        f"f0{one.miner}",
        one.kind,
        one.state,
        "-" if one.nonce is None else str(one.nonce),
        words.brief(one.most_cost) if one.signed else "-",
        one.why or (f"executed at {one.landed_epoch}, exit code {one.exit_code}" if one.exit_code is not None else "-"),
        str(one.sender or "-"),
    ],
)

_PATIENCE_SECONDS = 120.0


@watching.watchable
def list_(
    *ids: Annotated[int, Parameter(help="Numbers of messages; default: those in progress.")],
    full: options.Full = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """List messages that the manager is sending, and what each waits for."""
    with at.call() as found:
        seen = found.call(methods.chain.orders(list(ids) or None))
    if json:
        exits.print_json(codec.to_builtins(seen))
    elif seen:
        tables.show(_TABLE, seen, full=full)
    else:
        print("no messages are on their way" if not ids else "no such messages")
    return exits.OK


def replace(
    number: Annotated[int, Parameter(help="Number of the message, as `util message list` shows it.")],
    /,
    *,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Sign a message again with higher fees, and send it now rather than once it counts as stuck.

    It keeps its nonce, so that only one of the two is executed. The configuration's limits apply.
    """
    with at.call(_PATIENCE_SECONDS) as found:
        seen = found.call(methods.chain.replace(number))
    exits.print_result(
        f"{acting.describe(seen)}; it costs {words.brief(seen.most_cost)} at most",
        codec.to_builtins(seen),
        as_json=json,
    )
    return exits.OK
