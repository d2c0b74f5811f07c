"""The command ``align``: TextGrids of a corpus whose texts are known."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.signal import resample_poly
from tqdm import tqdm

from lam_sb.arguments import align_arguments
from lam_sb.corpora.labels import known_name
from lam_sb.corpora.manifests import UNKNOWN
from lam_sb.corpora.phones import ESPEAK, phone_class
from lam_sb.corpora.tables import COLUMNS, Table, find_column, read_table
from lam_sb.corpora.textgrids import (
    APPROXIMATE_TIER,
    TEXTGRIDS,
    alignment_path,
    is_approximate,
    write_textgrid,
)
from lam_sb.errors import UserError
from lam_sb.features.audio import (
    SAMPLE_RATE,
    UnreadableAudioError,
    load_audio,
)
from lam_sb.files import whole_file
from lam_sb.forced_alignment.espeak import (
    phone_times,
    speak,
    voice_of,
    word_times,
)
from lam_sb.forced_alignment.warping import carry_over, log_mel

logger = logging.getLogger(__name__)
TEXTS = ("text", "transcript", "transcription", "sentence")
# How the reference is spoken: words a minute, pitch and its range.
MANNER = {"rate": 175, "pitch": 50, "range": 50}
AT_ONCE = 100  # texts that one process of eSpeak NG speaks
LONGEST = 60.0  # seconds; the warping's memory grows with the square


class Row(NamedTuple):
    """A row of labels.csv with a text."""

    audio: Path
    textgrid: Path
    voice: str
    text: str


class Reference(NamedTuple):
    """A text as eSpeak NG speaks it.

    Log energies as from `log_mel` (None without phones), phones as from
    `phone_times` without pauses, words as from `speak`.
    """

    text: str
    bands: np.ndarray | None
    phones: list[tuple[float, float, str, int]]
    words: list[list[int]]


def align(argv: Sequence[str]) -> None:
    """Write a TextGrid for each row of a corpus's labels.csv with a text.

    Raises
    ------
    UserError
        No such corpus or column, TextGrids that another tool made, or no row
        that can be aligned.
    """
    given = align_arguments(argv)
    folder = Path(given.corpus)
    output = Path(given.output or folder / TEXTGRIDS)
    rows, skipped = corpus_rows(folder, output, given.language)
    there = _made_before(rows)
    _make_folder(output)
    written: list[Row] = []
    symbols: set[str] = set()
    with tqdm(total=len(rows) - len(there), unit="utterance") as bar:
        for row, reference in references(rows, there):
            problem = _align_row(row, reference)
            if problem:
                skipped[problem] += 1
            else:
                written.append(row)
                symbols.update(symbol for _, _, symbol, _ in reference.phones)
            bar.update()
    counts = ", ".join(f"{n} {reason}" for reason, n in sorted(skipped.items()))
    if not written and not there:
        raise UserError(f"No row of {folder} can be aligned: {counts}.")
    print(
        f"{len(written)} TextGrids written to {output}, {len(there)} were there"
        f"{f'; skipped: {counts}' if counts else ''}. Their times are "
        "approximate, and each report on them says so."
    )
    _say_how_to_use(folder, symbols)
    if given.output:
        print(
            "To use them: --source_options "
            f'"{{alignment_dir: {output.resolve()}}}" (or --target_options).'
        )


def _say_how_to_use(folder: Path, symbols: Iterable[str]) -> None:
    """Say what keeps preparation from using the TextGrids."""
    table = read_table(folder / "labels.csv")
    column = find_column(table, "alignment", COLUMNS["alignment"])
    named = sum(bool(line[column]) for line in table.rows) if column else 0
    if named:
        logger.warning(
            f"{named} rows of labels.csv name a TextGrid in the column "
            f"'{column}', and preparation goes by that. Empty it to use these."
        )
    unknown = sorted(s for s in symbols if not phone_class(s, ESPEAK))
    if unknown:
        logger.warning(
            f"{len(unknown)} phones are not in the phone set {ESPEAK}: "
            f"{', '.join(unknown)}. To use the others, name the set: "
            f'--source_options "{{phone_set: {ESPEAK}}}" (or --target_options).'
        )


def corpus_rows(
    folder: Path, output: Path, language: str | None
) -> tuple[list[Row], Counter[str]]:
    """List the rows that have a text, and count the others by reason.

    Arguments
    ---------
    folder, output : Path
        The corpus, and where its TextGrids go.
    language : str, optional
        That of all texts; else the table's column says it.

    Raises
    ------
    UserError
        No labels.csv, or without one of the columns.
    """
    table = read_table(folder / "labels.csv")
    names = {
        what: _column(table, what, usual)
        for what, usual in (("path", COLUMNS["path"]), ("text", TEXTS))
    }
    spoken = (
        None
        if language
        else _column(
            table, "language", COLUMNS["language"], ", or give --language CODE"
        )
    )
    rows, skipped = [], Counter()
    for line in table.rows:
        path, text = line[names["path"]], line[names["text"]]
        name = language or known_name(line[spoken])
        if text.lower() in ("", "nan", "<na>"):
            skipped["without a text"] += 1
        elif name == UNKNOWN:
            skipped["without a language"] += 1
        else:
            textgrid = Path(alignment_path(str(output), path))
            rows.append(Row(folder / path, textgrid, voice_of(name), text))
    return rows, skipped


def _column(
    table: Table, what: str, usual: Sequence[str], instead: str = ""
) -> str:
    """Name of the one column that holds something."""
    try:
        name = find_column(table, what, usual)
    except UserError:
        name = None
    if name is None:
        raise UserError(
            f"align needs one column {what} in {table.name}, which has: "
            f"{', '.join(table.columns)}. Name it '{what}'{instead}."
        )
    return name


def _made_before(rows: Sequence[Row]) -> set[Path]:
    """TextGrids that are there; refuse those that are not ours, or shared."""
    counts = Counter(row.textgrid for row in rows)
    shared = [path for path, count in counts.items() if count > 1]
    if shared:
        raise UserError(
            f"Several rows of labels.csv would get one TextGrid, {shared[0]}: "
            "give their audio files different names."
        )
    there = {path for path in counts if path.is_file()}
    others = sorted(path for path in there if not is_approximate(path))
    if others:
        raise UserError(
            f"{len(others)} TextGrids are there that another tool made, "
            f"{others[0]} the first; phones of two kinds do not go together. "
            "Use --output FOLDER for another place."
        )
    return there


def _make_folder(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{output} cannot be made ({error.strerror}); use --output FOLDER "
            "for a place that can be written."
        ) from None


def references(
    rows: Sequence[Row], there: Set[Path] = frozenset()
) -> Iterator[tuple[Row, Reference | None]]:
    """Give rows with their texts as eSpeak NG speaks them.

    Rows whose TextGrid is ``there`` are left out; None stands for a text in a
    language that eSpeak NG does not have.

    A text is spoken once. Texts are spoken in groups that do not depend on
    what is there, so that one that is resumed gives the same bytes.
    """
    by_text = defaultdict(list)
    for row in rows:
        by_text[row.voice, row.text].append(row)
    texts = list(by_text)
    for first in range(0, len(texts), AT_ONCE):
        group = texts[first : first + AT_ONCE]
        todo = [
            [r for r in by_text[t] if r.textgrid not in there] for t in group
        ]
        if not any(todo):
            continue
        requests = [{"voice": v, "text": t, **MANNER} for v, t in group]
        for own, (_, text), spoken in zip(
            todo, group, speak(requests), strict=True
        ):
            reference = _reference(text, spoken) if own and spoken else None
            for row in own:
                yield row, reference


def _reference(text: str, spoken: tuple) -> Reference:
    samples, events, words = spoken
    phones = [p for p in phone_times(events, len(samples)) if p[2]]
    bands = log_mel(resample_poly(samples, 320, 441)) if phones else None
    return Reference(text, bands, phones, words)


def _align_row(row: Row, reference: Reference | None) -> str:
    """Write a row's TextGrid, or say why not."""
    if reference is None:
        return f"in a language that eSpeak NG does not have ({row.voice})"
    if reference.bands is None:
        return "with a text that has no sound"
    try:
        wav = load_audio(row.audio).numpy()
    except UnreadableAudioError:
        return "of unreadable audio"
    seconds = len(wav) / SAMPLE_RATE
    if seconds > LONGEST:
        return f"longer than {LONGEST:g} s"
    if not wav.any():
        return "of digital silence"
    spans = [(start, end) for start, end, *_ in reference.phones]
    carried = carry_over(spans, reference.bands, log_mel(wav))
    phones = [
        (round(span[0], 4), round(min(span[1], seconds), 4), *phone[2:])
        for span, phone in zip(carried, reference.phones, strict=True)
        if span and round(span[0], 4) < round(min(span[1], seconds), 4)
    ]
    tiers = {
        "words": word_times(reference.text, phones, reference.words),
        APPROXIMATE_TIER: [phone[:3] for phone in phones],
    }
    row.textgrid.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(row.textgrid) as temporary:
        write_textgrid(temporary, tiers, seconds)
    return ""
