"""The command of a study of tiny runs, and what it leaves."""

from __future__ import annotations

from pathlib import Path

from conftest import HPARAMS
from runs import outcome


def study_words(root: Path, corpora: Path, wavlm: Path, **keys) -> list[str]:
    """Give the words of `reproduce`; all it makes lies below root."""
    file = root / "mine.yaml"
    file.write_text(f"base: {HPARAMS / 'study/open.yaml'}\nstudy: mine\n")
    pairs = {
        **{"hparams": f"{HPARAMS}/small/{{file}}.yaml", "seeds": 1},
        **{"systems": "[layer_atn]", "directions": "[[left, right]]"},
        **{"corpora": "[left, right]", "encoders": f"{{tiny: {wavlm}}}"},
        **{"data_folder": corpora, "feature_folder": root / "features"},
        **{"output_root": root / "out", "batch_size": 8, "jobs": 2},
        **{"max_steps": 6, "average_last_steps": 3, "num_heads": 2},
        **{"projection_dim": 16, "ffn_dim": 16},
    }
    given = [f"--{key}={value}" for key, value in (pairs | keys).items()]
    return ["reproduce", str(file), *given, "--noprogressbar"]


def tables(root: Path) -> dict[str, str]:
    """Tables of the study, by name; paths in them begin at its root."""
    paths = sorted((root / "out/study/mine").glob("*.csv"))
    return {p.name: p.read_text().replace(str(root), "") for p in paths}


def outcomes(root: Path) -> dict[str, tuple]:
    """What each run came to, by its folder."""
    found = {}
    for path in sorted((root / "out").rglob("predictions.csv")):
        results, rows = outcome(path.parent)
        for key in ("files", "settings_hash"):  # settings name the folders
            results.pop(key)
        found[str(path.parent.relative_to(root))] = results, rows
    return found
