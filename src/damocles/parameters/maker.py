"""Make one parameter set: `python -m damocles.parameters.maker KIND SECTOR_SIZE_BYTES`, the child of `generation`.

It appears under its names only when it is whole. Errors go to stderr in one line.
"""

import sys

from damocles import proofs
from damocles.parameters.catalog import Kind
from damocles.stages import host


def main(arguments: list[str]) -> int:
    """Return the exit code."""
    host.end_with_parent()  # it would go on for a quarter of an hour, for nobody
    kind, sector_size = Kind(arguments[0]), int(arguments[1])
    try:
        if kind is Kind.SRS:
            proofs.generate_aggregation()
        else:
            proofs.generate_parameters(kind.value, sector_size)
    except proofs.ProofsError as error:
        print(error, file=sys.stderr)  # noqa: T201  # the parent reads it
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
