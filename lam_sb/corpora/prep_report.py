"""What became of a corpus's rows: prep_report.json, and its sentences."""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from lam_sb.corpora.manifests import (
    EMOTIONS,
    PODCAST,
    SPLITS,
    UNKNOWN,
    Utterance,
    speakers_known,
)
from lam_sb.corpora.options import PrepOptions

REPORT = "prep_report.json"
LONGER = "alignment that is longer than its audio"


def read_report(folder: str | Path) -> dict:
    """Read the prep_report.json of a corpus's manifests.

    Empty where there is none, as a reader of the user's own may leave none, or
    where it cannot be read.
    """
    try:
        text = Path(folder, REPORT).read_text(encoding="utf-8")
        report = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return {}
    return report if isinstance(report, dict) else {}


class PrepReport:
    """The rows that are still kept, and what was dropped step by step.

    Arguments
    ---------
    corpus : str
        Name.
    listed : Sequence[Utterance]
        Rows of the label table.
    dropped : Mapping[str, str]
        Reason by id for what the reader itself left out.
    """

    def __init__(
        self,
        corpus: str,
        listed: Sequence[Utterance],
        dropped: Mapping[str, str],
    ):
        self.corpus = corpus
        self.kept = list(listed)
        self.skipped = dict(dropped)
        self.alignments: dict[str, int] = {}  # these three filled from outside
        self.phones: dict[str, object] = {}
        self.silent_ends = 0
        self.steps: list[dict] = []
        self._count("listed", dropped)

    def drop(
        self, step: str, reason_of: Callable[[Utterance], str | None]
    ) -> dict[str, int]:
        """Drop the rows that have a reason, and count them by reason."""
        reasons = {u.id: reason_of(u) for u in self.kept}
        dropped = {i: r for i, r in reasons.items() if r is not None}
        self.kept = [u for u in self.kept if u.id not in dropped]
        self.skipped.update(dropped)
        return self._count(step, dropped)

    def _count(self, step: str, dropped: Mapping[str, str]) -> dict[str, int]:
        kept: dict = defaultdict(Counter)
        for u in self.kept:
            kept[u.split or "unsplit"][u.emo or "none"] += 1
        counts = dict(Counter(dropped.values()))
        self.steps.append(
            {
                "step": step,
                "dropped": counts,
                "kept": {s: dict(sorted(c.items())) for s, c in kept.items()},
            }
        )
        return counts

    def content(
        self,
        splits: Mapping[str, Sequence[Utterance]],
        options: PrepOptions,
        facts: Mapping[str, object],
        notes: Sequence[str],
    ) -> dict:
        """Give what prep_report.json holds, once the rows are split."""
        emotions = {
            s: Counter(u.emo or "none" for u in rows)
            for s, rows in splits.items()
        }
        absent = {
            s: [e for e in EMOTIONS if e not in emotions[s]] for s in splits
        }
        speakers = {
            s: {u.speaker for u in rows} - {UNKNOWN}
            for s, rows in splits.items()
        }
        shared = {
            f"{a}+{b}": sorted(speakers[a] & speakers[b])
            for a, b in itertools.combinations(SPLITS, 2)
        }
        limits = [self._absent(absent), self._unknown_speakers()]
        if not options.makes_splits:
            limits.append(self._shared_speakers(shared))
        limits += [self.phones.get("problem"), self._approximate()]
        limits += [self._longer(), self._silent_ends()]
        return {
            "corpus": self.corpus,
            "options": asdict(options),
            "notes": [*notes, *filter(None, limits)],
            "facts": facts,
            "steps": self.steps,
            "alignments": self.alignments,
            "phones": self.phones,
            "splits": {s: dict(sorted(c.items())) for s, c in emotions.items()},
            "emotions_absent": absent,
            "speaker_labels": speakers_known(u.speaker for u in self.kept),
            "speakers": {s: len(names) for s, names in speakers.items()},
            "speakers_in_two_splits": shared,
            "skipped": dict(sorted(self.skipped.items())),
        }

    def _shared_speakers(self, shared: Mapping[str, Sequence[str]]) -> str:
        """Say that splits, which are then the corpus's own, share speakers."""
        counts = [
            f"{len(names)} in {two}" for two, names in shared.items() if names
        ]
        if not counts:
            return ""
        return (
            f"The own splits of {self.corpus} share speakers "
            f"({', '.join(counts)}): what is tested on it may be too good, if "
            "its labels train or choose; folds make splits that share none."
        )

    def _longer(self) -> str:
        count = self.alignments.get(LONGER, 0)
        if not count:
            return ""
        return (
            f"The alignments of {count} utterances of {self.corpus} end behind "
            "the audio, and are not used: are they of other files, or are "
            "their times in milliseconds instead of seconds?"
        )

    def _silent_ends(self) -> str:
        if not self.silent_ends:
            return ""
        return (
            f"{self.silent_ends} files of {self.corpus} end in digital "
            "silence, for a second and a quarter of the file at least: were "
            "they copied whole? If they were filled up, cut that off."
        )

    def _absent(self, absent: Mapping[str, Sequence[str]]) -> str:
        """Say which emotions nobody can learn; of the tested, the run does."""
        everywhere = [
            e for e in EMOTIONS if all(e in a for a in absent.values())
        ]
        if len(everywhere) == len(EMOTIONS) or not absent["train"]:
            return ""
        if everywhere:
            return f"{self.corpus} has no rows of {', '.join(everywhere)}."
        listed = ", ".join(absent["train"])
        return f"The training rows of {self.corpus} hold no {listed}."

    def _approximate(self) -> str:
        """Say that the phones which are used have no exact times."""
        if not ("approximate" in self.phones and self.phones["phone_set"]):
            return ""
        return (
            f"The phone times of {self.corpus} are approximate: eSpeak NG's, "
            "carried over by dynamic time warping."
        )

    def _unknown_speakers(self) -> str:
        """Say how rows of unknown speaker are split."""
        unknown = [u.id for u in self.kept if u.speaker == UNKNOWN]
        if not unknown:
            return ""
        each = "each as a recording of its own"
        how = "by podcast" if all(map(PODCAST.match, unknown)) else each
        return (
            f"The speaker of {len(unknown)} of {len(self.kept)} rows of "
            f"{self.corpus} is unknown: they count {how}, and one speaker may "
            "stand in two splits."
        )
