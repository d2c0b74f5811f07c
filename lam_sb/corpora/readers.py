"""What the readers of corpora share.

A ``<corpus>_prepare.py`` holds the facts of its corpus and hands them to
`prepare_by_file_name` (labels in the file names), to
`lam_sb.corpora.podcasts.prepare_podcast` (labels in a table), or, where it does
everything itself, to `lam_sb.corpora.prepare.write_corpus`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from lam_sb.corpora.copies import choose_copies
from lam_sb.corpora.folders import audio_files, listing, unsupported_audio
from lam_sb.corpora.labels import (
    KNOWN_EMOTIONS,
    emotion_facts,
    map_emotions,
    map_splits,
)
from lam_sb.corpora.manifests import Utterance
from lam_sb.corpora.options import PrepOptions
from lam_sb.corpora.prepare import write_corpus
from lam_sb.errors import UserError


def write_records(
    corpus: str,
    folder: Path,
    save_folder: Path,
    options: PrepOptions,
    records: Iterable[Mapping[str, str]],
    known: Mapping[str, str | None] = KNOWN_EMOTIONS,
    label_map: Mapping[str, str | None] | None = None,
    splits: Mapping | None = None,
    dropped: Mapping[str, str] | None = None,
    facts: Mapping[str, object] | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Map emotions and splits of what a reader listed, and write it.

    Arguments
    ---------
    corpus, folder, save_folder, options, dropped, facts, notes
        As in `lam_sb.corpora.prepare.write_corpus`.
    records : Iterable[Mapping[str, str]]
        Fields of `Utterance`, but ``emotion`` and ``split`` in the corpus's
        own words; rows of splits that are not used are dropped and counted.
    known, label_map : Mapping[str, str | None]
        As in `lam_sb.corpora.labels.map_emotions`.
    splits : Mapping, optional
        As in `lam_sb.corpora.labels.map_splits`.

    Raises
    ------
    UserError
        Whatever those three find.
    """
    records = [dict(record) for record in records]
    values = [record.pop("emotion") for record in records]
    emotions = map_emotions(corpus, values, known, label_map)
    split_values = [r["split"] for r in records if "split" in r]
    split_of: dict[str, str | None] = {}
    if split_values:
        required = not options.makes_splits
        split_of = map_splits(corpus, split_values, splits, required)
    utterances, kept_values, dropped = [], [], dict(dropped or {})
    for record, value in zip(records, values, strict=True):
        name = record.pop("split", None)
        split = split_of.get(name)
        if name is not None and split is None:
            dropped[record["id"]] = f"split {name or '(empty)'} not used"
            continue
        kept_values.append(value)
        utterances.append(Utterance(**record, emo=emotions[value], split=split))
    facts = dict(facts or {})
    votes = facts.get("votes", ())
    facts = emotion_facts(kept_values, emotions, label_map, votes) | facts
    given = (utterances, options, dropped, facts, notes)
    write_corpus(corpus, folder, save_folder, *given)


def prepare_by_file_name(
    corpus: str,
    folder: Path,
    save_folder: Path,
    options: PrepOptions,
    pattern: str,
    describe: Callable[[re.Match, str], Mapping[str, str] | str],
    label_map: Mapping[str, str | None] | None = None,
    known: Mapping[str, str | None] = KNOWN_EMOTIONS,
    splits: Mapping | None = None,
) -> None:
    """Write the manifests of a corpus whose file names are its labels.

    Arguments
    ---------
    corpus, save_folder, options, label_map, known, splits
        As in `write_records`.
    folder : Path
        The corpus's audio, WAV or FLAC, lies anywhere in it.
    pattern : str
        Regular expression of a whole file name without its suffix.
    describe : Callable
        From the match and the path, a record as in `write_records` without
        ``id`` and ``path``; or, as text, why the file is left out.

    Raises
    ------
    UserError
        No such files, different recordings under one name, or whatever
        `write_records` finds.
    """
    described: dict[str, Mapping[str, str]] = {}
    dropped: dict[str, str] = {}
    places: dict[str, list[str]] = defaultdict(list)
    for path in sorted(audio_files(folder)):
        match = re.fullmatch(pattern, Path(path).stem)
        row = describe(match, path) if match else "another kind of file name"
        if isinstance(row, str):
            dropped[path] = row
        else:
            places[Path(path).stem].append(path)
            described[path] = row
    if not described:
        raise UserError(
            f"{corpus}: {folder} holds no audio of this corpus (its names "
            f"are {pattern}); found {len(dropped)} other audio files"
            f"{f', {next(iter(dropped))} the first' if dropped else ''}. "
            f"The folder holds: {listing(folder)}.{unsupported_audio(folder)}"
        )
    chosen = choose_copies(corpus, folder, save_folder, places)
    dropped |= {
        path: "copy of a file of the same name"
        for name, paths in places.items()
        for path in paths
        if path != chosen[name]
    }
    rows = [
        {"id": name, "path": path, **described[path]}
        for name, path in chosen.items()
    ]
    mapping = {"known": known, "label_map": label_map, "splits": splits}
    write_records(
        corpus, folder, save_folder, options, rows, dropped=dropped, **mapping
    )
