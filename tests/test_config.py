"""YAML over its bases, the command line on top, one folder a setting."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import make_encoder
from filelock import FileLock
from hyperpyyaml import load_hyperpyyaml

from lam_sb.config import (
    FREE_KEYS,
    experiment_folder,
    flatten,
    load,
    own_keys,
    parse_arguments,
    plain_errors,
    resolved,
    settings_hash,
)
from lam_sb.errors import UserError

ROOT = Path(__file__).parent.parent
COMPLETE = ROOT / "hparams/lam_gl_wavlm.yaml"
FILES = sorted(
    path
    for path in (ROOT / "hparams").rglob("*.yaml")
    if path.parent.name != "study"  # grids of runs, no systems
    and path.name != "settings.yaml"  # a part of others
)
NAMES = [str(path.relative_to(ROOT / "hparams")) for path in FILES]

MADE_OF_OTHERS = ("layers", "modules", "anchored_layers", "selection_settings")

TOY = """\
# Where the corpora lie.
data_folder: !PLACEHOLDER
output_folder: !ref results/<experiment>
# Name of the folder.
experiment: toy

# Trade-off.
gamma: 0.5
lr: 0.001  # Adam
anchor_layers: [1, 2]
label_map: {}
max_grad_norm: .inf
number_of_epochs: 3
patience: 2

# What is built.
counter: !new:collections.Counter
    gamma: !ref <gamma>
    # Steps, always one.
    steps: 1
