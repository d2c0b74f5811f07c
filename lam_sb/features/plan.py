"""Which rows are encoded in which batch, and lie in which shard."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from lam_sb.corpora.phones import phone_spans
from lam_sb.features.audio import RESAMPLING_REVISION, SAMPLE_RATE
from lam_sb.files import NO_MAPPING, DamagedError, read_checked

ROWS_PER_SHARD = 256
FEWEST_SHARDS = 32  # where there are batches enough: processes share them
Row = tuple[str, Mapping]  # utterance id and row of a manifest


def row_key(utt_id: str, row: Mapping, phone_revision: int = 0) -> str:
    """Identity of a row's features: its id, audio content and phones.

    A row that is resampled has another key when that is done otherwise. The
    phones are those of the segments, vowels and consonants with their
    times: another phone set is another key, and so is another
    ``phone_revision`` of the encoder where there are phones. Labels and paths
    are in no key: relabelling or moving a corpus costs nothing.
    """
    content = [utt_id, audio_identity(row), classified_phones(row)]
    if content[-1] and phone_revision:
        content.append(phone_revision)
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def audio_identity(row: Mapping) -> str:
    """Content of a row's audio, and how that is brought to 16 kHz if need be.

    A row that does not say its ``sample_rate`` counts as one of 16 kHz.
    """
    if row.get("sample_rate", SAMPLE_RATE) == SAMPLE_RATE:
        return row["audio_sha"]
    return f"{row['audio_sha']}-{RESAMPLING_REVISION}"


def classified_phones(row: Mapping) -> list[list]:
    """Vowels and consonants of a row, ``[class, start, end]`` in seconds."""
    return phone_spans(row["phones"], row["phone_set"])


def keys_of(shard: Mapping) -> list[str]:
    """Keys of the rows of a planned shard, in the order of their features."""
    return [key for batch in shard["batches"] for key in batch]


def plan_shards(
    by_key: Mapping[str, Row],
    seconds_encoded: Callable[[float], float],
    batch_seconds: float,
) -> list[dict]:
    """Plan shards of rows without phones, and of rows with phones.

    A shard has the same segments for all its rows: features of a corpus
    without phones take no room for them. Each is its ``batches``, lists of
    row keys, and a ``name`` that is their hash. A batch, padded to its longest
    row, has at most ``batch_seconds`` for the encoder, but at least one row. A
    shard of few rows ends after a 32nd of the work, others after 256 rows.
    """
    seconds: tuple[dict, dict] = ({}, {})
    for key, (_, row) in by_key.items():
        part = seconds[bool(classified_phones(row))]
        part[key] = row["duration"]
    shards: list[list[list[str]]] = []
    for part in seconds:
        batches = _batches(part, seconds_encoded, batch_seconds)
        work = [len(b) * seconds_encoded(part[b[-1]]) for b in batches]
        most, rows, done = sum(work) / FEWEST_SHARDS, math.inf, 0.0
        for batch, seconds_of_batch in zip(batches, work, strict=True):
            if rows >= ROWS_PER_SHARD or done >= most:
                shards.append([])
                rows, done = 0, 0.0
            shards[-1].append(batch)
            rows += len(batch)
            done += seconds_of_batch
    return [named_shard(batches) for batches in shards]


def _batches(
    durations: Mapping[str, float],
    seconds_encoded: Callable[[float], float],
    batch_seconds: float,
) -> list[list[str]]:
    """Batches of rows of similar length."""
    batches: list[list[str]] = []
    for key in sorted(durations, key=lambda k: (durations[k], k)):
        longest = seconds_encoded(durations[key])  # so far, since sorted
        if not batches or longest * (len(batches[-1]) + 1) > batch_seconds:
            batches.append([])
        batches[-1].append(key)
    return batches


def read_plan(path: Path) -> list[dict]:
    """Read the shards of a plan.json; none where there is no such file.

    Arguments
    ---------
    path : Path
        The plan.

    Returns
    -------
    list[dict]
        As from `plan_shards`.

    Raises
    ------
    DamagedError
        It is not as it was written.
    """
    try:
        shards = read_checked(path)["shards"]
        sound = all(shard == named_shard(shard["batches"]) for shard in shards)
    except FileNotFoundError:
        return []
    except (LookupError, *NO_MAPPING) as error:
        raise DamagedError(f"{path} is damaged ({error})") from None
    if not sound:
        raise DamagedError(f"{path} names shards that are none")
    return shards


def named_shard(batches: list[list[str]]) -> dict:
    """Give a shard of these batches of row keys, named by their hash."""
    name = hashlib.sha256(json.dumps(batches).encode()).hexdigest()[:16]
    return {"name": name, "batches": batches}
