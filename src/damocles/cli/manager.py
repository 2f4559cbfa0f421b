"""`damocles-manager`: run a manager, and ask one.

A module is imported when its command runs; `--version` does not even import the parser.
"""

import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import damocles
from damocles.cli.terminal import streams

if TYPE_CHECKING:
    import cyclopts

PROGRAM = "damocles-manager"
_CONNECTION = frozenset(
    {"--listen", "--home", "--profile", "--token-file", "--ca-file", "--timeout", "--miner", "--actor"}
    | {"--node", "--node-token-file", "--node-ca-file"}
)

# What is typed most, beside the original's names for it.
_SHORT = {
    "status": ("overview.of_manager:status", "Show the fleet at a glance, what needs a person first."),
    "workers": ("of_manager.workers:list_", "List the workers; the same as `util worker list`."),
    "threads": ("overview.of_manager:threads", "Show the sealing threads of all workers, or of some."),
    "sectors": ("of_manager.sectors:list_sectors", "List sectors; the same as `util sealer sectors list`."),
    "ps": ("overview.of_manager:threads", "The same as `threads`."),
    "sector": ("overview.of_manager:sector", "Show all that is known of a sector."),
    "logs": ("overview.of_manager:logs", "Print the latest log lines of a sector's stages."),
    "top": ("of_manager.workers:top", "Watch the whole fleet; the same as `util worker top`."),
}

_FLEET_HELP = """List and control the sealing threads of all workers.

Name a worker as in the list, by a pattern (`gpu-*`), or by its address.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    streams.guard()
    return streams.ended(lambda: _main(list(sys.argv[1:] if arguments is None else arguments)))


def _main(given: list[str]) -> int:
    if given in (["--version"], ["-V"]):
        print(f"{PROGRAM} {damocles.__version__}")
        return 0
    if given[:1] in (["mock"], ["daemon"], ["devnode"]):
        # Until the daemon takes over, there is nothing to shut down, and a request to stop is no failure.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that is closed; later it means to read files again
    from damocles.cli.terminal import exits

    return exits.run(parser(), exits.options_last(given, "util", _CONNECTION))


def parser() -> "cyclopts.App":
    """Return the parser of the whole command line."""
    import cyclopts

    from damocles.cli.terminal import exits

    app = cyclopts.App(
        name=PROGRAM,
        help="Hand out sectors, talk to the chain, and manage a fleet of workers.",
        help_epilogue=exits.EXIT_CODES,
        version=f"{PROGRAM} {damocles.__version__}",
        version_flags=["--version", "-V"],
        default_parameter=cyclopts.Parameter(negative=()),
    )
    app.command("damocles.cli.of_manager.mock:mock", name="mock", help="Run a manager with a devnode of its own.")
    app.command("damocles.cli.of_manager.daemon:daemon", name="daemon", help="Run a manager on a real chain.")
    app.command(
        "damocles.cli.of_manager.deals:make", name="mock-deals", help="Make deals for `mock --deals` from files."
    )
    app.command(
        "damocles.cli.of_manager.devnode:devnode", name="devnode", help="Run a devnet: one node that speaks Lotus' API."
    )
    app.command(
        "damocles.cli.of_manager.config:app",
        name="config",
        help="Check the manager's configuration, let it be read again, print an example, and all keys.",
    )
    app.command(
        "damocles.cli.of_manager.db:app",
        name="db",
        help="Copy and back up the manager's database; list its managers and leases.",
    )
    app.command(
        "damocles.cli.of_manager.alerts:app",
        name="alerts",
        help="List, acknowledge and mute alerts: what needs a person.",
    )
    app.command(
        "damocles.cli.access.levels:of_manager", name="log-level", help="Let the running manager log more or less."
    )
    for name, (place, about) in _SHORT.items():
        app.command(f"damocles.cli.{place}", name=name, help=about)
    app.command(
        "damocles.cli.doctor.manager:doctor",
        name="doctor",
        help="Report what is wrong with the manager's machine, and what to do.",
    )
    app.command(
        "damocles.cli.access.auth:init", name="init", help="Create the manager's home, with its own two tokens."
    )
    app.command(
        "damocles.cli.access.auth:manager_app",
        name="auth",
        help="Manage tokens (who may call the manager) and certificates.",
    )
    app.command(
        "damocles.cli.access.audit:manager_app", name="audit", help="Show who changed what through the manager."
    )
    util = cyclopts.App(name="util", help="Query and control a running manager.")
    sealer = cyclopts.App(name="sealer", help="Manage sectors.")
    sealer.command(
        "damocles.cli.of_manager.sectors:app", name="sectors", help="List sectors; rebuild, unseal or abort one."
    )
    sealer.command("damocles.cli.of_manager.plans:snap", name="snap", help="Upgrade sectors with deals.")
    sealer.command(
        "damocles.cli.of_manager.moves:export",
        name="export",
        help="Export the records of all sectors, one JSON object per line.",
    )
    sealer.command(
        "damocles.cli.of_manager.moves:import_",
        name="import",
        help="Import a file of sectors, ours or the original's: all or none.",
    )
    sealer.command("damocles.cli.of_chain.proving:app", name="proving", help="Deadlines, partitions and faults.")
    sealer.command("damocles.cli.of_chain.actor:app", name="actor", help="Money and addresses of a miner.")
    util.command(sealer)
    util.command("damocles.cli.of_chain.miner:app", name="miner", help="Miners as the chain has them.")
    util.command("damocles.cli.of_chain.message:app", name="message", help="Messages, and what gas costs.")
    util.command("damocles.cli.of_manager.workers:app", name="worker", help=_FLEET_HELP)
    util.command(
        "damocles.cli.of_manager.planning:plan_capacity",
        name="plan-capacity",
        help="Forecast how many sectors a day the fleet finishes.",
    )
    app.command(util)
    return app
