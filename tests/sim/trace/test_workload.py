"""Workload files: what is read, and what is said of wrong ones."""

import re

import pytest

from attnsieve.sim.errors import InputError
from attnsieve.sim.trace.workload import COLUMNS, load_workload

LINES = [
    "0,0,0,32.0,40,40,6,16,0.05,True,4,8,6,True,False,False,-1",
    "0,0,1,32.0,40,40,6,16,0.05,False,4,8,6,True,False,True,12",
    "0,1,0,32.0,40,12,6,16,0.05,False,4,3,6,True,False,False,-1",
    "0,1,1,32.0,40,12,6,16,0.05,False,4,3,6,True,False,False,-1",
    "1,0,0,32.0,41,41,-1,-1,-1,False,-1,41,-1,False,False,False,-1",
]
HEADER = ",".join(COLUMNS)
TRAILER = "configs/a.yml" + "," * (len(COLUMNS) - 1)


def write(folder, lines, header=HEADER):
    path = folder / "w.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_records_of_a_layer_are_a_job(tmp_path):
    found = load_workload(write(tmp_path, [*LINES, TRAILER]))
    assert (found.name, found.trailer) == ("w", "configs/a.yml")
    assert (found.layers, found.heads, found.length) == (2, 2, 41)
    first, second, plain = found.jobs
    assert (first.iteration, first.layer, first.heads, first.head_dim) == (0, 0, (0, 1), 32)
    assert (first.keys, first.values, first.key_bits, first.query_bits) == (40, 8, 6, 16)
    assert (first.value_bits, first.threshold, first.increment) == (6, 0.05, 4)
    assert (first.again, first.keep) == ((True, False), 12)
    assert (second.keys, second.values, second.keep) == (12, 3, None)
    assert (plain.key_bits, plain.threshold, plain.increment) == (0, 0.0, 0)


def test_the_last_line_need_not_be_a_path(tmp_path):
    assert load_workload(write(tmp_path, LINES)).trailer == ""


@pytest.mark.parametrize(
    "line, change, message",
    [
        (1, ("40,40", "40,41"), "w.csv:2: key_fetch_num must be a whole number, 1..40, not '41'"),
        (1, ("40,40", "40,1e400"), "w.csv:2: key_fetch_num must be a whole number, .*"),
        (2, ("0,0,1", "0,0,5000"), r"w.csv:3: head_id must be a whole number, 0\.\.4095, .*"),
        (1, ("32.0", "32.5"), "w.csv:2: embedding_length_D must be a whole number, .*, not '32.5'"),
        (1, ("True,4", "yes,4"), "w.csv:2: if_requant must be True or False, not 'yes'"),
        (1, ("0.05", "2"), "w.csv:2: auto_requant_thres must be between 0 and 1, or -1, not '2'"),
        (2, (",8,6", ",9,6"), "w.csv:3: all heads of a layer must have the same .*"),
        (2, ("0,0,1", "0,0,0"), "w.csv:3: head_id must rise, not go from 0 to 0"),
        (5, ("1,0", "0,0"), r"w.csv:6: iterations and layers must rise, not go .*"),
        (5, (",False,-1,41", ",True,-1,41"), "w.csv:6: if_requant must be False without .*"),
        (2, ("True,12", "True,-1"), "w.csv:3: topk must be 1 or more with if_topk"),
        (3, (",-1", ""), "w.csv:4: must have 17 columns, not 16"),
    ],
)
def test_wrong_lines_are_named(tmp_path, line, change, message):
    lines = list(LINES)
    assert change[0] in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(*change, 1)
    with pytest.raises(InputError) as caught:
        load_workload(write(tmp_path, lines))
    text = str(caught.value)
    assert re.fullmatch(rf".*{message}", text)
    assert "\n" not in text


def test_a_path_is_accepted_as_the_last_line_only(tmp_path):
    with pytest.raises(InputError, match=r"w.csv:2: iteration_id must be a whole number"):
        load_workload(write(tmp_path, [TRAILER, *LINES]))
    with pytest.raises(InputError, match=r"w.csv:7: iteration_id must be"):
        load_workload(write(tmp_path, [*LINES, TRAILER, TRAILER]))
    with pytest.raises(InputError, match=r"w.csv:7: iteration_id must be"):
        load_workload(write(tmp_path, [*LINES, TRAILER + "1"]))


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_workload(tmp_path / "w.csv")
    with pytest.raises(InputError, match="w.csv:1: the columns must be iteration_id,"):
        load_workload(write(tmp_path, LINES, header="a,b"))
    with pytest.raises(InputError, match="w.csv: must have a record"):
        load_workload(write(tmp_path, [TRAILER]))
    (tmp_path / "w.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read as CSV"):
        load_workload(tmp_path / "w.csv")
