"""JSON manifests: the four emotions, and one writer, reader and reporter.

Every ``data_prep/<corpus>_prepare.py`` lists its corpus as `Utterance`s and
hands them to `write_corpus`, which checks the audio, drops and counts what
cannot be used, splits by speaker where the corpus has no official splits, and
writes ``train.json``, ``valid.json``, ``test.json`` and ``prep_report.json``,
unless they are there and nothing has changed.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import itertools
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import soundfile
from joblib import Parallel, delayed

from lam_sb.corpora import alignments
from lam_sb.corpora.phones import PHONE_SETS, detect_phone_set, phone_class
from lam_sb.errors import UserError, check_choice
from lam_sb.files import file_stamp, whole_file, write_json

EMOTIONS = ("neutral", "happy", "angry", "sad")
SPLITS = ("train", "valid", "test")
PROTOCOLS = ("speakers", "transductive")
UNKNOWN = "unknown"
MISSING_AUDIO_LIMIT = 0.05
# Other code may write other manifests of the same files.
OWN_CODE = b"".join(
    Path(__file__).with_name(f"{module}.py").read_bytes()
    for module in ("manifests", "alignments", "phones")
)
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


@dataclass(frozen=True)
class PrepOptions:
    """What decides which rows stand in which split.

    Arguments
    ---------
    protocol : str
        ``speakers``: speaker-disjoint splits, about 60/20/20 of the speakers,
        unless the corpus has its own. ``transductive``: test.json holds every
        row, train.json and valid.json 80/20 of the speakers; a target corpus
        then adapts and tests on test.json, a source corpus trains on the
        other two.
    split_seed : int
        Decides the splits.
    folds, fold : int
        With ``folds: n``, the speakers fall into n groups; group ``fold`` is
        the test set, the next one the validation set.
    min_duration, max_duration : float
        Seconds; utterances outside are dropped.
    require_alignment : bool
        Drop utterances without phones.
    phone_set : str
        That of the TextGrids: ``auto`` (the one that has all their phones) or
        one of `lam_sb.corpora.phones.PHONE_SETS`, whatever others there are.
    """

    protocol: str = "speakers"
    split_seed: int = 0
    folds: int = 0
    fold: int = 0
    min_duration: float = 0.1
    max_duration: float | None = None
    require_alignment: bool = False
    phone_set: str = "auto"

    def __post_init__(self):
        check_choice("protocol", self.protocol, PROTOCOLS)
        check_choice("phone_set", self.phone_set, ("auto", *PHONE_SETS))
        if self.folds and not (
            self.folds >= 3
            and 0 <= self.fold < self.folds
            and self.protocol == "speakers"
        ):
            raise UserError(
                f"folds: {self.folds}, fold: {self.fold} and protocol: "
                f"{self.protocol} do not go together; use at least 3 folds, "
                "numbered from 0, with the protocol speakers."
            )


def prepare_corpus(
    corpus: str,
    data_folder: str,
    save_folder: str,
    options: PrepOptions,
    reader: str | None = None,
    **corpus_options,
) -> None:
    """Prepare a corpus by its name; its own files decide how.

    A folder with a labels.csv is read by ``data_prep/csv_prepare.py``, any
    other by ``data_prep/<corpus>_prepare.py``, found beside the script or in
    the working folder. The same files and options give the same manifests;
    audio that was seen before is not read again.

    Arguments
    ---------
    corpus : str
        Name of the corpus, free for a folder with a labels.csv.
    data_folder : str
        Its folder.
    save_folder : str
        Where the manifests go.
    options : PrepOptions
        Protocol and filters.
    reader : str, optional
        Name whose reader reads the folder, where the corpus has another name.
    **corpus_options
        What the corpus's own prep understands besides.

    Raises
    ------
    UserError
        No such folder, no reader for it, an option that the reader does not
        know, or whatever the reader finds.
    """
    folder = Path(data_folder)
    if not folder.is_dir():
        near = folder.parent if folder.parent.is_dir() else Path()
        raise UserError(
            f"The corpus folder {folder} of {corpus} does not exist; "
            f"{near.resolve()} holds: {listing(near)}."
        )
    has_table = (folder / "labels.csv").is_file()
    module = "csv" if has_table else reader or corpus
    try:
        prep = importlib.import_module(f"data_prep.{module}_prepare")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("data_prep"):
            raise
        prep = None
    if not hasattr(prep, "prepare"):
        raise UserError(
            f"Nothing reads the corpus {corpus}: {folder} holds no labels.csv "
            f"(found: {listing(folder)}), and there is no "
            f"data_prep/{module}_prepare.py that reads it."
        )
    _check_options(corpus, prep, corpus_options)
    prep.prepare(corpus, folder, Path(save_folder), options, **corpus_options)


def _check_options(corpus: str, prep: object, options: Mapping) -> None:
    parameters = inspect.signature(prep.prepare).parameters
    kinds = {p.kind for p in parameters.values()}
    known = [*list(parameters)[4:], "reader"]
    unknown = sorted(set(options) - set(known))
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        raise UserError(
            f"{corpus}: its reader ({prep.__name__}) has no option "
            f"'{unknown[0]}'; it knows {', '.join(known)}."
        )


def write_corpus(
    corpus: str,
    folder: Path,
    save_folder: Path,
    utterances: Iterable[Utterance],
    options: PrepOptions,
    dropped: Mapping[str, str] | None = None,
    notes: Mapping[str, object] | None = None,
) -> None:
    """Check, split and write what a reader listed.

    Arguments
    ---------
    corpus : str
        Name, written into every row.
    folder : Path
        Corpus folder; paths are written relative to it.
    save_folder : Path
        Where the four files go.
    utterances : Iterable[Utterance]
        Rows of the label table, those without one of the four emotions too.
    options : PrepOptions
        Protocol and filters.
    dropped : Mapping[str, str], optional
        Reason by id for what the reader itself left out.
    notes : Mapping[str, object], optional
        What the reader wants to be read in the report.

    Raises
    ------
    UserError
        Two rows of one id, too much audio missing, phones of no one set, or
        an empty split.
    """
    utterances = list(utterances)
    _check_ids(corpus, utterances)
    save_folder.mkdir(parents=True, exist_ok=True)
    reading = (corpus, options, dict(dropped or {}), dict(notes or {}))
    inputs = _fingerprint(folder, utterances, reading)
    if _is_done(save_folder, inputs):
        return
    audio = _audio_table(folder, utterances, save_folder / "audio_cache.json")
    report = _Report(corpus, utterances, dict(dropped or {}))
    _drop_unusable(report, folder, audio, options)
    phones = _phones(report, folder, save_folder, options)
    phone_set = _phone_set(report, phones, options)
    splits = _split(report.kept, options)
    _check_splits(corpus, splits)
    for split in SPLITS:
        rows = (
            (
                u.id,
                _row(u, corpus, audio[u.path], phones[u.alignment], phone_set),
            )
            for u in sorted(splits[split], key=lambda u: u.id)
        )
        _write_manifest(save_folder / f"{split}.json", rows)
    content = report.content(splits, options, dict(notes or {}))
    write_json(save_folder / "prep_report.json", content)
    done = {"inputs": inputs, "outputs": _outputs(save_folder)}
    write_json(save_folder / "prep_stamp.json", done)


def read_manifest(path: str | Path, data_root: str | Path) -> dict[str, dict]:
    """Read and check one manifest.

    Arguments
    ---------
    path : str | Path
        A JSON file, keyed by utterance id.
    data_root : str | Path
        Replaces ``{data_root}`` in the paths.

    Returns
    -------
    dict[str, dict]
        Rows by utterance id, in the file's order.

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


