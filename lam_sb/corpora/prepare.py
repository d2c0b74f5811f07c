"""From a corpus's folder to its manifests.

A reader lists a corpus as `Utterance`s. `write_corpus` checks their audio,
drops and counts what cannot be used, splits by speaker where the corpus has no
official splits, and writes ``train.json``, ``valid.json``, ``test.json`` and
``prep_report.json``, unless they are there and nothing has changed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from lam_sb.corpora.alignments import (
    find_phone_set,
    phones_of,
    read_alignments,
)
from lam_sb.corpora.audio import CANCELLING, UNSUPPORTED, check_audio
from lam_sb.corpora.file_cache import file_stamps, read_files
from lam_sb.corpora.folders import how_to_convert, listing
from lam_sb.corpora.manifests import SPLITS, Utterance, write_manifest
from lam_sb.corpora.options import PrepOptions
from lam_sb.corpora.prep_report import PrepReport
from lam_sb.corpora.splits import has_official_splits, split_utterances
from lam_sb.errors import UserError
from lam_sb.files import (
    DamagedError,
    file_stamp,
    read_checked,
    write_checked,
    write_json,
)
from lam_sb.values import is_writable

MISSING_AUDIO_LIMIT = 0.05
# Raised by hand when the same files give other manifests: those that are there
# are then written anew.
FORMAT = 3


def prepare_corpus(
    corpus: str,
    data_folder: str | Path,
    save_folder: str | Path,
    options: PrepOptions,
    readers_folder: str | Path,
    reader: str | None = None,
    **corpus_options,
) -> None:
    """Prepare a corpus by its name; its own reader decides how.

    The same files and options give the same manifests; audio that was seen
    before is not read again.

    Arguments
    ---------
    corpus : str
        Name, free for a folder with a labels.csv.
    data_folder, save_folder : str | Path
        The corpus's folder, and where the manifests go.
    options : PrepOptions
        Protocol and filters.
    readers_folder : str | Path
        Holds the readers: ``csv_prepare.py`` for a folder with a labels.csv,
        ``<corpus>_prepare.py`` for any other.
    reader : str, optional
        Name to take instead of the corpus's own, or of the table's reader.
    **corpus_options
        What the reader understands besides.

    Raises
    ------
    UserError
        No such folder, no reader for it, an option that the reader does not
        know, or whatever the reader finds.
    """
    folder = Path(data_folder)
    if not folder.is_dir():
        near = folder.parent
        found = f"nor does {near}"
        if near.is_dir():
            found = f"{near.resolve()} holds: {listing(near)}"
        raise UserError(
            f"The corpus folder {folder} of {corpus} does not exist; {found}. "
            "Set --data_folder to the folder that holds your corpora, or "
            "--source_folder and --target_folder to those of the corpora."
        )
    has_table = (folder / "labels.csv").is_file()
    name = reader or ("csv" if has_table else corpus)
    path = Path(readers_folder) / f"{name}_prepare.py"
    prepare = _load_reader(path)
    if prepare is None and reader:
        raise UserError(
            f"{corpus}: there is no reader '{reader}' ({path}); its option "
            "reader names one of those in data_prep/."
        )
    if prepare is None:
        held = "a labels.csv" if has_table else "no labels.csv"
        raise UserError(
            f"Nothing reads the corpus {corpus}: {folder} holds {held} "
            f"(found: {listing(folder)}), and there is no {path} that reads it."
        )
    _check_options(corpus, path, prepare, corpus_options)
    prepare(corpus, folder, Path(save_folder), options, **corpus_options)


def _load_reader(path: Path) -> Callable | None:
    """Its function ``prepare``, from any working folder."""
    if not path.is_file():
        return None
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return getattr(module, "prepare", None)


def _check_options(
    corpus: str, path: Path, prepare: Callable, options: Mapping
) -> None:
    parameters = inspect.signature(prepare).parameters
    kinds = {p.kind for p in parameters.values()}
    known = [*list(parameters)[4:], "reader"]
    unknown = sorted(set(options) - set(known))
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        raise UserError(
            f"{corpus}: its reader ({path.name}) has no option '{unknown[0]}'; "
            f"it knows {', '.join(known)}."
        )


def write_corpus(
    corpus: str,
    folder: Path,
    save_folder: Path,
    utterances: Iterable[Utterance],
    options: PrepOptions,
    dropped: Mapping[str, str] | None = None,
    facts: Mapping[str, object] | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Check, split and write what a reader listed.

    Arguments
    ---------
    corpus : str
        Name, written into every row.
    folder, save_folder : Path
        The corpus's folder, and where the manifests go.
    utterances : Iterable[Utterance]
        Rows of the label table, those without one of the four emotions too.
    options : PrepOptions
        Protocol and filters.
    dropped : Mapping[str, str], optional
        Reason by id for what the reader itself left out.
    facts : Mapping[str, object], optional
        What the reader found, for prep_report.json.
    notes : Sequence[str]
        Sentences of the reader that are to be said beside the result.

    Raises
    ------
    UserError
        Two rows of one id, too much audio missing, filters that leave no row,
        required phones of no one set, or an empty split.
    """
    utterances, facts = list(utterances), dict(facts or {})
    dropped = dict(dropped or {})
    _check_texts(corpus, utterances)
    save_folder.mkdir(parents=True, exist_ok=True)
    files = [f for u in utterances for f in (u.path, u.alignment) if f]
    stamps = file_stamps(folder, files)
    given = (corpus, options, dropped, facts, [*notes], utterances, stamps)
    fingerprint = _fingerprint(os.path.realpath(folder), *given)
    if _is_done(save_folder, fingerprint):
        return
    audio = read_files(
        folder,
        {path: stamps[path] for path in sorted({u.path for u in utterances})},
        check_audio,
        save_folder / "audio_cache.json",
        "audio",
        prefer="threads",
    )
    if not utterances:
        raise UserError(
            f"{corpus}: its label table lists no utterance. Is {folder} "
            f"complete? It holds: {listing(folder)}."
        )
    report = PrepReport(corpus, utterances, dropped)
    _drop_unusable(report, folder, audio, options)
    places = folder, save_folder, stamps
    alignments = read_alignments(report, *places, options, audio)
    phone_set = find_phone_set(report, alignments, options)
    splits = split_utterances(report.kept, options)
    _check_splits(report, splits, options)
    for split in SPLITS:
        rows = (
            (u.id, _row(u, corpus, audio, alignments, phone_set))
            for u in sorted(splits[split], key=lambda u: u.id)
        )
        write_manifest(save_folder / f"{split}.json", rows)
    content = report.content(splits, options, facts, notes)
    write_json(save_folder / "prep_report.json", content)
    done = {"inputs": fingerprint, "outputs": _outputs(save_folder)}
    write_checked(save_folder / "prep_stamp.json", done)


