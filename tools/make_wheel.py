#!/usr/bin/env python3
"""Makes a wheel of what tools/stage.sh has laid out: the program on PATH and `import meraser`. Standard library only.

Usage: tools/make_wheel.py STAGED_FOLDER DESTINATION_FOLDER VERSION
"""

import base64
import hashlib
import pathlib
import platform
import re
import sys
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def platform_tag(staged):
    """The manylinux tag of the newest glibc symbol that the program asks for."""
    minors = [int(minor) for minor in re.findall(rb"\0GLIBC_2\.(\d+)", (staged / "bin/meraser").read_bytes())]
    return f"manylinux_2_{max(minors)}_{platform.machine()}"


def contents(staged, version, tag):
    """The wheel's files: name, bytes, mode. `.data/scripts` goes to bin, `.data/data` to the prefix."""
    info, data = f"meraser-{version}.dist-info", f"meraser-{version}.data"
    yield "meraser/__init__.py", (ROOT / "python/meraser/__init__.py").read_bytes(), 0o644
    yield f"{data}/scripts/meraser", (staged / "bin/meraser").read_bytes(), 0o755
    for path in sorted(path for path in (staged / "share").rglob("*") if path.is_file()):
        yield f"{data}/data/{path.relative_to(staged)}", path.read_bytes(), 0o644
    metadata = (
        f"Metadata-Version: 2.1\nName: meraser\nVersion: {version}\n"
        "Summary: Find, remove and prove the removal of backdoors and fingerprints in LLMs, on a CPU\n"
        "License: Apache-2.0\nRequires-Python: >=3.9\nDescription-Content-Type: text/markdown\n\n")
    yield f"{info}/METADATA", (metadata + (ROOT / "README.md").read_text(encoding="utf-8")).encode(), 0o644
    yield f"{info}/LICENSE", (ROOT / "LICENSE").read_bytes(), 0o644
    yield f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: make_wheel\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(), 0o644


def main():
    staged, destination, version = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    tag = f"py3-none-{platform_tag(staged)}"
    path = destination / f"meraser-{version}-{tag}.whl"
    record = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:

        def add(name, content, mode):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = (0o100000 | mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)

        for name, content, mode in contents(staged, version, tag):
            add(name, content, mode)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(content)}")
        name = f"meraser-{version}.dist-info/RECORD"
        add(name, "\n".join([*record, f"{name},,", ""]).encode(), 0o644)
    print(path)


main()
