"""What the keys of a run's YAML take, and a study's on clusters."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten

from lam_sb.errors import UserError

# Keys that take one of a few words.
CHOICES = {
    "protocol": ("speakers", "transductive"),
    "target_rows": ("four", "all"),
    "select_on": ("source", "last", "target"),
    "class_weight": ("balanced", "none"),
    "fit": ("brain", "episodes", "sklearn"),
    "bound": ("none", "within", "oracle"),
    "normalise": ("none", "source", "domain", "speaker", "residual"),
    "features_on": ("auto", "gpu", "memory", "disk"),
    "similarity": (
        *("centroid", "pairwise", "centred"),
        *("covariance", "covariance_standardised"),
    ),
    "balance": ("corpus", "rows"),
    "calibrate": ("none", "temperature"),
    "segment": ("utterance", "vowels", "consonants", "vowel_classes"),
    "whisper_context": ("full", "valid"),
    "extract_precision": ("fp32", "fp16", "bf16"),
    "storage_dtype": ("float16", "float32"),
    "layer_weighting": ("attention", "mean"),
    "projection_norm": ("none", "layer"),
}


@dataclass(frozen=True)
class Kind:
    """What a value must be.

    Arguments
    ---------
    takes : str
        In words.
    fits : Callable[[object], bool]
        Whether a value is one.
    """

    takes: str
    fits: Callable[[object], bool]

    def or_null(self) -> Kind:
        """Give the same, or null for none."""
        return Kind(
            f"{self.takes}, or null", lambda v: v is None or self.fits(v)
        )


def whole(least: int, most: float = math.inf) -> Kind:
    """Whole numbers from one on, to another if that is given."""
    to = f"{least} or more" if most == math.inf else f"from {least} to {most}"
    return Kind(
        f"a whole number, {to}",
        lambda v: _is_whole(v) and least <= v <= min(most, LARGEST),
    )


def _is_whole(value: object) -> bool:
    return type(value) is int


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and not math.isnan(value)


def _is_text(value: object) -> bool:
    """Whether it can be a name; 8 and 3.5 can."""
    return _is_number(value) or (isinstance(value, str) and value.strip() != "")


def is_writable(text: str) -> bool:
    """Whether a text has no control characters, nor halves of others."""
    return not any(unicodedata.category(c) in ("Cc", "Cs") for c in text)


def _is_name(value: object) -> bool:
    """Whether it can name a folder, and leads nowhere else."""
    text = str(value)
    return (
        _is_text(value)
        and is_writable(text)
        and not text.startswith((".", "-", " "))
        and not {*text} & {*"/\\"}
        and len(text.encode()) <= LONGEST_NAME
    )


def _are_names(value: object) -> bool:
    return all(map(_is_name, str(value).split("+"))) and _is_text(value)


def one_of(*choices: str) -> Kind:
    """Give the kind of a few words."""
    takes = f"one of {', '.join(choices)}"
    return Kind(takes, lambda v: isinstance(v, str) and v in choices)


def _are_layers(value: object) -> bool:
    """Whether it is a list of distinct layers, or a rule by its name."""
    if isinstance(value, list):
        are_layers = all(_is_whole(layer) and layer > 0 for layer in value)
        return are_layers and len(set(value)) == len(value)
    return isinstance(value, str)


LARGEST = 2**62  # what int64 holds, sums of two too
LONGEST_NAME = 200  # bytes; a file system takes 255, and endings follow
TEXT = Kind("a text", _is_text)
PATH = Kind("a path", _is_text)
CORPORA = Kind(
    "the name of a corpus, that of its folder, or a list of some, "
    '"[ravdess, savee]"',
    _are_names,
)
PATHS = Kind(
    'a path, or, of several corpora, a mapping, "{ravdess: path}"',
    lambda v: _is_text(v) or isinstance(v, Mapping),
)
SWITCH = Kind("True or False", lambda v: isinstance(v, bool))
SHARE = Kind(
    "a number, 0 or more", lambda v: _is_number(v) and 0 <= v < math.inf
)
ABOVE_0 = Kind("a number above 0", lambda v: _is_number(v) and 0 < v < math.inf)
MAPPING = Kind('a mapping, "{one: other}"', lambda v: isinstance(v, Mapping))
NAMED_FOLDER = Kind(
    "a name, of a folder, or several with / between them; none begins with a "
    f"dot, space or -, or has more than {LONGEST_NAME} bytes",
    lambda v: all(map(_is_name, str(v).rstrip("/").split("/"))) and _is_text(v),
)
# By key; those with a few names as values are checked where these are used.
KINDS: dict[str, Kind] = {
    **dict.fromkeys(("system", "encoder_source"), TEXT),
    **dict.fromkeys(("experiment", "study"), NAMED_FOLDER),
    **{key: one_of(*words) for key, words in CHOICES.items()},
    **dict.fromkeys(("source", "target"), CORPORA),
    **dict.fromkeys(
        (
            *("data_folder", "output_root", "output_folder", "save_folder"),
            *("train_log", "manifest_folder", "feature_folder"),
            "analysis_folder",
        ),
        PATH,
    ),
    **dict.fromkeys(
        (
            *("source_folder", "target_folder", "source_train"),
            *("source_valid", "target_train", "target_valid", "target_test"),
            "valid",
        ),
        PATHS,
    ),
    **dict.fromkeys(
        (
            *("dry_run", "skip_prep", "final_norm", "use_target_labels"),
            "align_sources",
        ),
        SWITCH,
    ),
    "hold_out_shots": SWITCH.or_null(),
    **dict.fromkeys(
        (*("split_seed", "folds", "fold", "target_shots", "min_steps"),),
        whole(0),
    ),
    **dict.fromkeys(
        (
            *("episode_shots", "episode_queries", "number_of_epochs"),
            *("patience", "average_last_steps", "eval_batch_size"),
        ),
        whole(1),
    ),
    # What takes memory or time by itself has a limit that no use comes near.
    "num_blocks": whole(1, 100),
    "extract_workers": whole(0, 256),
    **dict.fromkeys(
        ("time_chunks", "num_heads", "seeds_averaged"), whole(1, 999)
    ),
    **dict.fromkeys(("projection_dim", "ffn_dim"), whole(1, 2**16)),
    **dict.fromkeys(("min_duration", "gamma", "margin", "weight_decay"), SHARE),
    **dict.fromkeys(("extract_batch_seconds", "lr"), ABOVE_0),
    **dict.fromkeys(
        ("label_map", "source_options", "target_options"), MAPPING.or_null()
    ),
    "seed": whole(0, 2**32 - 1),
    "batch_size": whole(2),
    "max_steps": whole(1).or_null(),
    "max_duration": ABOVE_0.or_null(),
    "max_grad_norm": Kind(
        "a number above 0; .inf clips nothing",
        lambda v: _is_number(v) and v > 0,
    ),
    "dropout": Kind(
        "a number from 0 to below 1", lambda v: _is_number(v) and 0 <= v < 1
    ),
    "anchors_chosen_on": TEXT.or_null(),
    "cluster": Kind("local or slurm", lambda v: v in ("local", "slurm")),
    "partition": TEXT.or_null(),
    "gpus": whole(0),
    "requeue": SWITCH,
    "sbatch": Kind(
        'options of sbatch by name, "{account: me, mem: 32G}"',
        lambda v: isinstance(v, dict),
    ),
    **dict.fromkeys(("jobs", "cpus", "minutes"), whole(1)),
    "vowels": Kind(
        'a list of vowels, "[a, i]"',
        lambda v: isinstance(v, list) and all(isinstance(x, str) for x in v),
    ),
    "anchor_layers": Kind(
        'a list of distinct layers from 1, "[1, 2]", all, group, best, worst '
        "or random:<seed>",
        _are_layers,
    ),
    "mix_layers": Kind(
        "all, top, not_anchored, best_on_source or a list of distinct layers "
        'from 1, "[1, 2]"',
        _are_layers,
    ),
}


# Where and how the runs of a study are started.
CLUSTER_KEYS = (
    *("jobs", "cluster", "partition", "gpus", "cpus", "minutes", "requeue"),
    "sbatch",
)
# Keys whose values are names or paths, as they are typed: 0011 and 1e3 too.
NAME_KEYS = {
    key
    for key, kind in KINDS.items()
    if kind in (TEXT, NAMED_FOLDER, PATH, PATHS)
} | {"source", "target", "anchors_chosen_on", "label_map"}


def _is_template(value: object, fields: Collection[str]) -> bool:
    """Whether it is a text that names nothing else in braces."""
    if not isinstance(value, str) or not value.strip():
        return False
    try:
        value.format(**dict.fromkeys(fields, "x"))
    except (LookupError, ValueError, AttributeError):
        return False
    return True


def template(*fields: str) -> Kind:
    """Give the kind of a text that other names are put into."""
    named = ", ".join(f"{{{field}}}" for field in fields)
    takes = f"a text, which may name {named}"
    return Kind(takes, lambda v: _is_template(v, fields))


def _by_name(value: object, fits: Callable[[object], bool]) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(_is_text(k) and fits(v) for k, v in value.items())
    )


def _is_side(value: object) -> bool:
    """Whether it names the corpora of a role, each once."""
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(map(_is_name, names)) and _are_distinct(names)


def _are_distinct(values: Sequence) -> bool:
    return len({*map(str, values)}) == len(values)


def _is_direction(value: object) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and all(map(_is_side, value))
    )


def _are_seeds(value: object) -> bool:
    if not isinstance(value, list):
        return _is_whole(value) and 1 <= value <= MOST_SEEDS
    seeds = all(KINDS["seed"].fits(seed) for seed in value)
    return bool(value) and seeds and _are_distinct(value)


def _are_named(value: object) -> bool:
    """Whether it lists names, or says something of each in a mapping."""
    if isinstance(value, list):
        return _is_side(value)
    return _by_name(value, lambda own: own is None or isinstance(own, Mapping))


MOST_SEEDS = 10_000
# Keys of a study's file; of its clusters' too, which are above.
STUDY_KINDS: dict[str, Kind] = {
    **{key: KINDS[key] for key in ("study", "output_root", "dry_run")},
    **{key: KINDS[key] for key in CLUSTER_KEYS},
    **dict.fromkeys(
        (
            *("leave_one_out", "paper_numbers", "keep_weights"),
            *("print_commands", "report_only"),
        ),
        SWITCH,
    ),
    "title": TEXT,
    "hparams": template("file", "encoder", "system", "study"),
    "experiment": template("file", "encoder", "system", "study"),
    "corpora": Kind("two or more, [one, other]", _are_named),
    "encoders": Kind(
        "some by name, {whisper: openai/whisper-base}",
        lambda v: _by_name(v, lambda x: x is None or _is_text(x)),
    ),
    "systems": Kind("some, [cc, lam_gl], or {lam_gl: {}}", _are_named),
    "seeds": Kind(
        f"their number, from 1 to {MOST_SEEDS}, or a list of seeds, [0, 1]",
        _are_seeds,
    ),
    "directions": Kind(
        "null, or pairs of corpora, [[one, other]]",
        lambda v: (
            v is None or (isinstance(v, list) and all(map(_is_direction, v)))
        ),
    ),
    "include": Kind(
        "a list of folders",
        lambda v: isinstance(v, list) and all(isinstance(x, str) for x in v),
    ),
    "keys": Kind(
        "keys of train.py, {normalise: domain}",
        lambda v: isinstance(v, Mapping),
    ),
}


def check_values(
    values: Mapping[str, object], kinds: Mapping[str, Kind] = KINDS
) -> None:
    """Refuse values that their keys do not take.

    Arguments
    ---------
    values : Mapping[str, object]
        Plain values by key, other keys among them.
    kinds : Mapping[str, Kind]
        What keys take, those of a run or of a study.

    Raises
    ------
    UserError
        A value of the wrong type or size.
    """
    for key, value in values.items():
        if key in kinds and not kinds[key].fits(value):
            given = "null" if value is None else shorten(repr(value), 200)
            raise UserError(f"{key} is {given}; it takes {kinds[key].takes}.")
