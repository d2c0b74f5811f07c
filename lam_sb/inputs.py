"""What a run reads: its rows, by what they are for, and their features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import torch
from filelock import FileLock, Timeout
from speechbrain.utils.distributed import (
    ddp_barrier,
    if_main_process,
    infer_device,
    run_on_main,
)
from speechbrain.utils.logger import get_logger
from speechbrain.utils.run_opts import RunOptions

from lam_sb.config import recipe_folder
from lam_sb.corpora.manifests import read_manifest
from lam_sb.corpora.prep_report import REPORT, read_report
from lam_sb.corpora.prepare import MISSING_AUDIO_LIMIT
from lam_sb.errors import UserError
from lam_sb.features.store import FeatureStore
from lam_sb.files import remove_stale
from lam_sb.processes import gather_lists, process_rank
from lam_sb.training.rows import class_labels, with_emotion
from lam_sb.training.shots import draw_shots, shot_candidates

logger = get_logger(__name__)
T = TypeVar("T")
READERS = "data_prep"  # folder beside train.py with the corpora's readers
PARTS = ("source_train", "source_valid", "target_train", "target_test")
# Rows by part, corpus and id.
Rows = Mapping[str, Mapping[str, Mapping[str, dict]]]


def validation_manifest(
    select_on: str, source_valid: object, target_valid: object
) -> object:
    """Path of the manifest that the weights are selected on, or of several."""
    return target_valid if select_on == "target" else source_valid


def prepare_manifests(path: str, hparams: Mapping) -> None:
    """Write the manifests of a YAML file, unless they are to be trusted."""
    if not hparams["skip_prep"]:
        hparams["prepare"](readers_folder=recipe_folder(path) / READERS)


def with_manifests(
    hparams: Mapping,
    prepare: Callable[[Mapping], None],
    use: Callable[[Mapping], T],
) -> T:
    """Prepare the manifests, and use them before any other run changes them.

    Runs of other options, ``max_duration`` for example, may share the folder:
    each prepares it for itself, one after the other.

    Arguments
    ---------
    hparams : Mapping
        Values of the run.
    prepare : Callable
        Writes the manifests, in the main process.
    use : Callable
        Reads them, in all processes.
    """
    folder, lock = Path(hparams["manifest_folder"]), None
    if if_main_process():
        with suppress(OSError):  # where nobody may write, nothing changes
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / ".lock")
            _wait_for(lock)
            for corpus in hparams["source_folder"] | hparams["target_folder"]:
                remove_stale(folder / corpus)
    try:
        run_on_main(prepare, args=[hparams])
        used = use(hparams)
        ddp_barrier()  # all have read
    finally:
        if lock is not None:
            lock.release()
    return used


def _wait_for(lock: FileLock) -> None:
    try:
        lock.acquire(timeout=1)
    except Timeout:
        logger.info(
            f"Another run is preparing corpora in {Path(lock.lock_file).parent}"
            ": it is waited for."
        )
        lock.acquire()


def read_rows(hparams: Mapping) -> dict[str, dict[str, dict]]:
    """Read the manifests, and keep the rows that the run uses.

    Arguments
    ---------
    hparams : Mapping
        Values of the run.

    Returns
    -------
    dict[str, dict[str, dict]]
        Rows by corpus and id, for each of ``source_train``, ``source_valid``,
        ``target_train``, ``target_test``, ``valid`` (which the weights are
        selected on) and, with few-shot rows, ``shots``.

    Raises
    ------
    UserError
        Manifests that are missing or damaged, a bound that trains on tested
        rows, or too few shots.
    """
    rows = {key: _read(hparams, key, key.split("_")[0]) for key in PARTS}
    role = "target" if hparams["select_on"] == "target" else "source"
    rows["valid"] = _read(hparams, "valid", role)
    emotional = ["source_train", "source_valid", "valid"]
    if hparams["target_rows"] == "four":
        emotional.append("target_train")
    for key in emotional:
        rows[key] = {c: with_emotion(part) for c, part in rows[key].items()}
    shots = {
        corpus: _set_shots_apart(hparams, rows, corpus)
        for corpus in rows["target_train"]
    }
    return rows | ({"shots": shots} if any(shots.values()) else {})


def _read(hparams: Mapping, key: str, role: str) -> dict[str, dict]:
    """Read a part's manifests by corpus, the audio in its own folder."""
    folders = hparams[f"{role}_folder"]
    paths = hparams[key].items()
    return {c: read_manifest(path, folders[c]) for c, path in paths}


