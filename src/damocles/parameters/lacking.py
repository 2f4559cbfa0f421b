"""Recognize an error about missing parameters by the proofs library's words, and shorten it."""

import functools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from damocles.parameters import catalog, preflight
from damocles.parameters.catalog import Kind
from damocles.wire import sectors

WORDS = "No cached parameters"  # what all these errors have in them, to select threads by
THERE_NOW = "resume: the missing parameters are there now"  # what a paused thread waits for, then
_PARAMETERS = re.compile(r"No cached parameters found for (?P<name>\S+)")
_FOR_POST = re.compile(r"No cached parameters found for window PoSts of (?P<size>\w+)")  # `preflight` says so
# The library's words, and `preflight`'s.
_FOLDER = re.compile(
    r"\[failure finding (?P<folder>/[^\]]*)/v28-|found for window PoSts of \w+ in (?P<folder_for_post>/[^;]*)"
)
_SRS = "No cached srs key found"
_BRIEF = {Kind.POREP: "C2", Kind.SRS: "aggregation"}


@dataclass(frozen=True, slots=True)
class Lack:
    """What is missing; without a kind the library's name for it is not that of a published file."""

    words: str
    kind: Kind | None = None
    size: sectors.SectorSize | None = None

    @property
    def text(self) -> str:
        """The error in short: `C2 parameters missing (2KiB)`."""
        size = "" if self.size is None else f" ({self.size.label})"
        return f"{self._parameters} missing{size}"

    @property
    def text_remedied(self) -> str:
        """What to do once they have come, as short: `C2 parameters there: resume`."""
        return f"{self._parameters} there: resume"

    @property
    def _parameters(self) -> str:
        return "parameters" if self.kind is None else f"{_BRIEF.get(self.kind, self.kind.words)} parameters"

    @property
    def remedies(self) -> list[str]:
        """The commands that help, as `preflight.remedies`."""
        if self.kind is None:
            return []
        # The file for aggregation is one for all sizes, so that any will do.
        return preflight.remedies(self.size or sectors.SectorSize.GIB32, [self.kind])


def commands(error: str) -> list[str]:
    """Return the remedies for such an error, for the folder in which its process has looked."""
    lack = found(error)
    if lack is None:
        return []
    folder = _folder(error)
    is_default = folder == catalog.DEFAULT_CACHE
    setting = "" if is_default else f"{catalog.CACHE_VARIABLE}={shlex.quote(str(folder))} "
    return [f"{setting}{command}" for command in lack.remedies]


def are_there_now(error: str) -> bool:
    """Return whether the files that such an error misses have arrived in the folder of its process."""
    lack = found(error)
    if lack is None or lack.kind is None:
        return False
    sizes = [lack.size] if lack.size is not None else []
    return not catalog.missing(sizes, [lack.kind], _folder(error))


def _folder(error: str) -> Path:
    match = _FOLDER.search(error)
    return Path(match["folder"] or match["folder_for_post"]) if match else catalog.DEFAULT_CACHE


@functools.lru_cache(maxsize=1024)
def found(error: str) -> Lack | None:
    """Return what an error reports as missing, `None` if it is about something else."""
    if _SRS in error:
        return Lack(_SRS, Kind.SRS)
    if post := _FOR_POST.search(error):
        size = next((size for size in sectors.SectorSize if size.label == post["size"]), None)
        return Lack(WORDS, Kind.WDPOST if size else None, size)
    match = _PARAMETERS.search(error)
    if match is None:
        return Lack(WORDS) if WORDS in error else None
    published = catalog.identified(match["name"])
    if published is None:
        return Lack(WORDS)
    return Lack(WORDS, published.kind, sectors.SectorSize(published.sector_size))
