"""YAML by libyaml is read as by ruamel."""

from __future__ import annotations

import warnings

import pytest
from conftest import over
from hyperpyyaml import load_hyperpyyaml

from lam_sb.config import load
from lam_sb.errors import UserError
from lam_sb.yaml_text import parse_yaml, plain_values, split_keys

VALUES = [
    *("1e-4", "1E5", "-.5", "0o17", "017", "08", "0x1F", "1_000", ".inf"),
    *("yes", "off", "True", "~", "null", "NULL", "1:30", "2001-01-01", "a b"),
    *("'x: y # z'", '"\\u00e9 \\n"', "ɛ 中文 😀", "a#b", "a:b", "a # b"),
    *("[a, 1e-4, 1_0]", "{a: null, b: [1, {c: d}]}", "{a:1}", "[a: b]"),
    *("http://a:80/x,y", "[http://a, b]", "{a: http://b}", "[-a, ?b, :c]"),
    *("|\n  a\n  b", "x" * 2000),
]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_the_same_by_each_way(value, toy):
    text = f"last: {value}\n"
    expected = parse_yaml(text, "here")["last"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of numbers like 1e-4
        plain, _ = plain_values(split_keys(text), "here")
        built = load(over(toy, text), {"data_folder": "/d"})
    assert repr(plain) == repr({"last": expected})
    assert repr(built["last"]) == repr(expected)


def test_a_comment_at_the_end_is_part_of_no_value():
    blocks = split_keys("a: !new:x.Y\n    b: c # d\n# Wow!\n")
    assert plain_values(blocks, "here") == ({}, {"a": "!new:x.Y\n    b: c"})
    blocks = split_keys("a: 0.3\n# Wow!\n")
    assert plain_values(blocks, "here") == ({"a": 0.3}, {})


def test_a_tuple_is_a_text_among_plain_values(toy):
    load_hyperpyyaml("a: (1, 2)")  # from now on, ruamel knows tuples
    path = over(toy, "last: (1, 2)\n")
    assert load(path, {"data_folder": "/d"})["last"] == (1, 2)
    blocks = split_keys("last: (1, 2)\n")
    assert plain_values(blocks, "here")[0] == {"last": "(1, 2)"}


def test_what_is_no_yaml_is_refused_as_on_the_command_line():
    for text in ("last: [1, 2\n", "last: 1\nlast: 2\n"):
        with pytest.raises(UserError) as one:
            parse_yaml(text, "here")
        with pytest.raises(UserError) as two:
            plain_values(split_keys(text), "here")
        assert str(one.value) == str(two.value)
