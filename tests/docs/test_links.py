"""Links between pages lead somewhere, and tables have rows."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def prose(page):
    """A page without its examples."""
    return re.sub(r"^```.*?^```$|^    .*$|`[^`\n]*`", "", page.read_text(), flags=re.M | re.S)


def anchors(page):
    """What a link may name of a page: its headings, as GitHub spells them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    found = []
    for heading in re.findall(r"^#+ (.*)$", text, flags=re.M):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        twins = sum(re.sub(r"-\d+$", "", other) == name for other in found)
        found.append(f"{name}-{twins}" if twins else name)
    return found


def broken(page):
    """Links of a page that lead nowhere."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        to = (page.parent / path).resolve() if path else page
        if not to.exists() or (anchor and anchor not in anchors(to)):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert list(broken(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_have_rows(page):
    assert not re.search(r"^\|(?: ?:?-+:? ?\|)+\n(?!\|)", page.read_text(), flags=re.M)


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A b\n\n[here](#a-b), [gone](#c), [none](no.md), [out](https://example.org/x)\n")
    assert list(broken(page)) == ["#c", "no.md"]
