"""Parameter files: where they are, what is published, and making them for test networks."""

import damocles_proofs as native
import msgspec

from damocles.proofs.errors import translated


def parameters_manifest() -> dict[str, dict[str, object]]:
    """Return what is published: file name to `{"cid", "digest", "sector_size"}`."""
    manifest: dict[str, dict[str, object]] = msgspec.json.decode(native.parameters_manifest())
    return manifest


def srs_manifest() -> dict[str, dict[str, object]]:
    """Return the same for the file that aggregation needs."""
    manifest: dict[str, dict[str, object]] = msgspec.json.decode(native.srs_manifest())
    return manifest


def parameter_cache_dir() -> str:
    """Return the folder of the parameters: `FIL_PROOFS_PARAMETER_CACHE` or its default."""
    return native.parameter_cache_dir()


def parameter_files(kind: str, sector_bytes: int) -> tuple[str, str, str]:
    """Name the parameters, the verifying key and the metadata of a circuit: `porep`, `wdpost`, `winning`, `update`."""
    with translated():
        files = native.params_for(kind, sector_bytes)
        return files.params, files.vk, files.meta


def generate_parameters(kind: str, sector_bytes: int) -> tuple[str, str, str]:
    """Make these files for a test network, if they are not there. They prove nothing on a real one."""
    with translated():
        files = native.generate_params(kind, sector_bytes)
        return files.params, files.vk, files.meta


def generate_aggregation() -> str:
    """Make the file that aggregation needs for a test network, if it is not there; return its name."""
    with translated():
        return native.generate_srs()
