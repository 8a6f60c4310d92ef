"""testset: list the files of a folder of test images, so that DVC notices when they change."""

from __future__ import annotations

from argparse import Namespace

from cea.data.testsets import list_files
from cea.io.images import write_bytes
from pipeline import stage


def main(paths: Namespace) -> None:
    """One line per file below the folder: its SHA-256 and its path."""
    write_bytes(paths.list, list_files(paths.folder).encode())


if __name__ == "__main__":
    stage.run(main, "folder", "list")
