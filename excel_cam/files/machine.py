"""Tell a failing machine from a faulty file: the one stops a run, the other is written down and left out."""

from __future__ import annotations

import errno

from excel_cam.errors import MachineError
from excel_cam.files.part import File

_MEMORY = "free memory, lower --workers or --batch-size, or leave this file out"
_OPEN_FILES = "raise `ulimit -n`, or lower --workers"
_STORAGE = "see whether disk and network still answer, then run the same command again"
_STORAGE_FAULTS = (
    "EIO", "EREMOTEIO", "EUCLEAN", "ENXIO", "ENODEV", "ENOSPC", "EDQUOT", "EROFS", "ESTALE", "ENOLCK", "ENOTCONN",
    "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ECONNRESET", "ECONNABORTED", "ECONNREFUSED",
    "ESHUTDOWN",
)  # fmt: skip
# Errors by name -> what to do; not every system has each. A permission that lacks (EACCES) is a fault of the one file.
_REMEDIES = {
    "EMFILE": _OPEN_FILES, "ENFILE": _OPEN_FILES, "ENOMEM": _MEMORY, **dict.fromkeys(_STORAGE_FAULTS, _STORAGE),
}  # fmt: skip


def raise_if_machine(error: BaseException, path: File | str) -> None:
    """Raise `MachineError` where an error met at a file tells of the machine; return where the file may be at fault."""
    if isinstance(error, MachineError):
        raise error
    if isinstance(error, MemoryError):
        name, reason = "ENOMEM", "not enough memory"
    elif isinstance(error, OSError) and error.errno is not None:
        name, reason = errno.errorcode.get(error.errno, ""), error.strerror or str(error)
    else:
        return
    if name in _REMEDIES:
        raise MachineError(f"{path}: {reason}: the machine fails, not this file; {_REMEDIES[name]}") from None
