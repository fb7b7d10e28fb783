"""A headless Chromium, driven over its debugging protocol."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = [
    *["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
    *["--disable-background-networking", "--disable-component-update", "--disable-sync"],
    *["--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0"],
    "--remote-allow-origins=*",
]
_FIRST_FRAME = """addEventListener("DOMContentLoaded", () => requestAnimationFrame(
    () => setTimeout(() => (window.firstFrame = performance.now()))))"""
# A browser that has said nothing for so long is given up.
_PATIENCE = 60


def find_chromium():
    return next(filter(None, map(shutil.which, _NAMES)), None)


@contextlib.contextmanager
def chromium():
    """A running browser, or a skip that says what is missing."""
    program = find_chromium()
    if program is None:
        pytest.skip("there is no Chromium (apt-get install chromium)")
    websocket = pytest.importorskip("websocket")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": folder},
        )
        try:
            port = _port_of(process, Path(folder) / "DevToolsActivePort")
            yield Browser(port, websocket)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _port_of(process, file):
    """The port that the browser listens on, which it writes into a file when it is up."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.skip(f"Chromium does not start here (exit code {process.returncode})")
        if file.exists() and (lines := file.read_text().split()):
            return int(lines[0])
        time.sleep(0.05)
    pytest.skip(f"Chromium did not come up in {_PATIENCE} s")


class Browser:
    """One tab."""

    def __init__(self, port, websocket):
        address = f"http://127.0.0.1:{port}/json/list"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        targets = json.loads(opener.open(address, timeout=_PATIENCE).read())
        tab = next(target for target in targets if target["type"] == "page")
        self._socket = websocket.create_connection(
            tab["webSocketDebuggerUrl"], timeout=_PATIENCE, http_no_proxy=["127.0.0.1"]
        )
        self._n_sent = 0
        self.events = []
        for domain in "Page", "Network", "Runtime", "Log":
            self.call(f"{domain}.enable")
        # When the first frame of a page has been drawn, with what its script has made.
        self.call("Page.addScriptToEvaluateOnNewDocument", source=_FIRST_FRAME)

    def call(self, method, **parameters):
        self._n_sent += 1
        number = self._n_sent
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            if "method" in answer:
                self.events.append(answer)

    def open(self, path, width=1280, height=900, dark=False):
        """Show a file, and wait until its script has run."""
        self.events = []
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        # Where nothing moves, nothing has to be waited for.
        motion = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.call("Emulation.setEmulatedMedia", features=[scheme, motion])
        self.call("Page.navigate", url=path.as_uri())
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            if self.run("document.body?.dataset.ready ?? null") == "true":
                return
            time.sleep(0.02)
        raise AssertionError(f"{path} did not get ready: {self.problems()}")

    def run(self, expression):
        """The value of an expression; promises are waited for."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def press(self, key):
        code = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        for kind in "keyDown", "keyUp":
            text = {"text": code} if code and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **text)

    def point_at(self, selector):
        """Move the mouse to the middle of an element's first line."""
        box = self.run(
            f"""(() => {{
                const element = document.querySelector({json.dumps(selector)});
                element.scrollIntoView({{block: "center", behavior: "instant"}});
                const box = element.getClientRects()[0];
                return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )
        self.settle()
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=0, y=0)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])

    def settle(self):
        """Wait until two frames have been drawn."""
        self.run(
            "new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(() => go(0))))"
        )

    def requests(self):
        """Addresses of everything that was asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def problems(self):
        """What the console would show: errors, refusals of the page's policy."""
        return [
            event["params"]
            for event in self.events
            if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")
        ]

    def screenshot(self, path):
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))