last: end
"""


@pytest.fixture
def toy(tmp_path) -> Path:
    return write(tmp_path / "toy.yaml", TOY)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def over(base: Path, text: str, name: str = "ablation.yaml") -> Path:
    """Write a file that says only this over a base beside it."""
    return write(base.parent / name, f"base: {base.name}\n{text}")


def load_toy(path: Path, **overrides) -> tuple[dict, dict]:
    return load(str(path), {"data_folder": "/d", **overrides})


# Bases


def test_a_file_without_a_base_stays_as_it_is(toy):
    assert flatten(toy) == TOY


def test_a_key_is_replaced_in_place_under_its_comment(toy):
    text = flatten(over(toy, "gamma: 2\n"))
    assert text == TOY.replace("gamma: 0.5", "gamma: 2")


def test_a_comment_of_its_own_replaces_the_comment(toy):
    text = flatten(over(toy, "# None.\ngamma: 0\n"))
    assert "# None.\ngamma: 0\n" in text
    assert "# Trade-off." not in text
    assert "# Name of the folder.\nexperiment: toy\n" in text


def test_a_blank_line_is_no_comment(toy):
    text = flatten(over(toy, "\n\ngamma: 0\n\nlr: 1\n"))
    assert "# Trade-off.\ngamma: 0\nlr: 1\n" in text


def test_a_replaced_block_leaves_no_line_behind(toy):
    text = flatten(over(toy, "counter: !new:dict\n    beta: 3\n"))
    before, after = TOY.split("counter:")[0], "last: end\n"
    assert text == before + "counter: !new:dict\n    beta: 3\n" + after


def test_a_scalar_may_become_a_block_and_a_block_a_scalar(toy):
    text = "gamma:\n- 1\n- 2\n# No object.\ncounter: null\n"
    hparams, _ = load_toy(over(toy, text))
    assert hparams["gamma"] == [1, 2]
    assert hparams["counter"] is None
    assert hparams["last"] == "end"


def test_a_chain_of_bases_is_followed_the_nearest_wins(toy):
    middle = over(toy, "gamma: 1\nlr: 1\n", "middle.yaml")
    hparams, _ = load_toy(over(middle, "lr: 2\n"))
    assert (hparams["gamma"], hparams["lr"], hparams["last"]) == (1, 2, "end")
    assert hparams["counter"]["gamma"] == 1


def test_of_several_bases_the_last_wins_and_may_be_a_part(toy):
    over(toy, "gamma: 1\nlr: 1\n", "system.yaml")
    write(toy.parent / "part.yaml", "# Ours.\nlr: 2\nlast: part\n")
    path = write(
        toy.parent / "both.yaml", "base: [system.yaml, part.yaml]\nlast: own\n"
    )
    hparams, _ = load_toy(path)
    assert (hparams["gamma"], hparams["lr"], hparams["last"]) == (1, 2, "own")
    assert "# Ours.\nlr: 2\n" in flatten(path)
    write(toy.parent / "part.yaml", "gama: 2\n")
    with pytest.raises(UserError, match=r"part.yaml: there is no key 'gama'"):
        flatten(path)


def test_own_keys_are_those_set_over_a_base(toy):
    path = over(toy, 'gamma: 1\n"lr": 1\n')
    assert own_keys(path) == {"gamma", "lr"}
    assert own_keys(toy) == set()  # complete by itself


def test_a_base_is_found_from_the_file_that_names_it(toy, tmp_path):
    write(tmp_path / "a/b/x.yaml", "base: ../../toy.yaml\nlr: 7\n")
    middle = write(tmp_path / "c/y.yaml", "base: ../a/b/x.yaml\n")
    assert flatten(middle) == TOY.replace("lr: 0.001  # Adam", "lr: 7")


def test_the_last_line_needs_no_line_break(toy):
    assert flatten(over(toy, "last: 1")).endswith("last: 1\n")
    assert "gamma: 1\nlr:" in flatten(over(toy, "gamma: 1"))


def test_bases_in_a_circle_are_an_error(tmp_path):
    for name, base in ("ab", "bc", "ca"):
        write(tmp_path / f"{name}.yaml", f"base: {base}.yaml\n")
    with pytest.raises(UserError, match=r"a\.yaml is its own base"):
        flatten(tmp_path / "a.yaml")


def test_a_file_may_not_be_its_own_base(tmp_path):
    path = write(tmp_path / "a.yaml", "base: a.yaml\n")
    with pytest.raises(UserError, match="is its own base"):
        flatten(path)


def test_a_missing_base_names_who_asked_for_it(tmp_path):
    path = write(tmp_path / "a.yaml", "base: nowhere.yaml\n")
    with pytest.raises(UserError, match=r"nowhere\.yaml \(base of .*a\.yaml"):
        flatten(path)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"no YAML file .*nowhere\.yaml"):
        flatten(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("base", ["[x", "", "[a.yaml]"])
def test_a_base_that_names_no_file_is_an_error(base, tmp_path):
    path = write(tmp_path / "a.yaml", f"base: {base}\n")
    with pytest.raises(UserError, match=r"a\.yaml"):
        flatten(path)


@pytest.mark.parametrize(
    ("line", "key", "near"),
    [
        ("gama: 0", "gama", "gamma"),
        ("anchor-layers: [1]", "anchor-layers", "anchor_layers"),
        ('"gamm": 0', "gamm", "gamma"),
        ("anchor: [1]", "anchor", "anchor_layers"),
    ],
)
def test_an_unknown_key_is_refused_with_the_near_one(line, key, near, toy):
    message = rf"ablation\.yaml: there is no key '{key}'. .*'{near}'"
    with pytest.raises(UserError, match=message):
        flatten(over(toy, line + "\n"))


def test_an_unknown_key_far_from_all_is_refused_too(toy):
    with pytest.raises(UserError, match="no key 'xyzzy'"):
        flatten(over(toy, "xyzzy: 0\n"))


@pytest.mark.parametrize("text", ["gamma: 1\ngamma: 2\n", "gamma: [1\n"])
def test_broken_yaml_is_one_message(text, toy):
    with pytest.raises(UserError, match=r"ablation\.yaml"):
        load_toy(over(toy, text))


@pytest.mark.parametrize(
    "text",
    [
        "counter: !new:collections.Nothing\n",
        "counter: !ref <nothing>\n",
        "counter: !new:fractions.Fraction\n    colour: red\n",
    ],
)
def test_an_object_that_cannot_be_built_is_one_message(text, toy):
    with pytest.raises(UserError, match=r"ablation\.yaml"):
        load_toy(over(toy, text))


def test_an_error_of_our_own_is_passed_on_as_it_is(toy):
    text = "counter: !apply:lam_sb.models.pooling.mixed_layers [top, [9], 3]\n"
    with pytest.raises(UserError, match=r"^anchor_layers \[9\]: the encoder"):
        load_toy(over(toy, text))


# The command line


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
    for argv in (["--lr", text], [f"--lr={text}"]):
        overrides = overrides_of(*argv)
        assert overrides == {"lr": value}
        assert type(overrides["lr"]) is type(value)
        loaded = load_toy(toy, **overrides)[0]["lr"]
        assert loaded == value
        assert type(loaded) is type(value)
    if "=" not in text and " " not in text:
        in_file = load_toy(over(toy, f"lr: {text}\n"))[0]["lr"]
        assert in_file == value


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
    assert load_toy(toy, **overrides)[1]["max_grad_norm"] == 3


@pytest.mark.parametrize(
    ("name", "near"),
    [("data", "data_folder"), ("noprog", "noprogressbar"), ("gam", "gamma")],
)
def test_names_are_never_abbreviated(name, near, toy):
    _, run_opts, overrides = parse_arguments([str(toy), f"--{name}", "x"])
    assert run_opts.overridden_args == set()
    message = f"command line: there is no key '{name}'. Did you mean '{near}'"
    with pytest.raises(UserError, match=re.escape(message)):
        load_toy(toy, **overrides)


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


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["a.yaml", "--help"]])
def test_help_says_where_the_keys_stand_and_ends_well(argv, capsys):
    with pytest.raises(SystemExit) as ended:
        parse_arguments(argv)
    assert not ended.value.code
    said = capsys.readouterr().out
    assert "hparams/lam_gl_wavlm.yaml" in said
    assert "--key=True" in said
    assert "--noprogressbar" in said
    assert "--device" in said
    assert "--max_grad_norm" not in said  # a key of the YAML file


# Loading


def test_the_command_line_goes_on_top(toy):
    hparams, _ = load_toy(over(toy, "gamma: 2\n"), gamma=7)
    assert hparams["gamma"] == 7
    assert hparams["counter"] == {"gamma": 7, "steps": 1}
    assert hparams["output_folder"] == "results/toy"


def test_a_mapping_on_the_command_line_replaces_the_whole_key(toy):
    path = over(toy, "label_map: {W: angry}\n")
    hparams, settings = load_toy(path, label_map={"F": "happy"})
    assert hparams["label_map"] == {"F": "happy"}
    assert settings["label_map"] == {"F": "happy"}


def test_a_missing_data_folder_names_the_option(toy):
    with pytest.raises(UserError, match="--data_folder"):
        load(str(toy), {})


def test_a_data_folder_in_the_file_will_do(toy):
    text = "# In place of !PLACEHOLDER.\ndata_folder: /x\n"
    assert load(str(over(toy, text)), {})[0]["data_folder"] == "/x"


def test_a_file_without_data_folder_loads(tmp_path):
    path = write(tmp_path / "a.yaml", "gamma: 1\n")
    assert load(str(path), {})[0] == {"gamma": 1}


def test_loading_twice_gives_the_same_settings(toy):
    assert load_toy(toy)[1] == load_toy(toy)[1]


# Settings


def hash_of(path: Path, **overrides) -> str:
    return settings_hash(load_toy(path, **overrides)[1])


def test_the_hash_is_16_hexadecimal_digits(toy):
    assert re.fullmatch("[0-9a-f]{16}", hash_of(toy))


def test_the_hash_does_not_depend_on_the_order_of_keys(toy):
    settings = load_toy(toy)[1]
    turned = dict(reversed(settings.items()))
    assert settings_hash(turned) == settings_hash(settings)


@pytest.mark.parametrize(
    "change",
    [
        {"data_folder": "/e"},
        {"output_folder": "/f"},
        {"number_of_epochs": 9},
        {"patience": 9},
    ],
)
def test_paths_and_how_far_to_train_are_no_settings(change, toy):
    assert hash_of(toy, **change) == hash_of(toy)


@pytest.mark.parametrize(
    "change",
    [
        {"gamma": 0.25},
        {"anchor_layers": [2]},
        {"label_map": {"calm": None}},
        {"experiment": "other"},
        {"counter": None},
    ],
)
def test_what_decides_the_result_is_a_setting(change, toy):
    assert hash_of(toy, **change) != hash_of(toy)


def test_the_parts_of_an_object_are_settings(toy):
    text = "counter: !new:collections.Counter\n    gamma: !ref <gamma>\n"
    other = text + "    steps: 2\n"
    same = text + "    steps: 1  # one\n"
    assert hash_of(over(toy, other)) != hash_of(toy)
    assert hash_of(over(toy, same)) == hash_of(toy)


def test_comments_and_spelling_are_no_settings(toy):
    text = "# Other.\n\ngamma:   5.0e-1   # half\nanchor_layers:\n- 1\n- 2\n"
    assert hash_of(over(toy, text)) == hash_of(toy)


def test_a_number_sign_in_a_string_is_no_comment(toy):
    one, two = (over(toy, f'last: "a #{n}"\n', f"{n}.yaml") for n in (1, 2))
    assert load_toy(one)[1]["last"] == "a #1"
    assert hash_of(one) != hash_of(two)


def test_file_and_command_line_say_the_same_thing(toy):
    in_file = over(toy, "gamma: 0.25\nlr: 1e-4\nanchor_layers: [3]\n")
    on_line = overrides_of("--gamma=.25", "--lr=0.0001", "--anchor_layers=[3]")
    assert hash_of(toy, **on_line) == hash_of(in_file)


def test_the_free_keys_are_keys_of_the_complete_file():
    known = set(re.findall(r"(?m)^(\w+):", COMPLETE.read_text()))
    assert set(FREE_KEYS) <= known


# One folder a setting


def test_the_same_settings_enter_a_folder_again(tmp_path):
    settings = {"gamma": 0.5, "lr": 1e-5, "clip": float("inf"), "x": None}
    for _ in range(2):
        with experiment_folder(tmp_path / "a/b", settings):
            assert (tmp_path / "a/b").is_dir()


def test_other_settings_are_refused_with_both_values(tmp_path):
    with experiment_folder(tmp_path, {"gamma": 0.5, "lr": 1, "seed": 0}):
        pass
    with (
        pytest.raises(UserError) as error,
        experiment_folder(tmp_path, {"gamma": 50, "lr": 1, "new": "x"}),
    ):
        raise AssertionError("entered")
    message = str(error.value)
    assert "gamma: 0.5 there, 50 now" in message
    assert "seed: 0 there, None now" in message
    assert "new: None there, 'x' now" in message
    assert "lr" not in message.split(str(tmp_path))[-1]
    assert "--experiment NAME" in message


def test_refused_settings_leave_the_first_ones(tmp_path):
    with experiment_folder(tmp_path, {"gamma": 1}):
        pass
    with pytest.raises(UserError), experiment_folder(tmp_path, {"gamma": 2}):
        pass
    with experiment_folder(tmp_path, {"gamma": 1}):
        pass


def test_a_folder_of_a_run_at_work_is_refused(tmp_path):
    with (
        experiment_folder(tmp_path, {}),
        pytest.raises(UserError, match=r"Another run.*--experiment NAME"),
        experiment_folder(tmp_path, {}),
    ):
        raise AssertionError("entered")


def test_a_folder_held_by_another_process_is_refused(tmp_path):
    held = (
        "import sys, filelock\n"
        "with filelock.FileLock(sys.argv[1]):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", held, str(tmp_path / ".lock")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match="Another run is at work"),
            experiment_folder(tmp_path, {}),
        ):
            raise AssertionError("entered")
        process.communicate()
    with experiment_folder(tmp_path, {}):
        pass


def test_the_lock_is_released_after_an_error(tmp_path, monkeypatch):
    locks = []  # kept, or the garbage collector would release them

    def keep(*args, **options) -> FileLock:
        locks.append(FileLock(*args, **options))
        return locks[-1]

    monkeypatch.setattr("lam_sb.config.FileLock", keep)
    with (
        pytest.raises(KeyError, match="broken"),
        experiment_folder(tmp_path, {"gamma": 1}),
    ):
        raise KeyError("broken")
    with pytest.raises(UserError), experiment_folder(tmp_path, {"gamma": 2}):
        pass
    assert [lock.is_locked for lock in locks] == [False, False]
    with FileLock(tmp_path / ".lock", timeout=0):
        pass


def test_a_users_mistake_ends_with_one_message_and_no_traceback():
    with pytest.raises(SystemExit) as ended, plain_errors():
        raise UserError("no such thing")
    assert ended.value.code == "error: no such thing"  # to stderr, status 1


def test_other_errors_keep_their_traceback():
    with pytest.raises(KeyError, match="bug"), plain_errors():
        raise KeyError("bug")


# The files themselves


@pytest.fixture(scope="module")
def encoders(tmp_path_factory) -> dict[str, str]:
    """Folders of tiny encoders of twelve layers, as base checkpoints have."""
    folder = tmp_path_factory.mktemp("twelve")
    return {
        family: str(make_encoder(folder / family, family, layers=12))
        for family in ("wavlm", "whisper")
    }


def asked_by(path: Path) -> dict:
    """Read what a file and its bases, but for the complete one, ask for."""
    if path.name == COMPLETE.name:
        return {}
    objects = r"(?m)^(\w+: !.*|modules:)\n(    .*\n)*"
    own = yaml.safe_load(re.sub(objects, "", path.read_text()))
    bases = own.pop("base", [])
    asked = {}
    for base in [bases] if isinstance(bases, str) else bases:
        asked |= asked_by(path.parent / base)
    return asked | own


def place(encoders: dict, path: Path, tmp_path: Path) -> dict:
    asked = asked_by(path).get("encoder_source", "")
    return {
        "data_folder": str(tmp_path / "corpora"),
        "output_root": str(tmp_path / "results"),
        "encoder_source": encoders[
            "whisper" if "whisper" in asked else "wavlm"
        ],
    }


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_each_file_loads_to_what_it_asks_for(path, encoders, tmp_path):
    overrides = place(encoders, path, tmp_path)
    asked = asked_by(path) | overrides
    hparams, settings = load(str(path), overrides)
    direct = load_hyperpyyaml(flatten(path), overrides)
    complete = load_hyperpyyaml(COMPLETE.read_text(), overrides)
    assert hparams.keys() == direct.keys() == complete.keys()
    for key in settings.keys() & hparams.keys():
        value = asked.get(key, complete[key])
        plain = isinstance(value, (int, float, str, list, dict, type(None)))
        if plain and key not in MADE_OF_OTHERS:
            assert hparams[key] == direct[key] == value, key
    everything = set(range(1, 13))
    assert hparams["anchored_layers"] == hparams["anchor_layers"]
    anchors = set(hparams["anchored_layers"])
    assert (
        set(hparams["layers"])
        == {
            "all": everything,
            "top": {12},
            "not_anchored": everything - anchors,
        }[hparams["mix_layers"]]
    )


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_the_resolved_file_loads_to_the_same_values(path, encoders, tmp_path):
    overrides = place(encoders, path, tmp_path) | {"gamma": 0.125}
    hparams, _ = load(str(path), overrides)
    text = resolved(str(path), overrides)
    assert "!ref" not in text
    assert "!PLACEHOLDER" not in text
    again = load_hyperpyyaml(text)
    assert again.keys() == hparams.keys()
    assert again["gamma"] == 0.125
    for key, value in hparams.items():
        if isinstance(value, (int, float, str, list, type(None))):
            assert again[key] == value, key
        else:
            assert type(again[key]) is type(value), key


def test_a_resolved_file_still_shares_its_objects(encoders, tmp_path):
    overrides = place(encoders, COMPLETE, tmp_path)
    again = load_hyperpyyaml(resolved(str(COMPLETE), overrides))
    assert again["modules"]["head"] is again["head"]
    recoverables = again["checkpointer"].keywords["recoverables"]
    assert recoverables["model"] is again["model"]


def test_a_result_is_reached_again_from_the_resolved_file(toy, tmp_path):
    overrides = {"data_folder": "/d", "gamma": 0.25}
    path = write(tmp_path / "hyperparams.yaml", resolved(str(toy), overrides))
    assert load(str(path), {})[0] == load(str(toy), overrides)[0]


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_an_ablation_is_a_few_lines_under_a_comment(path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ")
    if path != COMPLETE:
        assert len(lines) <= 25
        assert sum(line.startswith("base:") for line in lines) == 1


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_each_file_names_a_folder_of_its_own(path):
    others = {
        p: yaml.safe_load(re.findall(r"(?m)^experiment: .*", flatten(p))[0])
        for p in FILES
    }
    name = others.pop(path)
    assert name not in others.values()


def test_a_key_of_the_complete_file_has_a_comment_or_stands_in_a_group():
    explained = False
    for line in COMPLETE.read_text().splitlines():
        if line.startswith("#"):
            explained = True
            objects = line == "# Objects built from the keys above."
        elif not line.strip():
            explained = False
            if objects:
                break
        elif not line[0].isspace():
            assert explained, line
    assert objects  # and nothing but objects follows
    rest = COMPLETE.read_text().split("# Objects built from the keys above.")
    for line in re.findall(r"(?m)^\w+:.*", rest[1]):
        made = re.search(r": !(new|name|apply):", line)
        assert made or line in ("selection_settings:", "modules:")


def test_data_folder_is_the_only_placeholder():
    lines = COMPLETE.read_text().splitlines()
    placeholders = [line for line in lines if "!PLACEHOLDER" in line]
    assert placeholders == ["data_folder: !PLACEHOLDER"]


def test_the_keys_that_speechbrains_recipe_tests_use_exist():
    text = COMPLETE.read_text()
    for key in (
        *("skip_prep", "source_train", "source_valid", "target_train"),
        *("target_test", "train_logger", "number_of_epochs", "output_folder"),
    ):
        assert re.search(rf"(?m)^{key}:", text), key
