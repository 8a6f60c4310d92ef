"""The page: self-contained, escaped, complete, within its size, and made without PyTorch."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from evaluated_run import LINEAGE, RECORD, facts_of, make_cases, write_run

from cea.errors import DataError
from cea.evaluation.pictures import read_pictures
from cea.report.config import ReportConfig
from cea.report.inputs import ReportFiles
from cea.report.page import build_report, percent, signed, words

VOID = {"meta", "link", "img", "input", "br", "hr", "line", "polyline"}


class Structure(HTMLParser):
    """Collects what a page refers to, and whether its tags are balanced."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.sections: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.references += [values[name] for name in ("src", "href", "srcset", "action", "data") if values.get(name)]
        if tag == "section":
            self.sections.append(values["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(run_files) -> str:
    return build_report(run_files, LINEAGE, ReportConfig())


def test_all_parts_are_there_and_balanced(page):
    structure = Structure(page)
    assert structure.open == []
    assert structure.sections == [
        *("recipes", "spread", "where", "benchmarks", "runs", "examples", "worst", "experts", "training", "cost"),
        *("published", "lineage"),
    ]
    for recipe in ("noise", "haze", "low + haze", "haze + rain"):
        assert f">{recipe}</th>" in page


def test_it_needs_nothing_else(page):
    structure = Structure(page)
    assert all(reference.startswith("data:") for reference in structure.references)
    assert len(structure.references) > 20
    assert not re.search(r"https?://|//cdn|@import|url\(", page)
    assert "default-src 'none'" in page


def test_the_numbers_are_those_of_the_summary(page, run_files):
    summary = json.loads(run_files.summary.read_text())
    assert f"{signed(summary['gain_psnr'])}<small>dB</small>" in page
    for group in summary["recipes"].values():
        for name in ("input_psnr", "output_psnr"):
            assert f">{group[name]:.2f}</td>" in page
    assert "protocol cea" in page
    assert "commit 0123abcd01" in page
    assert "git checkout 0123abcd &amp;&amp; make repro" in page
    assert "d41d8cd98f00b204e9800998ecf8427e.dir" in page
    assert "262\u2009144" in page
    assert "5<small> min </small>12" in page


def test_compositions_never_trained_on_are_marked_and_kept_apart(page, run_files):
    summary = json.loads(run_files.summary.read_text())
    assert page.count("never trained on</small>") == 2, "by recipe and among the dots"
    assert "low + rain <small" in page
    assert "on 12 held-out images of 4 recipes." in page.replace("\n", " ")
    assert f">{signed(summary['compositions']['unseen']['gain_psnr'])}</span>" in page
    assert ">all trained on</th>" in page


def part(page: str, section: str) -> str:
    start = page.index(f'id="{section}"')
    return page[start : page.index("</section>", start)]


def test_published_and_measured_stand_in_tables_of_their_own(page):
    published = part(page, "published")
    aio3 = published[: published.index("</details>")]
    ours, theirs = aio3.split("<h3>Published</h3>")
    assert "Measured here" in ours
    assert ">27.12</td>" in ours, "Rain100L of the benchmark"
    assert ">28.38</td>" in ours, "sigma 25"
    assert '<td class="strong"></td>' in ours, "no mean of an incomplete benchmark"
    assert "32.06" not in ours
    assert "27.12" not in theirs
    row = theirs[theirs.index(">CEA</th>") :]
    assert not re.search(r">[0-9.]+<", row[: row.index("CEA: no figure")]), "CEA's own row is blank"
    assert "PromptIR, NeurIPS 2023" in theirs
    assert "nothing was measured" in published[published.index("CDD-11: eleven") :]


def test_benchmarks_photographs_cost_and_what_was_left_out_are_shown(page):
    assert "protocol promptir" in part(page, "benchmarks")
    assert ">27.12</td>" in part(page, "benchmarks")
    assert ">0.422</td>" in part(page, "benchmarks")
    assert "143<small> ms" in part(page, "cost")
    assert "0.26<small> million" in part(page, "cost")
    assert "LPIPS was left out: torchvision is not installed." in page


def test_the_spread_is_over_seeds_alone(page, run_files):
    text = part(page, "runs")
    gain = json.loads(run_files.summary.read_text())["gain_psnr"]
    assert f"over 2 runs that differ in their seed alone the gain is {signed(gain + 0.25)} ± 0.35 dB" in text
    assert ">rank16</th>" in text
    files = dataclasses.replace(run_files, repeats=frozenset())
    assert "Run-to-run spread" not in build_report(files, {}, ReportConfig())


def test_without_unseen_compositions_nothing_is_said_of_them(tmp_path: Path):
    page = build_report(write_run(tmp_path, make_cases()), {}, ReportConfig())
    assert "never trained on" not in page
    assert ">all images</th>" in page


def test_photographs_behind_the_images_are_named(page, run_files):
    section = page[page.index('id="spread"') : page.index('id="spread"') + 9000]
    images = pl.read_parquet(run_files.images)
    assert f"They show {images['clean_id'].n_unique()} photographs" in section
    for name, group in images.group_by("clean_id"):
        assert f"{name[0]} {signed(group['gain_psnr'].mean())}" in section


def test_sizes_with_two_sides_are_written_once(run_files, tmp_path: Path):
    cost = {"parameters": 1e6, "gmacs_224": 1.0, "adapter_parameters_ratio": 1.0, "adapter_macs_ratio": 1.0}
    path = tmp_path / "cost.json"
    path.write_text(json.dumps({**cost, "forward_256_ms": 1.0, "forward_1080x1920_ms": 2.0}), encoding="utf-8")
    page = build_report(dataclasses.replace(run_files, cost=path), LINEAGE, ReportConfig())
    assert "one image of 1080 × 1920</dt>" in page
    assert "one image of 256 × 256</dt>" in page


def test_names_are_escaped(tmp_path: Path):
    nasty = "<img src=x onerror=alert(1)>"
    cases = [dataclasses.replace(case, recipe=nasty, clean_id="a&b\"'<b>") for case in make_cases({"noise": ("x<i>",)})]
    files = write_run(tmp_path, cases)
    page = build_report(files, {nasty: {nasty: nasty}, "command": nasty}, ReportConfig(title=nasty))
    assert "<img src=x" not in page
    assert "a&b" not in page
    assert "<i>" not in re.sub(r'<span class="span[^>]*><i></i>', "", page).replace("x&lt;i&gt;", "")
    assert Structure(page).open == []


def test_an_example_unfolds_where_it_came_from(run_files, page):
    first = read_pictures(run_files.pictures)[0].sample_id
    lineage = LINEAGE | {"run": {"id": "7" * 32, "name": "rank8"}}
    traced = build_report(run_files, lineage, ReportConfig(), {first: facts_of(first)})
    assert Structure(traced).open == []
    assert 'class="trace"' not in page
    assert traced.count('<details class="trace"><summary>') == 1, "folded, and only where it is known"
    way = traced[traced.index('<details class="trace">') :]
    way = way[: way.index("</details>")]
    for shown in (
        "scene0: a &lt;b&gt;folder&lt;/b&gt;, CC0 &amp; more; 90 × 60 px; SHA-256 abababababab",
        "haze, variant 3, split test, order cdd11, crop (0, 4, 60, 80)",
        "data/shards/test/haze/000000.tar, degraded image at byte 2048, 900 bytes",
        "SHA-256 cdcdcdcdcdcd",
        f"commit 0123abcd0123; run rank8 ({'7' * 32})",
        "beta 1.21563, rgb (0.5, 0.5, 0.5), field low 0.25, field high 1, field kind gradient, field angle_deg 211.422",
        "horizon 0.539554, depth_given no",
        f"<code>cea trace {first} --render</code>",
    ):
        assert shown in way


def test_the_record_is_for_programs_and_cannot_end_its_element(run_files):
    run = {"id": "7" * 32, "name": "</script><script>alert(1)</script>", "record": RECORD + "</script><!--"}
    page = build_report(run_files, LINEAGE | {"run": run, "seconds": {"evaluate": 4.5}}, ReportConfig())
    assert Structure(page).open == []
    assert page.count("<script") == 2, "the record and the page's own"
    text = re.search(r'<script type="application/json" id="record">(.*?)</script>', page)[1]
    assert json.loads(text) == {"record": run["record"], "seconds": {"evaluate": 4.5}}
    assert RECORD in text, "as it is, so that it is found in the page's text"
    assert page.count(RECORD) == 1
    assert "seconds" not in part(page, "lineage")


def test_no_heading_stands_over_nothing(run_files):
    page = build_report(run_files, LINEAGE | {"dvc": {"experiment": ""}}, ReportConfig())
    assert "<dt>dvc</dt>" not in page
    assert "<dt>git</dt>" in page


def test_missing_parts_are_left_out(tmp_path: Path):
    files = write_run(tmp_path, make_cases(), experts=None)
    page = build_report(ReportFiles(files.summary), {}, ReportConfig())
    assert Structure(page).sections == ["recipes", "where", "published", "lineage"]
    page = build_report(dataclasses.replace(files, history=tmp_path / "none.parquet"), {}, ReportConfig())
    assert Structure(page).sections == ["recipes", "spread", "where", "examples", "worst", "published", "lineage"]
    assert Structure(page).open == []


def test_other_runs_stand_beside_this_one(tmp_path: Path):
    files = write_run(tmp_path / "a", make_cases())
    write_run(tmp_path / "b", make_cases(), restore=lambda image: image / 255, experts=None)
    write_run(tmp_path / "c", make_cases(scenes=2))
    other = json.loads((tmp_path / "b/summary.json").read_text())
    (tmp_path / "d.json").write_text(json.dumps(other | {"protocol": "promptir"}))
    others = {"<plain>": tmp_path / "b/summary.json", "fewer": tmp_path / "c/summary.json", "d": tmp_path / "d.json"}
    about = {"this run": "3000 steps", "<plain>": "40 steps, model.rank 16"}
    page = build_report(dataclasses.replace(files, others=others, about=about), {}, ReportConfig())
    runs = page[page.index('id="runs"') :]
    assert 'this run <small class="mark">3000 steps</small>' in runs
    assert '&lt;plain&gt; <small class="mark">40 steps, model.rank 16</small>' in runs
    assert "runs" in Structure(page).sections
    assert "&lt;plain&gt;" in runs
    assert f">{other['output_psnr']:.2f}</td>" in runs
    assert "fewer was judged on other images" in runs
    assert "d was judged under the protocol promptir" in runs
    assert "plain&gt; was judged" not in runs


def test_one_image_and_no_severity_is_enough(tmp_path: Path):
    case = make_cases({"noise": ("noise",)}, scenes=1)[0]
    pixels = dataclasses.replace(case.read(), severity=None)
    files = write_run(tmp_path, [dataclasses.replace(case, uniform=None, components=(), read=lambda: pixels)])
    page = build_report(files, {}, ReportConfig())
    assert "on 1 held-out images of 1 recipe." in page.replace("\n", " ")
    assert "local severity" not in page


def test_the_page_is_reduced_to_the_size_allowed(run_files, page):
    limit = 700_000
    assert len(page.encode()) < ReportConfig().max_bytes
    crowded = build_report(run_files, LINEAGE, ReportConfig(max_bytes=limit))
    assert len(crowded.encode()) <= limit
    # So much command that no picture size can help.
    with pytest.raises(DataError, match="fewer examples"):
        build_report(run_files, {"command": "x" * 300_000}, ReportConfig(max_bytes=200_000))


def grain(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_larger_pictures_shrink_before_the_page_is_refused(tmp_path: Path):
    cases = make_cases({"noise": ("noise",)}, 1, 420, 640, lambda number, height, width: grain(height, width))
    files = write_run(tmp_path, cases, worst=0, affinity=0)
    large, small = (
        build_report(files, {}, ReportConfig(max_side=640, max_bytes=size)) for size in (4_000_000, 220_000)
    )
    assert len(small.encode()) <= 220_000 < len(large.encode())
    assert 'width="640"' in large
    assert 'width="640"' not in small


def test_a_missing_or_broken_summary_is_one_clear_error(tmp_path: Path):
    with pytest.raises(DataError, match=r"no such file.*run evaluate first"):
        build_report(ReportFiles(tmp_path / "summary.json"), {}, ReportConfig())
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(DataError, match="expected the JSON that evaluate writes; run evaluate again"):
        build_report(ReportFiles(tmp_path / "summary.json"), {}, ReportConfig())


def test_the_report_does_without_pytorch():
    code = "import sys, cea.report.page, cea.report.strip; print({'torch', 'lightning', 'mlflow'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_wording():
    assert [signed(1.234), signed(-0.5, 1), signed(-0.001), signed(0.0)] == ["+1.23", "\u22120.5", "0.00", "0.00"]
    assert percent(0.125, 1) == "12.5\u2009%"
    assert words("low_haze_rain") == "low + haze + rain"


def test_routing_is_shown_beside_chance(page, run_files):
    figures = json.loads(run_files.summary.read_text())["routing"]
    assert "Does the routing follow the degradation?" in page
    haze = figures["level0.adapter0"]["haze"]
    assert len(haze["ranks"]) == 8
    cell = re.search(rf'<td data-value="{haze["pearson"]}"[^>]*>.*?</td>', page)
    assert cell is not None
    assert f"<small>{haze['pearson_chance']:.2f}</small>" in cell[0]
    assert cell[0].count("<i ") == 8


def test_a_summary_from_before_routing_still_makes_a_page(run_files, tmp_path):
    summary = json.loads(run_files.summary.read_text())
    del summary["routing"]
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    files = dataclasses.replace(run_files, summary=tmp_path / "summary.json")
    assert "Does the routing" not in build_report(files, LINEAGE, ReportConfig())


def test_calibration_is_shown_where_the_network_estimates_something(run_files, tmp_path):
    """Tables and a diagram for each component; the pages of all other networks lack the section."""
    assert 'id="calibration"' not in build_report(run_files, LINEAGE, ReportConfig())
    bins = {"0-0_1": {"low": 0.0, "high": 0.1, "share": 0.75, "estimated": 0.04, "actual": 0.0625}}
    bins |= {"0_8-0_9": {"low": 0.8, "high": 0.9, "share": 0.25, "estimated": 0.85, "actual": 0.5}}
    common = {"images": 9, "mae": 0.123, "estimated": 0.3, "actual": 0.25, "calibration_error": 0.061}
    components = {
        "haze": {**common, "present": 4, "mae_present": 0.321, "correlation": 0.77, "clean": 0.019, "bins": bins},
        "snow<": {**common, "present": 0, "bins": bins},
    }
    levels = {"8-16": {"low": 8.0, "high": 16.0, "share": 1.0, "estimated": 11.0, "actual": 14.0}}
    error = {**common, "mae": 3.25, "estimated": 11.0, "actual": 14.0, "within_factor_2": 0.875, "bins": levels}
    summary = json.loads(run_files.summary.read_text()) | {"calibration": {"severity": components, "error": error}}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    files = dataclasses.replace(run_files, summary=tmp_path / "summary.json")
    section = build_report(files, LINEAGE, ReportConfig()).split('<section id="calibration">')[1].split("</section>")[0]
    for text in ("0.321", "0.77", "0.019", "4 of 9", "0 of 9", "snow&lt;", "11.0", "3.2", "88\u2009%"):
        assert text in section, text
    assert section.count("<svg") == 3
    assert "haze against the estimate" in section
    del summary["calibration"]["severity"]
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert build_report(files, LINEAGE, ReportConfig()).count("against the estimate") == 1
