"""The data that a result rests on: rows, by what they are for, and features."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping

from lam_sb.errors import UserError
from lam_sb.features.plan import audio_identity, classified_phones

# What of a row decides a result, in the words of messages.
FIELDS: dict[str, Callable[[Mapping], object]] = {
    "audio": audio_identity,
    "speakers": lambda row: row["speaker"],
    "labels": lambda row: row["emo"],
    "phones": classified_phones,
}


def describe_data(
    hparams: Mapping, rows: Mapping[str, Mapping], store_name: str
) -> dict[str, object]:
    """Say by hashes what a run's result rests on, and nothing else.

    Paths are in none: a corpus may move. A label counts where it is read: of
    the target's training rows under ``bound: oracle`` alone, of the rows that
    shots are drawn from. Phones count where a segment is made of them.

    Arguments
    ---------
    hparams : Mapping
        Values of the run.
    rows : Mapping[str, Mapping]
        Manifest rows by part and corpus, as from `lam_sb.inputs.read_rows`.
    store_name : str
        Name of the feature store, whose hash covers encoder and extraction.

    Returns
    -------
    dict[str, object]
        ``store``, and by part the number of its ``rows`` and a hash of their
        ids and of each of `FIELDS` that counts; of several corpora, each its
        own. YAML and JSON can hold it.
    """
    parts = {key: rows[key] for key in ("source_train", "source_valid")}
    parts |= {key: rows[key] for key in ("target_train", "target_test")}
    if hparams["select_on"] == "target":
        parts["target_valid"] = rows["valid"]
    if "shots" in rows:
        parts["shots"] = {
            corpus: _without(train, rows["target_test"][corpus])
            for corpus, train in rows["target_train"].items()
        }
    data: dict[str, object] = {"store": store_name}
    for part, content in parts.items():
        left_out = set()
        if part == "target_train" and hparams["bound"] != "oracle":
            left_out.add("labels")
        if hparams["segment"] == "utterance" or "train" not in part:
            left_out.add("phones")
        data |= describe_part(part, content, FIELDS.keys() - left_out)
    return data


def _without(rows: Mapping[str, dict], others: Mapping) -> dict[str, dict]:
    return {i: row for i, row in rows.items() if i not in others}


def describe_part(
    part: str, rows: Mapping[str, Mapping], fields: set[str]
) -> dict[str, object]:
    """Give `describe_rows` of each corpus of a part.

    Example
    -------
    >>> rows = {"savee": {}, "emovo": {}}
    >>> list(describe_part("source_train", rows, set()))
    ['source_train of savee', 'source_train of emovo']
    """
    return {
        part if len(rows) == 1 else f"{part} of {corpus}": describe_rows(
            own, fields
        )
        for corpus, own in rows.items()
    }


def describe_rows(
    rows: Mapping[str, Mapping], fields: set[str]
) -> dict[str, object]:
    """Give the number of rows, and hashes of ids and of some of `FIELDS`."""
    hashes = {
        name: _hash([FIELDS[name](row) for row in rows.values()])
        for name in sorted(fields)
    }
    return {"rows": len(rows), "ids": _hash(list(rows)), **hashes}


def _hash(content: object) -> str:
    text = json.dumps(content, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differing_data(there: Mapping | None, now: Mapping | None) -> list[str]:
    """Say in what data differ, in words.

    Example
    -------
    >>> one = describe_rows({"a": {"emo": "sad"}}, {"labels"})
    >>> two = describe_rows({"a": {"emo": "happy"}}, {"labels"})
    >>> differing_data({"source_train": one}, {"source_train": two})
    ['the labels of source_train']
    """
    there, now = there or {}, now or {}
    texts = []
    for part in sorted(there.keys() | now.keys()):
        old, new = there.get(part), now.get(part)
        if old == new:
            continue
        if not isinstance(old, Mapping) or not isinstance(new, Mapping):
            name = "the feature store" if part == "store" else part
            old, new = (
                f"{x['rows']} rows" if isinstance(x, Mapping) else x or "none"
                for x in (old, new)
            )
            texts.append(f"{name} ({old} there, {new} now)")
        elif old["ids"] != new["ids"]:
            counts = f"{old['rows']} there, {new['rows']} now"
            if old["rows"] == new["rows"]:
                counts = f"{new['rows']}, but not the same"
            texts.append(f"the rows of {part} ({counts})")
        else:
            fields = sorted(
                field
                for field in old.keys() | new.keys()
                if old.get(field) != new.get(field)
            )
            texts.append(f"the {' and '.join(fields)} of {part}")
    return texts


def check_not_tested(rows: Mapping[str, Mapping]) -> None:
    """Refuse labelled source rows whose very audio is tested.

    Rows are compared by their files and, where manifests have ``signal_sha``,
    by their samples, which are the same in any lossless format.

    Raises
    ------
    UserError
        A target is a source under another name, or part of one.
    """
    for target, test in rows["target_test"].items():
        for source in rows["source_train"]:
            trained = {
                sha
                for part in ("source_train", "source_valid")
                for row in rows[part][source].values()
                for sha in _audio(row)
            }
            count = sum(bool(_audio(row) & trained) for row in test.values())
            if count:
                raise UserError(
                    f"{count} of the {len(test)} test rows of {target} are "
                    f"labelled rows of the source {source} too, by their "
                    "audio: give two corpora that share none, or, to train "
                    "within the target, --bound within with protocol: speakers."
                )


def _audio(row: Mapping) -> set[str]:
    """Hashes of a row's file and, where they are known, of its samples."""
    return {row["audio_sha"], row.get("signal_sha", row["audio_sha"])}