def _fingerprint(*given: object) -> str:
    text = repr((FORMAT, *given))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_texts(corpus: str, utterances: Sequence[Utterance]) -> None:
    """Refuse two rows of one id, and braces, which SpeechBrain replaces."""
    counts = Counter(u.id for u in utterances)
    twice = [i for i, n in counts.items() if n > 1]
    if twice:
        raise UserError(
            f"{corpus}: {len(twice)} ids have two rows, {twice[0]} the first; "
            "leave one of each in the label table, or give it another id."
        )
    for u in utterances:
        for text in (u.path, u.id, u.speaker, u.gender, u.language):
            if set("{}") & set(text) or not is_writable(text):
                raise UserError(
                    f"{corpus}: {text!r} has braces or control characters, "
                    "which manifests cannot hold."
                )


def _is_done(save_folder: Path, fingerprint: str) -> bool:
    """Whether what is there was made of the same, and nobody changed it."""
    try:
        done = read_checked(save_folder / "prep_stamp.json")
    except (FileNotFoundError, DamagedError):
        return False
    return done == {"inputs": fingerprint, "outputs": _outputs(save_folder)}


def _outputs(save_folder: Path) -> list[dict[str, int] | None]:
    names = (*SPLITS, "prep_report")
    return [file_stamp(save_folder / f"{name}.json") for name in names]


