"""Guess what was meant by a word that is not known."""

import difflib
from collections.abc import Iterable

# Words that other programs, or people, have for a key of a configuration: letters alone do not lead to it.
_MEANT = {
    "actor": "allowed_miners",
    "address": "addr",
    "api": "rpc_client.addr",
    "command": "bin",
    "cpus": "cpuset",
    "deals": "enable_deals",
    "dir": "location",
    "folder": "location",
    "instance": "name",
    "listen": "rpc_server.host",
    "miner": "allowed_miners",
    "numa": "numa_preferred",
    "path": "location",
    "persist_store": "attached",
    "retries": "max_retries",
    "root": "location",
    "sector_size": "allowed_sizes",
    "size": "allowed_sizes",
    "storage": "attached",
    "store": "location",
    "thread": "sealing_thread",
    "url": "addr",
}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean "…"?` for the word that is known by another name or is the closest, or nothing."""
    by_lower = {name.lower(): name for name in known}
    meant = _MEANT.get(word.lower()) or _MEANT.get(word.lower().removesuffix("s"))
    for name, known_as in by_lower.items():
        if meant and (name == meant or name.endswith(f".{meant}")):
            return f'; did you mean "{known_as}"?'
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f'; did you mean "{by_lower[close[0]]}"?' if close else ""
