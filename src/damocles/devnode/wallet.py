"""Keys and tokens of a devnode. Neither protects anything of value: its FIL is worth nothing."""

import base64
import hashlib
import hmac
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from damocles import bls, durable, signing
from damocles.chain.addresses import Address
from damocles.chain.messages import Message, Signature, SignatureType, SignedMessage
from damocles.signing import PrivateKey

_PRIVATE = 0o600
PERMISSIONS = ("read", "write", "sign", "admin")  # each has those before it
_HEADER = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")


class NoKey(Exception):
    """The wallet has no such key."""


class Wallet:
    """Private keys by their addresses; the first is the default."""

    def __init__(self, keys: Iterable[PrivateKey] = ()) -> None:
        self._keys = {key.address: key for key in keys}

    def add(self, key: PrivateKey) -> Address:
        """Take a key, and return its address."""
        self._keys[key.address] = key
        return key.address

    def __contains__(self, address: Address) -> bool:
        return address in self._keys

    def addresses(self) -> list[Address]:
        """Return whose keys are there."""
        return list(self._keys)

    def key(self, address: Address) -> PrivateKey:
        """Return a key, or raise `NoKey`."""
        try:
            return self._keys[address]
        except KeyError:
            raise NoKey from None

    def sign(self, address: Address, data: bytes) -> Signature:
        """Sign bytes, as a node does: a secp256k1 key signs their BLAKE2b-256."""
        return signing.sign_bytes(self.key(address), data)

    def sign_message(self, message: Message) -> SignedMessage:
        """Sign a message of one of the keys."""
        return signing.sign(self.key(message.sender), message)


def made(secret: bytes, name: str, kind: SignatureType = SignatureType.BLS) -> PrivateKey:
    """Return the key that a devnet's secret has under a name, always the same."""
    seed = hashlib.blake2b(name.encode(), key=secret, digest_size=32).digest()
    if kind is SignatureType.BLS:
        return PrivateKey(kind, bls.new_key(seed))
    return PrivateKey(kind, b"\1" + seed[1:])


def token(secret: bytes, permissions: Sequence[str]) -> str:
    """Return a token for permissions, of the form that Lotus makes (a JSON Web Token with `Allow`)."""
    content = base64.urlsafe_b64encode(msgspec.json.encode({"Allow": list(permissions)})).decode().rstrip("=")
    return f"{_HEADER}.{content}.{_mac(secret, f'{_HEADER}.{content}')}"


def up_to(permission: str) -> tuple[str, ...]:
    """Return a permission with those that it has as well."""
    return PERMISSIONS[: PERMISSIONS.index(permission) + 1]


def permissions(secret: bytes, text: str) -> list[str] | None:
    """Return what a token allows, `None` if it is none of ours."""
    signed, _, mac = text.rpartition(".")
    if not hmac.compare_digest(mac.encode(), _mac(secret, signed).encode()):
        return None
    content = signed.partition(".")[2]
    allowed: list[str] = msgspec.json.decode(base64.urlsafe_b64decode(content + "=" * (-len(content) % 4)))["Allow"]
    return allowed


def _mac(secret: bytes, content: str) -> str:
    digest = hmac.digest(hashlib.blake2b(b"tokens", key=secret, digest_size=32).digest(), content.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def write_tokens(folder: Path, tokens: Mapping[str, str]) -> None:
    """Write a token for each permission into files; `token` is that for everything, as Lotus has it. Blocking."""
    for name, text in {**{f"token-{name}": text for name, text in tokens.items()}, "token": tokens["admin"]}.items():
        path, content = folder / name, text.encode()
        if not _holds(path, content):
            durable.replace(path, content, private=True)


def _holds(path: Path, content: bytes) -> bool:
    """Return whether a file is as it would be written: who reads it while a devnode starts finds it whole."""
    try:
        return stat.S_IMODE(path.lstat().st_mode) == _PRIVATE and path.read_bytes() == content
    except OSError:
        return False
