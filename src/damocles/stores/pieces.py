"""Where the payloads of pieces are: folders of this machine first, then the manager's piece store.

A piece is a file named by the CID of its commitment, with or without `.car`. Whether the manager's store has it is only
known when it is asked; it may also send us on to the market.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PATH = "/piecestore/"


def _no_token() -> str | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceStores:
    """The folders in the order of looking, and the manager's origin (`http://10.0.0.2:1789`).

    `token` is that for the manager, which `must_know` it before it gets it (see `rpc.admission.handshake`), `authority` the file
    with whom to trust for its certificate; `market_tokens` are for the origins that the manager may send us on to.
    """

    folders: tuple[Path, ...] = ()
    origin: str
    token: Callable[[], str | None] = _no_token
    authority: Path | None = None
    must_know: bool = False
    market_tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    at: "Callable[[], PieceStores] | None" = None

    def now(self) -> "PieceStores":
        """Return the same with the manager that the worker uses now, where it may use several."""
        return self if self.at is None else self.at()

    def find(self, cid: str) -> dict[str, str]:
        """Return the source of a piece, as a task of `add_pieces` names it. Looks at the disk.

        Raises:
            OSError: A folder cannot be looked at; then the piece may well be there.
        """
        for folder in self.folders:
            for name in names(cid):
                if is_file(folder / name):
                    return {"local": str(folder / name)}
        return {"url": f"{self.origin}{PATH}{cid}"}

    def tokens(self) -> dict[str, str]:
        """Return what to show to the servers of pieces, by origin."""
        token = self.token()
        return {**self.market_tokens, **({self.origin: token} if token is not None else {})}


def names(cid: str) -> tuple[str, str]:
    """Return the names that the file of a piece may have."""
    return (cid, f"{cid}.car")


def is_file(path: Path) -> bool:
    """Return whether there is a regular file; an unreadable folder is not the same as an empty one.

    Raises:
        OSError: Nobody knows.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return path.is_file()
