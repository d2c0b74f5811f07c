"""What the readers of corpora share: tables, columns, emotions, files.

A ``data_prep/<corpus>_prepare.py`` holds the facts of its corpus and hands
them to `prepare_named` (labels in the file names) or to
`lam_sb.corpora.podcasts.prepare_podcast` (labels in a table).
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from lam_sb.corpora.manifests import (
    EMOTIONS,
    SPLITS,
    PrepOptions,
    Utterance,
    listing,
    write_corpus,
)
from lam_sb.errors import UserError

SYNONYMS = {
    "neutral": ("neutral", "neu", "neutrality"),
    "happy": ("happy", "hap", "happiness", "joy"),
    "angry": ("angry", "ang", "anger"),
    "sad": ("sad", "sadness"),
}
OTHERS = (
    *("anxiety", "boredom", "bored", "calm", "contempt", "disgust"),
    *("disgusted", "excited", "excitement", "fear", "fearful", "frustrated"),
    *("frustration", "other", "surprise", "surprised"),
)
KNOWN_EMOTIONS: dict[str, str | None] = {
    name: emo for emo, names in SYNONYMS.items() for name in names
} | dict.fromkeys(OTHERS)
SPLIT_NAMES = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "dev", "development"),
    "test": ("test", "test1", "testing"),
}
AUDIO_SUFFIXES = (".wav", ".flac")


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a label table: a CSV with a header, or a JSON by file name.

    Arguments
    ---------
    path : Path
        ``.json`` holds ``{"<file>": {column: value}}``; anything else is read
        as CSV. Both in UTF-8, with or without a byte order mark.

    Returns
    -------
    list[dict[str, str]]
        Stripped text by column, a row each; a JSON's file names stand in the
        column ``FileName``.

    Raises
    ------
    UserError
        No such file, no UTF-8, or no such JSON.

    Example
    -------
    >>> path = getfixture("tmp_path") / "labels.json"
    >>> _ = path.write_text('{"a.wav": {"EmoClass": "N", "SpkrID": 30}}')
    >>> read_table(path)
    [{'FileName': 'a.wav', 'EmoClass': 'N', 'SpkrID': '30'}]
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8: {error}; save it so.") from None
    if path.suffix.lower() == ".json":
        return _json_rows(text, path)
    reader = csv.DictReader(io.StringIO(text, newline=""))
    reader.fieldnames = [(c or "").strip() for c in reader.fieldnames or []]
    return [
        {k: (v or "").strip() for k, v in line.items() if k is not None}
        for line in reader
    ]


def _json_rows(text: str, path: Path) -> list[dict[str, str]]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}") from None
    if not isinstance(content, dict) or not all(
        isinstance(row, dict) for row in content.values()
    ):
        raise UserError(f"{path} does not hold {{file: {{column: value}}}}.")
    return [
        {"FileName": name}
        | {k: "" if v is None else str(v).strip() for k, v in row.items()}
        for name, row in content.items()
    ]


def find_column(
    table: Sequence[Mapping],
    what: str,
    variants: Sequence[str],
    columns: Mapping[str, str] | None = None,
) -> str | None:
    """Name of a column among its variants, in any case.

    Arguments
    ---------
    table : Sequence[Mapping]
        Rows by column.
    what : str
        What the column holds: file, emotion, speaker, ...
    variants : Sequence[str]
        Names, the first that is there is taken.
    columns : Mapping[str, str], optional
        The user's own names by what they hold; they go before the variants.

    Returns
    -------
    str | None
        The column as the table spells it, None if there is none.

    Raises
    ------
    UserError
        The user's column is not there.

    Example
    -------
    >>> find_column([{"Utt": "a", "EMO": "sad"}], "emotion", ["emotion", "emo"])
    'EMO'
    """
    found = columns_of(table)
    if columns and what in columns:
        if columns[what] not in found:
            raise missing_column(table, f"'{columns[what]}' ({what})")
        return columns[what]
    by_name = {name.lower(): name for name in reversed(found)}
    names = [v.lower() for v in variants if v.lower() in by_name]
    return by_name[names[0]] if names else None


def columns_of(table: Sequence[Mapping]) -> list[str]:
    """Columns of a table, in order.

    Arguments
    ---------
    table : Sequence[Mapping]
        Rows by column.

    Returns
    -------
    list[str]
        Their names; rows of a JSON may differ in theirs.
    """
    return list(dict.fromkeys(name for row in table for name in row))


def missing_column(table: Sequence[Mapping], what: str) -> UserError:
    """Error that shows the columns there are.

    Arguments
    ---------
    table : Sequence[Mapping]
        Rows by column.
    what : str
        The column that was looked for.

    Returns
    -------
    UserError
        To be raised.
    """
    found = ", ".join(c or "(unnamed)" for c in columns_of(table))
    return UserError(
        f"The label table has no column {what}; its columns: "
        f"{found or 'none'}. Name yours with the option columns, for example "
        "{columns: {emotion: EmoClass}}."
    )


def map_emotions(
    corpus: str,
    values: Iterable[str],
    known: Mapping[str, str | None],
    label_map: Mapping[str, str | None] | None,
) -> dict[str, str | None]:
    """Map a corpus's values to the four emotions, or say which are unknown.

    Arguments
    ---------
    corpus : str
        For messages.
    values : Iterable[str]
        One a row; an empty value is no label.
    known : Mapping[str, str | None]
        The four emotions, or None for another, by value in lower case.
    label_map : Mapping[str, str | None], optional
        The user's own, by value; goes before the known ones.

    Returns
    -------
    dict[str, str | None]
        One of the four emotions or None, by value.

    Raises
    ------
    UserError
        A value that nothing maps, or a label_map to something else.

    Example
    -------
    >>> values = ["Sadness", "W", "fear"]
    >>> map_emotions("toy", values, KNOWN_EMOTIONS, {"W": "angry"})
    {'Sadness': 'sad', 'W': 'angry', 'fear': None}
    """
    own = check_mapping(corpus, "label_map", label_map)
    own = {str(k): emo for k, emo in own.items()}  # YAML: {5: sad}
    wrong = [emo for emo in own.values() if emo not in (*EMOTIONS, None)]
    if wrong:
        raise UserError(
            f"label_map of {corpus} gives {sorted(set(map(str, wrong)))}; use "
            f"{', '.join(EMOTIONS)} or null."
        )
    known = {"": None, **known}
    counts = Counter(values)
    mapped = {
        v: own[v] if v in own else known[v.lower()]
        for v in counts
        if v in own or v.lower() in known
    }
    unknown = [(v, n) for v, n in counts.most_common() if v not in mapped]
    if unknown:
        listed = ", ".join(f"{v} ({n})" for v, n in unknown)
        raise UserError(
            f"{corpus}: unknown emotions in the labels: {listed}. Name them "
            f"in label_map, for example {{{unknown[0][0]}: null}} for no label."
        )
    return mapped


def count_unlabelled(
    values: Iterable[str], emotions: Mapping[str, str | None]
) -> dict[str, int]:
    """Count what is none of the four emotions.

    Arguments
    ---------
    values : Iterable[str]
        One a row.
    emotions : Mapping[str, str | None]
        As from `map_emotions`.

    Returns
    -------
    dict[str, int]
        Rows by value, sorted.

    Example
    -------
    >>> count_unlabelled(["X", "N", ""], {"X": None, "N": "neutral", "": None})
    {'(empty)': 1, 'X': 1}
    """
    counts = Counter(v or "(empty)" for v in values if emotions[v] is None)
    return dict(sorted(counts.items()))


def map_splits(
    corpus: str, values: Iterable[str], splits: Mapping | None
) -> dict[str, str | None]:
    """Map a corpus's names of splits to train, valid and test.

    Arguments
    ---------
    corpus : str
        For messages.
    values : Iterable[str]
        One a row.
    splits : Mapping, optional
        The corpus's name or list of names by train, valid and test; what it
        leaves out keeps the usual names. Case does not count.

    Returns
    -------
    dict[str, str | None]
        train, valid, test or None (not used), by value.

    Raises
    ------
    UserError
        Another key, or a split without rows.

    Example
    -------
    >>> map_splits("toy", ["Train", "Dev", "Test1", "Test2"], {"test": "Test2"})
    {'Train': 'train', 'Dev': 'valid', 'Test1': None, 'Test2': 'test'}
    """
    own = check_mapping(corpus, "splits", splits, SPLITS)
    listed = {
        split: [names] if isinstance(names, str) else list(names or ())
        for split, names in (SPLIT_NAMES | dict(own)).items()
    }
    # The user's own names go before the usual ones.
    order = sorted(listed, key=lambda split: split in own)
    by_name = {str(n).lower(): split for split in order for n in listed[split]}
    counts = Counter(values)
    mapped = {value: by_name.get(value.lower()) for value in counts}
    for split, names in listed.items():
        if names and split not in mapped.values():
            found = ", ".join(f"{v} ({n})" for v, n in counts.most_common())
            raise UserError(
                f"{corpus}: no row is in {', '.join(map(str, names))}, the "
                f"names of the split {split}; the table's splits: {found}. "
                "Set the option splits, for example {test: [Test1, Test2]}."
            )
    return mapped


def check_mapping(
    corpus: str,
    name: str,
    value: object,
    keys: Sequence[str] | None = None,
) -> Mapping:
    """Refuse an option that is no mapping, or has other keys.

    Arguments
    ---------
    corpus, name : str
        For the message.
    value : object
        The option; None is an empty mapping.
    keys : Sequence[str], optional
        Keys that it may have.

    Returns
    -------
    Mapping
        The option.

    Raises
    ------
    UserError
        Something else, or an unknown key.
    """
    value = {} if value is None else value
    if not isinstance(value, Mapping):
        raise UserError(f"{name} of {corpus} is '{value}'; use {{key: value}}.")
    unknown = [key for key in value if keys is not None and key not in keys]
    if unknown:
        raise UserError(
            f"{name} of {corpus} has no '{unknown[0]}'; it knows "
            f"{', '.join(keys or ())}."
        )
    return value


def files_in(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Path of every file in some folders and one level below them.

    Hidden files (``._x.wav`` of macOS) are left out. Rows come from the label
    table: this only says where each lies, in one pass, as asking for each
    variant of each path is slow on network drives.

    Arguments
    ---------
    folder : Path
        Corpus folder.
    names : Iterable[str]
        Folders within it, or anywhere; those that do not exist are passed by.

    Returns
    -------
    dict[str, str]
        Path, relative to the corpus folder, by file name; the first folder
        that has it.
    """
    found: dict[str, str] = {}
    for name in names:
        if (folder / name).is_dir():
            with os.scandir(folder / name) as entries:
                below = sorted(e.name for e in entries if e.is_dir())
            for place in (name, *(os.path.join(name, b) for b in below)):
                for file in os.listdir(folder / place):
                    path = os.path.join(place, file).removeprefix("./")
                    found.setdefault(file, path)
    return {n: p for n, p in found.items() if not n.startswith(".")}


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
    notes: Mapping[str, object] | None = None,
) -> None:
    """Map emotions and splits of what a reader found, and write it.

    Arguments
    ---------
    corpus, folder, save_folder, options, dropped, notes
        As in `lam_sb.corpora.manifests.write_corpus`.
    records : Iterable[Mapping[str, str]]
        Fields of `Utterance`, but ``emotion`` and ``split`` in the corpus's
        own words; rows of splits that are not used are dropped and counted.
    known, label_map : Mapping[str, str | None]
        As in `map_emotions`.
    splits : Mapping, optional
        As in `map_splits`.

    Raises
    ------
    UserError
        Whatever those three find.
    """
    records = [dict(record) for record in records]
    values = [record.pop("emotion") for record in records]
    emotions = map_emotions(corpus, values, known, label_map)
    named = [record["split"] for record in records if "split" in record]
    parts: dict = map_splits(corpus, named, splits) if named else {}
    utterances, kept, left = [], [], dict(dropped or {})
    for record, value in zip(records, values, strict=True):
        name = record.pop("split", None)
        if name is not None and parts[name] is None:
            left[record["id"]] = f"split {name or '(empty)'} not used"
            continue
        kept.append(value)
        utterances.append(
            Utterance(**record, emo=emotions[value], split=parts.get(name))
        )
    notes = {"unlabelled": count_unlabelled(kept, emotions), **(notes or {})}
    write_corpus(corpus, folder, save_folder, utterances, options, left, notes)