def target_train_path(manifest_folder: str, target: str, protocol: str) -> str:
    """Manifest of the unlabelled target rows that a run adapts on.

    Arguments
    ---------
    manifest_folder, target, protocol : str
        As in the YAML.

    Returns
    -------
    str
        train.json, or under ``transductive`` test.json, which holds all rows.

    Example
    -------
    >>> target_train_path("m", "emodb", "transductive")
    'm/emodb/test.json'
    """
    split = "test" if protocol == "transductive" else "train"
    return f"{manifest_folder}/{target}/{split}.json"


def cluster_of(utt_id: str, speaker: str) -> str:
    """Cluster of an utterance for intervals: its speaker, or its recording.

    Arguments
    ---------
    utt_id : str
        Utterance id; its first two tokens name a podcast or recording.
    speaker : str
        Speaker, or ``unknown``.

    Returns
    -------
    str
        Never the utterance itself: one cluster of all where nothing is known.

    Example
    -------
    >>> cluster_of("MSP-PODCAST_0001_0008", "30")
    '30'
    >>> cluster_of("MSP-PODCAST_0001_0008", "unknown")
    'MSP-PODCAST_0001'
    """
    if speaker != UNKNOWN:
        return speaker
    tokens = utt_id.split("_")
    return "_".join(tokens[:2]) if len(tokens) > 2 else UNKNOWN


