"""Manifests: a corpus's rows in JSON files, in SpeechBrain's form."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lam_sb.corpora.names import paths
from lam_sb.corpora.phones import PHONE_SETS
from lam_sb.errors import UserError
from lam_sb.files import whole_file

EMOTIONS = ("neutral", "happy", "angry", "sad")
SPLITS = ("train", "valid", "test")
UNKNOWN = "unknown"
# MSP-PODCAST_0001_0008_0002: the first two tokens name the podcast.
PODCAST = re.compile(r"[^_]*PODCAST[^_]*_[^_]+(?=_)", re.IGNORECASE)
FIELDS = {
    "wav": str,
    "audio_sha": str,
    "duration": (int, float),
    "emo": (str, type(None)),
    "speaker": str,
    "gender": str,
    "corpus": str,
    "language": str,
    "phones": list,
    "phone_set": str,
}


@dataclass
class Utterance:
    """One row of a corpus's label table.

    Arguments
    ---------
    id : str
        Unique within the corpus.
    path : str
        Audio file, relative to the corpus folder.
    emo : str, optional
        One of the four emotions, or None: no label or another emotion.
    speaker, gender, language : str
        ``unknown`` where they are.
    split : str, optional
        Official split: train, valid or test.
    alignment : str, optional
        TextGrid, relative to the corpus folder.
    """

    id: str
    path: str
    emo: str | None = None
    speaker: str = UNKNOWN
    gender: str = UNKNOWN
    language: str = UNKNOWN
    split: str | None = None
    alignment: str | None = None


def read_manifest(path: str | Path, data_root: str | Path) -> dict[str, dict]:
    """Read and check one manifest: rows by utterance id, in its order.

    Arguments
    ---------
    path : str | Path
        A JSON file.
    data_root : str | Path
        Replaces ``{data_root}`` in the paths.

    Raises
    ------
    UserError
        No such file, no rows, or a row without the fields of a manifest.
    """
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"The manifest {path} does not exist.") from None
    except ValueError as error:  # no JSON, or no UTF-8
        raise UserError(f"The manifest {path} is no JSON: {error}") from None
    if not rows or not isinstance(rows, dict):
        raise UserError(f"The manifest {path} holds no rows.")
    for utt_id, row in rows.items():
        problem = _problem(row)
        if problem:
            raise UserError(f"{path}, row {utt_id}: {problem}.")
        row["wav"] = row["wav"].replace("{data_root}", str(data_root))
    return rows


def _problem(row: object) -> str | None:
    """Say what keeps a row of a manifest from being used."""
    wrong = [
        name
        for name, kind in FIELDS.items()
        if not isinstance(row, dict)
        or name not in row
        or not isinstance(row[name], kind)
    ]
    if wrong:
        return f"{', '.join(wrong)} missing or of a wrong type"
    if row["emo"] not in (*EMOTIONS, None):
        return (
            f"emo is '{row['emo']}', not one of {', '.join(EMOTIONS)} or null"
        )
    if row["phone_set"] not in (PHONE_SETS if row["phones"] else ("",)):
        return (
            f"phone_set is '{row['phone_set']}', not one of "
            f"{', '.join(PHONE_SETS)}, or empty without phones"
        )
    return None


def write_manifest(path: Path, rows: Iterable[tuple[str, dict]]) -> None:
    """Write rows and their ids, one at a time: phones of all take gigabytes."""
    with (
        whole_file(path) as temporary,
        open(temporary, "w", encoding="utf-8") as file,
    ):
        file.write("{")
        for number, (utt_id, row) in enumerate(rows):
            text = json.dumps({utt_id: row}, ensure_ascii=False)
            file.write((",\n" if number else "\n") + text[1:-1])
        file.write("\n}\n")


def target_train_path(
    manifest_folder: str, target: str, protocol: str
) -> str | dict[str, str]:
    """Manifest of the unlabelled target rows that a run adapts on.

    Under ``transductive`` that is test.json, which holds all rows. Of several
    targets, the paths by corpus.

    Example
    -------
    >>> target_train_path("m", "emodb", "speakers")
    'm/emodb/train.json'
    >>> target_train_path("m", "emodb", "transductive")
    'm/emodb/test.json'
    """
    split = "test" if protocol == "transductive" else "train"
    return paths(manifest_folder, target, f"{split}.json")


def cluster_of(utt_id: str, speaker: str) -> str:
    """Cluster of an utterance for intervals and splits.

    That is its speaker; where that is unknown, the podcast that its id names;
    where it names none, each utterance is a recording of its own, so that an
    interval may be too narrow.

    Example
    -------
    >>> cluster_of("MSP-PODCAST_0001_0008", "30")
    '30'
    >>> cluster_of("MSP-PODCAST_0001_0008", "unknown")
    'MSP-PODCAST_0001'
    >>> cluster_of("s1_sad_3", "unknown")
    's1_sad_3'
    """
    if speaker != UNKNOWN:
        return speaker
    podcast = PODCAST.match(utt_id)
    return podcast[0] if podcast else utt_id


def speakers_known(speakers: Iterable[str]) -> str:
    """Say whether the speakers of some rows are known, partly or unknown.

    Example
    -------
    >>> speakers_known(["1", "2"]), speakers_known(["1", "unknown"])
    ('known', 'partly')
    """
    are_known = {speaker != UNKNOWN for speaker in speakers}
    if len(are_known) > 1:
        return "partly"
    return "known" if True in are_known else "unknown"
