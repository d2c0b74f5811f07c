"""A command line: one YAML file, its keys, SpeechBrain's options."""

from __future__ import annotations

import re

import pytest
from conftest import TOY, over

from lam_sb.command_line import (
    file_keys,
    is_verbose,
    option_words,
    parse_arguments,
)
from lam_sb.config import load
from lam_sb.errors import UserError


def overrides_of(*argv: str) -> dict:
    return parse_arguments(["a.yaml", *argv])[2]


@pytest.mark.parametrize("argument", ["--gamma=0.25", "--gamma 0.25"])
def test_a_value_stands_after_a_space_or_an_equals_sign(argument):
    assert overrides_of(*argument.split()) == {"gamma": 0.25}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-1", -1),
        ("-0.5", -0.5),
        ("1e-4", 1e-4),
        (".inf", float("inf")),
        ("True", True),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ("{calm: null}", {"calm": None}),
        ("microsoft/wavlm-base-plus", "microsoft/wavlm-base-plus"),
        ("a=b=c", "a=b=c"),
        ("x y", "x y"),
    ],
)
def test_values_are_read_as_in_a_yaml_file(text, value, toy):
    for argv in (["--last", text], [f"--last={text}"]):
        overrides = overrides_of(*argv)
        assert overrides == {"last": value}
        assert type(overrides["last"]) is type(value)
        loaded = load(toy, {"data_folder": "/d", **overrides})["last"]
        assert loaded == value
        assert type(loaded) is type(value)
    if "=" not in text and " " not in text:
        path = over(toy, f"last: {text}\n")
        assert load(path, {"data_folder": "/d"})["last"] == value


@pytest.mark.parametrize("argv", [["--skip_prep"], ["--skip_prep", "--lr=1"]])
def test_a_bare_key_asks_for_its_value(argv):
    with pytest.raises(UserError, match="for example --skip_prep=True"):
        overrides_of(*argv)


def test_an_empty_value_is_no_value():
    with pytest.raises(UserError, match="--gamma needs a value"):
        overrides_of("--gamma=")


def test_a_value_that_is_no_yaml_is_one_message():
    with pytest.raises(UserError, match=r"--label_map .*\{calm"):
        overrides_of("--label_map", "{calm: null")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--mix_layers", "[2, 3"],
            r"^--mix_layers \[2, 3 is no valid YAML: expected ',' or .* It "
            r"takes all, top, not_anchored, best_on_source or a list of dis",
        ),
        (
            ["--mine=a: b: c"],
            "^--mine a: b: c is no valid YAML: .* a value in Y",
        ),
        (
            ["--debug_batches=few"],
            "^--debug_batches: invalid int value: 'few'.$",
        ),
        (
            ["--eval_precision", "64"],
            "^--eval_precision: invalid choice: '64' ",
        ),
    ],
)
def test_what_cannot_be_read_is_one_sentence(words, message, capsys):
    with pytest.raises(UserError, match=message) as error:
        overrides_of(*words)
    assert "\n" not in str(error.value)
    assert capsys.readouterr().err == ""


def test_run_options_go_to_speechbrain():
    path, run_opts, overrides = parse_arguments(
        [
            *("--debug", "a.yaml", "--device", "cpu", "--gamma", "0"),
            *("--noprogressbar", "--ckpt_interval_minutes=-1"),
            *("--precision", "bf16"),
        ]
    )
    assert path == "a.yaml"
    assert overrides == {"gamma": 0}
    assert run_opts.debug
    assert run_opts.noprogressbar
    assert not run_opts.test_only
    assert (run_opts.device, run_opts.precision) == ("cpu", "bf16")
    assert run_opts.ckpt_interval_minutes == -1
    assert run_opts.overridden_args == {
        *("debug", "noprogressbar", "device", "precision"),
        "ckpt_interval_minutes",
    }


def test_a_run_option_may_be_said_to_be_true_or_false():
    _, run_opts, _ = parse_arguments(
        ["a.yaml", "--debug=False", "--noprogressbar=True"]
    )
    assert not run_opts.debug
    assert run_opts.noprogressbar
    with pytest.raises(UserError, match=r"--debug=maybe"):
        parse_arguments(["a.yaml", "--debug=maybe"])


