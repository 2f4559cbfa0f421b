"""Tries whether a Ray cluster lets in somebody without a token: a process of its own, since Ray reads its settings once.

    python -m damocles.stages.far.door ADDRESS

Ends with 0 if it does. Ray tries for 20 seconds before it says that it does not; its complaint on stderr comes at once.
"""

import importlib
import os
import subprocess
import sys
from typing import Any

from damocles.stages.far import settings

_REFUSED = "InvalidAuthToken"
_SECONDS = 60


def is_open(address: str) -> bool:
    """Return whether a cluster that is there lets in anybody."""
    hidden = (settings.TOKEN_VARIABLE, settings.TOKEN_FILE_VARIABLE)
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    with subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-m", __name__, address],
        env={**env, **settings.showing(None)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as knock:
        assert knock.stderr is not None
        for line in knock.stderr:
            if _REFUSED in line:
                knock.kill()
                return False
        return knock.wait(_SECONDS) == 0


def main(address: str) -> None:
    """Ask the head for the nodes, without a token."""
    # There is no public way to ask without joining.
    raylet: Any = importlib.import_module("ray._raylet")
    raylet.GcsClient(address=address).get_all_node_info(timeout=10)


if __name__ == "__main__":
    main(sys.argv[1])