class _Report:
    """Counts, filter step by filter step, by split and emotion."""

    def __init__(
        self, corpus: str, listed: list[Utterance], dropped: dict[str, str]
    ):
        self.corpus = corpus
        self.kept = listed
        self.skipped = dropped
        self.alignments: dict[str, int] = {}
        self.phones: dict[str, object] = {}
        reasons = dict(Counter(dropped.values()))
        self.steps = [{"step": "listed", "dropped": reasons} | self._counts()]

    def step(
        self, name: str, reason_of: Callable[[Utterance], str | None]
    ) -> None:
        """Drop what has a reason, and count it."""
        reasons = {u.id: reason_of(u) for u in self.kept}
        gone = {i: r for i, r in reasons.items() if r is not None}
        self.kept = [u for u in self.kept if u.id not in gone]
        self.skipped.update(gone)
        counted = {"step": name, "dropped": dict(Counter(gone.values()))}
        self.steps.append(counted | self._counts())

    def _counts(self) -> dict:
        kept: dict = defaultdict(Counter)
        for u in self.kept:
            kept[u.split or "unsplit"][u.emo or "none"] += 1
        return {"kept": {s: dict(sorted(c.items())) for s, c in kept.items()}}

    def content(
        self, splits: Mapping, options: PrepOptions, notes: dict
    ) -> dict:
        speakers = {
            s: {u.speaker for u in rows} - {UNKNOWN}
            for s, rows in splits.items()
        }
        overlaps = {
            f"{a}+{b}": sorted(speakers[a] & speakers[b])
            for a, b in itertools.combinations(SPLITS, 2)
        }
        found = {s: {u.emo for u in rows} for s, rows in splits.items()}
        return {
            "corpus": self.corpus,
            "options": asdict(options),
            "notes": notes,
            "steps": self.steps,
            "alignments": self.alignments,
            "phones": self.phones,
            "splits": {
                s: dict(sorted(Counter(u.emo or "none" for u in r).items()))
                for s, r in splits.items()
            },
            "emotions_absent": {
                s: [e for e in EMOTIONS if e not in found[s]] for s in splits
            },
            "speakers": {s: len(v) for s, v in speakers.items()},
            "speakers_in_two_splits": overlaps,
            "skipped": dict(sorted(self.skipped.items())),
        }


def _drop_unusable(
    report: _Report, folder: Path, audio: Mapping, options: PrepOptions
) -> None:
    total = len(report.kept)
    report.step("audio", lambda u: audio[u.path].get("problem"))
    lost = report.steps[-1]["dropped"]
    if total == 0 or sum(lost.values()) > MISSING_AUDIO_LIMIT * total:
        reasons = ", ".join(f"{n} {r}" for r, n in sorted(lost.items()))
        first = next((i for i, r in report.skipped.items() if r in lost), "-")
        raise UserError(
            f"{report.corpus}: of {total} rows in the label table, "
            f"{reasons or 'none are listed'} (more than "
            f"{MISSING_AUDIO_LIMIT:.0%}; the first: {first}). Is {folder} "
            f"complete? It holds: {listing(folder)}."
        )

    def out_of_range(u: Utterance) -> str | None:
        seconds = audio[u.path]["duration"]
        if seconds < options.min_duration:
            return "shorter than min_duration"
        if options.max_duration and seconds > options.max_duration:
            return "longer than max_duration"
        return None

    report.step("duration", out_of_range)
    _drop_duplicates(report, audio)
    if _has_official_splits(report.kept, options):
        report.step(
            "official splits",
            lambda u: None if u.split else "in no official split",
        )


def _phones(
    report: _Report, folder: Path, save_folder: Path, options: PrepOptions
) -> dict[str | None, str]:
    """JSON text of the phones by TextGrid; drops rows without, if asked."""
    table: dict[str | None, dict] = {None: {"problem": "missing alignment"}}
    table |= alignments.read_alignments(
        folder,
        [u.alignment for u in report.kept if u.alignment],
        save_folder / "alignment_cache.json",
    )
    found = Counter(
        table[u.alignment].get("problem", "with phones") for u in report.kept
    )
    report.alignments = dict(sorted(found.items()))
    if options.require_alignment:
        report.step("alignment", lambda u: table[u.alignment].get("problem"))
    return {path: entry.get("phones", "[]") for path, entry in table.items()}


