"""Output files and folders that are there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attnsieve.gen.errors import UserError

__all__ = ["output_directory", "output_file"]


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


@contextmanager
def _parents(path: Path) -> Iterator[None]:
    """Make the folders above a path; unmake them when the work fails."""
    made: list[Path] = []
    try:
        missing = [p for p in path.parents if not p.is_dir()]
        for parent in reversed(missing):
            parent.mkdir()
            made.append(parent)
        yield
    except BaseException:
        for parent in reversed(made):
            try:
                parent.rmdir()
            except OSError:
                break
        raise


def _own(name: str, folder: bool) -> None:
    """Give a temporary file the permissions that an ordinary new one has."""
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(name, (0o777 if folder else 0o666) & ~umask)


@contextmanager
def output_file(path: str | Path) -> Iterator[Path]:
    """A file to write in place of ``path``, which it becomes when the block ends well.

    The output is tried at once, so a long job does not end in an error that was there before.

    Raises
    ------
    UserError
        The file cannot be written.
    """
    final = Path(path).absolute()
    if final.is_dir():
        raise UserError(f"{path}: is a folder, not a file")
    try:
        with _parents(final):
            handle, temporary = tempfile.mkstemp(
                dir=final.parent, prefix=f".{final.name}.", suffix=final.suffix
            )
            os.close(handle)
            try:
                yield Path(temporary)
                _own(temporary, folder=False)
                os.replace(temporary, final)
            finally:
                Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {_reason(error)}") from error


@contextmanager
def output_directory(path: str | Path) -> Iterator[Path]:
    """A folder to fill in place of ``path``, which it becomes when the block ends well.

    If the folder exists, the new files replace those of the same names and all others stay.

    Raises
    ------
    UserError
        The folder cannot be written, or something else of its name or of a file's is in the way.
    """
    final = Path(path).absolute()
    if final.exists() and not final.is_dir():
        raise UserError(f"{path}: is a file, not a folder")
    try:
        with _parents(final):
            temporary = tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}.")
            try:
                if final.is_dir():
                    # a folder that cannot be written is found now, not at the end
                    with tempfile.TemporaryFile(dir=final):
                        pass
                yield Path(temporary)
                _own(temporary, folder=True)
                _move(Path(temporary), final)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {_reason(error)}") from error


def _move(source: Path, final: Path) -> None:
    if not final.exists():
        os.replace(source, final)
        return
    files = sorted(p for p in source.rglob("*") if not p.is_dir())
    for file in files:
        target = final / file.relative_to(source)
        if target.is_dir():
            raise UserError(f"{target}: a folder is where a file has to go")
        for parent in target.parents:
            if parent == final:
                break
            if parent.exists() and not parent.is_dir():
                raise UserError(f"{parent}: a file is where a folder has to go")
    for file in files:
        target = final / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, target)
