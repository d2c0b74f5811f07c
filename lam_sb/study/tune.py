"""The command ``tune``: settings chosen on the source corpora alone.

Each source corpus is left out in turn and adapted to as an unlabelled target
is; its labels score the settings. The target itself is not read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lam_sb.command_line import parse_arguments
from lam_sb.config import load, recipe_folder
from lam_sb.corpora.names import BY_CORPUS, set_by_corpus
from lam_sb.corpora.pair import own_manifests
from lam_sb.errors import UserError
from lam_sb.evaluation.comparisons import Column, Key, Score
from lam_sb.evaluation.means import mean_estimate
from lam_sb.files import whole_file
from lam_sb.study.grid import Study, read_study
from lam_sb.study.report.findings import Findings
from lam_sb.study.reproduce import run_study
from lam_sb.study.tuned_keys import STUDY_KEYS, settings_of
from lam_sb.yaml_text import dump

FOLDS = 5  # of the speakers of a single source
SINGLE = (
    "{corpus} is the only source: its speakers are left out in turn, which "
    "does not see what a change of language does. Name several for that."
)
# What the command line says of the corpora, and a study by other keys.
OF_CORPORA = {
    *("source", "target", "encoder_source", "target_valid", "valid"),
    *(f"{role}{end}" for role in ("source", "target") for end in BY_CORPUS),
}


@dataclass(frozen=True)
class Choice:
    """What some settings gave, in UAR.

    Arguments
    ---------
    settings : dict
        Values by key of the grid.
    by_corpus : dict[str, float]
        Mean over the seeds on each corpus that was left out.
    value, low, high : float
        Their mean, and its 95 % interval over speakers and seeds.
    """

    settings: dict
    by_corpus: dict[str, float]
    value: float
    low: float
    high: float


def tune(argv: Sequence[str]) -> None:
    """Try all settings of a grid on the sources, and write the best as a YAML.

    Raises
    ------
    UserError
        A grid without sense, runs that gave no result, or whatever they find.
    """
    from lam_sb.study.report.report import write_report  # matplotlib is slow

    path, run_opts, overrides = parse_arguments(argv)
    grid = settings_of(overrides.pop("grid", None))
    study, name = tuning_study(path, overrides, grid)
    findings = run_study(study, run_opts)
    if findings is None:
        return
    page = write_report(study.folder, findings)
    if findings.failed:
        raise UserError(
            f"{len(findings.failed)} runs gave no result; {page} lists them. "
            "The same command goes on from here."
        )
    choices = scores_of(findings, grid)
    table = _table(choices)
    tuned = study.folder / "tuned.yaml"
    _write_tuned(tuned, path, name, choices[0], table)
    print(table, f"Report: {page}", f"Chosen: {tuned}", sep="\n")


def tuning_study(
    path: str, overrides: Mapping[str, object], grid: Mapping[str, dict]
) -> tuple[Study, str]:
    """Give the study that tries a grid, and the experiment's name.

    Arguments
    ---------
    path : str
        YAML file of the system.
    overrides : Mapping[str, object]
        Keys of the system and of a study.
    grid : Mapping[str, dict]
        Settings by name.

    Raises
    ------
    UserError
        As `load` and `read_study`.
    """
    file = recipe_folder(path) / "hparams/study/tune.yaml"
    own = {k: v for k, v in overrides.items() if k not in STUDY_KEYS}
    hparams = load(path, own | {"anchor_layers": []})
    set_by_corpus(hparams)
    encoder, name = hparams["encoder_source"], hparams["experiment"]
    named = own_manifests(hparams)
    if named:
        raise UserError(
            f"tune: {named[0]} names a manifest of your own, but a source that "
            "is left out needs those that preparation writes."
        )
    corpora = {
        corpus: {
            "folder": os.path.abspath(hparams["source_folder"][corpus]),
            "options": hparams["source_options"][corpus] or {},
        }
        for corpus in hparams["sources"]
    }
    keys = {k: v for k, v in overrides.items() if k not in OF_CORPORA}
    within: dict[str, object] = {}
    if len(corpora) == 1:
        (corpus,) = corpora
        print(SINGLE.format(corpus=corpus))
        keys |= {"directions": [[corpus, corpus]], "leave_one_out": False}
        within = {"bound": "within", "protocol": "speakers", "folds": FOLDS}
    keys |= {
        "study": f"tune/{name}",
        "corpora": corpora,
        "encoders": {Path(encoder).name: encoder},
        "hparams": os.path.abspath(path),
        "systems": {n: settings | within for n, settings in grid.items()},
    }
    keys.pop("experiment", None)
    return read_study(str(file), keys), name


def scores_of(findings: Findings, grid: Mapping[str, dict]) -> list[Choice]:
    """Give what each setting gave, the best mean first, of equals the first.

    Raises
    ------
    UserError
        A setting without a result on each corpus, or that tested other rows.
    """
    if not findings.tables:
        problems = " ".join(findings.problems) or "there is no result yet"
        raise UserError(f"The settings cannot be compared: {problems}")
    # Settings under another `normalise` stand in tables of their own.
    scores = {k: s for t in findings.tables for k, s in t.scores.items()}
    columns = list(dict.fromkeys(column for _, column in scores))
    for column in columns:
        _check_rows(column, [s for (_, c), s in scores.items() if c == column])
    choices = [
        _choice(settings, _row(scores, name, columns))
        for name, settings in grid.items()
    ]
    return sorted(choices, key=lambda choice: -choice.value)


def _check_rows(column: Column, scores: Sequence[Score]) -> None:
    """Refuse settings that did not test the same rows under the same labels."""
    tested = {
        tuple(sorted(zip(s.predictions.ids, s.predictions.labels, strict=True)))
        for s in scores
    }
    if len(tested) > 1:
        raise UserError(
            f"The settings cannot be compared: on {column.target} they tested "
            "other rows, or under other labels. Leave what decides that out "
            "of the grid."
        )


def _row(
    scores: Mapping[Key, Score], name: str, columns: Sequence[Column]
) -> dict[Column, object]:
    """Estimates of a setting in all columns."""
    own = {
        column: score.estimate
        for (_, column), score in scores.items()
        if score.runs[0].results["system"] == name
    }
    missing = [column.direction for column in columns if column not in own]
    if missing:
        raise UserError(f"{name} has no result for {', '.join(missing)}.")
    return {column: own[column] for column in columns}


def _choice(settings: dict, estimates: Mapping[Column, object]) -> Choice:
    """Mean over the corpora, which are fixed; speakers and seeds are drawn."""
    mean = mean_estimate([*estimates.values()])
    by_corpus = {c.target: e.value for c, e in estimates.items()}
    return Choice(settings, by_corpus, mean.value, mean.low, mean.high)


def _table(choices: Sequence[Choice]) -> str:
    rows = [
        {key: str(value) for key, value in choice.settings.items()}
        | {"UAR (%)": f"{100 * choice.value:.1f}"}
        | {"95 %": f"[{100 * choice.low:.1f}, {100 * choice.high:.1f}]"}
        | {f"on {c}": f"{100 * v:.1f}" for c, v in choice.by_corpus.items()}
        for choice in choices
    ]
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def _write_tuned(
    file: Path, path: str, name: str, choice: Choice, table: str
) -> None:
    """Write the chosen settings as a YAML over the file that was tuned."""
    corpora = ", ".join(choice.by_corpus)
    lines = [
        f"# Chosen by python -m lam_sb tune, leaving out {corpora} in turn:",
        *(f"# {line}" for line in table.splitlines()),
        f"base: {os.path.abspath(path)}",
        f"experiment: {name}_tuned",
    ]
    with whole_file(file) as temporary:
        text = "\n".join(lines) + "\n" + dump(choice.settings)
        temporary.write_text(text, encoding="utf-8")
