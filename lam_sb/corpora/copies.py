"""Files of one name in several folders: copies, or different recordings."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from lam_sb.corpora.audio import check_audio
from lam_sb.corpora.file_cache import file_stamps, read_files
from lam_sb.errors import UserError


def choose_copies(
    corpus: str,
    folder: Path,
    save_folder: Path,
    places: Mapping[str, Sequence[str]],
) -> dict[str, str]:
    """Choose one file for each name.

    Arguments
    ---------
    corpus : str
        For messages.
    folder, save_folder : Path
        The corpus's folder, and where what was read is kept.
    places : Mapping[str, Sequence[str]]
        Files by name, relative to the folder.

    Returns
    -------
    dict[str, str]
        By name, the first of its files that can be read.

    Raises
    ------
    UserError
        Files of one name whose samples differ: which one is meant, nobody
        knows.
    """
    several = {}
    for name, paths in places.items():
        if paths[1:]:  # a linked file is no copy
            by_place = {os.path.realpath(folder / p): p for p in paths[::-1]}
            several[name] = sorted(by_place.values(), key=paths.index)
    several = {name: paths for name, paths in several.items() if paths[1:]}
    if not several:
        return {name: paths[0] for name, paths in places.items()}
    stamps = file_stamps(folder, [p for ps in several.values() for p in ps])
    cache_path = save_folder / "copies_cache.json"
    save_folder.mkdir(parents=True, exist_ok=True)
    audio = read_files(
        folder, stamps, check_audio, cache_path, "audio", prefer="threads"
    )
    readable = {
        name: [p for p in paths if "problem" not in audio[p]]
        for name, paths in several.items()
    }
    different = [
        paths
        for paths in readable.values()
        if len({audio[p]["signal_sha"] for p in paths}) > 1
    ]
    if different:
        first = different[0]
        raise UserError(
            f"{corpus}: {len(different)} names stand for different recordings, "
            f"for example {' and '.join(first[:2])} in {folder}. Move those "
            "that are not meant out of it, or set --source_folder or "
            "--target_folder to the part of it that is meant."
        )
    return {
        name: (readable.get(name) or paths)[0] for name, paths in places.items()
    }