def _phone_set(
    report: _Report, phones: Mapping[str | None, str], options: PrepOptions
) -> str:
    """Set of the kept rows' phones; empty where no row has any."""
    counts: Counter[str] = Counter()
    rows = 0
    for u in report.kept:
        labels = [label for label, _, _ in json.loads(phones[u.alignment])]
        counts.update(labels)
        rows += bool(labels)
    phone_set = options.phone_set if counts else ""
    if phone_set == "auto":
        try:
            phone_set = detect_phone_set(counts)
        except UserError as error:
            raise UserError(f"{report.corpus}: {error}") from None
    foreign = {
        label: count
        for label, count in sorted(counts.items())
        if not phone_class(label, phone_set)
    }
    report.phones = {"phone_set": phone_set, "rows": rows, "foreign": foreign}
    return phone_set


def _drop_duplicates(report: _Report, audio: Mapping) -> None:
    first_with: dict[str, str] = {}
    for u in report.kept:
        first_with.setdefault(audio[u.path]["audio_sha"], u.id)
    report.step(
        "duplicates",
        lambda u: (
            None
            if first_with[audio[u.path]["audio_sha"]] == u.id
            else "same audio as an earlier row"
        ),
    )


def _has_official_splits(
    utterances: Sequence[Utterance], options: PrepOptions
) -> bool:
    own = options.protocol == "transductive" or options.folds
    return not own and any(u.split for u in utterances)


def _split(
    utterances: Sequence[Utterance], options: PrepOptions
) -> dict[str, list[Utterance]]:
    if options.protocol == "transductive":
        groups = _speaker_groups(utterances, (0.8, 0.2), options.split_seed)
        return {"train": groups[0], "valid": groups[1], "test": [*utterances]}
    if options.folds:
        shares = (1 / options.folds,) * options.folds
        groups = _speaker_groups(utterances, shares, options.split_seed)
        groups = groups[options.fold :] + groups[: options.fold]
        train = [u for group in groups[2:] for u in group]
        return {"train": train, "valid": groups[1], "test": groups[0]}
    if _has_official_splits(utterances, options):
        return {s: [u for u in utterances if u.split == s] for s in SPLITS}
    groups = _speaker_groups(utterances, (0.6, 0.2, 0.2), options.split_seed)
    return dict(zip(SPLITS, groups, strict=True))


def _speaker_groups(
    utterances: Sequence[Utterance], shares: Sequence[float], seed: int
) -> list[list[Utterance]]:
    """Speaker-disjoint groups, each with every emotion where possible.

    Of 1000 seeded orders of the speakers, the first in which most emotions
    stand in most groups.
    """
    rows: dict[str, list[Utterance]] = defaultdict(list)
    for u in utterances:
        rows[cluster_of(u.id, u.speaker)].append(u)
    speakers = sorted(rows)
    if len(speakers) < len(shares):
        raise UserError(
            f"{len(speakers)} speakers or recordings are too few for "
            f"{len(shares)} speaker-disjoint groups; name the speakers or the "
            "splits in the label table."
        )
    emotions = {s: {u.emo for u in rows[s]} - {None} for s in speakers}
    wanted = len(set().union(*emotions.values())) * len(shares)
    bounds = list(itertools.pairwise(_edges(len(speakers), shares)))
    generator = random.Random(seed)
    most, best = -1, [speakers]
    for _ in range(1000):
        generator.shuffle(speakers)
        groups = [speakers[a:b] for a, b in bounds]
        found = sum(
            len(set().union(*(emotions[s] for s in group))) for group in groups
        )
        if found > most:
            most, best = found, groups
        if found == wanted:
            break
    return [[u for s in group for u in rows[s]] for group in best]


def _edges(count: int, shares: Sequence[float]) -> list[int]:
    """Cut count speakers by shares, at least one a group."""
    edges, total = [0], 0.0
    for n, share in enumerate(shares, start=1):
        total += share
        left = len(shares) - n
        edges.append(
            min(max(round(total * count), edges[-1] + 1), count - left)
        )
    return edges


def _check_ids(corpus: str, utterances: Sequence[Utterance]) -> None:
    counts = Counter(u.id for u in utterances)
    twice = [i for i, n in counts.items() if n > 1]
    braces = [
        text
        for u in utterances
        for text in (u.path, u.id, u.speaker, u.gender, u.language)
        if set("{}") & set(text)
    ]
    if twice or braces:
        raise UserError(
            f"{corpus}: "
            + (
                f"{len(twice)} ids stand twice, {twice[0]} the first."
                if twice
                else f"braces in {braces[0]}, which manifests cannot hold."
            )
        )


