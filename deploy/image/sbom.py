"""Print an image's bill of materials as CycloneDX 1.6, running inside the image from standard input.

``docker run --rm -i --network none --entrypoint python IMAGE - < deploy/image/sbom.py``, as ``make image`` does. It
lists the Python environment's packages and dpkg's. The image needs no additional package for it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from typing import Any
from urllib.parse import quote

NAME = "whispergpt"
_DPKG = "${binary:Package}\t${Version}\t${Architecture}\t${db:Status-Status}\n"
_LONGEST_LICENCE = 200
"""Longest licence in characters; some packages give the complete text, which is left out."""

Component = dict[str, Any]


def python_component(distribution: Distribution) -> Component:
    """Return the component of a Python package, with its normalized name."""
    metadata = distribution.metadata
    name = metadata["Name"].lower().replace("_", "-").replace(".", "-")
    identity = f"pkg:pypi/{name}@{quote(distribution.version)}"
    component: Component = {
        "type": "library",
        "bom-ref": identity,
        "name": metadata["Name"],
        "version": distribution.version,
        "purl": identity,
    }
    licence = next((metadata[field] for field in ("License-Expression", "License") if field in metadata), None)
    if licence and len(licence) <= _LONGEST_LICENCE:
        component["licenses"] = [{"license": {"name": licence}}]
    record = distribution.read_text("RECORD")
    if record:  # has the hashes of all the package's files
        component["properties"] = [
            {"name": f"{NAME}:record-sha256", "value": hashlib.sha256(record.encode()).hexdigest()}
        ]
    return component


def debian_components() -> list[Component]:
    """Return the components of Debian packages; none on a system without dpkg."""
    try:
        done = subprocess.run(["dpkg-query", "-W", "-f", _DPKG], capture_output=True, text=True, check=True)
        release = platform.freedesktop_os_release()
    except (OSError, subprocess.CalledProcessError):
        return []
    system = f"{release['ID']}-{release.get('VERSION_ID', 'unknown')}"
    components = []
    for line in done.stdout.splitlines():
        package, version, architecture, status = line.split("\t")
        if status != "installed":
            continue
        name = package.partition(":")[0]
        identity = f"pkg:deb/{release['ID']}/{name}@{quote(version)}?arch={architecture}&distro={system}"
        components.append({"type": "library", "bom-ref": identity, "name": name, "version": version, "purl": identity})
    return components


def bill_of_materials() -> dict[str, Any]:
    """Return the complete document, whose subject is the project's own package."""
    found = {component["bom-ref"]: component for component in map(python_component, distributions())}
    own = next((each for each in found.values() if each["name"] == NAME), None)
    interpreter = {
        "type": "platform",
        "bom-ref": "python",
        "name": platform.python_implementation(),
        "version": platform.python_version(),
    }
    parts = [each for each in found.values() if each is not own]
    document: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "component": {**(own or {"name": NAME, "bom-ref": NAME}), "type": "container"},
        },
        "components": sorted([interpreter, *parts, *debian_components()], key=lambda each: str(each["bom-ref"])),
    }
    return document


if __name__ == "__main__":
    json.dump(bill_of_materials(), sys.stdout, indent=2)
    sys.stdout.write("\n")
