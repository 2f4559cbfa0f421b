"""What a configuration of the original's manager means here: what is kept, what is not there, what is needed instead.

The original talks to Venus: a node, a messager that signs and sends, a gateway to wallets, a market. This manager needs
a Lotus node, whose wallet signs, and nothing else. Of keys the case does not matter, as in the original.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pydantic

from damocles.manager.config import load, model
from damocles.rpc import address
from damocles.text import spelling, tables

Kind = Literal["refused", "differs", "needed", "ignored"]

# Three parts of a JSON Web Token before an endpoint, the last of which the original lets be empty.
_TOKEN_BEFORE = re.compile(r"([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*):(.+)", re.DOTALL)
TOKEN_FILE = "~/.damocles-manager/node-token"  # noqa: S105, a file's name

_DATABASE = "the database is a file in the home, or on PostgreSQL (Daemon.Database); records come along with `util sealer import`"

# Keys of the original below [Common] that are not here, and what to do instead. What ends in a dot stands for all below.
_COMMON: Mapping[str, tuple[Kind, str]] = {
    "api.messager": (
        "ignored",
        "needs Venus: this manager sends by itself and signs with its node's wallet: `lotus wallet import` the senders' keys",
    ),
    "api.market": (
        "refused",
        "needs Venus: deals of droplet are not handed out; deals are taken from a folder (`daemon --deals`)",
    ),
    "api.gateway": ("ignored", "needs Venus: nothing is asked of a gateway"),
    "api.chaineventinterval": ("ignored", "the head of the chain is followed, and nothing polls for it"),
    "plugins.": ("refused", "there are no plugins"),
    "piecestores": ("differs", "pieces of deals lie in one folder beside deals.json (`daemon --deals`)"),
    "scanpersiststores": ("needed", "folders are not looked for: name each one in a table [[Common.PersistStores]]"),
    "mongokvstore.": ("ignored", _DATABASE),
    "db.": ("ignored", _DATABASE),
    "proving.parallelchecklimit": ("ignored", "sectors are checked by the manager and by whoever proves them"),
    "proving.singlechecktimeout": ("ignored", "sectors are checked by the manager and by whoever proves them"),
    "proving.partitionchecktimeout": ("ignored", "sectors are checked by the manager and by whoever proves them"),
    "proving.workerprover.": ("differs", "leases of window PoSt jobs are 15 seconds, each worker has two tries"),
}

_STORE_KEYS = {"name", "path"}
_STORE_LOST: Mapping[str, tuple[Kind, str]] = {
    "meta": ("ignored", "has no meaning here"),
    "strict": ("ignored", "copies are always checked"),
    "readonly": ("refused", "every store that is named takes files: leave it out here, or let the disk be read-only"),
    "weight": ("differs", "the workers choose among their stores"),
    "allowminers": ("refused", "every store takes files of every miner"),
    "denyminers": ("refused", "every store takes files of every miner"),
    "plugin": ("refused", "there are no plugins"),
    "pluginname": ("refused", "there are no plugins"),
}

# Keys of a miner that are taken and have no effect, or another one.
_MINER: Mapping[str, tuple[Kind, str]] = {
    "sector.verbose": ("ignored", "what keeps a miner from sectors is always logged"),
    "snapup.cleanupccdata": ("differs", "files of the replica before an upgrade stay until the upgrade is finished"),
    "snapup.releaseconfidence": ("ignored", "those files go when the upgrade is finished"),
    "snapup.releasecondidential": ("ignored", "those files go when the upgrade is finished"),
    "snapup.retry.": ("ignored", "a message is followed until it has landed; a refused one says why"),
    "post.": (
        "differs",
        "window PoSts are sent by `daemon`: set Enabled = false until the original's poster is stopped",
    ),
    "proof.": (
        "differs",
        "blocks are made by `daemon`: set Enabled = false until all other programs that make the miner's are stopped",
    ),
    "sealing.sealingepochduration": ("ignored", "deals of a folder have no start"),
    **{
        f"commitment.{kind}.batch.checkinterval": ("ignored", "each head is looked at")
        for kind in ("pre", "prove", "terminate")
    },
    **{
        f"commitment.{kind}.{key}": ("differs", "the original never uses it; here it is for messages of one sector")
        for kind in ("prove", "terminate")
        for key in ("gasoverestimation", "gasoverpremium", "gasfeecap", "maxfeecap")
    },
}


def note_of(key: str) -> str:
    """Return what differs about a key of ours that the original has too, like `Miners.Sector.Verbose`; mostly nothing."""
    kind, text = _found(_MINER, key.lower().removeprefix("miners.")) or ("", "")
    return f"Without effect: {text}." if kind == "ignored" else f"Here {text}." if text else ""


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that is not as in the original, by its key."""

    key: str
    kind: Kind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """The configuration for this manager as tables, and everything that is different in it."""

    tables: Mapping[str, Any]
    notes: Sequence[Note]

    @property
    def problems(self) -> Sequence[str]:
        """What keeps the new tables from being used."""
        try:
            load.check(self.tables, "the new file")
        except load.ConfigError as error:
            return str(error).splitlines()
        return ()