def _set_shots_apart(
    hparams: Mapping, rows: dict[str, dict[str, dict]], corpus: str
) -> dict[str, dict]:
    """Draw a target's shots; with ``hold_out_shots``, test no row they may be.

    That key is the same for all systems of a table, so that all have one test
    set.
    """
    train, test = rows["target_train"][corpus], rows["target_test"][corpus]
    shots = hparams["target_shots"] if hparams["fit"] == "episodes" else 0
    shared = train.keys() & test.keys()
    if hparams["bound"] != "none" and shared:
        raise UserError(
            f"bound: {hparams['bound']} trains on labels of rows that are "
            "tested here; use protocol: speakers, with folds if need be."
        )
    if shots and shared and not hparams["hold_out_shots"]:
        raise UserError(
            f"target_shots: {shots} would learn from rows that are tested; "
            "use --hold_out_shots True, for all systems of a table, or "
            "--target_shots 0."
        )
    candidates = shot_candidates(train, test, hparams["split_seed"])
    if hparams["hold_out_shots"]:
        out = set(candidates)
        kept = {i: r for i, r in test.items() if i not in out}
        rows["target_test"][corpus] = kept
    if not shots:
        return {}
    drawn = draw_shots(
        {i: train[i]["emo"] for i in candidates},
        shots,
        hparams["split_seed"],
        hparams["seed"],
    )
    return {i: train[i] for i in drawn}


def check_rows(hparams: Mapping, rows: Rows, make_sampler: Callable) -> None:
    """Refuse, before anything is encoded, what the rows are too few for.

    Arguments
    ---------
    hparams : Mapping
        Values of the run.
    rows : Rows
        As from `read_rows`.
    make_sampler : Callable
        Of ``hparams``, each source's labels and each target's number of rows;
        refuses a source that is smaller than a batch or an episode.

    Raises
    ------
    UserError
        The system needs phones that a corpus has nowhere, or whatever
        ``make_sampler`` finds.
    """
    check_phones(hparams, rows)
    if hparams["fit"] != "sklearn":
        source = rows["source_train"].values()
        target = rows["target_train"].values()
        labels = [class_labels(part, labelled=True) for part in source]
        make_sampler(hparams, labels, [len(part) for part in target])


def check_phones(hparams: Mapping, rows: Rows) -> None:
    """Refuse to align segments that a corpus has nowhere.

    Raises
    ------
    UserError
        No training row of a corpus has phones, and the system needs them.
    """
    if hparams["segment"] == "utterance" or not hparams["gamma"]:
        return
    for part in ("source_train", "target_train"):
        for corpus, train in rows[part].items():
            if any(row["phones"] for row in train.values()):
                continue
            hint = "docs/corpora.md says how to make them."
            raise UserError(
                f"segment: {hparams['segment']} needs alignments, but of the "
                f"{len(train)} rows of {part} ({corpus}) none has any. "
                f"{_phone_problem(hparams, corpus) or hint}"
            )


def _phone_problem(hparams: Mapping, corpus: str) -> str | None:
    """Why preparation left the alignments of a corpus aside, if it did."""
    report = read_report(Path(hparams["manifest_folder"], corpus))
    return report.get("phones", {}).get("problem")


