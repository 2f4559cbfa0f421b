"""The miner that a command is about, if none is named: the only one of the manager's configuration."""

from pathlib import Path
from typing import Protocol

from damocles.cli.terminal import exits


class At(Protocol):
    """Where a command goes: to a manager, or to its node."""

    def configuration(self) -> Path | None:
        """Return the configuration of the manager there, `None` if it is not of this machine's home."""


def number(given: int | None, at: At, *, option: str = "--miner ") -> int:
    """Return the number of the miner that is named, or of the only one that there is.

    Raises:
        exits.WrongUsage: None is named, and there are several, or the configuration cannot be read here.
    """
    if given is not None:
        return given
    known = _configured(at.configuration())
    if len(known) == 1:
        return known[0]
    of = f"one of {', '.join(f'f0{one}' for one in known)}" if known else f"like {option}f01000"
    raise exits.WrongUsage(f"no miner is named: pass {option.strip() or 'it'}, {of}")


def _configured(file: Path | None) -> list[int]:
    if file is None or not file.is_file():
        return []
    from damocles.manager.config import load

    try:
        return [miner.actor for miner in load.load(file).miners]
    except load.ConfigError:  # told by `config check`; a name helps here
        return []