def _drop_unusable(
    report: PrepReport, folder: Path, audio: Mapping, options: PrepOptions
) -> None:
    listed = len(report.kept)
    lost = report.drop("audio", lambda u: audio[u.path].get("problem"))
    if sum(lost.values()) > MISSING_AUDIO_LIMIT * listed:
        reasons = ", ".join(f"{n} {r}" for r, n in sorted(lost.items()))
        first = next((i for i, r in report.skipped.items() if r in lost), "-")
        raise UserError(
            f"{report.corpus}: of {listed} rows in the label table, "
            f"{reasons} (more than "
            f"{MISSING_AUDIO_LIMIT:.0%}; the first: {first}). "
            + _how_to_mend(folder, audio)
        )
    report.silent_ends = sum(_ends_silent(audio[u.path]) for u in report.kept)
    durations = [audio[u.path]["duration"] for u in report.kept]
    report.drop(
        "duration", lambda u: _out_of_range(audio[u.path]["duration"], options)
    )
    if not report.kept:
        raise UserError(
            f"{report.corpus}: none of its {len(durations)} utterances, of "
            f"{min(durations):g} to {max(durations):g} seconds, lies within "
            f"min_duration: {options.min_duration} and max_duration: "
            f"{options.max_duration}; set --min_duration or --max_duration so "
            "that some do."
        )
    first_with: dict[str, str] = {}
    for u in report.kept:
        first_with.setdefault(audio[u.path]["signal_sha"], u.id)
    first_ids = set(first_with.values())
    report.drop(
        "duplicates",
        lambda u: None if u.id in first_ids else "same audio as an earlier row",
    )
    if has_official_splits(report.kept, options):
        report.drop(
            "official splits",
            lambda u: None if u.split else "in no official split",
        )


def _how_to_mend(folder: Path, audio: Mapping) -> str:
    by_problem = {a.get("problem"): p for p, a in reversed(audio.items())}
    if UNSUPPORTED in by_problem:
        return how_to_convert(folder / by_problem[UNSUPPORTED])
    if CANCELLING in by_problem:
        return (
            "Take one channel of such files, for example: ffmpeg -i IN.wav "
            '-af "pan=mono|c0=c0" OUT.wav.'
        )
    return f"Is {folder} complete? It holds: {listing(folder)}."


def _ends_silent(facts: Mapping) -> bool:
    return facts["silent_end"] >= max(1.0, facts["duration"] / 4)


def _out_of_range(seconds: float, options: PrepOptions) -> str | None:
    if seconds < options.min_duration:
        return "shorter than min_duration"
    if options.max_duration and seconds > options.max_duration:
        return "longer than max_duration"
    return None


def _check_splits(
    report: PrepReport, splits: Mapping[str, Sequence], options: PrepOptions
) -> None:
    """Refuse an empty split; a transductive target validates on nothing."""
    transductive = options.protocol == "transductive"
    needed = [s for s in SPLITS if s != "valid" or not transductive]
    empty = [split for split in needed if not splits[split]]
    if empty:
        gone = [s["step"] for s in report.steps if empty[0] not in s["kept"]]
        why = "check the split column, or the protocol"
        if has_official_splits(report.kept, options) and len(gone) < len(
            report.steps
        ):
            why = f"its last rows were dropped by {gone[0]}, see the filters"
        raise UserError(
            f"{report.corpus}: the split {empty[0]} is empty; {why}."
        )


def _row(
    u: Utterance,
    corpus: str,
    audio: Mapping,
    alignments: Mapping,
    phone_set: str,
) -> dict:
    phones = phones_of(alignments, u) if phone_set else []
    return {
        "wav": str(Path("{data_root}", u.path)),
        "audio_sha": audio[u.path]["audio_sha"],
        "signal_sha": audio[u.path]["signal_sha"],
        "sample_rate": audio[u.path]["sample_rate"],
        "duration": audio[u.path]["duration"],
        "emo": u.emo,
        "speaker": u.speaker,
        "gender": u.gender,
        "corpus": corpus,
        "language": u.language,
        "phones": phones,
        "phone_set": phone_set if phones else "",
    }
