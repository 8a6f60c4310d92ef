"""The page in headless Chromium, end to end: files dropped and chosen, a field painted with the mouse, downloads."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("nicegui", reason="the extra 'app' is not installed")

from cea.cli.main import app
from cea.io.images import read_rgb, write_image
from cea.models.checkpoint import save_weights
from cea.restoring.restorer import Restorer
from tests.browser import Browser, browsing, chromium
from tests.unit.app.test_app_visit import CONFIG, clean, restorer

pytestmark = pytest.mark.slow

PANEL = 390  # CSS pixels across a phone


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights and photographs; the server runs in ``home`` below it, which is to stay empty."""
    chromium()
    folder = tmp_path_factory.mktemp("page")
    save_weights(folder / "w.safetensors", restorer().network, CONFIG, {})
    write_image(folder / "photo.png", clean(120, 160))
    (folder / "letter.jpg").write_bytes(b"Dear reader")
    write_image(folder / "wide.png", np.zeros((1000, 1001, 3), np.uint8))
    (folder / "large.png").write_bytes(bytes(2_000_001))
    for name in ("home", "temporary", "downloads"):
        (folder / name).mkdir()
    return folder


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[str]:
    """The address of ``cea app``; ends it as a person does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    options = ["--no-browser", "--port", port, "--weights", str(place / "w.safetensors"), "--megabytes", "2"]
    options += ["--megapixels", "1"]
    environment = os.environ | {"TMPDIR": str(place / "temporary"), "OMP_NUM_THREADS": "1"}
    with (
        (place / "said").open("w") as said,
        subprocess.Popen(
            [sys.executable, "-m", "cea.cli", "app", *options],
            cwd=place / "home",
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            for _ in range(600):
                if "page: " in (place / "said").read_text():
                    break
                assert process.poll() is None, (place / "said").read_text()
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) in (0, 130)
    assert "Traceback" not in (place / "said").read_text()


@pytest.fixture
def browser(server: str, tmp_path: Path) -> Iterator[Browser]:
    with browsing(tmp_path) as tab:
        tab.see(1280, 860)
        tab.open(server)
        tab.wait_text("Drop a photograph here")
        tab.wait("window.socket.connected")
        yield tab


def downloaded(browser: Browser, place: Path, link: str, name: str) -> Path:
    folder = place / "downloads"
    (folder / name).unlink(missing_ok=True)
    browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    browser.click_text(link)
    for _ in range(100):
        if (folder / name).is_file():
            return folder / name
        time.sleep(0.1)
    raise AssertionError(f"{name} was not downloaded: {sorted(folder.iterdir())}")


def test_drop_see_compare_download(browser: Browser, server: str, place: Path):
    browser.drop(place / "photo.png")
    browser.wait_text("160 × 120 pixels, restored in")
    browser.wait(
        "[...document.querySelectorAll('.frame img')]"
        ".filter(i => i.offsetParent && i.naturalWidth === 160).length === 2"
    )
    line = "parseFloat(document.querySelector('.divider').style.left)"
    assert browser.js(line) == 50
    browser.drag(".glass", [(0.5, 0.5), (0.4, 0.5), (0.2, 0.5)])
    assert browser.js(line) == pytest.approx(20, abs=1)
    browser.js("document.querySelector('.glass').focus()")
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight")
    assert browser.js(line) == pytest.approx(22, abs=1)
    file = downloaded(browser, place, "Restored PNG", "photo.restored.png")
    expected = Restorer.load(place / "w.safetensors").restore(place / "photo.png")
    np.testing.assert_array_equal(read_rgb(file), expected)
    record = json.loads(downloaded(browser, place, "Record JSON", "photo.record.json").read_text())
    assert (record["photograph"], record["strength"], record["degradation"]) == ("photo.png", 1, None)
    browser.click_text("Expected error")
    browser.wait("document.querySelector('.frame-overlay').naturalWidth > 0")
    browser.wait_text("of 255 levels in the mean")
    browser.click_text("Routing")
    browser.wait("document.querySelectorAll('.thumb').length === 3")
    asked = {address for address in browser.requests if not address.startswith(("data:", "blob:"))}
    assert {address.split("/")[2] for address in asked} == {server.removeprefix("http://")}
    assert browser.complaints == []
    written = [*(place / "home").rglob("*"), *(place / "temporary").rglob("*")]
    assert [path for path in written if not path.is_dir()] == []


def test_a_file_may_be_chosen_and_strength_shows_at_once(browser: Browser, place: Path):
    document = browser.call("DOM.getDocument")["root"]["nodeId"]
    found = browser.call("DOM.querySelector", nodeId=document, selector="input[type=file]")["nodeId"]
    browser.call("DOM.setFileInputFiles", nodeId=found, files=[str(place / "photo.png")])
    browser.wait_text("pixels, restored in")
    browser.click(".strength")  # its middle
    browser.wait("document.querySelectorAll('.frame-picture')[1].style.opacity === '0.5'")
    file = downloaded(browser, place, "Restored PNG", "photo.restored.png")
    expected = Restorer.load(place / "w.safetensors").restore(place / "photo.png", strength=0.5)
    np.testing.assert_array_equal(read_rgb(file), expected)


def test_bad_files_are_told_and_the_page_goes_on(browser: Browser, place: Path):
    browser.drop(place / "letter.jpg")
    browser.wait_text("letter.jpg: not an image in a known format; expected a complete PNG, JPEG")
    browser.drop(place / "large.png")
    browser.wait_text("large.png: 2.0 megabytes; expected at most 2; restore it on the command line: cea restore")
    browser.drop(place / "wide.png")
    browser.wait_text(
        "wide.png: 1001x1000 pixels; expected at most 1 megapixels on this page; restore it on the command"
    )
    browser.drop(place / "photo.png")
    browser.wait_text("pixels, restored in")
    assert not browser.js("document.querySelector('.failure').offsetParent")


def test_degrade_with_a_painted_field_and_replay_it(browser: Browser, place: Path):
    browser.click_text("Degrade first")
    browser.drop(place / "photo.png")
    browser.wait_text("Another photograph")
    browser.click_text("Painted")
    browser.wait("document.querySelector('canvas').offsetParent !== null")
    browser.drag("canvas", [(0.75, y) for y in (0.1, 0.2, 0.4, 0.6, 0.8, 0.9)])
    browser.click_text("Degrade and restore")
    browser.wait_text("dB at strength 1.00")
    degraded = read_rgb(downloaded(browser, place, "Degraded PNG", "photo.degraded.png"))
    changed = np.abs(degraded.astype(int) - clean(120, 160)).max(axis=2)
    assert changed[20:100, 110:130].mean() > 10
    assert changed[:, :60].mean() < 1
    record = downloaded(browser, place, "Record JSON", "photo.record.json")
    again = place / "again.png"
    done = CliRunner().invoke(
        app, ["degrade", str(place / "photo.png"), "--replay", str(record), "-o", str(again), "--overwrite"]
    )
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(read_rgb(again), degraded)
    gain = json.loads(record.read_text())["psnr_db"]["gain"]
    browser.wait_text(f"{gain:+.2f} dB")
    assert browser.complaints == []


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_in_the_colours_of_the_system(browser: Browser, place: Path, dark: bool):
    browser.see(PANEL, 844, dark=dark, phone=True)
    browser.wait(f"document.body.classList.contains('body--dark') === {str(dark).lower()}")
    light = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b) / 3"
    assert (browser.js(light) < 60) == dark
    browser.click_text("Degrade first")
    browser.drop(place / "photo.png")
    browser.wait_text("Another photograph")
    browser.click_text("Degrade and restore")
    browser.wait_text("dB at strength 1.00")
    for view in ("Expected error", "Routing", "Clean", "Degraded | restored"):
        browser.click_text(view)
        browser.wait(f"document.querySelector('.views [aria-pressed=true]').innerText === {json.dumps(view)}")
        assert browser.js("document.documentElement.scrollWidth") <= PANEL, view
    browser.wait("document.querySelector('.frame').getBoundingClientRect().width === 320")


def test_another_name_for_this_machine_is_refused(server: str):
    import urllib.error
    import urllib.request

    asked = urllib.request.Request(server, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked, timeout=10)
    assert refused.value.code == 400
