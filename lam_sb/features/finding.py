"""Which folder is the store of an encoder and its settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from lam_sb.errors import UserError
from lam_sb.features import hub
from lam_sb.features.encoders import FrozenEncoder


def find_store(
    encoder: FrozenEncoder, settings: dict[str, object], feature_folder: Path
) -> tuple[Path, bool]:
    """Name the folder of a store, by the hash of all its settings.

    Where the encoder is not here, that is the one store which has its name and
    the other settings; only without one is the encoder looked for on the net.

    Arguments
    ---------
    encoder : FrozenEncoder
        The encoder.
    settings : dict[str, object]
        What else the features depend on; its ``digest`` is added if known.
    feature_folder : Path
        Where stores lie.

    Returns
    -------
    path : Path
        The folder, which need not exist.
    is_copy : bool
        Whether it was found without the encoder.

    Raises
    ------
    UserError
        The encoder is out of reach, and no one store fits.
    """
    try:
        with hub.cached_only():
            settings["digest"] = encoder.digest
    except hub.OutOfReachError:
        copies = _copies(encoder, settings, feature_folder)
        if len(copies) == 1:
            return copies[0], True
        try:
            settings["digest"] = encoder.digest
        except hub.OutOfReachError as error:
            raise UserError(
                f"{error} The encoder {encoder.source} is out of reach, and "
                f"{len(copies)} stores under {feature_folder} fit its name "
                f"and these settings: {settings}."
            ) from error
    text = json.dumps(settings, sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    return feature_folder / f"{encoder.name}-{name}", False


def _copies(
    encoder: FrozenEncoder, settings: Mapping, feature_folder: Path
) -> list[Path]:
    """List the stores of an encoder's name that have these settings."""
    stores = hub.read_store_descriptions(encoder.name, feature_folder)
    unknown = {"digest": None, "transformers": None}  # of a copy
    return [
        path
        for path, description in stores.items()
        if description["settings"] | unknown == settings | unknown
    ]
