"""Command lines without a YAML file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from lam_sb.command_line import VERBOSE
from lam_sb.errors import UserError
from lam_sb.yaml_text import parse_yaml

# How each command is called; its help shows the same.
USAGES = {
    "align": "CORPUS [--language CODE] [--output FOLDER] [--verbose]",
    "export": (
        "RUN [RUN ...] FOLDER [--target NAME] [--encoder_source ID] "
        "[--onnx=True] [--verbose]"
    ),
    "compare": "RUN RUN [--verbose]",
    "check": (
        "CORPUS [--name NAME] [--options YAML] [--protocol NAME] [--verbose]"
    ),
    "contribute": "SPEECHBRAIN_TREE [--verbose]",
    "predict": (
        "MODEL FILE_OR_FOLDER [...] --csv OUT.csv [--adapt=True] "
        "[--min_confidence X] [--plot=True] [--encoder_source ID] "
        "[--device NAME] [--verbose]"
    ),
}


class _Parser(argparse.ArgumentParser):
    """Says what is wrong as all commands do, and how to call this one."""

    def __init__(self, command: str):
        super().__init__(add_help=False, allow_abbrev=False)
        self.command = command
        self.add_argument(VERBOSE, action="store_true")

    def error(self, message: str) -> NoReturn:
        raise UserError(
            f"{message[0].upper()}{message[1:]}; use python -m lam_sb "
            f"{self.command} {USAGES[self.command]}"
        )


def align_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line of ``align``.

    Returns
    -------
    argparse.Namespace
        ``corpus``, a folder; ``language`` and ``output``, None if not given.

    Raises
    ------
    UserError
        Another option, no corpus or several, or a folder that is not there.
    """
    parser = _Parser("align")
    parser.add_argument("corpus")
    parser.add_argument("--language")
    parser.add_argument("--output")
    given = parser.parse_args(argv)
    if not Path(given.corpus, "labels.csv").is_file():
        raise UserError(
            f"{given.corpus} holds no labels.csv: give the folder of a corpus "
            "that does, with the columns path, text and language."
        )
    return given


def export_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line of ``export``.

    Returns
    -------
    argparse.Namespace
        ``runs``, folders, and ``folder``, which is to be written; ``target``
        and ``encoder_source``, None if not given; ``onnx``.

    Raises
    ------
    UserError
        Another option, or no run.
    """
    parser = _Parser("export")
    parser.add_argument("runs", nargs="+")
    parser.add_argument("folder")
    parser.add_argument("--target")
    parser.add_argument("--encoder_source")
    _add_switch(parser, "--onnx")
    return parser.parse_args(argv)


def predict_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line of ``predict``.

    Returns
    -------
    argparse.Namespace
        ``model``, a folder or Hub id; ``paths`` of files and folders; ``csv``;
        ``adapt``, ``plot``, ``min_confidence``, ``encoder_source``,
        ``device``.

    Raises
    ------
    UserError
        Another option, a path that does not exist, or nothing to classify.
    """
    parser = _Parser("predict")
    parser.add_argument("model")
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--csv", required=True)
    _add_switch(parser, "--adapt")
    _add_switch(parser, "--plot")
    parser.add_argument("--min_confidence", type=_share, default=0.0)
    parser.add_argument("--encoder_source")
    parser.add_argument("--device")
    given = parser.parse_args(argv)
    for path in given.paths:
        if not Path(path).exists():
            raise UserError(f"{path}: there is no such file or folder.")
    return given


def compare_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line of ``compare``.

    Returns
    -------
    argparse.Namespace
        ``first`` and ``second``, a folder or a pattern each.

    Raises
    ------
    UserError
        Another option, or not two of them.
    """
    parser = _Parser("compare")
    parser.add_argument("first")
    parser.add_argument("second")
    return parser.parse_args(argv)


def check_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line of ``check``.

    Returns
    -------
    argparse.Namespace
        ``corpus``, a folder; ``name``, None if not given; ``options`` of its
        reader; ``protocol``.

    Raises
    ------
    UserError
        Another option, or a value that it does not take.
    """
    parser = _Parser("check")
    parser.add_argument("corpus")
    parser.add_argument("--name")
    parser.add_argument("--options", default="{}")
    parser.add_argument(
        "--protocol",
        choices=("speakers", "transductive"),
        default="speakers",
    )
    given = parser.parse_args(argv)
    given.options = parse_yaml(given.options, f"--options {given.options}")
    if not isinstance(given.options, dict):
        parser.error("argument --options: takes a mapping, {key: value}")
    if not Path(given.corpus).is_dir():
        raise UserError(f"{given.corpus}: there is no such folder.")
    return given


def contribute_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line of ``contribute``.

    Returns
    -------
    argparse.Namespace
        ``tree``, a folder.

    Raises
    ------
    UserError
        Another option, or not one folder.
    """
    parser = _Parser("contribute")
    parser.add_argument("tree")
    given = parser.parse_args(argv)
    if not Path(given.tree).is_dir():
        raise UserError(f"{given.tree}: there is no such folder.")
    return given


def _add_switch(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument(
        name,
        nargs="?",
        type=partial(_switch, name),
        const=True,
        default=False,
    )


def _switch(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{name} takes True or False")
    return text.lower() == "true"


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("takes a number from 0 to 1")
    return value
