"""Every assertion of a test is evaluated, whatever its parameters."""

import ast
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
SOURCES = sorted(FOLDER.rglob("*.py"))


def is_assertion(node):
    """``assert``, ``pytest.raises``, or a call of a function that asserts."""
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func).rpartition(".")[2]
        return name.startswith("assert_") or name == "raises"
    return isinstance(node, ast.Assert)


def branches(node):
    """What runs under a condition, or where something failed."""
    if isinstance(node, ast.If):
        return [*node.body, *node.orelse]
    if isinstance(node, ast.IfExp):
        return [node.body, node.orelse]
    if isinstance(node, ast.Try):
        return [*node.handlers, *node.orelse]
    if isinstance(node, ast.Match):
        return node.cases
    return []


def early_exits(function):
    """Statements of a test that leave it, or a round of its loop, before an assertion."""
    for block in ast.walk(function):
        body = getattr(block, "body", [])
        for i, node in enumerate(body if isinstance(body, list) else []):
            leaves = isinstance(node, ast.If) and isinstance(
                node.body[-1], (ast.Return, ast.Continue, ast.Break)
            )
            if leaves and any(is_assertion(n) for rest in body[i:] for n in ast.walk(rest)):
                yield node


def conditional_assertions(source):
    """Lines of assertions that a condition may skip."""
    tree = ast.parse(source)
    lines = set()
    for node in ast.walk(tree):
        for branch in branches(node):
            lines |= {n.lineno for n in ast.walk(branch) if is_assertion(n)}
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            lines |= {n.lineno for n in early_exits(node)}
    return sorted(lines)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(FOLDER)))
def test_no_assertion_depends_on_a_condition(path):
    lines = conditional_assertions(path.read_text())
    assert not lines, f"{path}: conditional assertions in lines {lines}"


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("if a:\n    assert b", 2),
        ("if a:\n    pass\nelse:\n    for b in a:\n        assert b", 5),
        ("if a:\n    assert_same(a, b)", 2),
        ("if a:\n    with pytest.raises(ValueError):\n        a()", 2),
        ("try:\n    a()\nexcept ValueError:\n    assert a", 4),
        ("np.testing.assert_equal(a, b) if a else None", 1),
        ("match a:\n    case 1:\n        assert b", 3),
        ("def test_a():\n    if a:\n        return\n    assert b", 2),
        (
            "def test_a():\n    for b in a:\n        if b:\n            continue\n        assert b",
            3,
        ),
    ],
)
def test_conditions_are_found(source, line):
    assert conditional_assertions(source) == [line]


def test_fair_assertions_are_left_alone():
    fair = "try:\n    assert a\nfinally:\n    b()\nif a:\n    b()\nassert b\n"
    assert conditional_assertions(fair) == []
