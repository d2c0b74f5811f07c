"""YAML files with a base, the command line on top, and one folder a setting."""

from __future__ import annotations

import difflib
import hashlib
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import yaml
from filelock import FileLock, Timeout
from hyperpyyaml import load_hyperpyyaml, resolve_references
from ruamel.yaml import YAML, YAMLError
from speechbrain.utils.run_opts import HELP_TEXTS, RunOptions

from lam_sb.errors import UserError
from lam_sb.files import whole_file

KEY = re.compile(r"""^["']?([A-Za-z_][\w.-]*)["']?\s*:""")
# Clipping decides the result, so it is a key of the YAML and no run option.
RUN_OPTIONS = HELP_TEXTS.keys() - {"max_grad_norm"}
FLAGS = {o for o in RUN_OPTIONS if isinstance(getattr(RunOptions, o), bool)}
USAGE = """\
usage: python train.py FILE.yaml [--key value ...] [--option ...]

Every key of the YAML file can be set. What it is, its unit and its default
stand in hparams/lam_gl_wavlm.yaml, the base of all other files. Values are
YAML: --anchor_layers "[1, 2]"; booleans are --key=True.

Options of SpeechBrain:
"""
# What may change in a folder: how far to train, and where things lie.
FREE_KEYS = (
    "number_of_epochs",
    "patience",
    "data_folder",
    "source_folder",
    "target_folder",
    "manifest_folder",
    "feature_folder",
    "analysis_folder",
    "output_root",
    "output_folder",
    "save_folder",
    "train_log",
    "source_train",
    "source_valid",
    "target_train",
    "target_valid",
    "target_test",
    "skip_prep",
    "dry_run",
    "eval_batch_size",
    "extract_batch_seconds",
)


def flatten(path: str | Path) -> str:
    r"""Text of a YAML file with all its bases filled in.

    A file may name another with ``base:``; its own top-level keys then replace
    the base's, whole, each with the comments above it. In a list of bases,
    the keys of each replace those of the ones before.

    Arguments
    ---------
    path : str | Path
        The file; ``base`` is relative to it.

    Returns
    -------
    str
        One plain HyperPyYAML text without ``base``.

    Raises
    ------
    UserError
        A file that does not exist, bases in a circle, or a key that the base
        does not have.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> text = "# Trade-off.\ngamma: 0.5\nlr: 1\n"
    >>> _ = (folder / "a.yaml").write_text(text)
    >>> _ = (folder / "b.yaml").write_text("base: a.yaml\nlr: 2\n")
    >>> print(flatten(folder / "b.yaml"))
    # Trade-off.
    gamma: 0.5
    lr: 2
    <BLANKLINE>
    """
    return "".join(_flatten(Path(path), ()).values())


def _flatten(path: Path, above: tuple[Path, ...]) -> dict[str, str]:
    if not path.is_file():
        asked = f" (base of {above[-1]})" if above else ""
        raise UserError(f"There is no YAML file {path}{asked}.")
    if path.resolve() in above:
        raise UserError(f"{path} is its own base.")
    own = _blocks(path.read_text(encoding="utf-8"))
    if "base" not in own:
        return own
    names = _parse(own.pop("base"), str(path))["base"]
    names = names if isinstance(names, list) else [names]
    if not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: base is {names}; name YAML files.")
    above = (*above, path.resolve())
    merged = _flatten(path.parent / names[0], above)
    for name in names[1:]:
        _replace(merged, _flatten(path.parent / name, above), name)
    return _replace(merged, own, str(path))


def _replace(
    merged: dict[str, str], own: Mapping[str, str], where: str
) -> dict[str, str]:
    """Put own keys in the place of those of the bases."""
    check_known(own.keys() - {""}, merged, where)
    for key, block in own.items():
        if key:
            comments = _comments(block)
            body = block[len(comments) :]
            if not comments.strip():
                comments = _comments(merged[key])
            merged[key] = comments + body
    return merged


def own_keys(path: str | Path) -> set[str]:
    """Keys that a file sets over its base.

    Arguments
    ---------
    path : str | Path
        The file.

    Returns
    -------
    set[str]
        Its own top-level keys; none of a complete file, which has no base.
    """
    blocks = _blocks(Path(path).read_text(encoding="utf-8"))
    return blocks.keys() - {"", "base"} if "base" in blocks else set()


def _blocks(text: str) -> dict[str, str]:
    """Top-level keys with the comments above them, in order.

    Comments at the end belong to the last key, lines before the first key
    that are no comments to the key "". A key that stands twice keeps both.
    """
    blocks: dict[str, str] = {"": ""}
    waiting, key = "", ""
    for line in text.splitlines(keepends=True):
        match = KEY.match(line)
        if match:
            key = match[1]
            blocks[key] = blocks.get(key, "") + waiting + line
            waiting = ""
        elif line.startswith("#") or not line.strip():
            waiting += line
        else:
            blocks[key] += waiting + line
            waiting = ""
    blocks[key] += waiting
    if not blocks[key].endswith("\n"):
        blocks[key] += "\n"
    if not blocks[""]:
        del blocks[""]
    return blocks


