"""Files and folders that bear their own name only when they are whole."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PARTIAL, _REPLACED = "partial-", "replaced-"


def replace_file(path: Path, content: str | bytes) -> None:
    """Write a whole file or, on failure, leave the old one.

    Args:
        path: the file; its folder exists.
        content: all of it; text is written as UTF-8.
    """
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` for a file or a folder, which takes its name if all goes well.

    A kill or a lost machine leaves the old one or the new one, never a part. Several processes may
    write the same path; the last one stays.

    Args:
        path: the file or folder to make or to replace; the folder that it lies in exists.

    Yields:
        Where to write it. Nothing is there yet.
    """
    partial = path.with_name(f"{_PARTIAL}{os.getpid()}-{path.name}")
    _remove(partial)
    try:
        yield partial
        for written in [*partial.rglob("*"), partial]:
            _flush(written)
        _take_name(partial, path)
        _flush(path.parent)
    finally:
        _remove(partial)


def remove_partial(folder: Path) -> None:
    """Remove what kills have left over in a folder that no other process writes to."""
    for kind in (_PARTIAL, _REPLACED):
        for left_over in folder.glob(f"{kind}*"):
            _remove(left_over)


def _take_name(partial: Path, path: Path) -> None:
    if not path.is_dir():
        os.replace(partial, path)
        return
    # A folder does not give way to another one.
    replaced = path.with_name(f"{_REPLACED}{os.getpid()}-{path.name}")
    os.replace(path, replaced)
    os.replace(partial, path)
    _remove(replaced)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Wait until a file or the entries of a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
