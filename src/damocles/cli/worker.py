"""`damocles-worker`: the daemon, control of its sealing threads, its stores, configuration and proof parameters.

A module is imported when its command runs. `processor` and `--version` do not even import the parser.
"""

import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import damocles
from damocles.cli.terminal import streams

if TYPE_CHECKING:
    import cyclopts

PROGRAM = "damocles-worker"

_GROUPS = {
    "daemon": ("of_worker.daemon:daemon", "Run the worker."),
    "status": ("overview.of_worker:status", "Show the worker at a glance, what needs a person first."),
    "threads": ("of_worker.threads:list_", "List sealing threads; the same as `worker list`."),
    "ps": ("of_worker.threads:list_", "The same as `threads`."),
    "sector": ("overview.of_worker:sector", "Show all that this worker knows of a sector."),
    "logs": ("overview.of_worker:logs", "Print the latest log lines of a sector's stages."),
    "worker": ("of_worker.threads:app", "List and control the sealing threads of a running worker."),
    "auth": ("access.auth:worker_app", "Manage tokens: who may call the worker."),
    "audit": ("access.audit:worker_app", "Show who changed what through the worker."),
    "log-level": ("access.levels:of_worker", "Let the running worker log more or less."),
    "config": ("of_worker.config:app", "Check a configuration file, show the values in force, examples, and all keys."),
    "store": (
        "of_worker.store:app",
        "Create stores; list, add and release those of a running worker; show, export and import a journal.",
    ),
    "params": ("of_worker.params:app", "List, check, fetch or generate proof parameters."),
    "doctor": ("doctor.worker:doctor", "Report what is wrong with this machine, and what to do."),
    "ray": ("of_worker.ray:app", "Join machines to a Ray cluster, on which stages run."),
    "init": ("of_worker.init:init", "Make a new worker's home and configuration from a manager's bundle."),
    "hwinfo": ("of_worker.hwinfo:hwinfo", "Show what this machine has for stages."),
    "plan-capacity": ("of_worker.planning:plan_capacity", "Forecast sectors a day, and what more would bring."),
    "generator": ("of_worker.generator:app", "Make files that several sectors share."),
}
_CONNECTION = frozenset({"-c", "--config", "-H", "--host", "--token-file", "--ca-file", "--timeout"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["processor"]:
        from damocles.stages.processor import runner

        runner.main(given[1:])
    streams.guard()
    return streams.ended(lambda: _main(given))


def _main(given: list[str]) -> int:
    if given in (["--version"], ["-V"]):
        print(f"{PROGRAM} {damocles.__version__}")
        return 0
    if given[:1] == ["daemon"]:
        # Until the daemon takes over, there is nothing to shut down, and a request to stop is no failure.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that is closed; later it means to read files again
    from damocles.cli.terminal import exits

    return exits.run(parser(), exits.options_last(given, "worker", _CONNECTION))


def parser() -> "cyclopts.App":
    """Return the parser of the whole command line."""
    import cyclopts

    from damocles.cli.terminal import exits

    app = cyclopts.App(
        name=PROGRAM,
        help="Seal sectors on this machine: run the worker, list and control its sealing threads.",
        help_epilogue=exits.EXIT_CODES,
        version=f"{PROGRAM} {damocles.__version__}",
        version_flags=["--version", "-V"],
        default_parameter=cyclopts.Parameter(negative=()),
    )
    for name, (place, about) in _GROUPS.items():
        app.command(f"damocles.cli.{place}", name=name, help=about)
    # Never reached: `main` takes it before the parser is imported.
    app.command("damocles.stages.processor.runner:main", name="processor", help="Run one stage for a worker: STAGE.")
    return app


if __name__ == "__main__":
    sys.exit(main())
