"""results.json and the files that belong to it, as the run left them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lam_sb.files import DamagedError, file_checksum, read_checked

# Files beside results.json, or in the run's folder, that a report reads.
CHECKED = (
    "predictions.csv",
    "settings.yaml",
    "history.csv",
    "layer_weights.csv",
)


def checksums_beside(path: Path, results: Mapping) -> dict[str, str]:
    """Give checksums of the files that belong to a results.json, by name."""
    files = {name: _beside(path, results, name) for name in CHECKED}
    return {n: file_checksum(f) for n, f in files.items() if f.is_file()}


def read_results(path: Path) -> dict:
    """Read results.json, and check the files that it was written with.

    Raises
    ------
    FileNotFoundError
        There is none.
    DamagedError
        It, or a file beside it, is not as the run left it.
    """
    results = read_checked(path)
    for name, checksum in results.get("files", {}).items():
        file = _beside(path, results, name)
        try:
            same = not file.is_file() or file_checksum(file) == checksum
        except OSError as error:
            raise DamagedError(f"{file} cannot be read ({error})") from None
        if not same:
            raise DamagedError(
                f"{file} is not the one that {path} was written with"
            )
    return results


def _beside(path: Path, results: Mapping, name: str) -> Path:
    """Path of a file that belongs to a results.json."""
    if name == "predictions.csv" or len(results.get("targets") or ()) < 2:
        return path.with_name(name)
    return path.parent.parent / name
