"""The corpora of both roles of a run, prepared together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lam_sb.corpora.manifests import target_train_path
from lam_sb.corpora.names import by_corpus, names_of, paths
from lam_sb.corpora.options import PrepOptions, check_mapping
from lam_sb.corpora.prep_report import read_report
from lam_sb.corpora.prepare import prepare_corpus
from lam_sb.errors import UserError


def prepare_pair(
    source: str,
    target: str,
    source_folder: str | Mapping[str, str],
    target_folder: str | Mapping[str, str],
    source_options: Mapping | None,
    target_options: Mapping | None,
    label_map: Mapping | None,
    manifest_folder: str,
    options: PrepOptions,
    readers_folder: str | Path,
) -> None:
    """Write the manifests of all corpora.

    Arguments
    ---------
    source, target : str
        Names of each role's corpora, as `lam_sb.corpora.names.joined` gives
        them.
    source_folder, target_folder : str | Mapping[str, str]
        Where they lie; of several, by corpus.
    source_options, target_options : Mapping, optional
        Options of each corpus's own reader; of several, by corpus.
    label_map : Mapping, optional
        Of all corpora; what their own options map goes before it.
    manifest_folder : str
        Gets a folder for each corpus.
    options : PrepOptions
        Protocol and filters of all.
    readers_folder : str | Path
        Folder of the files ``<corpus>_prepare.py``.

    Raises
    ------
    UserError
        One name for two corpora, options that are no mapping, a label_map of
        emotions that none of its corpora has, or whatever `prepare_corpus`
        finds.
    """
    wanted = _wanted("source", source, source_folder, source_options)
    for corpus, given in _wanted(
        "target", target, target_folder, target_options
    ).items():
        if wanted.setdefault(corpus, given) != given:
            raise UserError(
                f"Source and target are both named {corpus}, but are "
                "read from other folders or with other options, and would "
                "have the same manifests. Give one another name, with its "
                "folder and the option reader: --source esd_en "
                "--source_folder <folder> --source_options "
                '"{reader: esd, language: en}".'
            )
    shared = check_mapping("all corpora", "label_map", label_map)
    own = {
        corpus: check_mapping(corpus, "label_map", given.get("label_map"))
        for corpus, (_, given) in wanted.items()
    }
    for corpus, (folder, reader_options) in wanted.items():
        names = [str(name).lower() for name in own[corpus]]
        others = {
            n: e for n, e in shared.items() if str(n).lower() not in names
        }
        prepare_corpus(
            corpus,
            folder,
            f"{manifest_folder}/{corpus}",
            options,
            readers_folder,
            **dict(reader_options) | {"label_map": others | dict(own[corpus])},
        )
    reports = {c: read_report(Path(manifest_folder, c)) for c in own}
    for corpus, names in own.items():
        _check_label_map(names, {corpus: reports[corpus]})
    _check_label_map(shared, reports)
    for corpus in names_of(source):
        _check_source(corpus, reports[corpus])


def _wanted(
    role: str, corpora: str, folder: object, options: object
) -> dict[str, tuple[str, Mapping]]:
    """Folder and reader's options of each corpus of a role."""
    folders = by_corpus(f"{role}_folder", folder, corpora)
    given = by_corpus(f"{role}_options", options, corpora)
    return {
        corpus: (
            folders[corpus],
            check_mapping(corpus, f"{role}_options", given[corpus]),
        )
        for corpus in folders
    }


def _check_label_map(
    label_map: Mapping[str, str | None], reports: Mapping[str, Mapping]
) -> None:
    """Refuse a name that no row of these corpora has."""
    facts = {c: report.get("facts") or {} for c, report in reports.items()}
    for name in map(str, label_map):
        if any(
            name not in f.get("label_map_unused", ()) for f in facts.values()
        ):
            continue
        names = "; ".join(
            f"{corpus}: {', '.join(fact['emotion_names']) or 'none'}"
            for corpus, fact in facts.items()
        )
        hint = " Put a space after each colon." if ":" in name else ""
        raise UserError(
            f"label_map names '{name}', but no row of {' or '.join(reports)} "
            f"has this emotion; remove it, or take one of theirs.{hint} They "
            f"have: {names}."
        )


def _check_source(source: str, report: Mapping) -> None:
    """Refuse a source without rows to validate on, which a target may be."""
    if report and not report["splits"]["valid"]:
        raise UserError(
            f"All rows of {source} are of one speaker: as a source it needs "
            "others to validate on. Name the speakers in the column speaker, "
            "or choose another --source."
        )


def manifest_paths(
    hparams: Mapping, source: str, target: str
) -> dict[str, str | dict[str, str]]:
    """Manifests that preparation writes for the corpora of both roles, by key.

    Arguments
    ---------
    hparams : Mapping
        ``manifest_folder``, ``protocol`` and ``select_on`` of a run.
    source, target : str
        Corpora, as from `lam_sb.corpora.names.joined`.
    """
    folder = hparams["manifest_folder"]
    found = {
        "source_train": paths(folder, source, "train.json"),
        "source_valid": paths(folder, source, "valid.json"),
        "target_train": target_train_path(folder, target, hparams["protocol"]),
        "target_valid": paths(folder, target, "valid.json"),
        "target_test": paths(folder, target, "test.json"),
    }
    role = "target" if hparams["select_on"] == "target" else "source"
    return found | {"valid": found[f"{role}_valid"]}


def own_manifests(hparams: Mapping) -> list[str]:
    """Name the keys of a run that are not what `manifest_paths` gives.

    Arguments
    ---------
    hparams : Mapping
        Values of the run, by corpus.
    """
    sides = {role: hparams[role] for role in ("source", "target")}
    roles = {
        "valid": "target" if hparams["select_on"] == "target" else "source"
    }
    return [
        key
        for key, usual in manifest_paths(hparams, **sides).items()
        if hparams[key]
        != by_corpus(key, usual, sides[roles.get(key) or key.split("_")[0]])
    ]
