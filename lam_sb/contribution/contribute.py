"""The command ``contribute``: the recipe, written into SpeechBrain's tree."""

from __future__ import annotations

import csv
import io
import re
import secrets
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError

import lam_sb
from lam_sb.arguments import contribute_arguments
from lam_sb.config import key_blocks
from lam_sb.console import say
from lam_sb.contribution.recipe_text import flat_file, sorted_imports
from lam_sb.contribution.samples import (
    ENCODERS,
    MANIFESTS,
    SPEECH,
    missing_speech,
    write_samples,
)
from lam_sb.errors import UserError
from lam_sb.yaml_text import plain_values

DATASET = "MSP-BIIC-Podcast"
RECIPE = f"recipes/{DATASET}/cross_lingual_ser"
ROWS = f"tests/recipes/{DATASET}.csv"
SAMPLES = f"tests/samples/{DATASET}"
WRITTEN = (RECIPE, ROWS, SAMPLES)
COLUMNS = (
    *("Task", "Dataset", "Script_file", "Hparam_file", "Data_prep_file"),
    *("Readme_file", "Result_url", "HF_repo", "test_debug_flags"),
    *("test_debug_checks", "performance"),
)
# What every row's test gives train.py, beside an encoder.
FLAGS = {
    "source": "msp_podcast",
    "target": "biic_podcast",
    "data_folder": SPEECH,
    "source_folder": SPEECH,
    "target_folder": SPEECH,
    "manifest_folder": f"{SAMPLES}/{MANIFESTS}",
    "feature_folder": f"tests/tmp/{DATASET}-features",
    "skip_prep": True,
}
FIT_FLAGS = {
    "brain": {"number_of_epochs": 2, "batch_size": 4},
    "episodes": {
        "number_of_epochs": 2,
        "episode_shots": 1,
        "episode_queries": 1,
        "target_shots": 1,
        "protocol": "speakers",  # which has rows that shots may come from
    },
    "sklearn": {},
}
LEFT = ("env.log", "hyperparams.yaml", "log.txt", "train.py")
# What makes files no systems, and what only the demo needs.
NO_SYSTEMS = ("study/", "small/settings.yaml", "demo.yaml")
DEMO = ("demo_prepare.py", "demo_corpora.yaml")


