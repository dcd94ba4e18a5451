# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Opening the files that lists name, and no others.

A list is somebody else's text. Whatever it says, only regular files under the root are opened:
no device or pipe, which would never end, and nothing that `..` or a symbolic link leads to
elsewhere.
"""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import BinaryIO

from vidpretrain.data.bad_input import BadInput, Fault

WHOLE_BYTES = 64 << 20
"""Files up to this size are read at once; larger ones piece by piece, as the decoder asks."""


def locate(root: Path, name: str) -> Path:
    """Return the real path of a file under a root.

    Args:
        root: Folder that holds all files of a data set.
        name: Path of the file, relative to the root, or absolute and within it.

    Raises:
        BadInput: The path leads out of the root, through `..` or a symbolic link.
    """
    if "\0" in name:
        raise BadInput(name.replace("\0", "\\0"), Fault.MISSING, "the path has a null character")
    real_root = os.path.realpath(root)
    real = os.path.realpath(os.path.join(real_root, name))
    if real != real_root and not real.startswith(os.path.join(real_root, "")):
        raise BadInput(
            name, Fault.OUTSIDE_ROOT, f"only files under {root} are read; give another root"
        )
    return Path(real)


def open_inside(root: Path, name: str) -> BinaryIO:
    """Open a regular file under a root for reading.

    Args:
        root: Folder that holds all files of a data set.
        name: Path of the file, relative to the root, or absolute and within it.

    Returns:
        The open file; small ones are in memory already.

    Raises:
        BadInput: There is no such file, it is outside the root, empty, not a regular file, or
            may not be read.
    """
    path = locate(root, name)
    try:
        # Without blocking, for opening a pipe waits for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        file = os.fdopen(descriptor, "rb", buffering=0)
    except FileNotFoundError:
        raise BadInput(name, Fault.MISSING, f"there is no such file under {root}") from None
    except OSError as error:
        raise BadInput(name, Fault.UNREADABLE, error.strerror or str(error)) from None
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        file.close()
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device or pipe"
        raise BadInput(name, Fault.UNREADABLE, f"it is {kind}, not a file")
    if not status.st_size:
        file.close()
        raise BadInput(name, Fault.EMPTY, "the file has no bytes")
    if status.st_size > WHOLE_BYTES:
        return file
    with file:
        try:
            return io.BytesIO(file.readall())
        except OSError as error:
            raise BadInput(name, Fault.UNREADABLE, error.strerror or str(error)) from None


def read_inside(root: Path, name: str, *, most_bytes: int = WHOLE_BYTES) -> bytes:
    """Return the bytes of a regular file under a root.

    Args:
        root: Folder that holds all files of a data set.
        name: Path of the file, relative to the root, or absolute and within it.
        most_bytes: Larger files are refused.

    Raises:
        BadInput: The file cannot be opened (see `open_inside`), or is too large.
    """
    with open_inside(root, name) as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise BadInput(name, Fault.TOO_LARGE, f"it has more than {most_bytes} bytes")
    return data