def prepare_named(
    corpus: str,
    folder: Path,
    save_folder: Path,
    options: PrepOptions,
    pattern: str,
    describe: Callable[[re.Match, str], Mapping[str, str] | str],
    **mapping: Mapping | None,
) -> None:
    """Write the manifests of a corpus whose file names are its labels.

    Arguments
    ---------
    corpus : str
        Name, written into every row.
    folder : Path
        Its audio, WAV or FLAC, lies anywhere in it.
    save_folder : Path
        Where the manifests go.
    options : PrepOptions
        Protocol and filters.
    pattern : str
        Regular expression of a whole file name without its suffix.
    describe : Callable
        From the match and the path, a record as in `write_records` without
        ``id`` and ``path``; or, as text, why the file is left out.
    **mapping : Mapping | None
        ``known``, ``label_map`` and ``splits`` of `write_records`.

    Raises
    ------
    UserError
        No such files, or whatever `write_records` finds.
    """
    records: dict[str, Mapping[str, str]] = {}
    dropped: dict[str, str] = {}
    for path in sorted(_audio_files(folder)):
        name = Path(path).stem
        match = re.fullmatch(pattern, name)
        row = describe(match, path) if match else "another kind of file name"
        if name in records:
            row = "same name as another file"  # a corpus that holds its copy
        if isinstance(row, str):
            dropped[path] = row
        else:
            records[name] = {"id": name, "path": path, **row}
    if not records:
        raise UserError(
            f"{corpus}: {folder} holds no audio of this corpus (its names "
            f"are {pattern}); found {len(dropped)} other audio files"
            f"{f', {next(iter(dropped))} the first' if dropped else ''}. "
            f"The folder holds: {listing(folder)}."
        )
    write_records(
        corpus,
        folder,
        save_folder,
        options,
        records.values(),
        dropped=dropped,
        **mapping,
    )


def _audio_files(folder: Path) -> Iterator[str]:
    """Paths relative to the folder; links are followed, hidden files not."""
    for place, _, names in os.walk(folder, followlinks=True):
        for name in names:
            if name.lower().endswith(AUDIO_SUFFIXES) and name[0] != ".":
                yield os.path.relpath(os.path.join(place, name), folder)
