"""docs/protocol.md is true: its sender keeps a real relay's copy, its tables say what the code says, its commands pass."""
from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ledger import record, signing, sizes, strict, wire
from ledger.messages import TakenSchema
from relay.protocol import IDLE_MS, LARGEST_REPORT
from tests.processes import ROOT, Running, Site, environment, get, site, until

PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def table(first: str) -> list[list[str]]:
    """The rows of the table whose head begins with that cell."""
    [rows] = re.findall(rf"^\| {first} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows.splitlines()]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# -- the sender

[SENDER] = blocks("python")
MESSAGE, RECORDS = blocks("json")
CREATE, CHECK_RELAY, CHECK_SENDER = blocks("sh")[0].strip().splitlines()


@dataclass
class Desk:
    """Somebody who saved the sender and the file of the page, beside a relay of their own. Its beats are a second apart."""

    place: Site
    relay: Running
    read_key: str
    push_key: str
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.place.folder

    def write(self, records: dict[str, Any]) -> None:
        """Replace the file whole: the sender may be reading it."""
        new = self.folder / "records.new"
        new.write_text(json.dumps(records))
        new.replace(self.folder / "records.json")

    def start(self) -> None:
        words = [sys.executable, "sender.py", self.relay.url, "records.json", "copy.json"]
        self.started.append(subprocess.Popen(words, cwd=self.folder, env=environment(RELAY_KEY=self.push_key)))

    def shown(self) -> dict[str, int]:
        """Tokens by session, as the read API tells them."""
        found = get(f"{self.relay.url}/sessions", key=self.read_key)["sessions"]
        return {session["id"]: session["estimated_tokens"] for session in found}

    def expect(self, records: dict[str, Any], what: str) -> None:
        wanted = {id: body["estimated_tokens"] for id, body in records.items()}
        until(lambda: self.shown() == wanted and self._is_committed(), what, seconds=60)
        assert self.started[-1].poll() is None, "the sender ended"

    def _is_committed(self) -> bool:
        return bool(json.loads((self.folder / "copy.json").read_text())["committed"])

    def lease(self) -> str:
        return str(json.loads((self.folder / "copy.json").read_text())["lease"])

    def store(self) -> list[Path]:
        return sorted(self.folder.glob("relay.db*"))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "sender.py").write_text(SENDER)
    (tmp_path / "records.json").write_text(RECORDS)
    with site(tmp_path) as place:
        relay = place.relay(RELAY_BEAT="1")
        made = Desk(place, relay, place.key(relay, "read"), place.key(relay, "push", source="tryout"))
        try:
            yield made
        finally:
            for process in made.started:
                process.kill()
                process.wait(10)


def test_the_sender_of_the_page_keeps_a_copy_through_all_that_happens_to_the_relay(desk: Desk) -> None:
    truth = json.loads(RECORDS)
    desk.start()
    desk.expect(truth, "the records reaching the relay")
    first = desk.lease()

    desk.relay.kill(signal.SIGTERM)
    (desk.folder / "last-week").mkdir()
    for file in desk.store():
        shutil.copy(file, desk.folder / "last-week")
    desk.relay.start()
    truth = {**truth, "wednesday": {"id": "wednesday", "estimated_tokens": 7}}
    del truth["monday"]
    desk.write(truth)
    desk.expect(truth, "a record more and one less")
    assert desk.lease() == first, "changes need no new copy"

    desk.relay.kill()
    for file in desk.store():
        file.unlink()
    for file in (desk.folder / "last-week").iterdir():
        shutil.copy(file, desk.folder)
    desk.relay.start()
    desk.expect(truth, "a relay of last week being filled again")
    second = desk.lease()

    desk.relay.kill()
    for file in desk.store():
        file.unlink()
    desk.relay.start()
    desk.expect(truth, "a relay that lost everything being filled again")
    assert len({first, second, desk.lease()}) == 3


