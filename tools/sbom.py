"""The list of parts, as CycloneDX JSON: what runs, what tests, each with its version and the hashes it is installed by.

    python -m tools.sbom            write it to build/sbom.cdx.json
    python -m tools.sbom FILE       write it elsewhere; - is stdout

The same lock files make the same bytes: there is no time and no random number in it.
"""
from __future__ import annotations

import base64
import json
import re
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ledger import __version__
from tools.pins import ROOT, Pin, pins

PLACE = ROOT / "build" / "sbom.cdx.json"


def document(parts: Sequence[Pin]) -> dict[str, Any]:
    ours = f"pkg:generic/session-relay@{__version__}"
    identity = uuid.uuid5(uuid.NAMESPACE_URL, "\n".join([ours, *sorted(f"{part.purl} {part.hashes}" for part in parts)]))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.5", "serialNumber": f"urn:uuid:{identity}", "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": ours, "name": "session-relay", "version": __version__, "licenses": [{"license": {"id": "MIT"}}]}},
        "components": [component(part) for part in sorted(parts, key=lambda part: part.purl)],
        "dependencies": [{"ref": ours, "dependsOn": sorted(part.purl for part in parts if part.use == "runs")}],
    }  # fmt: skip


def component(part: Pin) -> dict[str, Any]:
    found = {"type": "library", "bom-ref": part.purl, "name": part.name, "version": part.version, "purl": part.purl, "scope": "required" if part.use == "runs" else "excluded"}
    # One version may be several files, one for each platform: the hashes are of the files that an installation may use.
    properties = [{"name": "session-relay:use", "value": part.use}, *({"name": "session-relay:file-hash", "value": hash} for hash in part.hashes)]
    one = {"hashes": [in_hex(part.hashes[0])]} if len(part.hashes) == 1 else {}
    return {**found, **one, "properties": properties}


def in_hex(hash: str) -> dict[str, str]:
    kind, text = re.split("[:-]", hash, maxsplit=1)
    return {"alg": {"sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512", "sha1": "SHA-1"}[kind], "content": text if ":" in hash else base64.b64decode(text).hex()}


def main(argv: list[str]) -> int:
    try:
        text = json.dumps(document(pins()), indent=1, ensure_ascii=False) + "\n"
    except (OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"sbom: {error}" + "\n")
        return 1
    if argv == ["-"]:
        sys.stdout.write(text)
        return 0
    place = Path(argv[0]) if argv else PLACE
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{place}: {text.count(chr(34) + 'bom-ref' + chr(34)) - 1} parts" + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
