"""A headless Chromium, spoken to over two pipes: what a page draws, and what it complains about."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
    "--window-size=800,600",
)


def find_browser() -> str:
    """The browser of the environment variable CHROME, or one on the path; skips without one."""
    found = os.environ.get("CHROME") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"needs a browser, none of {', '.join(NAMES)} was found")
    return found


class Browser:
    """One page of a browser with a profile of its own.

    Attributes:
        complaints: errors that the page wrote or threw.
        requests: addresses it asked for, files and data within the page left out.
    """

    def __init__(self, profile: Path, timeout_s: float = 120) -> None:
        read_fd, self._to = os.pipe()
        self._from, write_fd = os.pipe()

        def place() -> None:
            """The browser reads from descriptor 3 and writes to 4, whatever ours are called."""
            moved = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (read_fd, write_fd)]
            for fd, wanted in zip(moved, (3, 4), strict=True):
                os.dup2(fd, wanted)

        self._process = subprocess.Popen(
            [find_browser(), *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=place,
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_fd)
        os.close(write_fd)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._timeout_s, self._number, self._rest, self._session = timeout_s, 0, b"", None
        pages = self._call("Target.getTargets")["targetInfos"]
        target = next(page["targetId"] for page in pages if page["type"] == "page")
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._to)
        os.close(self._from)
        self._process.terminate()
        self._process.wait(30)

    def open(self, path: Path, ready: str) -> None:
        """Open a file and wait until an expression is true."""
        self._call("Page.navigate", url=path.resolve().as_uri())
        self.wait(ready)

    def wait(self, expression: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + self._timeout_s
        while not self.evaluate(expression):
            if time.monotonic() > end:
                raise TimeoutError(f"{expression} stayed false; complaints: {self.complaints}")
            time.sleep(0.1)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of the page; of a promise, what it becomes."""
        answer = self._call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:500])
        return answer["result"].get("value")

    def click(self, element: str) -> None:
        """Press and release the mouse in the middle of an element, given as an expression."""
        x, y = self.evaluate(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
            f"(({element}).getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self) -> bytes:
        """The page as PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._next())
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer.get("method"), answer.get("params", {}))

    def _next(self) -> bytes:
        while b"\0" not in self._rest:
            block = os.read(self._from, 1 << 16)
            if not block:
                raise RuntimeError("the browser has gone")
            self._rest += block
        message, _, self._rest = self._rest.partition(b"\0")
        return message

    def _note(self, method: str | None, params: dict[str, Any]) -> None:
        if method == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.complaints.append(str([a.get("value") for a in params["args"]]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"])[:500])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:")):
                self.requests.append(url)
