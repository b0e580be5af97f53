"""Outputs are whole or not at all."""

import pytest

from attnsieve.gen.errors import UserError
from attnsieve.gen.output import output_directory, output_file


def fill(opener, path, name, error):
    """Write something, then fail."""
    with opener(path) as made:
        (made / name if name else made).write_text("half")
        raise error


def test_a_file_appears_at_the_end(tmp_path):
    path = tmp_path / "a" / "b.txt"
    with output_file(path) as file:
        file.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert [p.name for p in path.parent.iterdir()] == ["b.txt"]


def test_a_failure_leaves_no_file(tmp_path):
    path = tmp_path / "a" / "b.txt"
    with pytest.raises(RuntimeError):
        fill(output_file, path, "", RuntimeError)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "b.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        fill(output_file, path, "", KeyboardInterrupt)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_at_the_end(tmp_path):
    path = tmp_path / "x" / "out"
    with output_directory(path) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "f").write_text("1")
        assert not path.exists()
    assert (path / "sub" / "f").read_text() == "1"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_no_folder(tmp_path):
    with pytest.raises(RuntimeError):
        fill(output_directory, tmp_path / "x" / "out", "f", RuntimeError)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_keeps_other_files(tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    (path / "mine").write_text("mine")
    (path / "f").write_text("old")
    with output_directory(path) as folder:
        (folder / "f").write_text("new")
    assert (path / "mine").read_text() == "mine"
    assert (path / "f").read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_things_in_the_way(tmp_path):
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("")
    (folder / "f").mkdir(parents=True)
    with pytest.raises(UserError, match=rf"^{file}: is a file, not a folder$"):
        output_directory(file).__enter__()
    with pytest.raises(UserError, match=rf"^{folder}: is a folder, not a file$"):
        output_file(folder).__enter__()
    with (
        pytest.raises(UserError, match=rf"^{folder}/f: a folder is where a file has to go$"),
        output_directory(folder) as new,
    ):
        (new / "f").write_text("")
    for opener in (output_file, output_directory):
        with pytest.raises(UserError, match=rf"^{file}/x/y: cannot be written: .*"):
            opener(file / "x" / "y").__enter__()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("opener", [output_file, output_directory])
def test_unwritable_places(opener):
    with pytest.raises(UserError, match=r"^/proc/none/x: cannot be written: .*") as caught:
        opener("/proc/none/x").__enter__()
    assert "\n" not in str(caught.value)