HASTY = """
    import runpy, sys, time
    sleep = time.sleep
    # What the relay asks for is whole seconds, and is kept; what chance made is cut short.
    time.sleep = lambda seconds: sleep(seconds if seconds == int(seconds) else seconds / 20)
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_the_sender_of_the_page_passes_every_scene_with_the_command_of_the_page(tmp_path: Path) -> None:
    for name, text in {"sender.py": SENDER, "records.json": RECORDS, "hasty.py": textwrap.dedent(HASTY)}.items():
        (tmp_path / name).write_text(text)
    command = CHECK_SENDER.replace(" python sender.py", f" {sys.executable} hasty.py sender.py")
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    done = subprocess.run(words, cwd=tmp_path, env=environment(PYTHONPATH=str(ROOT)), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and done.stdout.endswith(" 0 failed\n"), done.stdout + done.stderr


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_a_relay_passes_with_the_commands_of_the_page(desk: Desk) -> None:
    typed = f"{CREATE}\n{CHECK_RELAY}".replace("python -m", f"{sys.executable} -m").replace("http://127.0.0.1:8787", desk.relay.url)
    done = subprocess.run(["bash", "-e", "-c", typed], cwd=ROOT, env=desk.relay.env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and done.stdout.endswith(" 0 failed\n"), done.stdout + done.stderr


def test_the_sender_needs_the_standard_library_only() -> None:
    used = {alias.name.split(".")[0] for node in ast.walk(ast.parse(SENDER)) if isinstance(node, ast.Import) for alias in node.names}
    used |= {str(node.module).split(".")[0] for node in ast.walk(ast.parse(SENDER)) if isinstance(node, ast.ImportFrom)}
    assert used <= sys.stdlib_module_names


# -- what the tables say

ANSWERING = ("relay/push.py", "relay/receive.py", "relay/limits.py", "relay/keys.py", "ledger/wire.py", "ledger/messages.py", "ledger/signing.py", "ledger/serving/bridge.py", "ledger/serving/lane.py")
"""Where the refusals of a push are made."""
LAST_RESORT = ("ledger/shell.py", "_problem_of")


def refusals(nodes: Iterable[ast.AST]) -> set[tuple[int, str]]:
    """Status and type of every Problem that is made there."""
    made = [node.args[:2] for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Problem"]
    return {(ast.literal_eval(status), ast.literal_eval(type)) for status, type in made}


def tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def test_every_refusal_of_a_push_stands_on_the_page_and_no_other() -> None:
    [last] = [node for node in ast.walk(tree(LAST_RESORT[0])) if isinstance(node, ast.FunctionDef) and node.name == LAST_RESORT[1]]
    answered = refusals(ast.walk(last)).union(*(refusals(ast.walk(tree(path))) for path in ANSWERING))
    told = {(int(status), type) for statuses, types, *_ in table("status") for status in statuses.split(", ") for type in names(types)}
    assert len(answered) > 20
    assert told == answered


def test_the_limits_are_those_of_the_code() -> None:
    assert {what.replace("`", ""): most for what, most in table("at most")} == {
        "changes in a message, put and del together": f"{sizes.MAX_CHANGES}",
        "the body as it is sent": f"{sizes.MAX_WIRE >> 20} MiB",
        "the body inflated": f"{sizes.MAX_INFLATED >> 20} MiB",
        "the body of a record": f"{sizes.MAX_BODY >> 10} KiB",
        "the id of a record": f"{limit_of(record.ID.pattern)} characters, none of them a control character",
        "aud": f"{longest('aud')} characters",
        "source": f"{longest('source')} characters",
        "levels of JSON": f"{strict.DEEPEST}",
        "the report in agent": f"{LARGEST_REPORT >> 10} KiB; of a larger one short texts and numbers are kept",
    }
    assert strict.MOST_INT == (1 << 53) - 1 and "2^53−1" in PAGE
    for words in (f"An id beyond {sizes.MAX_ID_BYTES} bytes", f"more than {signing.TOLERANCE_S} seconds", f"up to {signing.MOST_SIGNATURES} of them"):
        assert words in PAGE
    assert (wire.VERSION, IDLE_MS) == (1, 30 * 60_000)
    assert f"1 to {limit_of(record.KIND.pattern)} letters" in PAGE and f"1 to {limit_of(signing._ID.pattern)} letters" in PAGE


def limit_of(pattern: str) -> int:
    return int(pattern.rpartition(",")[2].rstrip("}"))


def longest(member: str) -> int:
    shape = msgspec.json.schema_components([wire.Push])[1]["Push"]["properties"][member]
    return int(shape["maxLength"])


def test_every_member_of_a_message_and_of_its_answer_stands_on_the_page() -> None:
    members, told = re.findall(r"^\| member \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert [names(row)[0] for row in members.splitlines()] == [one.encode_name for one in msgspec.structs.fields(wire.Push)]
    [named] = re.findall(r"200 says where the copy stands now: (.*), and how", PAGE)
    asked = [name for row in told.splitlines() for name in names(row.split(" | ")[0])]
    assert sorted([*names(re.sub(r"\(.*?\)", "", named)), *asked]) == sorted(TakenSchema().fields)
    for code in (wire.MALFORMED_ID, wire.MALFORMED_BODY, wire.TOO_LARGE):
        assert f"`{code}`" in PAGE


def test_the_message_that_is_shown_is_a_right_one() -> None:
    message = wire.read_push(MESSAGE.encode())
    assert record.from_hex(message.prev) == record.EMPTY_DIGEST
    assert record.from_hex(message.after) == record.add(record.EMPTY_DIGEST, put=[record.hash_of(put.k, put.id, put.b) for put in message.put])
    assert not any(map(wire.unfit, message.put))
    assert set(json.loads(MESSAGE)) == {one.encode_name for one in msgspec.structs.fields(wire.Push)}
