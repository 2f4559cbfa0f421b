"""What the name of a new token may be: it distinguishes people in the audit, in logs and histories.

A name is what it looks like, so that none passes for another: no letters of other scripts, nothing invisible, no blanks at
its ends. And none looks like a name that the daemons themselves write: `local`, `manager`, `the daemon`, an address,
`admitted 10.0.0.1`, `alice via manager`, `store …`.
"""

import re

from damocles.rpc import address

MOST_CHARACTERS = 64

_FORM = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._@+ -]*[A-Za-z0-9])?")
_OURS = frozenset({"admin", "anyone", "daemon", "local", "localworker", "manager", "nobody", "thedaemon", "themanager"})
_BEGINNINGS = ("admitted", "store ")
_PASSED_ON = re.compile(r"\bvia\b")


def refusal(name: str) -> str:
    """Return why a token cannot have this name, in words; nothing if it can."""
    if not name.strip():
        return "a token needs a name, by which it is listed and revoked"
    if len(name) > MOST_CHARACTERS:
        return f"the name of a token has at most {MOST_CHARACTERS} characters, not {len(name)}"
    if not _FORM.fullmatch(name) or "  " in name:
        return (
            f"{name!a} cannot be the name of a token: write letters from a to z and digits, and between them . _ @ + -"
            " or one blank"
        )
    small = name.lower()
    letters = re.sub(r"[^a-z0-9]", "", small).translate(str.maketrans("01", "ol"))
    if letters in _OURS or small.startswith(_BEGINNINGS) or _PASSED_ON.search(small) or address.ip_of(name) is not None:
        return f"{name!r} would look like somebody else in the audit: choose another name"
    return ""
