"""Fixtures of the report's tests."""

from __future__ import annotations

import pytest
from evaluated_run import UNSEEN, make_cases, with_real_images, write_run

from cea.report.inputs import ReportFiles


@pytest.fixture(scope="session")
def run_files(tmp_path_factory) -> ReportFiles:
    """The files of one evaluated run."""
    cases = make_cases() + make_cases(UNSEEN, seen=False)
    files = write_run(tmp_path_factory.mktemp("run"), cases, worst=2, affinity=2)
    return with_real_images(files, tmp_path_factory.mktemp("more"))
