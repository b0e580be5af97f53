"""docs/reference/parameters.md agrees with CoreParams."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from attnsieve.gen import config
from attnsieve.hdl.params import CoreParams

PAGE = (Path(__file__).parents[2] / "docs/reference/parameters.md").read_text()
BUILD = PAGE.split("## Build time")[1].split("What follows")[0]
ROWS = {
    name: [cell.strip() for cell in rest.split("|")]
    for name, rest in re.findall(r"^\| `(\w+)` \|(.*)\|$", BUILD, re.M)
}
FLAGS = [f.name for f in fields(CoreParams) if isinstance(f.default, bool)]
# Values that let every other parameter go to its ends.
ROOM = {"lanes": 16, "max_head_dim": 16, "output_lanes": 1, "buffer_elements": 16384}


def limits(name):
    least, most = ROWS[name][1:3]
    values = CoreParams().as_dict()
    known = {**values, "min(16, lanes)": min(16, values["lanes"])}
    return int(known.get(least, least)), int(known.get(most, most))


def build(**changes):
    return CoreParams(**{**ROOM, **changes})


def test_every_parameter_has_a_row_in_order():
    assert list(ROWS) == list(CoreParams.names())


def test_defaults():
    for field in fields(CoreParams):
        assert ROWS[field.name][0] == str(field.default).lower()


@pytest.mark.parametrize("name", [n for n in ROWS if ROWS[n][1]])
def test_limits(name):
    least, most = limits(name)
    room = {"max_head_dim": 128} if name == "buffer_elements" else {}
    for value in (least, most):
        if name == "lanes":
            build(lanes=value, buffer_elements=max(value, 16))
        elif name == "output_lanes":
            build(lanes=64, output_lanes=value, buffer_elements=64)
        elif name == "max_head_dim":
            build(max_head_dim=value)
        elif name == "token_lanes":
            build(value_lanes=16, token_lanes=value)
        else:
            build(**room, **{name: value})
    for value in (least - 1, most + 1, most * 2):
        with pytest.raises(ValueError, match=name):
            build(**room, **{name: value})
    for value in (str(least), float(least), True):
        with pytest.raises((TypeError, ValueError), match=name):
            build(**room, **{name: value})


@pytest.mark.parametrize(
    "rule, bad",
    [("power of two", 48), ("multiple of 16", 40), ("8 or 12", 10), ("multiple of lanes", 1000)],
)
def test_rules(rule, bad):
    found = [name for name, row in ROWS.items() if row[3] == rule]
    assert found
    for name in found:
        least, most = limits(name)
        value = bad if least <= bad <= most else 3 if most < bad else 48
        with pytest.raises(ValueError, match=rf"{name} must be"):
            build(**{name: value})


def test_no_rule_is_left_out():
    """A parameter without a rule takes every value between its ends."""
    for name, row in ROWS.items():
        if not row[3]:
            least, most = limits(name)
            for value in {least + 1, (least + most) // 2 + 1, most - 1}:
                build(**{name: value})


def test_value_lanes_hold_whole_lane_groups():
    assert ROWS["value_lanes"][3] == "multiple of lanes / 16"
    with pytest.raises(ValueError, match="value_lanes must be"):
        CoreParams(value_lanes=6)


@pytest.mark.parametrize("name", FLAGS)
def test_flags(name):
    assert ROWS[name][3] == "true or false"
    for value in (0, 1, "true", None):
        with pytest.raises(TypeError, match=f"{name} must be true or false"):
            CoreParams(**{name: value})


@pytest.mark.parametrize("name, changes, needs", [
    ("progressive", {"token_lanes": 0}, "token_lanes must not be 0 on a core with progressive"),
    ("progressive", {"operand_bits": 8}, "operand_bits must be 12 on a core with progressive"),
    ("progressive", {"channels": 1}, "channels and data_width must give units"),
    ("value_demand", {"token_lanes": 0},
     "^token_lanes or slice_units must not be 0 on a core with value_demand$"),
])  # fmt: skip
def test_what_flags_need(name, changes, needs):
    lists = {"value_lanes": 4, "token_lanes": 4}
    assert getattr(CoreParams(**lists, **{name: True}), name)
    with pytest.raises(ValueError, match=needs):
        CoreParams(**{**lists, **changes, name: True})


def test_bit_serial_units_may_have_values_on_demand():
    assert CoreParams(slice_units=2, value_demand=True).gathers
    assert not CoreParams(slice_units=2).gathers


UNITS = "^slice_units must not be 0, and value_demand must"


@pytest.mark.parametrize("changes, needs", [
    ({"slice_units": 0, "value_demand": False}, UNITS),
    ({"value_demand": False}, UNITS),
    ({"slice_words": "sign_magnitude"}, '^slice_words must be "twos_complement" on a core with'),
])  # fmt: skip
def test_what_slices_on_demand_need(changes, needs):
    good = {"slice_units": 2, "value_demand": True, "slice_demand": True}
    assert CoreParams(**good).slice_demand
    with pytest.raises(ValueError, match=needs):
        CoreParams(**good | changes)


def test_slice_dealing_names_a_way():
    with pytest.raises(ValueError, match='slice_dealing must be "dynamic" or "static"'):
        CoreParams(slice_dealing="random")


def test_slice_words_names_a_form():
    with pytest.raises(ValueError, match='slice_words must be "twos_complement" or "sign_magn'):
        CoreParams(slice_words="signed")


def test_top_k_names_an_engine():
    with pytest.raises(ValueError, match='top_k must be "radix" or "quick"'):
        CoreParams(top_k="sort")


def test_derived():
    table = PAGE.split("What follows")[1].split("## Run time")[0]
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\d+) \|$", table, re.M)
    assert len(rows) >= 7
    for name, value in rows:
        assert getattr(CoreParams(), name) == int(value), name


def test_sections_that_do_not_change_the_verilog():
    page = (Path(__file__).parents[2] / "docs/user/configuration.md").read_text()
    found = dict(re.findall(r"^\| `(\w+\.\w+)` \| (\S+) \|", page, re.M))
    sections = {
        "memory": config.MemoryOptions(),
        "run": config.RunOptions(),
        "synth": config.SynthOptions(),
    }
    assert found == {
        f"{section}.{key}": str(value).lower() if isinstance(value, bool) else str(value)
        for section, defaults in sections.items()
        for key, value in defaults.model_dump().items()
    }
