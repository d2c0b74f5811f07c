"""The command line: a YAML file, its keys, SpeechBrain's options."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lam_sb.config import check, flatten
from lam_sb.errors import UserError, suggestion
from lam_sb.run_options import (
    FLAGS,
    HELP_TEXTS,
    RUN_OPTIONS,
    check_options,
    read_options,
)
from lam_sb.values import KINDS
from lam_sb.yaml_names import read_value

if TYPE_CHECKING:
    from speechbrain.utils.run_opts import RunOptions

VERBOSE = "--verbose"
HELP = {"-h", "--help"}
USAGE = """\
usage: python train.py FILE.yaml [--key value ...] [--option ...] [--verbose]

Prepares both corpora, encodes what the feature store lacks, trains, tests, and
leaves everything in results/<experiment>/<source>-<target>/<seed>/.

Every key of the YAML file can be set: --gamma 0.1, --anchor_layers "[1, 2]",
--skip_prep=True. Values are YAML. To see all keys with what they mean:
python train.py FILE.yaml --help. The console shows little, log.txt in the
results' folder all; --verbose shows all here too."""


def is_verbose(argv: Sequence[str]) -> bool:
    """Whether the command line asks for all that is logged."""
    return VERBOSE in argv


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
    file, words, overrides = _split(argv)
    return file, read_options(file, words), overrides


def check_arguments(
    argv: Sequence[str], check: Callable[[str, dict], None] = check
) -> None:
    """Answer a mistake at once: importing torch takes seconds.

    Also ``--help``. What needs the encoder or the corpora is found later.

    Arguments
    ---------
    argv : Sequence[str]
        As for `parse_arguments`.
    check : Callable[[str, dict], None]
        Refuses the values by YAML key that the file does not take.

    Raises
    ------
    UserError
        As `parse_arguments`, a file or key that does not exist, or a value
        that its key does not take.
    """
    file, words, overrides = _split(argv)
    check_options(file, words)
    check(file, overrides)


def _split(argv: Sequence[str]) -> tuple[str, list[str], dict[str, object]]:
    """File, words of SpeechBrain's options, and values by YAML key."""
    if HELP & set(argv):
        print(_usage(argv))
        sys.exit()
    options, overrides, files = [], {}, []
    rest = [word for word in argv if word != VERBOSE]
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
            hint = suggestion(key, sorted({*FLAGS, "verbose"}))
            raise UserError(
                f"{name} needs a value, for example {name}=True.{hint}"
            )
        if key in RUN_OPTIONS:
            options.append(f"{name}={value}")
        else:
            overrides[key] = _value(key, value)
    if len(files) != 1:
        raise UserError(
            f"Give one YAML file, for example hparams/lam_gl_wavlm.yaml; "
            f"found: {' '.join(files) or 'none'}."
        )
    return files[0], options, overrides


def _value(key: str, text: str) -> object:
    try:
        return read_value(key, text, f"--{key} {text}")
    except UserError as error:
        takes = KINDS[key].takes if key in KINDS else "a value in YAML"
        raise UserError(f"{error} It takes {takes}.") from None


def _flag(name: str, value: str) -> list[str]:
    if value.lower() not in ("true", "false"):
        raise UserError(f"{name}={value}: use {name} or {name}=False.")
    return [name] if value.lower() == "true" else []


def file_keys(argv: Sequence[str]) -> list[str]:
    """Keys of the YAML files on a command line, with their comments."""
    files = [word for word in argv if word.endswith((".yaml", ".yml"))]
    return [f"Keys of {file}:\n\n{flatten(file)}" for file in files]


def _usage(argv: Sequence[str]) -> str:
    lines = [USAGE, "", *file_keys(argv), "", "Options of SpeechBrain:"]
    for option in sorted(RUN_OPTIONS):
        value = "" if option in FLAGS else " VALUE"
        lines.append(f"  --{option}{value}")
        text = textwrap.fill(HELP_TEXTS[option], 70)
        lines.append(textwrap.indent(text, " " * 6))
    return "\n".join(lines)


def option_words(run_opts: RunOptions) -> list[str]:
    """SpeechBrain's options as words of a command line, as they were given."""
    given = {name: run_opts[name] for name in sorted(run_opts.overridden_args)}
    return [
        f"--{name}" if value is True else f"--{name}={value}"
        for name, value in given.items()
    ]
