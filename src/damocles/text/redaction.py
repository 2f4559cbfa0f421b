"""What must not be read by others: passwords, tokens and the keys in URLs, wherever in a value they stand.

One rule for the audit, logs and histories alike, so that no place of output can forget it. A secret is known by its shape:
the name, password and query values of a URL, our own tokens, bearer tokens, and whatever stands behind a name like
`password`.
"""

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
KEPT_CHARACTERS = 4000  # of a text that somebody else tells and that is kept

_URL = re.compile(r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]{0,30}:(?:\\?/){2})([^\s\"'<>`]*)")
_HOST = re.compile(r"(?:\[[^\]]*\]|[^:]*)(?::\d*)?")
_TOKEN = re.compile(r"dmc_[A-Za-z0-9_-]{16,}")
_BEARER = re.compile(r"\b(bearer|basic)(\s+)(?=[^\s\"']*[\d=])[A-Za-z0-9._~+/=-]{12,}", re.IGNORECASE)
_NAMED = re.compile(
    r"\b([\w.-]{0,40}(?:password|passwd|secret|token|api[_-]?key|authorization|signature|sig)[\"']?\s?=\s?[\"']?)[^\s\"'&;,)]+",
    re.IGNORECASE,
)
_SECRET_NAME = re.compile("token|secret|passw|authorization|cookie|api[_-]?key|credential|signature", re.IGNORECASE)
# A member of JSON, or of what prints like it, as it stands in a text: its quotes may be escaped, and its end missing.
_MEMBER = re.compile(
    r"""(?P<opens>(?P<quote>\\{0,9}["'])(?P<name>[^"'\\]{0,80})(?P=quote)\s?:\s?(?P<mark>\\{0,9}["']))(?P<value>.*?)(?=(?<!\\)(?P=mark)|$)""",
    re.DOTALL,
)
_HEADERS = re.compile(r"""["']headers\\{0,9}["']\s?:\s?\{[^}]*""", re.IGNORECASE)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(/))")


def text(value: str) -> str:
    """Return a text with `***` in place of each secret."""
    if "://" in value or ":\\/" in value:
        value = _URL.sub(lambda found: found[1] + _rest_of_url(found[2]), value)
    if "dmc_" in value:
        value = _TOKEN.sub(f"dmc_{MASK}", value)
    value = _BEARER.sub(rf"\1\2{MASK}", value)
    if '":' in value or "':" in value:
        value = _MEMBER.sub(lambda found: _masked(found, hidden=is_secret(found["name"])), value)
    return _NAMED.sub(rf"\1{MASK}", value) if "=" in value else value


def kept(value: str) -> str:
    """Return a foreign text in a form that may be kept: without secrets, and cut."""
    hidden = text(value[: 2 * KEPT_CHARACTERS])  # not all of it: it may be megabytes
    return hidden if len(hidden) <= KEPT_CHARACTERS else hidden[:KEPT_CHARACTERS] + "…"


def json_text(value: str) -> str:
    """Return a part of undecoded JSON in that form; its escapes hide no secret."""
    plain = _ESCAPE.sub(_unescaped, value).encode(errors="replace").decode()
    plain = _HEADERS.sub(lambda found: _MEMBER.sub(lambda member: _masked(member, hidden=True), found[0]), plain)
    # Of a pair with a name and a value the half that names a secret may come later, or be cut off.
    plain = _MEMBER.sub(lambda found: _masked(found, hidden=found["name"] == "value"), plain)
    return text(plain)


def _unescaped(found: re.Match[str]) -> str:
    char = chr(int(found[1], 16)) if found[1] else "/"
    return f"\\{char}" if char in {'"', "\\"} else char


def _masked(member: re.Match[str], *, hidden: bool) -> str:
    return member["opens"] + MASK if hidden and member["value"] else member[0]


def value(of: Any) -> Any:
    """Return a JSON value in that form; it must not be nested more deeply than the stack allows."""
    if isinstance(of, str):
        return text(of)
    if isinstance(of, list | tuple):
        return [value(item) for item in of]
    if isinstance(of, Mapping):
        # A pair like {"name": "API_TOKEN", "value": "…"} names its secret beside it.
        is_pair = is_secret(str(of.get("name", of.get("key", ""))))
        return {text(str(name)): _member(str(name), item, is_pair=is_pair) for name, item in of.items()}
    return of


def _member(name: str, item: Any, *, is_pair: bool) -> Any:
    if isinstance(item, Mapping) and name.lower() == "headers":
        return {header: _hidden(held) for header, held in item.items()}
    return _hidden(item) if is_secret(name) or (is_pair and name == "value") else value(item)


def _hidden(item: Any) -> Any:
    return MASK if isinstance(item, str) and item else value(item)


def is_secret(name: str) -> bool:
    """Return whether a field, option or variable of this name holds what nobody may read; a file's path is none."""
    return bool(_SECRET_NAME.search(name)) and not name.lower().endswith("_file")


def _rest_of_url(rest: str) -> str:
    place, mark, query = rest.partition("?")
    authority, slash, path = place.partition("/")
    if "@" in authority:
        place = f"{MASK}@{authority.rpartition('@')[2]}{slash}{path}"
    elif "@" in path and not _HOST.fullmatch(authority):  # a password with a slash in it
        place = f"{MASK}@{path.rpartition('@')[2]}"
    if not mark:
        return place
    values, hash_, fragment = query.partition("#")
    shown = "&".join(_pair(pair) for pair in re.split("[&;]", values))
    return f"{place}?{shown}{hash_}{fragment}"


def _pair(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}={MASK}" if equals else MASK if pair else ""
