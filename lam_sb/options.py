"""Which keys a system uses, and what they may be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from lam_sb.analysis.anchor_layers import ANALYSIS_RULES
from lam_sb.config import own_keys
from lam_sb.corpora.names import set_by_corpus
from lam_sb.errors import UserError, check_choice
from lam_sb.models.pooling import BEST_ON_SOURCE
from lam_sb.run_parts import check_parts
from lam_sb.training.alignment import alignment_parameters
from lam_sb.values import CHOICES, check_values

TRAINING_KEYS = {
    *("projection_dim", "projection_norm", "layer_weighting", "num_blocks"),
    *("num_heads", "ffn_dim", "dropout", "number_of_epochs", "max_steps"),
    *("patience", "min_steps", "average_last_steps", "lr", "weight_decay"),
    *("max_grad_norm", "select_on", "eval_batch_size", "features_on"),
    *("balance", "seeds_averaged"),
}
# Keys that not every way of fitting uses.
FIT_KEYS = {
    "brain": {*TRAINING_KEYS, "batch_size", "class_weight"},
    "episodes": {
        *(*TRAINING_KEYS, "episode_shots", "episode_queries", "target_shots"),
    },
    "sklearn": {"class_weight"},
}
# Keys that not every alignment uses.
ALIGNMENT_KEYS = {
    *("segment", "anchor_layers", "scale", "reduce"),
    *("vowels", "negative", "margin"),
}
SELECTION_KEYS = {"similarity", "use_target_labels", "selection_settings"}


def alignment_class(alignment: Callable | None) -> object:
    """Class or function of an alignment, None without one."""
    if isinstance(alignment, partial):  # HyperPyYAML's !name:
        alignment = alignment.func
    named = alignment is None or hasattr(alignment, "__name__")
    return alignment if named else type(alignment)


def uses_anchors(alignment: Callable | None, mix_layers: object) -> bool:
    """Whether a system aligns anchored layers, leaves them out, or logs them.

    Example
    -------
    >>> uses_anchors(None, "top"), uses_anchors(None, "not_anchored")
    (False, True)
    """
    if alignment is None:
        return mix_layers not in ("top", BEST_ON_SOURCE)
    keys = getattr(alignment_class(alignment), "keys", ALIGNMENT_KEYS)
    return "anchor_layers" in keys


def unused_keys(hparams: dict) -> set[str]:
    """Keys of a run that its system does not use.

    Arguments
    ---------
    hparams : dict
        Values of a run, with ``fit``, ``alignment`` and ``mix_layers``.

    Returns
    -------
    set[str]
        Of those that only some systems use. What an alignment uses is what it
        lists as ``keys``; without such a list it may use any.
    """
    alignment = alignment_class(hparams["alignment"])
    used = FIT_KEYS[hparams["fit"]]
    if alignment is not None:
        keys = getattr(alignment, "keys", ALIGNMENT_KEYS)
        used = used | {"gamma", *keys}
    elif uses_anchors(None, hparams["mix_layers"]):
        used = used | {"anchor_layers"}
    return set().union(*FIT_KEYS.values(), ALIGNMENT_KEYS, {"gamma"}) - used


def draws_tested_shots(hparams: Mapping) -> bool:
    """Whether a system's shots come from rows that would be tested.

    Example
    -------
    >>> few_shot = {"fit": "episodes", "protocol": "transductive"}
    >>> [draws_tested_shots(few_shot | {"target_shots": n}) for n in (5, 0)]
    [True, False]
    """
    shots = hparams["fit"] == "episodes" and hparams["target_shots"]
    return bool(shots) and hparams["protocol"] == "transductive"


def check_options(
    hparams: dict, overrides: Iterable[str], path: str
) -> set[str]:
    """Refuse wrong choices and unused keys; set what follows from others.

    Arguments
    ---------
    hparams : dict
        Values of a run. Unused ``gamma`` and ``anchor_layers`` become 0 and
        []; ``hold_out_shots: null`` becomes what it stands for; under
        ``bound: within`` the target takes the source's place.
    overrides : Iterable[str]
        Keys that the command line sets.
    path : str
        The YAML file.

    Returns
    -------
    set[str]
        Keys that do not decide the result.

    Raises
    ------
    UserError
        A choice that does not exist, a key that the system does not use, set
        in the system's own file or on the command line, or an alignment that
        asks for what there is not.
    """
    if "system" not in hparams:
        raise UserError(f"{path} is only a part of other files, no system.")
    check_values({key: hparams[key] for key in CHOICES if key in hparams})
    unused = unused_keys(hparams)
    for where, keys in (("command line", overrides), (path, own_keys(path))):
        for key in sorted(unused & set(keys)):
            raise UserError(
                f"{where}: the system {hparams['system']} has no use for {key}."
            )
    if hparams["hold_out_shots"] is None:
        hparams["hold_out_shots"] = draws_tested_shots(hparams)
    if hparams["protocol"] != "transductive":  # no test row is trained on
        unused.add("hold_out_shots")
    unused |= _check_corpora(hparams)
    if "seeds_averaged" in unused:  # by a file that its own is based on
        hparams["seeds_averaged"] = 1
    unused |= check_parts(hparams)
    _check_anchors(hparams, overrides, path)
    # These decide the result only through such a rule; analyse reads them too.
    if hparams["anchor_layers"] not in ANALYSIS_RULES:
        unused |= SELECTION_KEYS
    alignment = alignment_class(hparams["alignment"])
    if alignment is not None:
        alignment_parameters(hparams["alignment"])
    segments = getattr(alignment, "segments", CHOICES["segment"][:3])
    check_choice("segment", hparams["segment"], segments)
    if hparams["bound"] == "oracle" and hparams["fit"] == "episodes":
        raise UserError("bound: oracle has no meaning for fit: episodes.")
    if "gamma" in unused:
        hparams["gamma"] = 0
    if "anchor_layers" in unused:
        hparams["anchor_layers"] = hparams["anchored_layers"] = []
    _check_mixed(hparams)
    if hparams["bound"] == "within":
        _put_target_for_source(hparams)
    return unused


def check_has_anchors(hparams: Mapping) -> None:
    """Refuse to align no layers, or to leave none out.

    Raises
    ------
    UserError
        ``anchor_layers`` is [], and the system needs some.
    """
    alignment = alignment_class(hparams["alignment"])
    needs = hparams["mix_layers"] == "not_anchored" or (
        alignment is not None and uses_anchors(alignment, "all")
    )
    if needs and hparams["anchor_layers"] == [] and hparams["gamma"]:
        raise UserError(
            f"anchor_layers: the system {hparams['system']} needs some; for "
            "no alignment use --gamma 0."
        )


def _check_corpora(hparams: dict) -> set[str]:
    """Give all keys of corpora by corpus; name those that do not count.

    They are the keys of several corpora, where a role has one.
    """
    set_by_corpus(hparams)
    both = [c for c in hparams["sources"] if c in hparams["targets"]]
    if both and hparams["bound"] != "within":
        raise UserError(
            f"source and target are both {both[0]}, so every system "
            "would be tested in its own language; name two corpora, or, to "
            "train within the target, use --bound within."
        )
    hparams["prepare"] = partial(
        hparams["prepare"],
        source_folder=hparams["source_folder"],
        target_folder=hparams["target_folder"],
    )
    unused = set()
    if len(hparams["sources"]) == 1:
        unused.add("align_sources")
        if len(hparams["targets"]) == 1:
            unused.add("balance")
    return unused


def _check_anchors(hparams: dict, overrides: Iterable[str], path: str) -> None:
    """Refuse numbers of layers that were chosen on another kind of encoder.

    Whoever names layers himself, on the command line or in a file of his own,
    means them. Anchors that would only be logged are none then.
    """
    chosen_on, anchors = hparams["anchors_chosen_on"], hparams["anchor_layers"]
    named = own_keys(path) & {"anchor_layers", "anchors_chosen_on"}
    if (
        chosen_on is None
        or not hparams["anchored_layers"]
        or isinstance(anchors, str)
        or named == {"anchor_layers"}
        or "anchor_layers" in overrides
    ):
        return
    encoder = hparams["encoder"]
    if encoder.family == chosen_on:
        return
    left_out = hparams["mix_layers"] == "not_anchored"
    if hparams["alignment"] is None and not left_out:
        hparams["anchored_layers"] = hparams["anchor_layers"] = []
        return
    raise UserError(
        f"anchor_layers: {anchors} of {path} were chosen on {chosen_on}, not "
        f"on {encoder.family} ({encoder.source}). Choose some for it by "
        f"python -m lam_sb analyse {path} with the same options, and add "
        "--anchor_layers group; or name them, --anchor_layers [...]; or use "
        "another --encoder_source."
    )


def _check_mixed(hparams: dict) -> None:
    """Refuse to align layers that are not mixed, and log none of them.

    All layers are all that are mixed.
    """
    if hparams["mix_layers"] == "not_anchored":
        return
    anchors, alignment = hparams["anchored_layers"], hparams["alignment"]
    mixed = [n for n in anchors if n in hparams["layers"]]
    aligns = alignment is not None and {"source", "target"} & {
        *alignment_parameters(alignment)
    }
    if aligns and mixed != anchors and hparams["anchor_layers"] != "all":
        raise UserError(
            f"anchor_layers {anchors} cannot all be aligned: mix_layers: "
            f"{hparams['mix_layers']} mixes {hparams['layers']}. Name other "
            "--anchor_layers, or mix more layers."
        )
    hparams["anchored_layers"] = mixed


def _put_target_for_source(hparams: dict) -> None:
    for end in ("", "s", "_folder", "_options", "_train", "_valid"):
        hparams[f"source{end}"] = hparams[f"target{end}"]
    hparams["valid"] = hparams["target_valid"]
    hparams["prepare"] = partial(
        hparams["prepare"],
        source=hparams["target"],
        source_folder=hparams["target_folder"],
        source_options=hparams["target_options"],
        target_options=hparams["target_options"],
    )
