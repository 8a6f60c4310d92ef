"""The page in a real browser: no errors, no overflow on a phone, the table sorts, the slider moves."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from evaluated_run import LINEAGE, RECORD, facts_of

from cea.evaluation.pictures import read_pictures
from cea.report.config import ReportConfig
from cea.report.page import build_report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on the path"),
    pytest.mark.slow,
]

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    *("--enable-logging=stderr", "--virtual-time-budget=5000", "--window-size=1400,900", "--dump-dom"),
)

PROBE = """
const inner = document.getElementById("page").contentWindow, page = inner.document, found = {};
const rows = (table) => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent.trim());
const gains = (table) => [...table.tBodies[0].rows].map((row) => Number(row.cells[1].dataset.value));
found.width = inner.innerWidth;
found.overflow = page.documentElement.scrollWidth - page.documentElement.clientWidth;
found.broken = [...page.images].filter((image) => image.src && !image.naturalWidth).length;
found.images = page.images.length;
const table = page.querySelector("#recipes table"), heads = table.querySelectorAll("thead button");
found.before = rows(table);
heads[1].click(); found.descending = gains(table);
heads[1].click(); found.ascending = gains(table);
heads[0].click(); found.restored = rows(table);
found.sorted = table.querySelector("thead th").getAttribute("aria-sort");
const stage = page.querySelector(".stage"), range = stage.querySelector("input");
const visible = () => inner.getComputedStyle(stage.querySelector(".before")).clipPath;
found.half = visible();
range.value = 20; range.dispatchEvent(new inner.Event("input")); found.fifth = visible();
const after = stage.querySelector(".after img").src;
page.querySelector('[data-side="clean"]').click();
found.swapped = stage.querySelector(".after img").src !== after;
const shot = page.querySelectorAll(".strip")[1].querySelector('[data-role="restored"]');
shot.click();
found.chosen = page.getElementById("which").selectedIndex;
found.moved = page.querySelectorAll(".strip")[1].contains(stage);
const large = () => inner.getComputedStyle(stage.querySelector("img")).transform;
found.small = large(); page.getElementById("zoom").click(); found.large = large();
found.contents = [...page.querySelectorAll("#contents a")].map((link) => [link.textContent, link.hash]);
found.shown = stage.querySelector(".after img").src === shot.querySelector("img").src;
const more = page.querySelectorAll("details:not(.trace)"), traces = page.querySelectorAll("details.trace");
found.traces = [...traces].map((part) => part.open);
traces.forEach((part) => part.querySelector("summary").click());
found.record = JSON.parse(page.getElementById("record")?.textContent ?? "{}").record;
found.folded = [...more].map((part) => part.open);
more.forEach((part) => { part.open = true; });
const theirs = page.querySelector("#published table.sortable"), psnr = theirs.querySelectorAll("thead button")[1];
psnr.click(); found.published = gains(theirs);
found.unfolded = page.documentElement.scrollWidth - page.documentElement.clientWidth;
found.outside = [...page.querySelectorAll("dd, dt, h2, h3, p, summary")].filter(
  (part) => part.offsetParent && !part.closest(".scroll") && part.scrollWidth > part.clientWidth + 1
).map((part) => part.textContent);
found.runs = rows(page.querySelector("#runs table"));
found.stage = stage.getBoundingClientRect().width > 100 && stage.getBoundingClientRect().height > 50;
document.body.textContent = JSON.stringify(found);
"""


def probe(page: str, folder: Path, width: int) -> tuple[dict, list[str]]:
    """Run the probe on ``page`` in a frame of ``width`` pixels; its findings and the console's lines."""
    frame = f'<iframe id="page" width="{width}" height="800" style="border:0" srcdoc="{html.escape(page)}"></iframe>'
    script = f'<script>addEventListener("load", () => setTimeout(() => {{{PROBE}}}, 300))</script>'
    (folder / "probe.html").write_text(f"<!doctype html><body>{frame}{script}", encoding="utf-8")
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={folder / 'profile'}", (folder / "probe.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    text = html.unescape(re.sub(r"<[^>]+>", "", done.stdout)).strip()
    assert text.startswith("{"), f"the probe did not finish: {text[:300]} {done.stderr[-2000:]}"
    return json.loads(text), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("width", [380, 1280])
def test_in_chromium(run_files, tmp_path: Path, width: int):
    traces = {one.sample_id: facts_of(one.sample_id) for one in read_pictures(run_files.pictures)}
    lineage = LINEAGE | {"run": {"id": "7" * 32, "name": "rank8", "record": RECORD}}
    found, console = probe(build_report(run_files, lineage, ReportConfig(), traces), tmp_path, width)
    assert console == []
    assert found["traces"] == [False] * len(traces)
    assert found["record"] == RECORD
    assert found["width"] == width
    assert found["overflow"] == 0
    assert found["broken"] == 0
    assert found["images"] > 20
    assert found["descending"] == sorted(found["descending"], reverse=True)
    assert found["ascending"] == sorted(found["descending"])
    assert len(set(found["ascending"])) > 2
    assert found["restored"] == found["before"]
    assert found["sorted"] == "ascending"
    assert found["half"] != found["fifth"]
    assert found["swapped"]
    assert found["folded"] == [False, True, True, False], "cost; AIO-3 and AIO-5 hold something measured; CDD-11"
    assert found["published"] == sorted(found["published"], reverse=True)
    assert found["published"][-1] == -1, "CEA's blank comes last"
    assert found["unfolded"] == 0
    assert found["outside"] == [], "no text wider than its place"
    assert found["runs"] == ["this run", "seed 2", "rank16"]
    assert found["moved"], "the viewer comes to the pictures, not the reader to the viewer"
    assert (found["small"], found["large"]) == ("none", "matrix(3, 0, 0, 3, 0, 0)")
    assert ["Examples", "#examples"] in found["contents"]
    assert len(found["contents"]) > 8
    assert (found["chosen"], found["shown"], found["stage"]) == (1, True, True)


def test_the_probe_sees_overflow_and_console_errors(run_files, tmp_path: Path):
    page = build_report(run_files, LINEAGE, ReportConfig())
    spoilt = page.replace("</main>", '<div style="width:3000px">wide</div></main>')
    spoilt = spoilt.replace(
        "</body>", '<script>console.error("broken"); new Image().src = "//example.org/x.png"</script></body>'
    )
    found, console = probe(spoilt, tmp_path, 380)
    assert found["overflow"] > 1000
    assert any("broken" in line for line in console)
    assert any("Content Security Policy" in line for line in console)
