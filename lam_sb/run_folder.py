"""Whose a run's folder is: the settings and the data of its settings.yaml."""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml
from filelock import FileLock, Timeout
from speechbrain.utils.distributed import if_main_process

from lam_sb.data import differing_data
from lam_sb.errors import UserError
from lam_sb.files import remove_stale, whole_file
from lam_sb.training.history import FINISHED

LOOK = 0.5  # seconds that a lock may be held by who only looks at it
# Folders of the runs that a run is made of.
PART = re.compile(r"first|seed_\d+|without_.+")


def settings_hash(settings: Mapping[str, object]) -> str:
    """Hash of what decides a result.

    Arguments
    ---------
    settings : Mapping[str, object]
        As from `load_run`.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    text = yaml.safe_dump(dict(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_part(path: Path) -> bool:
    """Whether a file is of a run that another run is made of.

    Such a run lies in the other's folder, as `lam_sb.run_parts` names it.
    """
    return any(
        PART.fullmatch(folder.name)
        and (folder.parent / "settings.yaml").exists()
        for folder in path.parents
    )


def is_held(folder: str | Path) -> bool:
    """Whether a run is at work in an output folder."""
    path = Path(folder) / ".lock"
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


@contextmanager
def held_folder(folder: str | Path) -> Iterator[Path]:
    """Hold an output folder, made if need be, for one process.

    Raises
    ------
    UserError
        Another run is at work there.
    """
    folder = Path(folder)
    lock = FileLock(folder / ".lock", timeout=LOOK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise UserError(
            f"Another run is at work in {folder}; wait for it, or use "
            "--experiment NAME for a folder of its own."
        ) from None
    try:
        remove_stale(folder)
        yield folder
    finally:
        lock.release()


@contextmanager
def experiment_folder(
    folder: str | Path, settings: Mapping[str, object]
) -> Iterator[None]:
    """Hold an output folder for one run under one setting.

    The main process does, of several.

    Arguments
    ---------
    folder : str | Path
        The output folder, made if need be.
    settings : Mapping[str, object]
        As from `load_run`.

    Raises
    ------
    UserError
        Another run is at work there, or the folder is that of other settings.
    """
    if not if_main_process():
        yield
        return
    with held_folder(folder) as held:
        _compare(held / "settings.yaml", settings)
        yield


def claim_folder(
    folder: str | Path, settings: Mapping[str, object], text: str
) -> None:
    """Keep in a run's folder what decides its result, once it is known.

    Arguments
    ---------
    folder : str | Path
        The output folder.
    settings : Mapping[str, object]
        As from `load_run` and `lam_sb.run.add_data`, for settings.yaml.
    text : str
        For hyperparams.yaml.

    Raises
    ------
    UserError
        The folder is that of other settings or other data; nothing in it is
        changed.
    """
    path = Path(folder) / "settings.yaml"
    _compare(path, settings)
    decided = yaml.safe_dump(dict(settings))
    for name, content in (path.name, decided), ("hyperparams.yaml", text):
        with whole_file(path.with_name(name)) as temporary:
            temporary.write_text(content, encoding="utf-8")


def read_settings(path: Path) -> dict[str, object]:
    """Read a settings.yaml; empty where it is not there, or damaged."""
    if not path.is_file():
        return {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        settings = yaml.load(path.read_text(encoding="utf-8"), loader)
    except (yaml.YAMLError, UnicodeDecodeError):
        settings = None
    return settings if isinstance(settings, dict) else {}


def _settings_of_work(path: Path) -> dict[str, object]:
    """Read a settings.yaml; empty where nothing was trained or tested yet.

    So a mistake that was found late is mended in the same folder.
    """
    results = (path.with_name(n) for n in ("results.json", "predictions.csv"))
    by_target = path.parent.glob("*/results.json")
    by_target = (p for p in by_target if not PART.fullmatch(p.parent.name))
    saved = path.with_name("save").rglob("*")
    work = any(p.is_file() for p in (*results, *by_target, *saved))
    return read_settings(path) if work else {}


def differing_settings(path: Path, settings: Mapping[str, object]) -> list[str]:
    """Say in what a folder was made otherwise, but for its data.

    Arguments
    ---------
    path : Path
        Its settings.yaml.
    settings : Mapping[str, object]
        As from `load_run`.

    Returns
    -------
    list[str]
        A text for each key; none where the file is not there, or nothing yet
        that was made with it.
    """
    before = _settings_of_work(path)
    keys = (before.keys() | settings.keys()) - {"data"} if before else set()
    return [
        f"{k}: {_short(before.get(k))} there, {_short(settings.get(k))} now"
        for k in sorted(keys)
        if before.get(k) != settings.get(k)
    ]


def changed_data(path: Path, settings: Mapping[str, object]) -> list[str]:
    """Say in what a folder's data, by its settings.yaml, are not these.

    None where either is not known.
    """
    before = _settings_of_work(path)
    if not before or "data" not in settings:
        return []
    return differing_data(before.get("data"), settings["data"])


def _short(value: object) -> str:
    """Write a value in one short line; parts of objects may take many."""
    return textwrap.shorten(repr(value).replace("\\n", " "), 60)


def _compare(path: Path, settings: Mapping[str, object]) -> None:
    saved = path.with_name("save").rglob("*")
    if not read_settings(path) and any(p.is_file() for p in saved):
        raise UserError(
            f"{path.parent} holds weights, but {path.name}, which says with "
            "what settings they were trained, is missing or damaged. Use "
            "--experiment NAME for a folder of its own."
        )
    differing = differing_settings(path, settings)
    if differing:
        kept = path.with_name("save") / FINISHED
        done = " It is finished, and keeps only what it tests."
        done = done if kept.is_file() else ""
        raise UserError(
            f"{path.parent} was made with other settings, or by another "
            f"version of lam_sb.{done} Use --experiment NAME for a folder of "
            "its own. "
            f"What differs: {'; '.join(differing)}."
        )
    changed = changed_data(path, settings)
    if changed:
        raise UserError(
            f"{path.parent} was made on other data, and is left as it is. Use "
            "--experiment NAME for a folder of its own. What has changed: "
            f"{'; '.join(changed)}."
        )
