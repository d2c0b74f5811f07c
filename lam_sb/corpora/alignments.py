"""What the TextGrids of a corpus hold, and of which set their phones are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from lam_sb.corpora.file_cache import Stamps, read_files
from lam_sb.corpora.manifests import Utterance
from lam_sb.corpora.options import PrepOptions
from lam_sb.corpora.phones import ESPEAK, detect_phone_set, phone_class
from lam_sb.corpora.prep_report import LONGER, PrepReport
from lam_sb.corpora.textgrids import check_alignment
from lam_sb.errors import UserError

# Where phones may end, in parts of the audio and, besides, in seconds.
BEYOND, SLACK = 1.05, 1.0
Alignments = Mapping[str | None, Mapping]


def read_alignments(
    report: PrepReport,
    folder: Path,
    save_folder: Path,
    stamps: Stamps,
    options: PrepOptions,
    audio: Mapping[str, Mapping],
) -> Alignments:
    """Read what each TextGrid holds; drop rows without phones, if asked.

    Phones that end behind the ``audio``, which has a duration by path, are
    none: of another file, or in milliseconds.
    """
    paths = sorted({u.alignment for u in report.kept if u.alignment})
    alignments: dict[str | None, dict] = read_files(
        folder,
        {path: stamps[path] for path in paths},
        check_alignment,
        save_folder / "alignment_cache.json",
        "alignment",
        prefer="processes",  # parsing holds Python's lock
    )
    alignments[None] = {"problem": "missing alignment"}
    for u in report.kept:
        phones = phones_of(alignments, u)
        most = BEYOND * audio[u.path]["duration"] + SLACK
        if phones and phones[-1][2] > most:
            alignments[u.alignment] = {"problem": LONGER}
    counts = Counter(
        alignments[u.alignment].get("problem", "with phones")
        for u in report.kept
    )
    report.alignments = dict(sorted(counts.items()))
    if options.require_alignment:
        report.drop(
            "alignment", lambda u: alignments[u.alignment].get("problem")
        )
    return alignments


def phones_of(alignments: Alignments, utterance: Utterance) -> list[list]:
    """Phones of an utterance, ``[label, start, end]`` in seconds."""
    return json.loads(alignments[utterance.alignment].get("phones", "[]"))


def find_phone_set(
    report: PrepReport, alignments: Alignments, options: PrepOptions
) -> str:
    """Set of the kept rows' phones; empty where no row has any of one set."""
    counts: Counter[str] = Counter()
    rows = approximate = 0
    for u in report.kept:
        labels = [label for label, _, _ in phones_of(alignments, u)]
        counts.update(labels)
        rows += bool(labels)
        approximate += "approximate" in alignments[u.alignment]
    phone_set = options.phone_set if counts else ""
    report.phones = {"phone_set": phone_set, "rows": rows, "foreign": {}}
    if approximate:
        report.phones["approximate"] = approximate
    try:
        if approximate:
            phone_set = _set_of_espeak(counts, phone_set, rows, approximate)
        elif phone_set == "auto":
            phone_set = detect_phone_set(counts)
    except UserError as error:
        if options.require_alignment:
            raise UserError(f"{report.corpus}: {error}") from None
        problem = f"The alignments of {report.corpus} are not used: {error}"
        report.phones |= {"phone_set": "", "problem": problem}
        return ""
    foreign = {
        label: count
        for label, count in sorted(counts.items())
        if not phone_class(label, phone_set)
    }
    report.phones |= {"phone_set": phone_set, "foreign": foreign}
    return phone_set


def _set_of_espeak(
    labels: Iterable[str], named: str, rows: int, approximate: int
) -> str:
    """Set of the phones where the command align made TextGrids."""
    if approximate < rows:
        raise UserError(
            f"{approximate} of {rows} TextGrids were made by the command "
            "align, and phones of two kinds do not go together. Move those of "
            "one kind away."
        )
    if named not in ("auto", ESPEAK):
        raise UserError(
            f"the phones are of the set {ESPEAK}, as the command align writes "
            f"them, not of phone_set: {named}. Leave that option out."
        )
    unknown = [p for p in sorted(labels) if not phone_class(p, ESPEAK)]
    if unknown and named == "auto":
        raise UserError(
            f"the phone set {ESPEAK} does not have: {', '.join(unknown)}. "
            f"Name it, phone_set: {ESPEAK}, to use the others."
        )
    return ESPEAK
