"""The text of tokens, and the files that hold a daemon's own.

A token reads `dmc_` and random characters; the first twelve of them are its id, by which it is found and listed. Kept
is the SHA-256 of the whole text. No salt and no slow hash: 256 random bits cannot be guessed from it.
"""

import contextlib
import hashlib
import re
import secrets
from pathlib import Path

from damocles import durable

PREFIX = "dmc_"
FILE_NAME = "token"  # in a daemon's home, for the command line on its own machine
_ID_CHARACTERS = 12
_FORM = re.compile(PREFIX + r"[A-Za-z0-9_-]{1,200}")


def mint() -> str:
    """Return the text of a new token."""
    return PREFIX + secrets.token_hex(_ID_CHARACTERS // 2) + secrets.token_urlsafe(32)


def id_of(text: str) -> str:
    """Return the part of a token that may be shown."""
    return text.removeprefix(PREFIX)[:_ID_CHARACTERS]


def checked(text: str, source: str) -> str:
    """Return a token without the blanks around it. What is none may not even fit into a header, and is not shown.

    Raises:
        ValueError: It is no token; the message names the source.
    """
    token = text.strip()
    if not _FORM.fullmatch(token):
        raise ValueError(f"{source} holds no token: expected one line that begins with {PREFIX}")
    return token


def digest(text: str) -> str:
    """Return what is kept of a token instead of its text."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_file(path: Path) -> str:
    """Return the token in a file.

    Raises:
        OSError: It cannot be read.
        ValueError: It holds no token.
    """
    return checked(path.read_text(encoding="ascii", errors="replace"), str(path))


def ensure_file(path: Path) -> str:
    """Return the token in a file, which is made (mode 0600, its folder 0700) if it is not there.

    Raises:
        OSError: It can be neither read nor made.
        ValueError: It holds no token.
    """
    with contextlib.suppress(FileNotFoundError):
        return read_file(path)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    durable.replace(path, f"{mint()}\n".encode(), private=True)
    return read_file(path)
