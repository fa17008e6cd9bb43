"""The one reader of YAML: YAML 1.2's numbers, and a refusal of what has two readings or no use."""

import json
import re
from pathlib import Path

import pytest
import yaml
from configs import read_config
from hypothesis import given
from hypothesis import strategies as st

from tlw.config.config import read_cell
from tlw.config.yaml_file import BYTES, parse_yaml, read_yaml
from tlw.data.registry import KNOWN, load_registry

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),  # each of these four is text to YAML 1.1
        ("1e3", 1000.0),
        ("2.E3", 2000.0),
        ("-1E+2", -100.0),
        ("1.0e-3", 0.001),
        (".5", 0.5),
        ("1.", 1.0),
        ("+3", 3),
        ("0", 0),
        ("-0", 0),
        ("0x10", 16),
        (".inf", float("inf")),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("NULL", None),
        ("2026-11-25", "2026-11-25"),  # a date to YAML 1.1
        ("1-12:00:00", "1-12:00:00"),
        ("'yes'", "yes"),
        ('"010"', "010"),
        ("'24:00:00'", "24:00:00"),
        ("v1_0", "v1_0"),
        ("1e", "1e"),
        ("x yes", "x yes"),
    ],
)
def test_a_scalar_is_what_yaml_1_2_says(text, value):
    [found] = parse_yaml(f"key: {text}", "f.yaml").values()
    assert found == value and type(found) is type(value)


TWO_READINGS = {  # by what PyYAML, a reader of YAML 1.1, makes of them
    "010": 8, "-011": -9, "007": 7, "0b11": 3, "1_000": 1000, "1_000.5": 1000.5, "24:00:00": 86400,
    "1:30": 90, "1:30.5": 90.5, "yes": True, "No": False, "ON": True, "off": False,
}  # fmt: skip


@pytest.mark.parametrize(("text", "in_yaml_1_1"), TWO_READINGS.items())
@pytest.mark.parametrize("where", ["a:\n  b: {}", "a: {{b: {}}}", '{{"a": {{"b": {}}}}}'])
def test_what_has_two_readings_is_refused_with_file_line_and_key(text, in_yaml_1_1, where):
    content = where.format(text)
    assert yaml.safe_load(content) == {"a": {"b": in_yaml_1_1}}
    line = content.count("\n") + 1
    words = rf"f\.yaml: line {line}: a\.b: '{re.escape(text)}' is .* in YAML 1\.1 .*; write "
    with pytest.raises(ValueError, match=words):
        parse_yaml(content, "f.yaml")


def test_in_a_list_the_place_is_told():
    with pytest.raises(ValueError, match=r"f: line 2: grids\.t\.seeds\.1: '011' is an octal"):
        parse_yaml("grids:\n  t: {seeds: [10, 011]}\n", "f")