def contribute(argv: Sequence[str]) -> None:
    """Write the recipe, its tests' rows and their samples; all, or nothing.

    Raises
    ------
    UserError
        No tree of SpeechBrain, one that has the recipe, a file in hparams/
        that is no system, or no clone of lam_sb to take it all from.
    """
    tree = Path(contribute_arguments(argv).tree)
    clone = _clone()
    _check_tree(tree)
    texts = _texts(clone)
    written: list[Path] = []
    temporary = tree / f".lam_sb.{secrets.token_hex(4)}.tmp"
    try:
        for name, text in texts.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(re.sub(r"(?m)[ \t]+$", "", text), "utf-8")
        write_samples(temporary / SAMPLES, tree / SPEECH)
        for name in WRITTEN:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).rename(tree / name)
            written.append(tree / name)
    except (OSError, SafetensorError) as error:
        for path in written:
            _remove(path)
        raise UserError(
            f"{tree} cannot be written ({error}); nothing was left there."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    count = sum(name.endswith(".yaml") for name in texts)
    say(
        [
            f"{RECIPE}: {count} systems; {ROWS} and {SAMPLES}: their tests. "
            f"Before you ask for it to be merged: in {RECIPE}/"
            "extra_requirements.txt and README.md, put where lam_sb can be "
            "installed from in the place of OWNER."
        ]
    )


def _texts(clone: Path) -> dict[str, str]:
    """Text of each file of the recipe, and of the list of its rows."""
    scripts = [clone / "train.py", *_readers(clone)]
    train = scripts[0].read_text(encoding="utf-8")
    texts = {
        f"{RECIPE}/{script.relative_to(clone).as_posix()}": sorted_imports(
            script.read_text(encoding="utf-8")
        )
        for script in scripts
    }
    for name in ("README.md", "extra_requirements.txt"):
        path = clone / RECIPE / name
        texts[f"{RECIPE}/{name}"] = path.read_text(encoding="utf-8")
    rows, experiments = [], {}
    for name in systems(clone / "hparams"):
        path = clone / "hparams" / name
        rows.append(_row(path, name, scripts[1:], experiments))
        texts[f"{RECIPE}/hparams/{name}"] = flat_file(path, train)
    return texts | {ROWS: _table(rows)}


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _clone() -> Path:
    """Folder that this package was installed from, with the recipe."""
    clone = Path(lam_sb.__file__).parents[1]
    if not (clone / RECIPE / "README.md").is_file():
        raise UserError(
            "contribute copies train.py, hparams and data_prep from a clone of "
            "lam_sb, and this is an installed package without them: install "
            "the clone by pip install -e ."
        )
    return clone


def _check_tree(tree: Path) -> None:
    for name in ("speechbrain", "recipes", "tests/recipes", SPEECH):
        if not (tree / name).is_dir():
            raise UserError(
                f"{tree} has no folder {name}, so it is no clone of "
                "SpeechBrain: git clone "
                "https://github.com/speechbrain/speechbrain, and name it."
            )
    missing = missing_speech(tree / SPEECH)
    if missing:
        raise UserError(
            f"{tree / SPEECH} lacks {', '.join(missing)}, on which the recipe "
            "is tested: git checkout them there."
        )
    there = [str(tree / name) for name in WRITTEN if (tree / name).exists()]
    if there:
        raise UserError(
            f"{tree} has the recipe already. To write it anew: "
            f"{shlex.join(['rm', '-r', *there])}"
        )


def _readers(clone: Path) -> list[Path]:
    """Scripts that prepare corpora, but for the demo's."""
    scripts = sorted((clone / "data_prep").glob("*.py"))
    return [script for script in scripts if script.name not in DEMO]


def systems(hparams: Path) -> Iterator[str]:
    """Give the file of each system, relative to the folder hparams."""
    for path in sorted(hparams.rglob("*.yaml")):
        name = path.relative_to(hparams).as_posix()
        is_hidden = any(part.startswith(".") for part in name.split("/"))
        if not is_hidden and not name.startswith(NO_SYSTEMS):
            yield name


def _row(
    path: Path, name: str, readers: Sequence[Path], experiments: dict
) -> dict[str, str]:
    """Give what SpeechBrain's list of recipes says of one file."""
    plain, _ = plain_values(key_blocks(path, {}), str(path))
    if "fit" not in plain or plain["experiment"] in experiments:
        other = experiments.get(plain.get("experiment"), "")
        raise UserError(
            f"{path} is no system{other and f' beside {other}'}: move it out "
            "of hparams/, or give it an experiment of its own."
        )
    fit, experiments[plain["experiment"]] = plain["fit"], name
    is_whisper = name.startswith("small/") or "whisper" in path.stem
    encoder = ENCODERS[is_whisper]
    flags = FLAGS | {"encoder_source": f"{SAMPLES}/{encoder}"} | FIT_FLAGS[fit]
    left = LEFT if fit == "sklearn" else (*LEFT, "train_log.txt")
    prepared = [f"{RECIPE}/data_prep/{reader.name}" for reader in readers]
    return {
        "Task": "Emotion_recognition",
        "Dataset": DATASET,
        "Script_file": f"{RECIPE}/train.py",
        "Hparam_file": f"{RECIPE}/hparams/{name}",
        "Data_prep_file": " ".join(prepared),
        "Readme_file": f"{RECIPE}/README.md",
        "test_debug_flags": " ".join(f"--{k}={v}" for k, v in flags.items()),
        "test_debug_checks": f"file_exists=[{','.join(left)}]",
        "performance": "UAR: see the README",
    }


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
