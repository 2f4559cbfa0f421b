"""`damocles-worker daemon`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from damocles.cli.of_worker import config as worker_config


def daemon(
    *,
    config: Annotated[Path, Parameter(name=["--config", "-c"], env_var="DAMOCLES_WORKER_CONFIG")],
    strict: bool = False,
) -> int:
    """Run the worker until SIGTERM or SIGINT stops it.

    Args:
        config: The configuration file.
        strict: Do not start if the file contains unknown keys or other oddities.
    """
    loaded = worker_config.load(config, strict=strict)

    from damocles.worker import daemon as worker_daemon

    return worker_daemon.main(loaded)