def test_under_the_key_runtime_a_time_stays_as_slurm_has_it():
    text = "resources: {a: {runtime: 24:00:00}, b: {runtime: 720}, c: {runtime: 1-12:00:00}}"
    resources = parse_yaml(text, "f")["resources"]
    assert [entry["runtime"] for entry in resources.values()] == ["24:00:00", 720, "1-12:00:00"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: a: this key is given twice, first in line 1"),
        ("x: {a: 1, 'a': 2}", "line 1: x.a: this key is given twice"),
        ('{"a": 1,\n "a": 2}', "line 2: a: this key is given twice, first in line 1"),
        ("a: !!python/object/apply:os.system [ls]", "line 1: tags such as"),
        ("a: !!float 3", "line 1: tags such as"),
        ("a: ! x", "line 1: tags such as '!'"),
        ("a: 1e400", "line 1: a: '1e400' is beyond what a number can be"),
        (f"a: {'9' * 5000}", "line 1: a: '99"),
        ("? [a]\n: b", "line 1: expected text as a key"),
        ("results: {{a}}", "line 1: results: expected text as a key, found a list or keys"),
        ("a: 1\n---\nb: 2", "line 2, column 1: expected a single document"),
        ("a: *b", "line 1, column 4: found undefined alias"),
        ("a: [1\nb: 2\n", "line 2, column 2"),
        ("a: 1\n\tb: 2", "line 2"),
        ("a: \x00", "special characters are not allowed"),
        ("<<: 3", "line 1: <<: expected keys and values to merge"),
        # beyond any use
        ("a: &a [*a]", "line 1: a.0: this alias stands for what it stands in"),
        ("a: &a {b: *a}", "line 1: a.b: this alias stands for what it stands in"),
        ("a: " + "[" * 100_000, "line 1: expected 30 levels or fewer, found more"),
        ("- " * 100_000 + "a", "line 1: expected 30 levels or fewer, found more"),
        ('{"a":' * 100_000, "line 1: expected 30 levels or fewer, found more"),
        ("a: &a " + "[" * 20 + "]" * 20 + "\nb: " + "[" * 20 + "*a" + "]" * 20, "more than 30 lev"),
    ],
)  # fmt: skip
def test_what_nobody_means_is_refused_with_its_line(text, words):
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        parse_yaml(text, "f.yaml")
    assert str(caught.value).startswith("f.yaml: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["[{}]", "{{a: {}}}", "{{<<: [{}]}}"])
def test_aliases_that_multiply_are_bounded(form):
    """The billion laughs: ten levels of ten aliases are 10^10 values."""
    lines = ["l0: &l0 {x: 1, y: 2, z: 3}"]
    for level in range(1, 11):
        aliases = ", ".join([f"*l{level - 1}"] * 10)
        inner = f"[{aliases}]" if "<<" not in form else aliases
        lines.append(f"l{level}: &l{level} {form.format(inner)}")
    with pytest.raises(ValueError, match="expected 50,000 values or fewer with all aliases"):
        parse_yaml("\n".join(lines), "f")


def test_a_merge_key_takes_what_is_not_given():
    text = "base: &base {a: 1, b: 2}\nmore: &more {b: 3, c: 4}\nx: {<<: [*base, *more], a: 5}"
    assert parse_yaml(text, "f")["x"] == yaml.safe_load(text)["x"] == {"a": 5, "b": 2, "c": 4}


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.text(max_size=20)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)  # fmt: skip


@given(PLAIN)
def test_whatever_is_written_as_json_or_as_yaml_comes_back(value):
    assert parse_yaml(yaml.safe_dump(value), "f") == value
    assert parse_yaml(yaml.safe_dump(value, default_flow_style=True), "f") == value


def test_the_files_that_are_shipped_are_read_as_pyyaml_reads_them():
    files = [*ROOT.glob("config/*.yaml"), *ROOT.glob("examples/*.yaml"), *ROOT.glob("slurm/*.yaml"),
             KNOWN]  # fmt: skip
    assert len(files) == 7
    for path in files:
        assert read_yaml(path) == yaml.safe_load(path.read_text())


@pytest.mark.parametrize("read", [read_config, read_cell, load_registry])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: 010", r"line 1: a: '010' is an octal number"),
        (b"a: 1\na: 2", r"line 2: a: this key is given twice"),
        (b"\xff\xfe\xff", "cannot be read as YAML or JSON: .*utf-8"),
        (b"#" * (BYTES + 1), "expected 2,000,000 bytes or fewer, found more"),
    ],
)
def test_configs_cells_and_the_registry_are_read_by_it(tmp_path, read, content, words):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"mine\.yaml: {words}"):
        read(path)


def test_a_mark_of_byte_order_and_dos_line_ends_are_no_part_of_the_content(tmp_path):
    (tmp_path / "f.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: {c: d}\r\n")
    assert read_yaml(tmp_path / "f.yaml") == {"a": 1, "b": {"c": "d"}}
    (tmp_path / "f.json").write_text(json.dumps({"a": 1e-05, "b": "é"}))
    assert read_yaml(tmp_path / "f.json") == {"a": 1e-05, "b": "é"}
