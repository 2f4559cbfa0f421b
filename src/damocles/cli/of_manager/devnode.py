"""`damocles-manager devnode`: a devnet of one node that speaks Lotus' API."""

import json as json_text
import signal
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import anyio
import structlog
from cyclopts import Parameter, validators

from damocles import logs
from damocles.cli.terminal import exits
from damocles.cli.threads import options
from damocles.devnode import beginnings, rules, serving, wallet
from damocles.devnode.node import Node
from damocles.rpc import address, errors
from damocles.rpc.admission import access
from damocles.text import units
from damocles.wire.sectors import SectorSize

log = structlog.get_logger(__name__)

Epochs = Annotated[int, Parameter(validator=validators.Number(gte=1))]


def devnode(
    *,
    home: Annotated[Path, Parameter(env_var="DAMOCLES_DEVNODE_PATH")] = Path("~/.damocles-devnode"),
    listen: str = f"127.0.0.1:{address.NODE_PORT}",
    miner: options.Miner = rules.FIRST_MINER,
    sector_size: str = "2KiB",
    block_delay: str = "4s",
    challenge_delay: Epochs = 10,
    challenge_window: Epochs = 60,
    network: str = "devnet-damocles",
    at_once: bool = False,
    mined: bool = False,
    without_posts: bool = False,
    accept_any_proof: bool = False,
    insecure: bool = False,
    log_json: bool = False,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Run a devnet: a small model of the chain that speaks Lotus' API. Its FIL is worth nothing.

    It creates keys with money and a miner, and prints where they are. It verifies proofs for real. Its state is in its
    home: started again, it continues.

    Args:
        home: Folder of the devnet, with its tokens.
        listen: Address to listen on.
        miner: The miner that it begins with, from f01000 on.
        sector_size: 2KiB, 8MiB, 512MiB, 32GiB or 64GiB.
        block_delay: Length of an epoch.
        challenge_delay: Epochs from a pre-commit to its seed.
        challenge_window: Epochs of a deadline; a proving period has 48 of them.
        network: Name of the network, which begins with devnet-.
        at_once: Make the blocks that execute a message as soon as it is pushed, whatever the block delay.
        mined: Let miners hand in the blocks of epochs that go by the clock; an epoch without any gets one of the devnet's own.
        without_posts: Let sectors be active from their proof on, and stay so without window PoSts.
        accept_any_proof: Verify nothing. The version that the node reports shows it.
        insecure: Listen without TLS on an address that other machines can reach.
        log_json: Log JSON lines instead of text.
        json: Print JSON.
    """
    try:
        endpoint = _endpoint(listen, insecure=insecure)
        seconds = _block_seconds(block_delay, is_mined=mined, at_once=at_once)
        of = rules.Rules(
            name=_name(network),
            sector_bytes=int(SectorSize.parse(sector_size)),
            miner=_miner(miner),
            challenge_delay=challenge_delay,
            window_epochs=challenge_window,
            needs_posts=not without_posts,
        )
    except ValueError as error:
        raise exits.WrongUsage(str(error)) from error
    logs.configure(as_json=log_json)
    folder = home.expanduser().absolute()
    opened = serving.serving(
        of,
        home=folder,
        host=endpoint.host,
        port=endpoint.port,
        block_seconds=seconds,
        accepts_any_proof=accept_any_proof,
        at_once=at_once,
        is_mined=mined,
    )
    try:
        anyio.run(partial(_run, opened, folder, as_json=json))
    except (beginnings.Unsuitable, errors.ListenError) as error:
        raise exits.Failed(str(error)) from error
    except OSError as error:
        raise exits.Failed(f"{error.filename or folder}: {error.strerror}: choose another --home") from error
    return exits.OK


def _endpoint(listen: str, *, insecure: bool) -> address.Endpoint:
    endpoint = address.host_port(listen, address.NODE_PORT)
    if access.exposed(endpoint.host, tls=False) and not insecure:
        raise ValueError(
            f"{endpoint} can be reached from other machines, and tokens would go there unencrypted: listen on"
            f" 127.0.0.1:{endpoint.port}, or say --insecure"
        )
    return endpoint


def _miner(number: int) -> int:
    if number < rules.FIRST_MINER:
        raise ValueError(f"--miner: f0{number} is no miner's number on a devnet: they begin at f0{rules.FIRST_MINER}")
    return number


def _name(network: str) -> str:
    if not network.startswith("devnet-"):
        raise ValueError(f"--network {network!r}: the name of a devnet begins with devnet-, so that nobody errs")
    return network


def _block_seconds(text: str, *, is_mined: bool, at_once: bool) -> float:
    try:
        seconds = units.parse_duration(text)
    except ValueError as error:
        raise ValueError(f"--block-delay: {error}") from error
    if not 0.001 <= seconds <= 3600:
        raise ValueError(f"--block-delay: {text!r} is not between 1ms and 1h")
    if is_mined and at_once:
        raise ValueError("--mined and --at-once exclude each other: mined blocks come by the clock")
    if is_mined and not seconds.is_integer():
        raise ValueError(f"--block-delay: {text!r}: mined blocks come by the clock, which counts whole seconds")
    return seconds


async def _run(opened: Any, folder: Path, *, as_json: bool) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with opened as node:
            await anyio.to_thread.run_sync(wallet.write_tokens, folder, node.tokens)
            _show(node, folder, as_json=as_json)
            log.info("devnode runs", network=node.rules.name, height=node.head.height, proofs=_proofs(node))
            async for number in signals:
                log.info("devnode stops", signal=signal.Signals(number).name)
                break


def _proofs(node: Node) -> str:
    return "ANY PROOF IS ACCEPTED" if node.accepts_any_proof else "verified"


def _show(node: Node, folder: Path, *, as_json: bool) -> None:
    keys = beginnings.keys_of(node.chain.secret)
    who = {
        name: keys[number].address.text("t")
        for name, number in (("owner", beginnings.OWNER), ("worker", beginnings.WORKER), ("client", beginnings.CLIENT))
    }
    shown = {
        "devnode": rules.NAME,
        "network": node.rules.name,
        "url": node.url,
        "token_file": str(folder / "token"),
        "miner": f"t0{node.rules.miner}",
        "sector_size": SectorSize(node.rules.sector_bytes).label,
        **who,
        "proofs": _proofs(node),
    }
    if as_json:
        print(json_text.dumps(shown), flush=True)
        return
    print(f"{rules.NAME}: a devnet, whose FIL is worth nothing", flush=True)
    for name, value in list(shown.items())[1:]:
        print(f"  {name.replace('_', ' '):<12}{value}", flush=True)
