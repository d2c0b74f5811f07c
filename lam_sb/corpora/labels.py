"""From a corpus's own words to the four emotions and the three splits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from lam_sb.corpora.manifests import EMOTIONS, SPLITS, UNKNOWN
from lam_sb.corpora.options import check_mapping
from lam_sb.errors import UserError

SYNONYMS = {
    "neutral": ("neutral", "neu", "neutrality"),
    "happy": ("happy", "hap", "happiness", "joy"),
    "angry": ("angry", "ang", "anger"),
    "sad": ("sad", "sadness"),
}
OTHERS = (
    *("afraid", "amused", "annoyed", "anxiety", "anxious", "ashamed"),
    *("boredom", "bored", "calm", "concerned"),
    *("confused", "contempt", "depressed", "disappointed", "disgust"),
    *("disgusted", "excited", "excitement", "fear", "fearful", "frustrated"),
    *("frustration", "guilty", "nervous", "other", "proud", "relieved"),
    *("scared", "surprise", "surprised", "worried"),
)
KNOWN_EMOTIONS: dict[str, str | None] = {
    name: emo for emo, names in SYNONYMS.items() for name in names
} | dict.fromkeys(OTHERS)
# What stands where a name is missing, without case, spaces and signs.
NO_NAMES = (
    *("", "unknown", "unk", "unkn", "nan", "nat", "na", "none", "null", "nil"),
    *("notavailable", "notapplicable", "notknown", "notspecified", "noname"),
    *("unspecified", "undefined", "unidentified", "missing", "empty", "blank"),
    *("anonymous", "anon", "unknownspeaker", "speakerunknown", "未知", "不明"),
)
NO_CODES = ("-1", "-1.0")  # of a missing name, where pandas made them numbers
SPLIT_NAMES = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "dev", "development"),
    "test": ("test", "test1", "testing"),
}


def is_no_name(value: str) -> bool:
    """Whether a cell says that nothing is known.

    Example
    -------
    >>> [is_no_name(value) for value in ("<NA>", "n.a.", "??", "Nan Li", "0")]
    [True, True, True, False, False]
    """
    return re.sub(r"[\s_.?<>()\[\]#/—-]", "", value).lower() in NO_NAMES


def known_name(value: str) -> str:
    """Name of a speaker, gender or language, ``unknown`` where it is none.

    Example
    -------
    >>> [known_name(value) for value in ("30", "Unknown", "nan", "-", "")]
    ['30', 'unknown', 'unknown', 'unknown', 'unknown']
    """
    return UNKNOWN if is_no_name(value) or value in NO_CODES else value


def map_emotions(
    corpus: str,
    values: Iterable[str],
    known: Mapping[str, str | None],
    label_map: Mapping[str, str | None] | None,
) -> dict[str, str | None]:
    """One of the four emotions, or None, by a corpus's own value.

    Arguments
    ---------
    corpus : str
        For messages.
    values : Iterable[str]
        One a row; an empty value is no label.
    known : Mapping[str, str | None]
        The four emotions, or None for another, by value in lower case.
    label_map : Mapping[str, str | None], optional
        The user's own, by value; goes before the known ones. Case does not
        count.

    Raises
    ------
    UserError
        A value that nothing maps, a label_map to something else, or one that
        names a value twice.

    Example
    -------
    >>> values = ["Sadness", "W", "fear"]
    >>> map_emotions("toy", values, KNOWN_EMOTIONS, {"W": "angry"})
    {'Sadness': 'sad', 'W': 'angry', 'fear': None}
    """
    label_map = check_mapping(corpus, "label_map", label_map)
    wrong = [emo for emo in label_map.values() if emo not in (*EMOTIONS, None)]
    if wrong:
        raise UserError(
            f"label_map of {corpus} gives {sorted(set(map(str, wrong)))}; use "
            f"{', '.join(EMOTIONS)} or null."
        )
    own: dict[str, str | None] = {}
    for value, emo in label_map.items():
        name = str(value).lower()  # YAML: {5: sad}
        if own.setdefault(name, emo) != emo:
            raise UserError(
                f"label_map of {corpus} gives {value} two emotions, as case "
                "does not count; leave one."
            )
    by_name = {"": None, **known, **own}
    counts = Counter(values)
    unknown = [
        (v, n) for v, n in counts.most_common() if v.lower() not in by_name
    ]
    if unknown:
        listed = ", ".join(f"{v} ({n})" for v, n in unknown)
        raise UserError(
            f"{corpus}: unknown emotions in the labels: {listed}. Name them "
            f"in label_map, for example {{{unknown[0][0]}: null}} for no label."
        )
    return {v: by_name[v.lower()] for v in counts}


def emotion_facts(
    values: Iterable[str],
    emotions: Mapping[str, str | None],
    label_map: Mapping[str, str | None] | None,
    names: Iterable[str] = (),
) -> dict[str, object]:
    """Count rows of none of the four emotions, and find what no row holds.

    Arguments
    ---------
    values : Iterable[str]
        A corpus's own value, one a row that is used.
    emotions : Mapping[str, str | None]
        From `map_emotions`, of all rows.
    label_map : Mapping[str, str | None], optional
        What the user gave.
    names : Iterable[str]
        Of emotions that the corpus has without a row of them.

    Returns
    -------
    dict[str, object]
        ``unlabelled``: rows by value; if label_map names what the corpus does
        not hold: this as ``label_map_unused``, and all that it does as
        ``emotion_names``.

    Example
    -------
    >>> emotions = {"X": None, "N": "neutral", "": None}
    >>> emotion_facts(["X", "N", ""], emotions, {"x": None})
    {'unlabelled': {'(empty)': 1, 'X': 1}}
    >>> emotion_facts(["N"], emotions, {"Y": "sad"})["label_map_unused"]
    ['Y']
    """
    counts = Counter(v or "(empty)" for v in values if emotions[v] is None)
    facts: dict[str, object] = {"unlabelled": dict(sorted(counts.items()))}
    held = sorted({*emotions, *names})
    lower = {name.lower() for name in held}
    unused = [v for v in map(str, label_map or ()) if v.lower() not in lower]
    if unused:
        facts |= {"label_map_unused": unused}
        facts["emotion_names"] = [name for name in held if name]
    return facts


def map_splits(
    corpus: str,
    values: Iterable[str],
    splits: Mapping | None,
    required: bool = True,
) -> dict[str, str | None]:
    """Give train, valid, test or None (not used) by a corpus's own value.

    Arguments
    ---------
    corpus : str
        For messages.
    values : Iterable[str]
        One a row.
    splits : Mapping, optional
        The corpus's name or list of names by train, valid and test; what it
        leaves out keeps the usual names. Case does not count.
    required : bool
        Whether each split needs rows.

    Raises
    ------
    UserError
        Another key, or a split without the rows it needs.

    Example
    -------
    >>> map_splits("toy", ["Train", "Dev", "Test1", "Test2"], {"test": "Test2"})
    {'Train': 'train', 'Dev': 'valid', 'Test1': None, 'Test2': 'test'}
    """
    splits = check_mapping(corpus, "splits", splits, SPLITS)
    names_of = {
        split: [names] if isinstance(names, str) else list(names or ())
        for split, names in (SPLIT_NAMES | dict(splits)).items()
    }
    # The user's names, entered last, go before the usual ones.
    order = sorted(names_of, key=lambda split: split in splits)
    by_name = {
        str(n).lower(): split for split in order for n in names_of[split]
    }
    counts = Counter(values)
    mapped = {value: by_name.get(value.lower()) for value in counts}
    for split, names in names_of.items():
        if required and names and split not in mapped.values():
            listed = ", ".join(f"{v} ({n})" for v, n in counts.most_common())
            raise UserError(
                f"{corpus}: no row is in {', '.join(map(str, names))}, the "
                f"names of the split {split}; the table's splits: {listed}. "
                "Set the option splits, for example {test: [Test1, Test2]}."
            )
    return mapped