def encode(
    store: FeatureStore, rows: Rows, device: str
) -> tuple[dict[str, dict[str, dict]], dict[str, list[str]]]:
    """Encode what the feature store lacks; processes share the work.

    Arguments
    ---------
    store : FeatureStore
        The store of the encoder and its settings.
    rows : Rows
        As from `read_rows`.
    device : str
        Where to encode.

    Returns
    -------
    rows : dict[str, dict[str, dict]]
        Those whose audio can be decoded.
    undecodable : dict[str, list[str]]
        Ids of the others by corpus, which a warning names.

    Raises
    ------
    UserError
        Too much of a corpus's audio cannot be decoded, or whatever
        `FeatureStore.extract` finds.
    """
    rank, world = process_rank()
    wanted = _all_rows(rows)
    unread = store.extract(wanted, device, rank, world, progress=rank == 0)
    lost = {(row["corpus"], i) for i, row in gather_lists(unread)}
    undecodable: dict[str, list[str]] = {}
    for corpus, utt_id in sorted(lost):
        undecodable.setdefault(corpus, []).append(utt_id)
    for corpus, gone in undecodable.items():
        ids = {i for i, row in wanted if row["corpus"] == corpus}
        said = (
            f"{corpus}: the audio of {len(gone)} of {len(ids)} utterances "
            f"cannot be decoded ({', '.join(gone[:5])}"
            f"{', ...' if len(gone) > 5 else ''})"
        )
        if len(gone) > MISSING_AUDIO_LIMIT * len(ids):
            raise UserError(
                f"{said}, more than {MISSING_AUDIO_LIMIT:.0%}: mend or remove "
                "these files; what is encoded is kept."
            )
        if rank == 0:
            logger.warning(f"{said}: dropped.")
    kept = {
        name: {
            corpus: {
                i: r for i, r in own.items() if (r["corpus"], i) not in lost
            }
            for corpus, own in part.items()
        }
        for name, part in rows.items()
    }
    return kept, undecodable


def dry_run(
    hparams: Mapping, run_opts: RunOptions, make_sampler: Callable
) -> None:
    """Print what a run would read, and refuse rows that it cannot be made on.

    Arguments
    ---------
    hparams : Mapping
        Values of a run whose manifests are written.
    run_opts : RunOptions
        SpeechBrain's options.
    make_sampler : Callable
        As for `check_rows`.

    Raises
    ------
    UserError
        As `read_rows` and `check_rows`.
    """
    rows, device = read_rows(hparams), choose_device(run_opts)
    print(_describe(hparams, rows, device))
    check_rows(hparams, rows, make_sampler)


def _describe(hparams: Mapping, rows: Rows, device: str) -> str:
    """Count rows by split and emotion; say what encoding takes."""
    lines = []
    parts = [(key, corpus) for key in PARTS for corpus in rows[key]]
    for key, corpus in parts:
        part = rows[key][corpus]
        emotions = [row["emo"] or "unlabelled" for row in part.values()]
        counts = sorted(Counter(emotions).items())
        listed = ", ".join(f"{emotion} {n}" for emotion, n in counts)
        lines.append(f"{key} ({corpus}): {len(part)} rows: {listed}")
    lines.append(hparams["store"]().estimate(_all_rows(rows), device))
    return "\n".join(lines)


def _all_rows(rows: Rows) -> list[tuple[str, dict]]:
    parts = (own for part in rows.values() for own in part.values())
    return [row for own in parts for row in own.items()]


def prep_notes(hparams: Mapping) -> list[str]:
    """Say what preparing the corpora left out or could not know.

    That is the list ``notes`` of each prep_report.json, if there is one, and
    how many utterances were dropped, by reason.
    """
    notes = []
    for corpus in dict.fromkeys((*hparams["sources"], *hparams["targets"])):
        folder = Path(hparams["manifest_folder"], corpus)
        report = read_report(folder)
        said = report.get("notes")
        notes += said if isinstance(said, list) else []
        reasons = Counter(report.get("skipped", {}).values())
        if reasons:
            count = reasons.total()
            noun = "utterance" if count == 1 else "utterances"
            counts = ", ".join(f"{n} {r}" for r, n in sorted(reasons.items()))
            notes.append(
                f"Preparation dropped {count} {noun} of {corpus} ({counts}); "
                f"{folder / REPORT} names them."
            )
    return notes


def choose_device(run_opts: RunOptions) -> str:
    """Device that was asked for, or the best there is.

    Raises
    ------
    UserError
        A GPU was asked for, and none is usable.
    """
    device = run_opts.device or infer_device()
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            f"--device {device}: no GPU is usable here; use --device cpu, or "
            "look at nvidia-smi and the driver."
        )
    if device == "cpu" and run_opts.device is None:
        logger.warning_once("No usable GPU was found: running on the CPU.")
    return device
