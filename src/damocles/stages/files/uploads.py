"""Send a file to an HTTP server: the upload stage. A large one goes on where it was cut, if the server offers that (see `appends`)."""

import os
from collections.abc import Iterator
from pathlib import Path

from damocles.stages import job
from damocles.stages.files import appends
from damocles.text import urls
from damocles.wire import tasks

_CONNECT_SECONDS = 10
# Without a byte going out, or without an answer after the last one: a slow upload is none that stands still.
_SILENCE_SECONDS = 300
_CHUNK_BYTES = 1 << 20
_REASON_CHARACTERS = 500


class UploadFailed(Exception):
    """The server did not take the file."""


def run(task: tasks.Upload, around: job.Job) -> int:
    """PUT the file, as it is read; return the number of bytes.

    Raises:
        UploadFailed: The server cannot be reached, stands still or answers with something other than success.
        OSError: The file cannot be read.
    """
    import httpx2  # noqa: PLC0415 - 15 MB that only downloads and uploads need

    from damocles.rpc import tls  # noqa: PLC0415 - likewise
    from damocles.rpc.admission import handshake  # noqa: PLC0415 - likewise

    extensions = {"trace": handshake.tracer(task.known_token)} if task.known_token is not None else {}
    shown = urls.shown(task.url)
    timeout = httpx2.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS)
    with Path(task.file).open("rb") as file:
        total = os.fstat(file.fileno()).st_size

        def chunks() -> Iterator[bytes]:
            done = 0
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
                done += len(chunk)
                around.progress(done, total)

        # With a length the body is no chunked one, which object stores refuse.
        headers = {"content-length": str(total), "content-type": "application/octet-stream", **task.headers}
        try:
            trust = tls.client_context(task.authority)
            # No redirect is followed, and without TLS no proxy of the environment used: it would read what is sent.
            with httpx2.Client(timeout=timeout, verify=trust, mounts={"http://": None}) as client:
                response = None
                if total > appends.STEP_BYTES:
                    upload = appends.Upload(client, task.url, task.headers, extensions, Path(task.file), file, around)
                    response = upload.send()
                if response is None:
                    response = client.put(task.url, content=chunks(), headers=headers, extensions=extensions)
        except tls.Unusable as error:
            raise UploadFailed(f"upload to {shown}: {error}") from error
        except handshake.Stranger as error:
            raise UploadFailed(f"upload to {shown}: {error}") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise UploadFailed(
                f"upload to {shown}: {tls.untrusted(error) or str(error) or type(error).__name__}"
            ) from error
    if not response.is_success:
        reason = " ".join(response.text[:_REASON_CHARACTERS].split())
        raise UploadFailed(f"upload to {shown}: {response.status_code} {response.reason_phrase} {reason}".rstrip())
    return total
