"""docs/point-files.md: the report is the tool's, the options exist, the loop runs."""

import argparse
import re

import numpy as np
import pytest
from test_check_cloud import ouster


@pytest.fixture
def page(repo_root):
    return (repo_root / "docs/point-files.md").read_text()


@pytest.fixture
def tools(repo_root, monkeypatch):
    monkeypatch.syspath_prepend(str(repo_root / "tools"))


def test_the_report_is_what_the_tool_prints(page, tools, tmp_path, monkeypatch, capsys):
    import check_cloud

    ouster(tmp_path).rename(tmp_path / "scan.pcd")
    monkeypatch.chdir(tmp_path)
    check_cloud.main(["scan.pcd"])
    assert f"```\n{capsys.readouterr().out}```" in page


def test_every_option_exists(page, tools):
    from padre3d.command import detect_args, inspect, view

    options = set()
    for add_arguments in (
        lambda parser: detect_args.add_arguments(parser, "+"),
        view.add_arguments,
        inspect.add_model_arguments,
    ):
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        options |= set(parser._option_string_actions)
    named = set(re.findall(r"--[a-z][a-z-]*", page))
    assert len(named) > 20
    assert named <= options


def test_presets_and_formats_are_all_there(page):
    from padre3d.io import PRESETS
    from padre3d.io.formats_out import FORMATS

    for name, preset in PRESETS.items():
        assert f"| `{name}` | {' '.join(preset.fields)} " in page
    for name in FORMATS:
        assert f"| `{name}` |" in page


def test_the_loop_runs(page):
    code = re.search(r"```python\n(.*?)```", page, re.S).group(1)
    drive = [(np.ones((5, 4)) * 9, float(t), np.eye(4)) for t in range(3)]
    seen = []

    def runtime(cloud):
        seen.append(cloud)
        return np.zeros((0, 9)), np.zeros(0), np.zeros(0)

    exec(code, {"drive": drive, "runtime": runtime})
    assert [len(cloud) for cloud in seen] == [50, 50, 50]
