"""The demo's figure of an export is the one its parity check found."""

from demo_summary import onnx_error


def test_error_of_a_manifest_is_that_of_the_check(exported_padre):
    folder, results = exported_padre.folder, exported_padre.comparisons
    worst = max(max(result.errors.values()) for result in results)
    assert onnx_error(folder / "manifest.json") == worst > 0
