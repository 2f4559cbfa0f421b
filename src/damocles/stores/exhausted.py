"""Tell what the process lacks from what is wrong with a file: descriptors and memory come back, the file is as it was."""

import errno

_CODES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def is_lacking(error: BaseException | None) -> bool:
    """Tell whether an error, or what caused it, is that this process, or the machine, has no descriptors or memory left.

    It says nothing of the file: neither that it is damaged nor that it is not there.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _CODES:
            return True
        error = error.__cause__
    return False
