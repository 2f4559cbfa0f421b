"""Bring an unsealed piece to where it is wanted. URLs come from the manager, and by it from operators and markets."""

import hashlib
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from damocles.sealing import failures
from damocles.stages.files import copies
from damocles.stores import outlets, pieces
from damocles.text import urls
from damocles.wire import commitments, tasks
from damocles.worker.plans import local_files, persisting, sealer
from damocles.worker.plans.job import Job


def name_of(url: str) -> str:
    """Return a destination without its secrets, for records; a digest in their place distinguishes destinations."""
    shown = urls.shown(url)
    return shown if shown == url else f"{shown}#{hashlib.sha256(url.encode()).hexdigest()[:12]}"


def checked_cid(text: str, what: str) -> str:
    """Check what becomes the name of a file, or a part of a URL.

    Raises:
        failures.Permanent: It is no CID of a commitment.
    """
    try:
        commitments.commitment_of(text)
    except ValueError as error:
        raise failures.Permanent(f"{what}: {error}") from error
    return text


async def bring(job: Job, cid: str, url: str) -> None:
    """Bring the piece to one destination; see the page on destinations for what each scheme means.

    Raises:
        failures.Failure: It is none, or cannot be reached.
    """
    shown = name_of(url)
    file = job.place.piece_file(checked_cid(cid, f"the piece requested from {job.id}"))
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise failures.Permanent(f"destination {shown} is not a URL: {error}") from error
    match parts.scheme:
        case "http" | "https":
            await _upload(job, file, url, {})
        case "market":
            address, headers = _market(url, parts.path.strip("/"))
            await _upload(job, file, address, headers)
        case "file":
            stores = [*job.persist_stores.values()]
            target = await _place(shown, partial(job.outlets.file, url, stores))
            for store in stores:
                if target.is_relative_to(store.path):
                    await persisting.in_order(job, store)  # or it would lie below the mount point
            await _put(job, file, target, None)
        case "store" if parts.hostname:
            await _put_in_store(job, file, url, shown)
        case "store":
            token = job.pieces.token()
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            wanted = checked_cid(parts.path.strip("/"), f"destination {shown}")
            address = f"{job.pieces.origin}{pieces.PATH}{wanted}"
            authority = str(job.pieces.authority) if job.pieces.authority else None
            known_token = token if job.pieces.must_know else None
            await _upload(job, file, address, headers, authority=authority, known_token=known_token)
        case _:
            raise failures.Permanent(f"unsupported url scheme {parts.scheme!r} of the destination {shown}")


async def _put_in_store(job: Job, file: Path, url: str, shown: str) -> None:
    # The name as it is written: `hostname` would make it lower case.
    name = unquote(urlsplit(url).netloc.rpartition("@")[2])
    store = await persisting.in_order(job, persisting.attached(job, name, "the piece is wanted in"))
    info = await persisting.known_store(job, store.name)
    target = await _place(shown, partial(job.outlets.in_store, url, store, [*job.persist_stores.values()]))
    with persisting.no_room_in(store):
        await _put(job, file, target, tasks.StoreInfo(store.name, info.meta))


async def _place(shown: str, find: partial[Path]) -> Path:
    try:
        return await local_files.on_disk(find)
    except outlets.Refused as error:
        raise failures.Permanent(f"destination {shown}: {error}") from error
    except outlets.NotThere as error:
        raise failures.Lacking(f"destination {shown}: {error}") from error


async def _put(job: Job, file: Path, target: Path, store: tasks.StoreInfo | None) -> None:
    try:
        # Here too, for processors that replace what is there.
        if await local_files.on_disk(copies.is_there, file, target):
            return
    except copies.TransferRefused as error:
        raise failures.Permanent(str(error)) from error
    name = store.name if store is not None else None
    route = tasks.Route({"store_name": None, "uri": str(file)}, {"store_name": name, "uri": str(target)})
    await job.run("transfer", tasks.Transfer({store.name: store} if store else {}, [route], fresh=True))


def _market(url: str, cid: str) -> tuple[str, dict[str, str]]:
    """Return the URL of a market, and its own token: who asks for the piece gives both."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    missing = [name for name in ("host", "scheme", "token") if name not in query]
    if missing:
        raise failures.Permanent(f"destination {name_of(url)} lacks {', '.join(missing)} in its query")
    wanted = urlencode({"resource-id": cid, "store": unquote(parts.netloc)})
    address = f"{query['scheme'][0]}://{query['host'][0]}/resource?{wanted}"
    return address, {"Authorization": f"Bearer {query['token'][0]}"}


async def _upload(
    job: Job,
    file: Path,
    url: str,
    headers: dict[str, str],
    *,
    authority: str | None = None,
    known_token: str | None = None,
) -> None:
    with sealer.try_again():
        await job.run("upload", tasks.Upload(str(file), url, headers, authority, known_token))
