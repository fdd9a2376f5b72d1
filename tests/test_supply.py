"""What we stand on: listed whole, and asked after."""
from __future__ import annotations

import json
import os
import re
from datetime import date
from pathlib import Path

import pytest

from tools import audit, pins, sbom

ROOT = Path(__file__).resolve().parent.parent
TODAY = date(2026, 11, 22)


def test_every_pinned_part_is_in_the_list_of_parts_with_its_hashes() -> None:
    made = sbom.document(pins.pins())
    listed = {part["purl"]: part for part in made["components"]}
    text = "".join((ROOT / name).read_text("utf-8") for name in pins.PYTHON)
    named = {f"pkg:pypi/{name.lower().replace('_', '-')}@{version}" for name, version in re.findall(r"^([A-Za-z0-9._-]+)(?:\[.*?\])?==([^\s;\\]+)", text, re.MULTILINE)}
    assert named <= listed.keys() and any(purl.startswith("pkg:npm/") for purl in listed)
    hashes = {each["value"] for part in listed.values() for each in part["properties"] if each["name"].endswith("file-hash")}
    assert set(re.findall(r"sha256:[0-9a-f]{64}", text)) <= hashes
    assert set(made["dependencies"][0]["dependsOn"]) == {purl for purl, part in listed.items() if part["scope"] == "required"}


def test_what_stands_in_the_page_itself_is_in_the_list_as_something_that_runs() -> None:
    """Nobody installs it, and it runs in every browser."""
    lock = json.loads((ROOT / "dashboard/vendor.lock.json").read_text("utf-8"))["packages"]
    wanted = {f"pkg:npm/{name.replace('@', '%40', 1)}@{package['version']}" for name, package in lock.items()}
    runs = {part["purl"]: part for part in sbom.document(pins.pins())["components"] if part["scope"] == "required"}
    assert len(wanted) >= 5 and wanted <= runs.keys()
    assert all(runs[purl]["hashes"][0]["alg"] == "SHA-512" for purl in wanted)


def test_no_lock_file_is_left_out() -> None:
    found = set()
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in ("node_modules", "build", "var") and not name.startswith(".")]
        for name in files:
            path = Path(folder, name)
            if name == "package-lock.json" or name.endswith(".lock.json") or (name.endswith(".txt") and "--hash=sha256:" in path.read_text("utf-8", "replace")):
                found.add(path.relative_to(ROOT).as_posix())
    assert found == {*pins.PYTHON, *pins.NPM, pins.PAGE}


def test_the_list_has_the_form_of_cyclonedx_and_is_the_same_every_time(tmp_path: Path) -> None:
    assert sbom.main([str(tmp_path / "one.json")]) == 0 == sbom.main([str(tmp_path / "two.json")])
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    made = json.loads((tmp_path / "one.json").read_text("utf-8"))
    assert (made["bomFormat"], made["specVersion"], made["version"]) == ("CycloneDX", "1.5", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made["serialNumber"])
    refs = [part["bom-ref"] for part in made["components"]]
    assert len(refs) == len(set(refs)) and all(part["type"] == "library" for part in made["components"])
    lengths = {"SHA-256": 64, "SHA-384": 96, "SHA-512": 128, "SHA-1": 40}
    assert all(re.fullmatch(rf"[0-9a-f]{{{lengths[each['alg']]}}}", each["content"]) for part in made["components"] for each in part.get("hashes", []))


def test_a_part_without_a_hash_is_no_part_of_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*pins.PYTHON, *pins.NPM, pins.PAGE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("loose==1.0\n" if name in pins.PYTHON else '{"packages": {}}')
    with pytest.raises(ValueError, match=r"loose@1\.0 is pinned without a hash"):
        pins.pins(tmp_path)


class Database:
    """Knows something against some parts."""

    def __init__(self, **known: list[str]) -> None:
        self.known, self.asked = known, list[str]()

    def __call__(self, question: bytes) -> bytes:
        queries = json.loads(question)["queries"]
        self.asked += [f"{query['package']['ecosystem']} {query['package']['name']} {query['version']}" for query in queries]
        return json.dumps({"results": [{"vulns": [{"id": id} for id in self.known[query["package"]["name"]]]} if query["package"]["name"] in self.known else {} for query in queries]}).encode()


def test_every_pinned_part_is_asked_after(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    database = Database()
    assert audit.main(database, tmp_path / "none", TODAY) == 0
    assert len(database.asked) == len(pins.pins()) and any(line.startswith("npm ") for line in database.asked)
    assert "nothing known against them" in capsys.readouterr().out


def test_a_part_that_is_known_to_be_vulnerable_fails_and_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert audit.main(Database(requests=["GHSA-x", "PYSEC-y"]), tmp_path / "none", TODAY) == 1
    told = capsys.readouterr()
    assert "requests" in told.err and "https://osv.dev/GHSA-x" in told.err and "2 known" in told.out


@pytest.mark.parametrize("part", ["pytest", "osls"])
def test_a_part_that_only_tests_or_deploys_is_named_and_fails_nothing(part: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert audit.main(Database(**{part: ["GHSA-x"]}), tmp_path / "none", TODAY) == 0
    told = capsys.readouterr()
    assert f"audit: {part} " in told.err and "1 known" in told.out


@pytest.mark.parametrize(("until", "code"), [("2026-12-31", 0), ("2026-11-22", 0), ("2026-11-21", 1)])
def test_what_was_looked_into_is_accepted_until_its_day(tmp_path: Path, until: str, code: int) -> None:
    (tmp_path / "kept.json").write_text(json.dumps({"GHSA-x": {"reason": "we never call it", "until": until}}))
    assert audit.main(Database(requests=["GHSA-x"]), tmp_path / "kept.json", TODAY) == code


@pytest.mark.parametrize("trouble", [OSError("no route"), b"<html>sign in</html>", b"[]", b"{}", b'{"results": []}', b'{"results": 7}', b"null"])
def test_a_database_that_cannot_be_asked_is_said_and_fails_nothing(trouble: Exception | bytes, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def ask(question: bytes) -> bytes:
        if isinstance(trouble, Exception):
            raise trouble
        return trouble

    assert audit.main(ask, tmp_path / "none", TODAY) == 0
    told = capsys.readouterr()
    assert "cannot be asked" in told.err and "unchecked" in told.err and not told.out


def test_ci_asks_and_lists() -> None:
    commands = (ROOT / ".ci/run").read_text("utf-8").splitlines()
    assert {"make audit", "make sbom"} <= set(commands)
