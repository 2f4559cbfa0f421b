"""Bundles: a token with all that it takes to use it elsewhere, in one file."""

from collections.abc import Callable, Sequence
from typing import TypeAlias
from urllib.parse import urlsplit

from damocles.cli.connecting import manager_at
from damocles.cli.terminal import exits
from damocles.rpc import address
from damocles.rpc.calling import profiles
from damocles.wire import control

Around: TypeAlias = Callable[[control.NewToken], bytes]


def around(at: manager_at.At, url: str | None, further: Sequence[str] = ()) -> Around:
    """Return what makes a bundle of a token; all that can fail does so before there is one.

    `further` are managers of the same database, for a worker.
    """
    from damocles.rpc.admission import access  # with structlog, which short commands do without

    try:
        reached = address.manager_url(url) if url is not None else at.url()
        others = tuple(address.manager_url(one) for one in further)
    except ValueError as error:
        raise exits.WrongUsage(f"--url: {error}") from error
    if url is None and access.is_loopback(urlsplit(reached).hostname or ""):
        raise exits.WrongUsage(f"{reached} is this machine's own address: add --url with the one that others reach")
    if (open_way := next(filter(access.in_the_clear, (reached, *others)), None)) is not None and not at.insecure:
        raise exits.WrongUsage(
            f"the token would cross the network to {open_way} unencrypted: give the manager a certificate"
            " (damocles-manager auth ca) and write https://, or pass --insecure"
        )
    authority = at.authority() if reached.startswith("https:") else None

    def content(made: control.NewToken) -> bytes:
        token = made.token
        return profiles.content(
            profiles.Bundle(
                format=1,
                url=reached,
                token=made.text,
                name=token.name,
                scope=token.scope,
                worker=token.worker or None,
                authority=authority,
                addresses=others,
            )
        )

    return content
