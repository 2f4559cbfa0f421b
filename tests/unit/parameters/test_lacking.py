"""Errors that say that parameters are missing are recognized by the library's words."""

import shlex
from pathlib import Path

import pytest

from damocles.parameters import catalog, lacking, preflight
from damocles.parameters.catalog import Kind
from damocles.wire.sectors import SectorSize

UNKNOWN = (
    "permanent: No cached parameters found for a-proof-of-tomorrow [failure finding /v29-a-proof-of-tomorrow.params]"
)
NO_SRS = "permanent: No cached srs key found for x [failure finding /p/v28-fil-inner-product-v1.srs]"


def error(kind: Kind, size: SectorSize) -> str:
    """Return what the library says of a set that is not there."""
    (found,) = catalog.sets([size], [kind])
    name = found.identifier.removeprefix("v28-")
    return f"permanent: No cached parameters found for {name} [failure finding /p/{found.identifier}.params]"


@pytest.mark.parametrize(
    ("text", "brief"),
    [
        (error(Kind.POREP, SectorSize.KIB2), "C2 parameters missing (2KiB)"),
        (error(Kind.POREP, SectorSize.GIB64), "C2 parameters missing (64GiB)"),
        (error(Kind.WDPOST, SectorSize.GIB32), "window PoSt parameters missing (32GiB)"),
        (error(Kind.UPDATE, SectorSize.MIB512), "sector update parameters missing (512MiB)"),
        (preflight.lacking_for_post(SectorSize.KIB2, Path("/nowhere")), "window PoSt parameters missing (2KiB)"),
        ("No cached parameters found for window PoSts of 3KiB in /p", "parameters missing"),
        (NO_SRS, "aggregation parameters missing"),
        (UNKNOWN, "parameters missing"),
    ],
)
def test_the_short_form_names_proof_and_size(text, brief):
    """Which proof and which size is all that an operator needs to know; an unknown set is at least recognized."""
    lack = lacking.found(text)
    assert lack is not None
    assert brief == lack.text
    assert lack.words in text


def test_other_errors_have_no_short_form():
    """Whatever else goes wrong is shown in its own words."""
    assert lacking.found("permanent: No space left on device") is None


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        (
            error(Kind.POREP, SectorSize.KIB2),
            [f"damocles-worker params {verb} --sector-size 2KiB --for porep" for verb in ("fetch", "generate")],
        ),
        (error(Kind.WDPOST, SectorSize.GIB32), ["damocles-worker params fetch --sector-size 32GiB --for wdpost"]),
        (NO_SRS, ["damocles-worker params fetch --sector-size 32GiB --for srs"]),
        (UNKNOWN, []),
    ],
)
def test_what_helps_is_said_with_the_command(text, commands):
    """Parameters are fetched; only for sizes of test networks may they be made."""
    lack = lacking.found(text)
    assert lack is not None
    assert commands == lack.remedies


@pytest.mark.parametrize("folder", ["/srv/params", "/a folder/v28-x"])
def test_commands_are_for_the_folder_that_was_looked_in(folder):
    """A shell on that machine most likely has another one; the default needs no word."""
    text = error(Kind.WDPOST, SectorSize.GIB32)
    fetch = "damocles-worker params fetch --sector-size 32GiB --for wdpost"
    there = f"FIL_PROOFS_PARAMETER_CACHE={shlex.quote(folder)} {fetch}"
    assert [there] == lacking.commands(text.replace("finding /p/", f"finding {folder}/"))
    ours = preflight.lacking_for_post(SectorSize.GIB32, Path(folder))
    assert ours is not None
    assert [there] == lacking.commands(ours)
    assert [fetch] == lacking.commands(text.replace("finding /p/", f"finding {catalog.DEFAULT_CACHE}/"))
    assert [] == lacking.commands("permanent: No space left on device")
