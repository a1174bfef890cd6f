"""The committed results belong to the studies as they stand, so ``--report`` shows all of them."""

from padre3d.study.spec import load_study
from padre3d.study.store import read_rows


def committed(repo_root):
    return sorted((repo_root / "studies/results").glob("*.jsonl"))


def test_there_are_committed_results(repo_root):
    assert {"probe_mixers", "detector_mixers"} <= {path.stem for path in committed(repo_root)}


def test_every_committed_row_is_of_its_study(repo_root):
    stale = [
        (path.stem, row["name"], row["seed"])
        for path in committed(repo_root)
        for study in [load_study(repo_root / f"studies/{path.stem}.py")]
        for row in read_rows(path)
        if row["name"] not in study.variants
        or row["hash"] != study.config_hash(row["name"], repo_root)
    ]
    assert stale == []
