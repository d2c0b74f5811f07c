"""Prepare BIIC-Podcast (Taiwanese Mandarin, licensed).

It follows the MSP-Podcast protocol, but no public page shows its label table:
usual names of folders and columns are tried, others are set with the options
``columns``, ``label_file`` and ``alignment_dir``. Without an emotion column,
one column an emotion with counts or shares is read: the single largest, ties
stay unlabelled. Without a speaker column, a podcast stands for a speaker.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lam_sb.manifests import PrepOptions
from lam_sb.podcasts import prepare_podcast


def prepare(
    corpus: str,
    folder: Path,
    save_folder: Path,
    options: PrepOptions,
    label_map: Mapping[str, str | None] | None = None,
    splits: Mapping | None = None,
    columns: Mapping[str, str] | None = None,
    label_file: str | None = None,
    alignment_dir: str | None = None,
    require_known_speaker: bool = False,
    require_alignment: bool = False,
) -> None:
    """Write the manifests of BIIC-Podcast.

    Arguments
    ---------
    corpus, folder, save_folder, options
        As `lam_sb.manifests.prepare_corpus` gives them.
    label_map, splits, columns, label_file, alignment_dir
        As in `lam_sb.podcasts.prepare_podcast`.
    require_known_speaker, require_alignment : bool
        Drop rows without.

    Raises
    ------
    UserError
        Whatever `lam_sb.podcasts.prepare_podcast` finds.
    """
    prepare_podcast(
        corpus,
        folder,
        save_folder,
        options,
        language="zh",
        label_map=label_map,
        splits=splits,
        columns=columns,
        label_file=label_file,
        alignment_dir=alignment_dir,
        require_known_speaker=require_known_speaker,
        require_alignment=require_alignment,
    )
