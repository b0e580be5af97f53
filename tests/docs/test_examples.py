# amaranth: UnusedElaboratable=no
"""The examples in README and user guide are run, as far as they are quick."""

import gc
import re
import shlex
from pathlib import Path

import pytest

from attnsieve.gen import cli, config
from attnsieve.gen.lint import WAIVERS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs/user").glob("*.md"))]
# Commands that take long, or whose tools may be absent: other tests run them.
SLOW = ("demo", "lint", "simulate", "synth", "trace", "calibrate")


def blocks(text):
    """Indented and fenced blocks: (language, text)."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    rest = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    indented = re.findall(r"(?:^|\n\n)((?:    [^\n]*\n)+)", rest)
    return fenced + [("", re.sub(r"^    ", "", b, flags=re.M)) for b in indented]


def commands(page):
    for _, text in blocks(page.read_text()):
        for line in text.splitlines():
            found = re.match(r"(\$ )?(\.venv/bin/)?attnsieve (.*)$", line)
            if found:
                yield shlex.split(found[3], comments=True), bool(found[1])


ALL = [(page, words, shown) for page in PAGES for words, shown in commands(page)]


def label(value):
    return value.name if isinstance(value, Path) else None


@pytest.mark.parametrize("page, words", [(p, w) for p, w, shown in ALL if not shown], ids=label)
def test_commands_parse(page, words, monkeypatch, tmp_path, capsys):
    """Each command exists with these options, and its SYSTEM loads."""
    monkeypatch.chdir(tmp_path)
    for name, text in files().items():
        (tmp_path / name).write_text(text)
    assert cli.run([words[0], "--help"]) == 0
    known = capsys.readouterr().out
    for word in words[1:]:
        if word.startswith("-"):
            assert re.search(rf"(?<![\w-]){re.escape(word.split('=')[0])}(?![\w-])", known), (
                page,
                word,
            )
    if words[0] in ("generate", "lint", "simulate", "synth") and not words[1].startswith("-"):
        settings = [v for o, v in zip(words, words[1:], strict=False) if o == "--set"]
        config.load(words[1], settings=settings)


def files():
    """Files that examples name, from the page that shows them."""
    page = (ROOT / "docs/user/configuration.md").read_text()
    return {"mine.toml": next(text for kind, text in blocks(page) if kind == "toml")}


def test_the_configuration_file_of_the_guide(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(files()["mine.toml"])
    loaded = config.load(str(path))
    assert (loaded.top, loaded.core.lanes, loaded.run.bits) == ("attnsieve_mine", 32, 12)


@pytest.mark.parametrize("page, words", [(p, w) for p, w, shown in ALL if shown], ids=label)
def test_shown_outputs(page, words, capsys):
    """``$ attnsieve …`` is followed by what it prints."""
    text = page.read_text()
    line = next(x for x in text.splitlines() if x.strip().startswith("$ ") and words[-1] in x)
    want = text.split(line + "\n")[1].splitlines()[0].strip()
    cli.run(words)
    captured = capsys.readouterr()
    assert want in (captured.out + captured.err)


PYTHON = [
    (page, text) for page in PAGES for kind, text in blocks(page.read_text())
    if kind == "python" and "attnsieve.gen" in text
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize("page, text", PYTHON, ids=label)
def test_python(page, text, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "attnsieve.gen.api.synth", lambda *a: {"total": {"dsp": 0}, "memory_bits": 0}
    )
    exec(compile(text, str(page), "exec"), {})
    gc.collect()


def test_waivers_are_named():
    text = (ROOT / "docs/user/generate.md").read_text()
    assert [rule for rule in WAIVERS if rule not in text] == []


def test_driver_functions_are_listed():
    header = (ROOT / "gen/package/templates/attnsieve.h.j2").read_text()
    page = (ROOT / "docs/user/integrate.md").read_text()
    functions = set(re.findall(r"\b(attnsieve_[a-z_]+)\(struct attnsieve \*", header))
    table = page.split("| function | does |")[1].split("\n\n")[0]
    assert set(re.findall(r"`(attnsieve_\w+)`", table)) == functions


def test_links_lead_to_pages():
    for page in PAGES[1:]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
