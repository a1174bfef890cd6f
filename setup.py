"""Packaging of padre3d. The core needs torch alone; the rest are extras."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


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
    package_data={"padre3d": ["py.typed"]},
    python_requires=">=3.10",
    install_requires=["torch>=2.4"],
    extras_require={
        "detection": requirements("requirements.txt"),
        "models": requirements("requirements/extras.txt"),
        "recordings": requirements("requirements/recordings.txt"),
        "test": requirements("requirements/test.txt"),
    },
)
