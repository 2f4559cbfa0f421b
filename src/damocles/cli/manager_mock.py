"""`damocles-manager mock`: a manager with a mock chain."""

import ipaddress
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
from cyclopts import Parameter, validators

from damocles import logs
from damocles.cli import common, manager
from damocles.manager import daemon, errors, sectors, verifiers
from damocles.manager.chain import mock as mock_chain
from damocles.rpc import address
from damocles.wire import units
from damocles.wire.sectors import SealProof, SectorSize

Count = Annotated[int, Parameter(validator=validators.Number(gte=0))]


def mock(
    *,
    miner: Count,
    sector_size: str,
    listen: str = manager.DEFAULT_LISTEN,
    home: Annotated[Path, Parameter(env_var="DAMOCLES_PATH")] = Path("~/.damocles-manager"),
    store: list[str] | None = None,
    max_sectors: Count | None = None,
    block_delay: str = "1s",
    pre_commit_delay: Count = 0,
    proof_delay: Count = 0,
    challenge_delay: Count = 0,
    insecure: bool = False,
    log_json: bool = False,
) -> int:
    """Run a manager whose chain is a mock in the same process; proofs are verified for real.

    Its state stays in its home: started again, it goes on.

    Args:
        miner: Actor id of the miner, for example 10000.
        sector_size: 2KiB, 8MiB, 512MiB, 32GiB or 64GiB.
        listen: Address to listen on.
        home: Folder of the database.
        store: A persist store as NAME=PATH, repeatable; without any, workers may name what they like.
        max_sectors: Hand out this many sectors in all, then none.
        block_delay: Length of an epoch of the mock chain.
        pre_commit_delay: Epochs from the submission of a pre-commit to its landing.
        proof_delay: Epochs from the submission of a proof to its landing.
        challenge_delay: Epochs from the landing of a pre-commit to its seed.
        insecure: Listen on an address that other machines reach, although there are neither tokens nor TLS.
        log_json: Log JSON lines instead of text.
    """
    try:
        settings = daemon.Settings(
            home=home.expanduser().absolute(),
            miner=sectors.Miner(id=miner, proof=SealProof.of(SectorSize.parse(sector_size)), max_number=max_sectors),
            listen=address.host_port(listen, address.MANAGER_PORT),
            stores=_stores(store or ()),
            chain=mock_chain.Options(
                block_seconds=units.parse_duration(block_delay),
                pre_commit_delay=pre_commit_delay,
                proof_delay=proof_delay,
                challenge_delay=challenge_delay,
            ),
        )
    except ValueError as error:
        raise common.WrongUsage(str(error)) from error
    if not (insecure or _is_loopback(settings.listen.host)):
        raise common.WrongUsage(
            f"{listen} can be reached from other machines, and a mock manager has neither tokens nor TLS:"
            f" listen on 127.0.0.1:{settings.listen.port}, or say --insecure"
        )
    logs.configure(as_json=log_json)
    try:
        anyio.run(partial(_run, settings))
    except errors.StartError as error:
        raise common.Failed(str(error)) from error
    return common.OK


async def _run(settings: daemon.Settings) -> None:
    async with verifiers.open_stages() as verifier:
        await daemon.run(settings, verifier)


def _stores(texts: Sequence[str]) -> dict[str, Path]:
    stores: dict[str, Path] = {}
    for text in texts:
        name, _, path = text.partition("=")
        if not (name and path):
            raise ValueError(f"--store {text!r}: write NAME=PATH, like store1=/mnt/store1")
        if name in stores:
            raise ValueError(f"--store {name} is given twice")
        folder = Path(path).expanduser().absolute()
        if not folder.is_dir():
            raise ValueError(f"--store {name}: {folder} is not a folder: make it, or correct the path")
        stores[name] = folder
    return stores


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
