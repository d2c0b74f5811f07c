"""Prepare MSP-Podcast (English, licensed), releases 1.3 to 2.0.

``Audios``, ``Labels/labels_consensus.csv`` and ``ForceAligned`` as published,
or their usual variants. Kept emotions: N, H, A and S; other emotions (excited
too) and X, no agreement, stay unlabelled. Splits: Train, Development (older:
Validation) and Test1; Test2 is not used unless the option ``splits`` says so.

Authors
 * The lam_sb authors 2026
"""

from __future__ import annotations

from functools import partial

from lam_sb.corpora.podcasts import prepare_podcast

prepare = partial(prepare_podcast, language="en")
