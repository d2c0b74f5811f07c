"""SpeechBrain's options, without importing torch, which takes seconds."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from lam_sb.errors import UserError

if TYPE_CHECKING:
    from speechbrain.utils.run_opts import RunOptions


def _load_alone() -> ModuleType:
    """Load the file of SpeechBrain that lists them, and nothing else of it."""
    package = importlib.util.find_spec("speechbrain")
    folder = Path(package.submodule_search_locations[0])
    name = "lam_sb._run_opts"
    spec = importlib.util.spec_from_file_location(
        name, folder / "utils" / "run_opts.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # which its dataclass asks for
    spec.loader.exec_module(module)
    return module


_ALONE = _load_alone()
HELP_TEXTS: dict[str, str] = _ALONE.HELP_TEXTS
# Clipping decides the result, so it is a key of the YAML and no run option.
RUN_OPTIONS = HELP_TEXTS.keys() - {"max_grad_norm"}
FLAGS = {
    option
    for option in RUN_OPTIONS
    if isinstance(getattr(_ALONE.RunOptions, option), bool)
}


def read_options(file: str, words: Sequence[str]) -> RunOptions:
    """Read SpeechBrain's options; argparse would print all there are.

    Arguments
    ---------
    file : str
        The YAML file.
    words : Sequence[str]
        ``--option=value`` or ``--flag``.

    Returns
    -------
    RunOptions
        SpeechBrain's own, which imports it.

    Raises
    ------
    UserError
        A value that an option does not take.
    """
    check_options(file, words)
    from speechbrain.utils.run_opts import RunOptions

    return RunOptions.from_command_line_args([file, *words])[1]


def check_options(file: str, words: Sequence[str]) -> None:
    """Refuse what `read_options` would, without its import."""
    said = StringIO()
    try:
        with contextlib.redirect_stderr(said):
            _ALONE.RunOptions.from_command_line_args([file, *words])
    except SystemExit:
        reason = said.getvalue().strip().splitlines()[-1]
        reason = reason.rpartition("error: argument ")[2]
        raise UserError(f"{reason}.") from None