def _check_splits(corpus: str, splits: Mapping[str, Sequence]) -> None:
    empty = [split for split in SPLITS if not splits[split]]
    if empty:
        raise UserError(
            f"{corpus}: the split {empty[0]} is empty; check the split column, "
            "or the protocol and filters."
        )


def _audio_table(
    folder: Path, utterances: Sequence[Utterance], cache_path: Path
) -> dict[str, dict]:
    """Duration and content hash of each file, or what is wrong with it."""
    cache = {}
    if cache_path.is_file():
        cache = json.loads(cache_path.read_text(encoding="utf-8"))
    paths = sorted({u.path for u in utterances})
    entries = Parallel(n_jobs=-1, prefer="threads")(
        delayed(_audio_entry)(folder / p, cache.get(p)) for p in paths
    )
    table = dict(zip(paths, entries, strict=True))
    if table != cache:
        write_json(cache_path, table)
    return table


def _audio_entry(path: Path, cached: Mapping | None) -> dict:
    stamp = file_stamp(path)
    if stamp is None:
        return {"problem": "missing audio"}
    if stamp["size"] == 0:
        return {"problem": "empty audio file"}
    if cached is not None and stamp.items() <= cached.items():
        return dict(cached)
    try:
        info = soundfile.info(str(path))
        content = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except (soundfile.LibsndfileError, OSError):
        return stamp | {"problem": "unreadable audio"}
    if info.frames == 0:
        return stamp | {"problem": "audio without samples"}
    seconds = round(info.frames / info.samplerate, 4)
    return stamp | {"duration": seconds, "audio_sha": content}


def _row(
    u: Utterance, corpus: str, audio: Mapping, phones: str, phone_set: str
) -> dict:
    found = json.loads(phones)
    return {
        "wav": str(Path("{data_root}", u.path)),
        "audio_sha": audio["audio_sha"],
        "duration": audio["duration"],
        "emo": u.emo,
        "speaker": u.speaker,
        "gender": u.gender,
        "corpus": corpus,
        "language": u.language,
        "phones": found,
        "phone_set": phone_set if found else "",
    }


def _write_manifest(path: Path, rows: Iterator[tuple[str, dict]]) -> None:
    """Write a row a line, one at a time: phones of all take gigabytes."""
    with (
        whole_file(path) as temporary,
        open(temporary, "w", encoding="utf-8") as file,
    ):
        file.write("{")
        for number, (utt_id, row) in enumerate(rows):
            text = json.dumps({utt_id: row}, ensure_ascii=False)
            file.write((",\n" if number else "\n") + text[1:-1])
        file.write("\n}\n")


def _fingerprint(
    folder: Path, utterances: Sequence[Utterance], reading: tuple
) -> str:
    """Hash of all that decides the manifests; audio by size and time."""
    content = hashlib.sha256(repr(reading).encode())
    content.update(OWN_CODE)
    files = [u.path for u in utterances]
    files += [u.alignment for u in utterances if u.alignment]
    parts = [files[n : n + 500] for n in range(0, len(files), 500)]
    with ThreadPoolExecutor() as threads:  # network drives are slow to ask
        stamps = threads.map(partial(_stamps, folder), parts)
        for line in itertools.chain(utterances, stamps):
            content.update(repr(line).encode())
    return content.hexdigest()[:16]


def _stamps(folder: Path, files: Iterable[str]) -> list[dict | None]:
    return [file_stamp(folder / file) for file in files]


def _outputs(save_folder: Path) -> list[dict[str, int] | None]:
    names = (*(f"{split}.json" for split in SPLITS), "prep_report.json")
    return [file_stamp(save_folder / name) for name in names]


def _is_done(save_folder: Path, inputs: str) -> bool:
    """Whether what is there was made of the same, and nobody changed it."""
    path = save_folder / "prep_stamp.json"
    if not path.is_file():
        return False
    done = json.loads(path.read_text(encoding="utf-8"))
    return done == {"inputs": inputs, "outputs": _outputs(save_folder)}


def listing(folder: Path) -> str:
    """First names in a folder, for messages.

    Arguments
    ---------
    folder : Path
        Any folder.

    Returns
    -------
    str
        At most eight names.
    """
    names = sorted(p.name for p in folder.iterdir())
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
