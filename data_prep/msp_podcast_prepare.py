"""Prepare MSP-Podcast (English, licensed), releases 1.3 to 2.0.

``Audios``, ``Labels/labels_consensus.csv`` and ``ForceAligned`` as published,
or their usual variants. Kept emotions: N, H, A and S; other emotions (excited
too) and X, no agreement, stay unlabelled. Splits: Train, Development (older:
Validation) and Test1; Test2 is not used unless the option ``splits`` says so.
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
    """Write the manifests of MSP-Podcast.

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
        language="en",
        label_map=label_map,
        splits=splits,
        columns=columns,
        label_file=label_file,
        alignment_dir=alignment_dir,
        require_known_speaker=require_known_speaker,
        require_alignment=require_alignment,
    )
