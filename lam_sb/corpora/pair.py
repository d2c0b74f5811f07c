"""The two corpora of a run, prepared together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lam_sb.corpora.options import PrepOptions, check_mapping
from lam_sb.corpora.prepare import prepare_corpus
from lam_sb.errors import UserError


def prepare_pair(
    source: str,
    target: str,
    source_folder: str,
    target_folder: str,
    source_options: Mapping | None,
    target_options: Mapping | None,
    label_map: Mapping | None,
    manifest_folder: str,
    options: PrepOptions,
    readers_folder: str | Path,
) -> None:
    """Write the manifests of both corpora.

    Arguments
    ---------
    source, target : str
        Names of the corpora.
    source_folder, target_folder : str
        Where they lie.
    source_options, target_options : Mapping, optional
        Options of each corpus's own reader.
    label_map : Mapping, optional
        Of both corpora; their own options go before it.
    manifest_folder : str
        Gets a folder for each corpus.
    options : PrepOptions
        Protocol and filters of both.
    readers_folder : str | Path
        Folder of the files ``<corpus>_prepare.py``.

    Raises
    ------
    UserError
        One name for two corpora, options that are no mapping, or whatever
        `prepare_corpus` finds.
    """
    options_of_source = check_mapping(source, "source_options", source_options)
    options_of_target = check_mapping(target, "target_options", target_options)
    roles = [
        (source, source_folder, options_of_source),
        (target, target_folder, options_of_target),
    ]
    if source == target and roles[0] != roles[1]:
        raise UserError(
            f"Source and target are both named {source}, but are "
            "read from other folders or with other options, and would have "
            "the same manifests. Give one another name, with its folder and "
            "the option reader: --source esd_en --source_folder <folder> "
            '--source_options "{reader: esd, language: en}".'
        )
    for corpus, folder, reader_options in roles:
        prepare_corpus(
            corpus,
            folder,
            f"{manifest_folder}/{corpus}",
            options,
            readers_folder,
            **{"label_map": label_map} | dict(reader_options),
        )
    _check_source(source, Path(manifest_folder, source, "prep_report.json"))


def _check_source(source: str, path: Path) -> None:
    """Refuse a source without rows to validate on, which a target may be."""
    if not path.is_file():  # a reader of the user's own may leave none
        return
    report = json.loads(path.read_text(encoding="utf-8"))
    if not report["splits"]["valid"]:
        raise UserError(
            f"All rows of {source} are of one speaker: as a source it needs "
            "others to validate on. Name the speakers in the column speaker, "
            "or choose another --source."
        )
