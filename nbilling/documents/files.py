"""Files written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from nbilling.model.errors import StorageError, StorageFull


@contextmanager
def whole_file(path: str, *, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A file that appears under its name, durable, only when all of it is written; what was there is replaced.

    It is written beside its place under another name, so a failure leaves nothing. A directory, or a place that
    cannot be written, is a StorageError. A link is followed: its target is replaced, not the link. ``mode`` is that of
    a new file, by default readable by its owner alone: documents name customers.
    """
    target = os.path.realpath(path)
    directory = os.path.dirname(target)
    if os.path.isdir(target):
        raise StorageError(f"{path} is a directory", hint="give a file name")
    try:
        handle, part = tempfile.mkstemp(prefix=".nbilling-", dir=directory)
    except (OSError, ValueError) as error:
        raise _failed(path, error) from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, _mode_of(target, mode))
        os.replace(part, target)
    except OSError as error:
        _remove(part)
        if isinstance(error, StorageError):
            raise
        raise _failed(path, error) from None
    except BaseException:
        _remove(part)
        raise
    _sync_directory(directory)


def _mode_of(target: str, mode: int) -> int:
    """The mode of the file that is replaced, if there is one."""
    try:
        return os.stat(target).st_mode & 0o777
    except OSError:
        return mode


def _remove(part: str) -> None:
    if os.path.lexists(part):
        os.unlink(part)


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failed(path: str, error: OSError | ValueError) -> StorageError:
    import errno

    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageFull(f"no space left to write {path!r:.200}", hint="free some and try again")
    reason = getattr(error, "strerror", None) or "not a usable name"
    return StorageError(f"{path!r:.200} cannot be written: {reason}", hint="check the directory and its permissions")
