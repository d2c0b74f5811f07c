"""Files that are whole or not there."""

from __future__ import annotations

import csv
import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import xxhash
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from lam_sb.errors import UserError

CHECKSUM = "checksum"  # key of a file's own
STALE = re.compile(r"\.[0-9a-f]{16}\.tmp$")  # ends what `whole_file` writes
NO_MAPPING = (ValueError, TypeError, AttributeError)  # of JSON of other shape


class DamagedError(UserError):
    """A file is not as it was written."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name whose file then takes the path's place.

    Arguments
    ---------
    path : Path
        The file that is to be written.

    Yields
    ------
    Path
        Where to write it; in the same folder, removed if writing fails.

    Raises
    ------
    UserError
        It cannot be written, on a full disk for example.

    Example
    -------
    >>> path = getfixture("tmp_path") / "report.txt"
    >>> with whole_file(path) as temporary:
    ...     _ = temporary.write_text("done")
    >>> path.read_text()
    'done'
    """
    # Process ids repeat on the machines that share a folder.
    temporary = path.with_suffix(f".{secrets.token_hex(8)}.tmp")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        # safetensors lets nobody else read what it writes.
        if temporary.stat().st_mode != mode:  # not every disk has modes
            temporary.chmod(mode)
        _sync(temporary)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path} cannot be written ({error}); what is done is kept."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def one_writer(path: Path) -> Iterator[None]:
    """Let one command write a file or folder, by a lock beside it.

    Raises
    ------
    UserError
        Another one does, or its folder cannot be made.
    """
    lock = FileLock(f"{path}.lock", timeout=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise UserError(
            f"Another command is writing {path}: wait for it, or give another "
            "name."
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error}") from error
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def remove_stale(folder: Path, days: float = 0.0) -> None:
    """Remove what killed processes left half-written below a folder.

    Arguments
    ---------
    folder : Path
        Of which nobody else writes any file, or
    days : float
        none for so long.
    """
    for path in folder.rglob("*.tmp"):
        with suppress(OSError):  # another process was first
            if STALE.search(path.name) and (
                time.time() - path.stat().st_mtime >= days * 86400
            ):
                path.unlink()


def _sync(path: Path) -> None:
    """Wait until a file lies on its disk: a lost node loses none of it."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def write_json(path: Path, content: object) -> None:
    """Write a JSON file that is whole or not there.

    Arguments
    ---------
    path : Path
        The file.
    content : object
        Anything that JSON can hold.
    """
    text = json.dumps(content, indent=1, ensure_ascii=False)
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_checked(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON file that ends with a checksum of all that it says.

    Arguments
    ---------
    path : Path
        The file; it is whole or not there.
    content : Mapping[str, object]
        What JSON can hold; another checksum in it is left out.
    """
    content = {k: value for k, value in content.items() if k != CHECKSUM}
    write_json(path, {**content, CHECKSUM: _checksum(content)})


def read_checked(path: str | Path) -> dict:
    """Read what `write_checked` wrote.

    Arguments
    ---------
    path : str | Path
        The file.

    Raises
    ------
    FileNotFoundError
        There is none.
    DamagedError
        It cannot be read, or does not say what was written.

    Example
    -------
    >>> path = getfixture("tmp_path") / "one.json"
    >>> write_checked(path, {"uar": 0.5})
    >>> read_checked(path)
    {'uar': 0.5}
    >>> _ = path.write_text(path.read_text().replace("0.5", "0.9"))
    >>> read_checked(path)
    Traceback (most recent call last):
    ...
    lam_sb.files.DamagedError: ...one.json is damaged (its checksum differs)
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        checksum = content.pop(CHECKSUM)
        if checksum != _checksum(content):
            raise ValueError("its checksum differs")
    except FileNotFoundError:
        raise
    except KeyError:
        raise DamagedError(
            f"{path} has no checksum: it is damaged, or of an older lam_sb"
        ) from None
    except (OSError, RecursionError, *NO_MAPPING) as error:
        raise DamagedError(f"{path} is damaged ({error})") from None
    return content


def file_checksum(path: Path) -> str:
    """Hash what a small file holds, XXH3 of 128 bits as hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(path.read_bytes())


def _checksum(content: Mapping[str, object]) -> str:
    """Hash what JSON says, whatever its order and its spaces."""
    content = json.loads(json.dumps(content))  # keys become texts
    text = json.dumps(content, sort_keys=True)
    return xxhash.xxh3_128_hexdigest(text.encode())


def write_csv(
    path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]
) -> None:
    """Write a CSV file that is whole or not there.

    Arguments
    ---------
    path : Path
        The file, in UTF-8.
    columns : Sequence[str]
        Its header.
    rows : Iterable[Mapping[str, object]]
        Values by column; other keys are left out, missing ones are empty.
    """
    with (
        whole_file(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def file_stamp(path: Path) -> dict[str, int] | None:
    """Tell cheaply whether a file is still the same.

    Arguments
    ---------
    path : Path
        The file.

    Returns
    -------
    dict[str, int] | None
        Its ``size`` in bytes and ``mtime_ns``; None if it cannot be found.
    """
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