def adopt(data: Mapping[str, Any]) -> Adopted:
    """Return what a file of the original, read as TOML, comes to."""
    notes: list[Note] = []
    tables: dict[str, Any] = {"Chain": {"Nodes": []}, "Common": {"PersistStores": []}, "Miners": []}
    for key, value in data.items():
        match key.lower():
            case "common" if isinstance(value, Mapping):
                _common(value, tables, notes)
            case "miners" if isinstance(value, list):
                tables["Miners"] = [_miner(index, one, notes) for index, one in enumerate(value)]
            case _:
                notes.append(Note(key, "refused", f"there is no such key{_guess(key, ['Common', 'Miners'])}"))
    if not tables["Chain"]["Nodes"]:
        notes.append(
            Note("Chain.Nodes", "needed", "a Lotus node: its address as API, a file with a token as TokenFile")
        )
    if not tables["Common"]["PersistStores"]:
        del tables["Common"]
    return Adopted(tables=tables, notes=notes)


def _common(given: Mapping[str, Any], tables: dict[str, Any], notes: list[Note]) -> None:
    for path, value in _leaves(given):
        key, low = f"Common.{'.'.join(path)}", ".".join(path).lower()
        if low == "api.chain":
            _node(key, value, tables, notes)
        elif low == "api.token":
            if value:
                notes.append(_token_note(key))
        elif low == "persiststores":
            tables["Common"]["PersistStores"] = [
                store for index, one in enumerate(value) if (store := _store(f"{key}[{index}]", one, notes)) is not None
            ]
        elif (found := _found(_COMMON, low)) is not None:
            if value not in (None, "", [], {}):
                notes.append(Note(key, *found))
        else:
            known = [name.rstrip(".") for name in (*_COMMON, "api.chain", "api.token", "persiststores")]
            notes.append(Note(key, "refused", f"there is no such key{_guess(low, known)}"))


def _node(key: str, value: Any, tables: dict[str, Any], notes: list[Note]) -> None:
    if not value:
        return
    embedded = _TOKEN_BEFORE.fullmatch(str(value))
    where = embedded[2] if embedded else str(value)
    if embedded:
        notes.append(_token_note(key))
    try:
        address.node_url(where)
    except ValueError as error:
        notes.append(Note(key, "refused", str(error)))
        return
    tables["Chain"]["Nodes"] = [{"API": where, "TokenFile": TOKEN_FILE}]
    notes.append(
        Note(
            key,
            "differs",
            "becomes Chain.Nodes; it has to be a Lotus node, v1.36 or later: a node of Venus does not do, since its wallet"
            " does not sign",
        )
    )


def _token_note(key: str) -> Note:
    text = f"tokens stand in files of their own: put one of the Lotus node that may sign into TokenFile ({TOKEN_FILE}), chmod 600"
    return Note(key, "needed", text)


def _store(key: str, given: Any, notes: list[Note]) -> dict[str, Any] | None:
    if not isinstance(given, Mapping) or not any(name.lower() == "path" and value for name, value in given.items()):
        return None
    kept: dict[str, Any] = {}
    for name, value in given.items():
        if name.lower() in _STORE_KEYS:
            if value:
                kept["Name" if name.lower() == "name" else "Path"] = value
        elif name.lower() not in _STORE_LOST:
            notes.append(Note(f"{key}.{name}", "refused", f"there is no such key{_guess(name, _STORE_LOST)}"))
        elif value not in (None, "", [], {}, False, 0):
            kind, text = _STORE_LOST[name.lower()]
            notes.append(Note(f"{key}.{name}", kind, text))
    return kept


def _miner(index: int, given: Any, notes: list[Note]) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        return {}
    return _kept(f"Miners[{index}]", "", given, model.Miner, notes)


def _kept(
    key: str, low: str, given: Mapping[str, Any], of: type[pydantic.BaseModel], notes: list[Note]
) -> dict[str, Any]:
    """Return what a table of ours takes of one of the original's, with the keys as ours has them."""
    known = {(field.alias or name).lower(): (field.alias or name, field) for name, field in of.model_fields.items()}
    kept: dict[str, Any] = {}
    for name, value in given.items():
        path, inner_low = f"{key}.{name}", f"{low}{name.lower()}"
        ours, field = known.get(name.lower(), (name, None))
        if field is None:
            notes.append(
                Note(path, "refused", f"there is no such key{_guess(name, [one for one, _ in known.values()])}")
            )
            continue
        inner = tables.table_in(field.annotation)
        if (found := _found(_MINER, f"{inner_low}." if inner is not None else inner_low)) is not None:
            notes.append(Note(path, *found))
        if inner is not None and isinstance(value, Mapping):
            silent: list[Note] = [] if found is not None else notes
            kept[ours] = _kept(path, f"{inner_low}.", value, inner, silent)
        else:
            kept[ours] = value
    return kept


def _leaves(given: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield all that is no table, with the keys that lead there."""
    for key, value in given.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _found(known: Mapping[str, tuple[Kind, str]], low: str) -> tuple[Kind, str] | None:
    if low in known:
        return known[low]
    return next((what for name, what in known.items() if name.endswith(".") and low.startswith(name)), None)


def _guess(word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    return spelling.did_you_mean(word, list(known))
