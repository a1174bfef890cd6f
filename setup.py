"""Packaging of padre3d. Nothing is needed by all of it: what each use needs is an extra."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
# The operator and its mixers need torch alone.
TORCH = "torch>=2.4"


def version() -> str:
    """The one version number, which padre3d/__init__.py holds."""
    text = (ROOT / "padre3d" / "__init__.py").read_text()
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError("padre3d/__init__.py: expected __version__, found none")
    return found[1]


def requirements(name: str) -> list[str]:
    """Requirement lines of a file, without comments and options."""
    lines = (ROOT / name).read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and line[0] not in "#-"]


setup(
    name="padre3d",
    version=version(),
    description="LiDAR 3-D detection with polynomial attention (PADRe) for mmdetection3d",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["padre3d", "padre3d.*"]),
    package_data={
        "padre3d": ["py.typed"],
        "padre3d.models": ["sample*", "*/*", "*/*/*"],
        "padre3d.visual": ["page/*"],
    },
    python_requires=">=3.10",
    entry_points={"console_scripts": ["padre3d = padre3d.__main__:main"]},
    extras_require={
        "runtime": requirements("requirements/runtime.txt"),
        "torch": [TORCH],
        "detection": requirements("requirements.txt"),
        "models": [TORCH, *requirements("requirements/extras.txt")],
        "view": requirements("requirements/view.txt"),
        "recordings": requirements("requirements/recordings.txt"),
        "test": requirements("requirements/test.txt"),
    },
)
