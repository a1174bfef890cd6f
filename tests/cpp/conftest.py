"""The C++ runtime, built once; PADRE3D_CPP_BUILD and PADRE3D_CPP_SANITISED name folders that are
there already."""

import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

CPP = Path(__file__).resolve().parents[2] / "cpp"
# Threading Building Blocks otherwise load a part of themselves in a way that sanitisers refuse.
SANITISED = {"TBB_ENABLE_SANITIZERS": "1"}


@dataclass(frozen=True)
class CppBuild:
    """Programs of a build folder."""

    folder: Path
    openvino: bool
    environment: dict[str, str]

    def run(self, program, *words, **options) -> subprocess.CompletedProcess:
        command = [str(self.folder / program), *map(str, words)]
        environment = {**os.environ, **self.environment}
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=500, **options
        )

    def tool(self, *words, **options) -> str:
        """What a command of cpp/tests/tool.cpp prints."""
        done = self.run("padre3d_test_tool", *words, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def detect(self, *words) -> subprocess.CompletedProcess:
        return self.run("padre3d_detect", *words)


def openvino_cmake() -> Path | None:
    """Where the pip wheel of OpenVINO keeps its CMake files."""
    spec = importlib.util.find_spec("openvino")
    found = Path(spec.origin).parent / "cmake" if spec and spec.origin else None
    return found if found and found.is_dir() else None


def built(variable: str, folder: Path, *options: str) -> CppBuild:
    """The build that an environment variable names, else a new one; skips with the reason."""
    if variable in os.environ:
        there = Path(os.environ[variable])
        has_openvino = "PADRE3D_OPENVINO:BOOL=ON" in (there / "CMakeCache.txt").read_text()
        return CppBuild(there, has_openvino, SANITISED)
    missing = [name for name in ("cmake", "c++") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"the C++ runtime needs {' and '.join(missing)}")
    openvino = openvino_cmake()
    backend = f"-DOpenVINO_DIR={openvino}" if openvino else "-DPADRE3D_OPENVINO=OFF"
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    configure = ["cmake", "-S", CPP, "-B", folder, *generator, backend, "-DPADRE3D_TESTS=ON"]
    for command in ([*configure, *options], ["cmake", "--build", folder, "--parallel", "2"]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return CppBuild(folder, openvino is not None, SANITISED)


@pytest.fixture(scope="session")
def cpp(tmp_path_factory) -> CppBuild:
    """The programs, quickly compiled."""
    folder = tmp_path_factory.mktemp("cpp") / "build"
    # No known build type: no flags but these.
    return built("PADRE3D_CPP_BUILD", folder, "-DCMAKE_BUILD_TYPE=Tests", "-DCMAKE_CXX_FLAGS=-O1")


@pytest.fixture(scope="session")
def library(cpp: CppBuild) -> Path:
    """The compiled pillar encoder for Python."""
    (path,) = cpp.folder.glob("libpadre3d_encoder.*")
    return path


@pytest.fixture(scope="session")
def sanitised(tmp_path_factory) -> CppBuild:
    """The programs with AddressSanitizer and UndefinedBehaviorSanitizer, leaks included."""
    folder = tmp_path_factory.mktemp("sanitised") / "build"
    flags = ("-DCMAKE_BUILD_TYPE=Tests", "-DCMAKE_CXX_FLAGS=-O1")
    sanitise = "-DPADRE3D_SANITIZE=address,undefined"
    return built("PADRE3D_CPP_SANITISED", folder, *flags, sanitise)


@pytest.fixture(scope="session")
def with_openvino(cpp) -> CppBuild:
    """The programs, where there is a backend."""
    if not cpp.openvino:
        pytest.skip("the C++ runtime has no backend here: OpenVINO is not installed")
    return cpp


@pytest.fixture(scope="session")
def openvino_cmake_folder(with_openvino) -> Path:
    """CMake files of OpenVINO."""
    folder = openvino_cmake()
    assert folder is not None
    return folder
