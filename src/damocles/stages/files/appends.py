"""Uploads that go on where they were cut, to servers which offer that.

Spoken are resumable uploads of HTTP (draft-ietf-httpbis-resumable-upload, interop version 8). The server is asked first (OPTIONS): one that does not know them
could take a part for the whole. A file goes there in appends of some MiB, each with the SHA-256 of its bytes (RFC 9530). Where the upload is on the
server is noted beside the file, with the mark of the file, so that another one is never appended to it.
"""

import base64
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from damocles import durable
from damocles.stages import job
from damocles.stages.files import resuming
from damocles.text import urls

STEP_BYTES = 64 << 20  # of one append: what is sent again at most
_CHUNK_BYTES = 1 << 20
_DIGITS = 18  # more bytes than any disk has
_PARTIAL = "application/partial-upload"
_INTEROP = {"Upload-Draft-Interop-Version": "8"}
_MOST = re.compile(r"(?:^|,)\s*max-append-size=([0-9]{1,18})(?![0-9])")


class Note(msgspec.Struct, frozen=True):
    """What is noted of an upload: where it is, and of which file."""

    location: str
    mark: str
    total_bytes: int
    step_bytes: int


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that is to go to `url`. `http` is a client that has its timeouts and whom it trusts; `extensions` go with each request."""

    http: Any
    url: str
    headers: Mapping[str, str]
    extensions: Mapping[str, Any]
    source: Path
    file: BinaryIO
    around: job.Job

    @property
    def _note(self) -> Path:
        digest = hashlib.sha256(self.url.encode()).hexdigest()[:12]
        return self.source.with_name(f".{self.source.name}.{digest}.upload")

    def send(self) -> Any:
        """Send the file, or the rest of it, and return the last answer; none if the server does not offer it.

        Raises:
            httpx2.HTTPError: The server cannot be reached, or stands still: the next try goes on.
            OSError: The file cannot be read, or the note not be written.
        """
        total = os.fstat(self.file.fileno()).st_size
        note, answer = self._noted()
        if note is None:
            note, answer = self._begun(total)
        if note is None:
            return answer
        done, is_over = _offset(answer) or 0, answer.headers.get("upload-complete") == "?1"
        while answer.is_success and not is_over:
            size = min(note.step_bytes, total - done)
            is_over = done + size == total
            answer = self._append(note, done, size, is_last=is_over)
            done += size
        if not answer.is_server_error:
            self._note.unlink(missing_ok=True)  # it is there, or refused: then the next try begins again
        return answer

    def _noted(self) -> tuple[Note | None, Any]:
        """Return what a try before has begun and the server still knows, and its answer; none if there is nothing to go on with."""
        try:
            note = msgspec.json.decode(self._note.read_bytes(), type=Note)
        except (OSError, msgspec.DecodeError):
            return None, None
        if note.mark == resuming.mark_of(self.source):
            answer = self._ask("HEAD", note.location)
            length = _offset(answer)
            if answer.is_success and length is not None and length <= note.total_bytes:
                return note, answer
            if answer.is_server_error:
                answer.raise_for_status()
        self._note.unlink(missing_ok=True)
        return None, None

    def _begun(self, total: int) -> tuple[Note | None, Any]:
        """Begin; return no note if the server refuses, and no answer either if it does not offer this."""
        offer = self._ask("OPTIONS", self.url)
        if not offer.is_success or _PARTIAL not in offer.headers.get("accept-patch", ""):
            return None, None
        most = _MOST.search(offer.headers.get("upload-limit", ""))
        answer = self._ask("PUT", self.url, {"Upload-Complete": "?0", "Upload-Length": str(total)}, b"")
        if not answer.is_success:
            return None, answer
        where = str(answer.url.join(answer.headers.get("location", "")))
        if "location" not in answer.headers or _origin(where) != _origin(self.url):
            return None, None  # another server would get our token
        step = min(STEP_BYTES, int(most[1]) or STEP_BYTES) if most is not None else STEP_BYTES
        note = Note(where, resuming.mark_of(self.source), total, step)
        durable.replace(self._note, msgspec.json.encode(note), private=True)
        return note, answer

    def _append(self, note: Note, done: int, size: int, *, is_last: bool) -> Any:
        digest = hashlib.sha256()
        for chunk in self._chunks(done, size):
            self.around.check()
            digest.update(chunk)

        def told() -> Iterator[bytes]:
            sent = done
            for chunk in self._chunks(done, size):
                yield chunk
                sent += len(chunk)
                self.around.progress(sent, note.total_bytes)

        own = {
            "Content-Type": _PARTIAL,
            "Content-Length": str(size),
            "Content-Digest": f"sha-256=:{base64.b64encode(digest.digest()).decode()}:",
            "Upload-Offset": str(done),
            "Upload-Complete": "?1" if is_last else "?0",
        }
        return self._ask("PATCH", note.location, own, told())

    def _chunks(self, start: int, size: int) -> Iterator[bytes]:
        for offset in range(start, start + size, _CHUNK_BYTES):
            yield os.pread(self.file.fileno(), min(_CHUNK_BYTES, start + size - offset), offset)

    def _ask(self, verb: str, url: str, own: Mapping[str, str] = {}, content: Any = None) -> Any:
        headers = {**self.headers, **_INTEROP, **own}
        return self.http.request(verb, url, headers=headers, content=content, extensions=self.extensions)


def _offset(answer: Any) -> int | None:
    text = answer.headers.get("upload-offset", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _DIGITS else None


def _origin(url: str) -> str:
    try:
        return urls.origin(url)
    except ValueError:
        return ""