def test_a_run_option_that_is_a_key_of_the_yaml_is_that_key(toy):
    # Clipping decides the result, so it belongs to the settings.
    _, run_opts, overrides = parse_arguments([str(toy), "--max_grad_norm=3"])
    assert overrides == {"max_grad_norm": 3}
    assert "max_grad_norm" not in run_opts.overridden_args
    assert load(toy, overrides | {"data_folder": "/d"})["max_grad_norm"] == 3


@pytest.mark.parametrize(
    ("name", "near"),
    [("data", "data_folder"), ("noprog", "noprogressbar"), ("gam", "gamma")],
)
def test_names_are_never_abbreviated(name, near, toy):
    _, run_opts, overrides = parse_arguments([str(toy), f"--{name}", "x"])
    assert run_opts.overridden_args == set()
    message = f"command line: there is no key '{name}'. Did you mean '{near}'"
    with pytest.raises(UserError, match=re.escape(message)):
        load(toy, overrides)


def test_an_abbreviated_flag_is_not_swallowed():
    with pytest.raises(UserError, match=r"--noprog .*'noprogressbar'"):
        parse_arguments(["a.yaml", "--noprog"])


@pytest.mark.parametrize(
    ("argv", "found"),
    [([], "none"), (["a.yaml", "b.yaml"], "a.yaml b.yaml")],
)
def test_there_is_exactly_one_yaml_file(argv, found):
    with pytest.raises(UserError, match=f"Give one YAML.*found: {found}"):
        parse_arguments([*argv, "--gamma=1"])


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_says_how_to_call_it_and_ends_well(word, capsys):
    with pytest.raises(SystemExit) as ended:
        parse_arguments([word])
    assert not ended.value.code
    said = capsys.readouterr().out
    assert "python train.py FILE.yaml" in said
    assert "--skip_prep=True" in said
    assert "--verbose" in said
    assert "--noprogressbar\n" in said
    assert "--device VALUE\n" in said
    assert "--max_grad_norm" not in said  # a key of the YAML file
    assert "Keys of" not in said


def test_help_with_a_file_shows_its_keys_with_those_of_its_bases(toy, capsys):
    path = over(toy, "# Ours.\nlr: 2\n")
    with pytest.raises(SystemExit):
        parse_arguments(["--debug", str(path), "--help"])
    said = capsys.readouterr().out
    assert f"Keys of {path}:\n\n# Where the corpora lie." in said
    assert "# Trade-off.\ngamma: 0.5\n# Ours.\nlr: 2\n" in said
    assert said.index("last: end") < said.index("Options of SpeechBrain:")


def test_the_keys_of_a_command_line_are_those_of_its_files(toy):
    short = toy.with_suffix(".yml")
    short.write_text("gamma: 1\n")
    assert file_keys(["--gamma", "2"]) == []
    assert file_keys(["--gamma", str(toy), "x", str(short)]) == [
        f"Keys of {toy}:\n\n{TOY}",
        f"Keys of {short}:\n\ngamma: 1\n",
    ]
    with pytest.raises(UserError, match=r"no YAML file nowhere\.yaml"):
        file_keys(["nowhere.yaml"])


def test_verbose_is_neither_a_key_nor_an_option_of_speechbrain():
    path, run_opts, overrides = parse_arguments(
        ["--verbose", "a.yaml", "--gamma=1"]
    )
    assert (path, overrides) == ("a.yaml", {"gamma": 1})
    assert run_opts.overridden_args == set()
    assert is_verbose(["a.yaml", "--verbose"])
    assert not is_verbose(["a.yaml", "--gamma=1"])


def test_options_go_on_to_other_processes_as_they_were_given():
    given = ["--debug=True", "--device", "cpu", "--noprogressbar=False"]
    _, run_opts, _ = parse_arguments(["a.yaml", *given])
    words = option_words(run_opts)
    assert words == ["--debug", "--device=cpu"]
    _, again, overrides = parse_arguments(["a.yaml", *words])
    assert (again.debug, again.device, overrides) == (True, "cpu", {})


@pytest.mark.parametrize("name", ["2026-11-26", "0011", "1e3", "true", "no"])
def test_names_stay_as_they_are_typed(name):
    words = ["a.yaml", "--experiment", name, f"--source=[{name}, b]"]
    overrides = parse_arguments(words)[2]
    assert overrides == {"experiment": name, "source": [name, "b"]}


def test_a_name_that_builds_something_is_refused():
    with pytest.raises(UserError, match="give a name"):
        parse_arguments(["a.yaml", "--experiment", "!new:os.system [ls]"])
