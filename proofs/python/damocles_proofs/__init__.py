"""Filecoin proofs: a thin binding of filecoin-proofs-api. See `damocles_proofs._native` for what holds for all calls."""

from damocles_proofs import _native
from damocles_proofs._errors import FaultySectorsError, FileError, PanicError, ProofsError
from damocles_proofs._native import *  # noqa: F403

__all__ = ["FaultySectorsError", "FileError", "PanicError", "ProofsError", *_native.__all__]  # noqa: PLE0604 - the stub lists them
