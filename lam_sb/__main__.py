"""Commands beside train.py: ``python -m lam_sb extract ...``.

They run in the recipe's folder, where train.py is.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

from lam_sb.errors import UserError
from lam_sb.hparams import load, parse_arguments, plain_errors


def extract(argv: Sequence[str]) -> None:
    """Encode both corpora of a YAML file into the feature store.

    Started by torchrun, the processes share the work.
    """
    logging.basicConfig(level=logging.INFO, format="%(name)s - %(message)s")
    train = _train_script()
    path, run_opts, overrides = parse_arguments(argv)
    hparams, _ = load(path, overrides)
    train.prepare(hparams)
    manifests = train.read_manifests(hparams)
    store = train.encode(hparams, manifests, train.choose_device(run_opts))
    print(f"Features of {hparams['source']}, {hparams['target']}: {store.path}")


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {"extract": extract}


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
    COMMANDS[name](argv[1:])


if __name__ == "__main__":
    with plain_errors():
        main(sys.argv[1:])
