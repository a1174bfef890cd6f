"""docs/method.md leads from every numbered equation to code and tests that exist."""

import importlib
import re

import pytest

EQUATIONS = 82  # the last number in the paper


@pytest.fixture(scope="module")
def page(repo_root):
    return (repo_root / "docs" / "method.md").read_text()


@pytest.fixture(scope="module")
def rows(page):
    """(equation, what, function, test) of the table of section 1."""
    section = page[page.index("## 1.") : page.index("**The oracle.**")]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_every_numbered_equation_has_a_row(rows):
    found = set()
    others = ("Table", "3.", "4.")
    for equations in (row[0] for row in rows if not row[0].startswith(others)):
        for first, last in re.findall(r"\b(\d+)(?:-(\d+))?", equations.replace("Lemma 1,", "")):
            found |= set(range(int(first), int(last or first) + 1))
    assert found == set(range(1, EQUATIONS + 1))


def test_functions_exist(rows, repo_root):
    """``folder/file.py`` or ``folder/file.py: name``, below padre3d."""
    names = 0
    form = r"`(((?:ops|mixers|analysis)[\w/]*)/(\w+)\.py(?:: (\w+))?)`"
    for text, folder, file, name in re.findall(form, " ".join(row[2] for row in rows)):
        assert (repo_root / "padre3d" / folder / f"{file}.py").is_file(), text
        module = importlib.import_module(f"padre3d.{folder.replace('/', '.')}.{file}")
        assert hasattr(module, name or "__file__"), text
        names += bool(name)
    assert names >= 12


def test_tests_exist(page, repo_root):
    sources = {p.name: p.read_text() for p in (repo_root / "tests").rglob("test_*.py")}
    defined = re.findall(r"def (test_\w+)", "\n".join(sources.values()))
    named = re.findall(r"`(?:[\w/]+/)?(test_\w+\.py)(?:: (test_\w+)(?:\.\.\.)?)?`", page)
    assert len(named) >= 8
    for file, test in named:
        assert file in sources
        assert f"def {test}" in sources[file], test
    for test in re.findall(r"`(test_\w+?)_?(?:\.\.\.)?`", page):
        assert any(name.startswith(test) for name in defined), test
