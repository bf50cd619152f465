#!/usr/bin/env python3
"""A bill of materials (CycloneDX 1.5, JSON) of what the program is made of, from Package.resolved and the toolchain.

    python3 tools/make_sbom.py OUT.json [--name meraser] [--version 0.1.0] [--commit HASH] [--time 2026-11-30T12:00:00Z]

`make sbom` runs it after `swift package resolve`. The same input gives the same bytes.
"""

import argparse
import json
import pathlib
import re
import subprocess
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[1]

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("out", type=pathlib.Path)
parser.add_argument("--name", default="meraser")
parser.add_argument("--version", default="0")
parser.add_argument("--commit", default="")
parser.add_argument("--time", help="when the commit was made; left out unless given")
args = parser.parse_args()


def package(pin):
    """A Swift package at the revision that was resolved."""
    place = re.sub(r"\.git$", "", pin["location"])
    owner = place.split("://", 1)[-1].rsplit("/", 1)[0]
    version = pin["state"].get("version") or pin["state"]["revision"]
    reference = f"pkg:swift/{owner}/{pin['identity']}@{version}"
    return {
        "type": "library", "bom-ref": reference, "name": pin["identity"], "version": version, "purl": reference,
        "hashes": [{"alg": "SHA-1", "content": pin["state"]["revision"]}],
        "externalReferences": [{"type": "vcs", "url": place}],
    }


def toolchain():
    """Swift's runtime, which is linked in."""
    said = subprocess.run(["swift", "--version"], check=True, capture_output=True, text=True).stdout
    version = re.search(r"Swift version ([0-9.]+)", said).group(1)
    return {"type": "library", "bom-ref": f"pkg:generic/swift@{version}", "name": "swift", "version": version,
            "purl": f"pkg:generic/swift@{version}", "licenses": [{"license": {"id": "Apache-2.0"}}],
            "externalReferences": [{"type": "website", "url": "https://swift.org"}]}


resolved = json.loads((ROOT / "Package.resolved").read_text())
components = [package(pin) for pin in sorted(resolved["pins"], key=lambda pin: pin["identity"])] + [toolchain()]
product = f"pkg:generic/{args.name}@{args.version}"
bill = {
    "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
    "serialNumber": "urn:uuid:" + str(uuid.uuid5(uuid.NAMESPACE_URL, f"{product}#{args.commit}")),
    "metadata": {
        **({"timestamp": args.time} if args.time else {}),
        "component": {
            "type": "application", "bom-ref": product, "name": args.name, "version": args.version,
            **({"hashes": [{"alg": "SHA-1", "content": args.commit}]} if args.commit else {}),
        },
    },
    "components": components,
    "dependencies": [{"ref": product, "dependsOn": [c["bom-ref"] for c in components]}],
}
args.out.parent.mkdir(parents=True, exist_ok=True)
args.out.write_text(json.dumps(bill, indent=2) + "\n")
print(f"wrote {args.out}: {len(components)} components")
