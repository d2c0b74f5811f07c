"""What each key of a run's YAML takes."""

from __future__ import annotations

import pytest
from conftest import HPARAMS, over

from lam_sb.analysis.measures import MEASURES
from lam_sb.config import key_blocks, load
from lam_sb.errors import UserError
from lam_sb.features.encoding import DTYPES, PRECISIONS
from lam_sb.options import check_options
from lam_sb.values import CHOICES, KINDS, check_values
from lam_sb.yaml_text import plain_values

COMPLETE = HPARAMS / "lam_gl_wavlm.yaml"
# Refused where they are used, as the tests below show.
NAMED = {"scale", "reduce", "negative"}  # of a loss, which may be one's own


def test_every_plain_key_is_checked():
    plain = plain_values(key_blocks(COMPLETE, {}), "the file")[0]
    assert plain.keys() - KINDS.keys() == NAMED
    check_values(plain)


@pytest.mark.parametrize("path", sorted(HPARAMS.glob("**/*.yaml")), ids=str)
def test_the_values_of_our_files_are_taken(path):
    blocks = key_blocks(path, {})
    if "study" not in blocks:
        check_values(plain_values(blocks, "the file")[0])


@pytest.mark.parametrize(
    ("key", "value", "takes"),
    [
        ("weight_decay", "0,01", "a number, 0 or more"),
        ("weight_decay", -0.1, "a number, 0 or more"),
        ("margin", float("inf"), "a number, 0 or more"),
        ("lr", float("nan"), "a number above 0"),
        ("lr", 0, "a number above 0"),
        ("extract_batch_seconds", None, "a number above 0"),
        ("extract_workers", -1, "a whole number, from 0 to 256"),
        ("split_seed", "one", "a whole number, 0 or more"),
        ("split_seed", 1.0, "a whole number, 0 or more"),
        ("seed", 2**32, "a whole number, from 0 to 4294967295"),
        ("seed", True, "a whole number, from 0 to 4294967295"),
        ("episode_shots", 0, "a whole number, 1 or more"),
        ("num_blocks", 0, "a whole number, from 1 to 100"),
        ("batch_size", 1, "a whole number, 2 or more"),
        ("max_steps", "none", "a whole number, 1 or more, or null"),
        ("max_duration", [9], "a number above 0, or null"),
        ("max_grad_norm", 0, "a number above 0; .inf clips nothing"),
        ("dropout", 1, "a number from 0 to below 1"),
        ("final_norm", 1, "True or False"),
        ("skip_prep", "yes", "True or False"),
        ("label_map", "calm", 'a mapping, "{one: other}", or null'),
        ("target_options", ["reader"], 'a mapping, "{one: other}", or null'),
        ("vowels", "a", 'a list of vowels, "[a, i]"'),
        ("mix_layers", [0, 1], "all, top, not_anchored, best_on_source or a"),
        (
            "mix_layers",
            [2, 5, 2],
            "all, top, not_anchored, best_on_source or a",
        ),
        ("anchor_layers", [3, 3], "a list of distinct layers from 1"),
        ("anchor_layers", None, "a list of distinct layers from 1"),
        ("experiment", " ", "a name"),
        ("experiment", "../x", "a name"),
        ("experiment", ".", "a name"),
        ("experiment", "a//b", "a name"),
        ("experiment", "/a", "a name"),
        ("experiment", "a/../../b", "a name"),
        ("experiment", "a\x07b", "a name"),
        ("source", "a+../x", "the name of a corpus"),
        ("source", "a+", "the name of a corpus"),
        ("encoder_source", " ", "a text"),
        ("experiment", "a\x1bb", "a name"),
        ("time_chunks", 10**6, "a whole number, from 1 to 999"),
        ("max_steps", 10**30, "a whole number, 1 or more, or null"),
        ("feature_folder", None, "a path"),
        ("encoder_source", ["a"], "a text"),
    ],
)
def test_another_value_is_refused(key, value, takes):
    with pytest.raises(UserError) as error:
        check_values({"mine": value, key: value})
    given = "null" if value is None else repr(value)
    assert str(error.value).startswith(f"{key} is {given}; it takes {takes}")
    assert str(error.value).endswith(".")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("max_grad_norm", float("inf")), ("max_grad_norm", 2), ("seed", 0)],
        *[("max_steps", None), ("max_duration", 12.5), ("label_map", None)],
        *[("anchor_layers", []), ("anchor_layers", "random:7"), ("gamma", 0)],
        *[("mix_layers", [3, 1]), ("experiment", 2024), ("mine", None)],
    ],
)
def test_what_fits_is_taken(key, value):
    check_values({key: value})


def test_a_file_is_checked_before_anything_is_built(toy):
    path = over(toy, "patience: soon\ncounter: !new:no.such.Thing\n")
    with pytest.raises(UserError, match=r"^patience is 'soon'; it takes"):
        load(path, {"data_folder": "/d"})
    path = over(toy, "gamma: !ref <lr>\n")  # what it is, is known later
    assert load(path, {"data_folder": "/d"})["gamma"] == 0.001


def use(path: str, given: dict) -> None:
    """Load a file, and open its store as a run does."""
    hparams = load(path, given)
    check_options(hparams, given, path)
    hparams["store"]()


@pytest.mark.parametrize("key", sorted({*NAMED, *CHOICES}))
def test_a_name_that_does_not_exist_is_refused(key, wavlm, tmp_path):
    file = "pc_atn_wavlm" if key == "negative" else "lam_gl_wavlm"
    given = {"data_folder": "/d", "encoder_source": str(wavlm), key: "best"}
    given |= {"anchor_layers": [1], "feature_folder": str(tmp_path)}
    with pytest.raises(UserError, match=f"^{key} is 'best'; .* one of "):
        use(str(HPARAMS / f"{file}.yaml"), given)


def test_the_choices_are_those_that_the_code_knows():
    assert CHOICES["similarity"] == MEASURES
    assert CHOICES["extract_precision"] == tuple(PRECISIONS)
    assert CHOICES["storage_dtype"] == tuple(DTYPES)
