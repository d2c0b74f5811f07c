"""Commands beside train.py: ``python -m lam_sb extract ...``.

They run in the recipe's folder, where train.py is.
"""

from __future__ import annotations

import importlib
import logging
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType

from speechbrain.utils.run_opts import RunOptions

from lam_sb.analysis.analyse import analyse_corpora
from lam_sb.analysis.anchor_layers import ANALYSIS_RULES
from lam_sb.config import load, parse_arguments, plain_errors
from lam_sb.errors import UserError
from lam_sb.features.store import FeatureStore
from lam_sb.study.grid import Job, describe_plan, make_jobs, read_study
from lam_sb.study.runner import Failure, command_line, run_jobs
from lam_sb.training.data import DomainRows

logger = logging.getLogger(__name__)


def extract(argv: Sequence[str]) -> None:
    """Encode both corpora of a YAML file into the feature store.

    Started by torchrun, the processes share the work.
    """
    hparams, _, store = _encoded(argv)
    print(f"Features of {hparams['source']}, {hparams['target']}: {store.path}")


def _encoded(
    argv: Sequence[str], unused: Sequence[str] = ()
) -> tuple[dict, dict, FeatureStore]:
    """Prepare and encode both corpora; give values, manifests and store."""
    train = _train_script()
    path, run_opts, overrides = parse_arguments(argv)
    # Features do not depend on anchors, whose rule may need an analysis first.
    hparams, _ = load(path, overrides | {"anchor_layers": []})
    train.settle(hparams, overrides, path)
    train.prepare(hparams)
    manifests = train.read_manifests(hparams)
    for key in unused:
        del manifests[key]
    store = train.encode(hparams, manifests, train.choose_device(run_opts))
    return hparams, manifests, store


def analyse(argv: Sequence[str]) -> None:
    """Compare both corpora of a YAML file layer by layer, and select layers.

    Leaves similarity.csv, selection.json and Figure 1 in the analysis folder.
    """
    unused = ("source_valid", "valid", "target_test")
    hparams, manifests, store = _encoded(argv, unused)
    labelled = hparams["use_target_labels"]
    source, target = (
        DomainRows(manifests[key], store.rows(manifests[key]), seen)
        for key, seen in (("source_train", True), ("target_train", labelled))
    )
    selection = analyse_corpora(
        source,
        target,
        hparams["similarity"],
        labelled,
        hparams["analysis_folder"],
        hparams["selection_settings"],
        store.path.name,
    )
    for rule in ANALYSIS_RULES:
        stability = selection["stability"]
        share = f" (in {stability[rule]:.0%} of resamples)" if stability else ""
        print(f"{rule}: {selection[rule]}{share}")
    print(hparams["analysis_folder"])


def reproduce(argv: Sequence[str]) -> None:
    """Run a study's runs that are not done yet, and report on all of them."""
    # matplotlib is slow to import
    from lam_sb.study.report.findings import find
    from lam_sb.study.report.report import write_report

    train = _train_script()
    path, run_opts, overrides = parse_arguments(argv)
    study = read_study(path, overrides)
    options = _option_words(run_opts)
    jobs = make_jobs(study, train, run_opts)
    if study["print_commands"]:
        _print_commands(jobs, options)
        return
    failures: list[Failure] = []
    if not study["report_only"]:
        print(describe_plan(study, jobs), flush=True)
        try:
            wrong = _make_ready(jobs, options)
            if any(job.needs_analysis for job in jobs):
                jobs = make_jobs(study, train, run_opts)  # layers are selected
            ready, failures = _choose_ready(jobs, options, wrong)
            logs = study.folder / "logs"
            failures += run_jobs(
                ready, study["jobs"], options, logs, study["keep_weights"]
            )
        except KeyboardInterrupt:
            print("Stopped; the same command goes on from here.")
            sys.exit(130)
    page = write_report(study.folder, find(study, jobs, failures))
    print(page)
    if failures:
        raise UserError(
            f"{len(failures)} runs gave no result; {page} lists them. The same "
            "command goes on from here."
        )


def _option_words(run_opts: RunOptions) -> list[str]:
    """SpeechBrain's options as they were given."""
    given = {name: run_opts[name] for name in sorted(run_opts.overridden_args)}
    return [
        f"--{name}" if value is True else f"--{name}={value}"
        for name, value in given.items()
        if value is not False
    ]


def _groundwork(jobs: Sequence[Job]) -> dict[tuple[str, str], Job]:
    """Commands that must come first, on what, and a run to take it from."""
    work = {("extract", j.inputs): j for j in jobs if not j.is_done()}
    work |= {
        ("analyse", job.places["analysis_folder"]): job
        for job in jobs
        if job.needs_analysis
    }
    return work


def _print_commands(jobs: Sequence[Job], options: Sequence[str]) -> None:
    """Print what is to be run, and apart from it what must come first."""
    for (command, _), job in _groundwork(jobs).items():
        words = ["python", "-m", "lam_sb", command, *job.arguments, *options]
        print(f"first: {shlex.join(words)}", file=sys.stderr)
    for job in jobs:
        if not job.is_done():
            print(command_line(job, options))


def _make_ready(jobs: Sequence[Job], options: Sequence[str]) -> dict[str, str]:
    """Encode and analyse what runs need; say what is wrong with which.

    What is wrong is by `Job.inputs`, or by analysis folder.
    """
    wrong: dict[str, str] = {}
    for (command, name), job in _groundwork(jobs).items():
        try:
            if command == "extract":
                _encoded([*job.arguments, *options])
            else:
                analyse([*job.arguments, *options])
        except UserError as error:
            logger.error("%s", error)
            wrong[name] = str(error)
    return wrong


def _choose_ready(
    jobs: Sequence[Job], options: Sequence[str], wrong: Mapping[str, str]
) -> tuple[list[Job], list[Failure]]:
    """Part what can be run from what cannot."""
    ready, failures = [], []
    for job in jobs:
        if job.is_done():
            continue
        differing = job.differing()
        reason = wrong.get(job.inputs)
        if job.settings is None:
            folder = job.places["analysis_folder"]
            reason = wrong.get(folder, f"{folder} is of other options")
        if differing:
            reason = (
                f"{job.results.parent} was made with other settings "
                f"({'; '.join(differing)}); name another study or experiment"
            )
        if reason:
            failures.append(Failure(command_line(job, options), reason))
        else:
            ready.append(job)
    return ready, failures


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "extract": extract,
    "analyse": analyse,
    "reproduce": reproduce,
}


def _train_script() -> ModuleType:
    try:
        return importlib.import_module("train")
    except ModuleNotFoundError as error:
        if error.name != "train":
            raise
        raise UserError(
            "There is no train.py here; run this in the recipe's folder."
        ) from None


def main(argv: Sequence[str]) -> None:
    """Run the command that is named first."""
    name = argv[0] if argv else "none"
    if name not in COMMANDS:
        raise UserError(
            f"The command is {name}; use python -m lam_sb "
            f"{' | '.join(COMMANDS)} <YAML> [--key value ...]"
        )
    logging.basicConfig(level=logging.INFO, format="%(name)s - %(message)s")
    # Each file that is loaded sets the seed, and a study loads many.
    logging.getLogger("speechbrain.utils.seed").setLevel(logging.WARNING)
    COMMANDS[name](argv[1:])


if __name__ == "__main__":
    with plain_errors():
        main(sys.argv[1:])
