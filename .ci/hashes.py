"""pip's report of an installation (``pip install --dry-run --report FILE``) as a lock with the SHA-256 of each file."""

from __future__ import annotations

import json
import sys


def main() -> None:
    """Read the report on standard input; names in the order of requirements.lock."""
    lines = []
    for entry in json.load(sys.stdin)["install"]:
        name, version = entry["metadata"]["name"], entry["metadata"]["version"]
        digest = entry["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{name.lower().replace('_', '-')}=={version} --hash=sha256:{digest}\n")
    sys.stdout.writelines(sorted(lines))


if __name__ == "__main__":
    main()
