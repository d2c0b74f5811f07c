"""Prepare BIIC-Podcast (Taiwanese Mandarin, licensed).

It follows the MSP-Podcast protocol, but no public page shows its label table:
usual names of folders and columns are tried, others are set with the options
``columns``, ``label_file`` and ``alignment_dir``. Without an emotion column,
one column an emotion with counts or shares is read: the single largest, ties
stay unlabelled (`lam_sb.corpora.votes` tells votes from other numbers).
Without a speaker column, rows count by podcast.

Authors
 * The lam_sb authors 2026
"""

from __future__ import annotations

from functools import partial

from lam_sb.corpora.podcasts import prepare_podcast

prepare = partial(prepare_podcast, language="zh")
