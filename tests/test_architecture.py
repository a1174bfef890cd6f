"""The written dependency rule of CONTRIBUTING.md, and that no import goes in a circle."""

import sys
from collections import defaultdict

import pytest
from import_graph import circles, external_imports, import_graph

BASE = {"structures", "checks", "layers"}
# What each stage may import. Nothing imports `plugin` but what needs the registry.
RULE = {
    "": {"inference", "models", "pretrained"},
    "checks": set(),
    "structures": {"checks"},
    "layers": {"checks", "structures"},
    "io": {"structures"},
    "cli": {"backends", "io"},
    "synthetic": {"io"},
    "adapters": {"backbone", "checks", "structures", "layers", "bev"},
    "study": {"io"},
    "probe": {
        "analysis",
        "backbone",
        "checks",
        "data",
        "detector",
        "io",
        "layers",
        "mixers",
        "pillars",
        "plugin",
        "structures",
        "study",
        "training",
    },
    "ops": {"checks", "structures"},
    "mixers": BASE | {"ops"},
    "pillars": BASE,
    "sequences": {"checks", "structures"},
    "backbone": BASE | {"mixers", "ops", "sequences"},
    "bev": BASE,
    "head": BASE,
    "data": {"structures", "io"},
    "detector": BASE | {"backbone", "bev", "head", "pillars"},
    "training": {"data", "io", "models", "structures"},
    "distill": {
        "backbone",
        "data",
        "detector",
        "head",
        "io",
        "mixers",
        "structures",
        "training",
    },
    "plugin": BASE
    | {"adapters", "backbone", "bev", "data", "detector", "distill", "head", "pillars", "training"},
    "inference": {"plugin", "structures", "training"},
    "pretrained": {"inference", "models", "runtime", "training"},
    "backends": {"io"},
    "__main__": {"command"},
    "models": set(),
    "runtime": {"backends", "models", "structures", "io"},
    "command": {"cli", "io", "models", "runtime", "structures", "visual"},
    "export": BASE
    | {"backends", "bev", "head", "mixers", "runtime", "sequences", "backbone", "io", "pillars"}
    | {"detector"},
    "deploy": {"backends", "runtime"},
    "convert": {"head", "structures", "io", "training"},
    "visual": {"io", "structures"},
    "analysis": {"io", "mixers", "ops", "plugin", "sequences", "structures", "checks", "training"},
}
# Packages from outside that a part may need at import or at run time, beside the standard library.
WITHOUT_TORCH = (
    "runtime",
    "backends",
    "deploy",
    "io",
    "visual",
    "synthetic",
    "cli",
    "models",
    "command",
)
CORE = ("ops", "mixers", "structures", "checks")


@pytest.fixture(scope="module")
def graph(repo_root):
    return import_graph(repo_root / "padre3d")


def part(module):
    return module.split(".")[1] if "." in module else ""


def violations(graph):
    """``module -> module`` of every import against the rule."""
    return [
        f"{module} -> {target}"
        for module, targets in graph.items()
        for target in targets
        if part(target) not in {"", part(module)} and part(target) not in RULE[part(module)]
    ]


def test_every_part_has_its_rule(graph):
    assert {part(module) for module in graph} == set(RULE)


def test_no_circle(graph):
    assert circles(graph) == []


def test_imports_follow_the_rule(graph):
    assert violations(graph) == []


def test_a_circle_put_back_is_found(graph):
    changed = {**graph, "padre3d.mixers.mixer": {"padre3d.mixers.padre"}}
    names = ("linear_maps", "mixer", "padre")
    assert circles(changed) == [[f"padre3d.mixers.{name}" for name in names]]


def test_a_forbidden_import_is_found(graph):
    changed = {**graph, "padre3d.head.decode": {"padre3d.export.parity"}}
    assert violations(changed) == ["padre3d.head.decode -> padre3d.export.parity"]


def test_lazy_and_relative_names_count(tmp_path):
    """Imports in functions, ``import a.b`` and names that are modules are edges."""
    package = tmp_path / "padre3d"
    (package / "a").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "a/__init__.py").write_text("")
    (package / "a/one.py").write_text("def f():\n    from padre3d.a import two\n")
    (package / "a/two.py").write_text("import padre3d.a.one\n")
    assert circles(import_graph(package)) == [["padre3d.a.one", "padre3d.a.two"]]


def _external(repo_root, names):
    found = defaultdict(set)
    for path in (repo_root / "padre3d").rglob("*.py"):
        name = path.relative_to(repo_root / "padre3d").parts[0].removesuffix(".py")
        if name in names:
            found[name] |= external_imports(path) - set(sys.stdlib_module_names)
    return found


def test_the_runtime_knows_neither_torch_nor_mmdet3d(repo_root):
    for name, modules in _external(repo_root, WITHOUT_TORCH).items():
        assert not modules & {"torch", "mmdet3d", "mmengine", "mmcv"}, name


def test_the_runtime_needs_what_its_hosts_install(repo_root):
    """The extra ``runtime``, of which the README, the deployment page and the smoke test speak."""
    needed = set().union(*_external(repo_root, ("runtime", "deploy")).values())
    assert needed == {"msgspec", "numpy"}
    lines = (repo_root / "requirements/runtime.txt").read_text().splitlines()
    assert needed | {"onnxruntime"} <= set(lines)
    for name in ("README.md", "docs/deployment.md", ".github/workflows/ci.yml"):
        assert "[runtime]" in (repo_root / name).read_text(), name


def test_the_core_needs_torch_alone(repo_root):
    for name, modules in _external(repo_root, CORE).items():
        assert modules <= {"torch", "numpy", "triton"}, name