def _comments(block: str) -> str:
    """Comment and blank lines above the key of a block."""
    lines = block.splitlines(keepends=True)
    count = next((n for n, x in enumerate(lines) if KEY.match(x)), 0)
    return "".join(lines[:count])


def check_known(
    keys: Sequence[str], known: Mapping[str, object], where: str
) -> None:
    """Refuse keys that nothing reads, naming the nearest one.

    Arguments
    ---------
    keys : Sequence[str]
        Keys that were set.
    known : Mapping[str, object]
        Keys that exist.
    where : str
        Who set them, for the message.

    Raises
    ------
    UserError
        An unknown key.
    """
    for key in sorted(keys):
        if key not in known:
            hint = _hint(key, [*known, *sorted(RUN_OPTIONS)])
            raise UserError(f"{where}: there is no key '{key}'.{hint}")


def _hint(key: str, known: Sequence[str]) -> str:
    longer = [name for name in known if name.startswith(key)]
    near = longer or difflib.get_close_matches(key, known, n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


def _parse(text: str, where: str) -> object:
    """Read YAML as HyperPyYAML does, where 1e-4 is a number."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise UserError(f"{where} is no valid YAML: {error}") from None


def _dump(content: Mapping[str, object]) -> str:
    writer, text = YAML(typ="safe", pure=True), StringIO()
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False
    writer.dump(dict(content), text)
    return text.getvalue()


def parse_arguments(
    argv: Sequence[str],
) -> tuple[str, RunOptions, dict[str, object]]:
    """Split a command line into file, run options and YAML overrides.

    As SpeechBrain's own, but values may hold ``=``, names are never
    abbreviated, and a YAML key without a value is an error instead of null.
    ``--help`` prints how to call it and exits.

    Arguments
    ---------
    argv : Sequence[str]
        Arguments after the script's name.

    Returns
    -------
    path : str
        The YAML file.
    run_opts : RunOptions
        SpeechBrain's options (``--device``, ``--debug``, ...).
    overrides : dict[str, object]
        Values by YAML key.

    Raises
    ------
    UserError
        No file, a key without a value, or a value that is no YAML.

    Example
    -------
    >>> parse_arguments(["a.yaml", "--gamma=0", "--device", "cpu"])[2]
    {'gamma': 0}
    """
    if {"-h", "--help"} & set(argv):
        print(_usage())
        sys.exit()
    options, overrides, files = [], {}, []
    rest = list(argv)
    while rest:
        name, given, value = rest.pop(0).partition("=")
        key = name.removeprefix("--")
        if key == name:
            files.append(name + given + value)
            continue
        if key in FLAGS:
            options += _flag(name, value or "True")
            continue
        if not given and rest and not rest[0].startswith("--"):
            value = rest.pop(0)
        if not value:
            hint = _hint(key, sorted(FLAGS))
            raise UserError(
                f"{name} needs a value, for example {name}=True.{hint}"
            )
        if key in RUN_OPTIONS:
            options.append(f"{name}={value}")
        else:
            overrides[key] = _parse(value, f"{name} {value}")
    if len(files) != 1:
        raise UserError(
            f"Give one YAML file, for example hparams/lam_gl_wavlm.yaml; "
            f"found: {' '.join(files) or 'none'}."
        )
    _, run_opts, _ = RunOptions.from_command_line_args([files[0], *options])
    return files[0], run_opts, overrides


def _flag(name: str, value: str) -> list[str]:
    if value.lower() not in ("true", "false"):
        raise UserError(f"{name}={value}: use {name} or {name}=False.")
    return [name] if value.lower() == "true" else []


def _usage() -> str:
    lines = []
    for option in sorted(RUN_OPTIONS):
        value = "" if option in FLAGS else " VALUE"
        lines.append(f"  --{option}{value}")
        text = textwrap.fill(HELP_TEXTS[option], 70)
        lines.append(textwrap.indent(text, " " * 6))
    return USAGE + "\n".join(lines)


def load(
    path: str, overrides: Mapping[str, object]
) -> tuple[dict, dict[str, object]]:
    """Load a file over its bases, the command line on top.

    Arguments
    ---------
    path : str
        The YAML file.
    overrides : Mapping[str, object]
        Values by key.

    Returns
    -------
    hparams : dict
        Loaded values and objects.
    settings : dict[str, object]
        What decides the result, in words, by key: paths and how far to train
        left out. Its hash is ``settings_hash``.

    Raises
    ------
    UserError
        An unknown key, no ``data_folder``, or a file that does not load.
    """
    blocks = _merged(path, overrides)
    data_folder = blocks.get("data_folder", "")
    if "!PLACEHOLDER" in data_folder[len(_comments(data_folder)) :]:
        raise UserError(
            "Say where the corpora lie: --data_folder <folder with a folder "
            "for each corpus>."
        )
    hparams = _load_blocks(blocks, path)
    return hparams, _settings(blocks)


def load_study(
    path: str, overrides: Mapping[str, object]
) -> tuple[dict, dict[str, object]]:
    """Load a study's file over its bases.

    Arguments
    ---------
    path : str
        The file.
    overrides : Mapping[str, object]
        Values by key, of the study or of its runs.

    Returns
    -------
    values : dict
        Of the study, the command line on top.
    rest : dict[str, object]
        Overrides that are no keys of the study.

    Raises
    ------
    UserError
        A file that is no study, or does not load.
    """
    known = _flatten(Path(path), ())
    if "study" not in known:
        raise UserError(f"{path} is no study; see hparams/study/.")
    own = {key: value for key, value in overrides.items() if key in known}
    rest = {key: overrides[key] for key in overrides.keys() - own.keys()}
    return _load_blocks(_merged(path, own), path), rest


def _load_blocks(blocks: Mapping[str, str], path: str) -> dict:
    """Load a text, its errors as the user's own."""
    try:
        return load_hyperpyyaml("".join(blocks.values()))
    except UserError:
        raise
    except (
        YAMLError,
        yaml.YAMLError,
        ValueError,
        TypeError,
        ImportError,
    ) as error:
        raise UserError(f"{path} does not load: {error}") from error


def resolved(path: str, overrides: Mapping[str, object]) -> str:
    """Text that a run leaves as hyperparams.yaml, references filled in.

    Arguments
    ---------
    path : str
        The YAML file.
    overrides : Mapping[str, object]
        Values by key.

    Returns
    -------
    str
        One plain YAML that loads to the same values.
    """
    text = "".join(_merged(path, overrides).values())
    return resolve_references(text).read()


def _merged(
    path: str | Path, overrides: Mapping[str, object]
) -> dict[str, str]:
    """Blocks of a file over its bases, the command line on top."""
    blocks = _flatten(Path(path), ())
    check_known(overrides.keys(), blocks, "command line")
    for key, value in overrides.items():
        blocks[key] = _comments(blocks[key]) + _dump({key: value})
    return blocks


def _settings(blocks: Mapping[str, str]) -> dict[str, object]:
    """Plain values, and the text of what has a tag, by key."""
    tagged, plain = {}, []
    for key, block in blocks.items():
        if not key or key in FREE_KEYS:
            continue
        body = block[len(_comments(block)) :]
        lines = [re.sub(r"\s+#.*$", "", x) for x in body.splitlines()]
        body = "\n".join(x.rstrip() for x in lines if x.strip())
        if "!" in body:
            tagged[key] = body.partition(":")[2].strip()
        else:
            plain.append(block)
    return (_parse("".join(plain), "the YAML") or {}) | tagged


def settings_hash(settings: Mapping[str, object]) -> str:
    """Hash of what decides a result.

    Arguments
    ---------
    settings : Mapping[str, object]
        As from `load`.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    text = yaml.safe_dump(dict(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def experiment_folder(
    folder: str | Path, settings: Mapping[str, object]
) -> Iterator[None]:
    """Hold an output folder for one run under one setting.

    Arguments
    ---------
    folder : str | Path
        The output folder, made if need be.
    settings : Mapping[str, object]
        As from `load`; kept beside the results as settings.yaml.

    Raises
    ------
    UserError
        Another run is at work there, or the folder is that of other settings.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"Another run is at work in {folder}; wait for it, or use "
            "--experiment NAME for a folder of its own."
        ) from None
    try:
        _compare(folder / "settings.yaml", dict(settings))
        yield
    finally:
        lock.release()


def differing_settings(path: Path, settings: Mapping[str, object]) -> list[str]:
    """Say in what a folder was made otherwise.

    Arguments
    ---------
    path : Path
        Its settings.yaml.
    settings : Mapping[str, object]
        As from `load`.

    Returns
    -------
    list[str]
        A text for each key; none where the file is not there.
    """
    if not path.is_file():
        return []
    before = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [
        f"{k}: {before.get(k)!r} there, {settings.get(k)!r} now"
        for k in sorted(before.keys() | settings.keys())
        if before.get(k) != settings.get(k)
    ]


def _compare(path: Path, settings: dict[str, object]) -> None:
    differing = differing_settings(path, settings)
    if differing:
        raise UserError(
            f"{path.parent} was made with other settings "
            f"({'; '.join(differing)}). Use --experiment NAME for a "
            "folder of its own."
        )
    if path.is_file():
        return
    with whole_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(settings), encoding="utf-8")


@contextmanager
def plain_errors() -> Iterator[None]:
    """Print a user's own mistakes as one message, without a traceback."""
    try:
        yield
    except UserError as error:
        sys.stdout.flush()
        sys.exit(f"error: {error}")
