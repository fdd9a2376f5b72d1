"""Each known misconfiguration is found, and the command that mends it is named."""
from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ledger.errors import Misconfigured
from ledger.keytext import Claims, KeyText, id_of
from local_agent.archive import Archive
from local_agent.commands import around
from local_agent.commands.checkup import in_words
from local_agent.commands.doctor import LEAST_FREE, Looked, examine, who_holds
from local_agent.commands.finding import Finding
from local_agent.commands.pairing import Found, NotPaired
from local_agent.commands.terminal import coloured
from local_agent.identity import Identity
from local_agent.lock import HomeLock, Taken, who_runs
from local_agent.settings import Settings, keep_key

NOW = 1_795_000_000_000
RELAY = "https://relay.example.org"


def a_key(scope: str = "push", expires: int = 0) -> str:
    claims = Claims(scope, "alice", "laptop" if scope == "push" else "", 1_700_000_000, expires)
    return KeyText(scope, id_of(claims), b"s" * 32).text()


@pytest.fixture
def well(tmp_path: Path) -> Looked:
    """A laptop on which all is well."""
    home = tmp_path / "home"
    keep_key(home, a_key())
    Archive(home / "archive.db", source="me", clock=lambda: NOW).close()
    settings = Settings(home=home, relay=RELAY, key=a_key(), transcripts=(tmp_path,))
    return Looked(
        settings, Taken(3001, 7), Identity("me", "here"), {"relay": {"state": "ok", "durable": True}, "readers": {"claude": {"state": "ok"}}},
        Found(RELAY, RELAY, "1.0.0", 0.2), None, "agent", (True, "active"), {}, NOW,
    )  # fmt: skip


def bad(looked: Looked) -> list[Finding]:
    return [finding for finding in examine(looked) if finding.level != "ok"]


def test_nothing_is_found_where_all_is_well(well: Looked) -> None:
    assert bad(well) == []


def with_settings(**changes: object) -> Callable[[Looked], Looked]:
    return lambda looked: replace(looked, settings=replace(looked.settings, **changes))  # type: ignore[arg-type]


def with_status(**changes: object) -> Callable[[Looked], Looked]:
    return lambda looked: replace(looked, status={**looked.status, **changes})


def with_around(**changes: object) -> Callable[[Looked], Looked]:
    return lambda looked: replace(looked, around=replace(looked.around, **changes))  # type: ignore[arg-type]


TELEMETRY = {
    "CLAUDE_CODE_ENABLE_TELEMETRY": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": RELAY, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_LOGS_EXPORTER": "otlp",
    "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer sr_push_x",
}  # fmt: skip


def with_telemetry(**changes: str) -> Callable[[Looked], Looked]:
    return with_around(telemetry={**TELEMETRY, **changes})


CASES: list[tuple[Callable[[Looked], Looked], str, str]] = [
    (with_settings(relay=None), "not paired", "pair URL KEY"),
    (with_settings(key=None), "no key", "keys create --scope push"),
    (with_settings(key="sr_push_nonsense"), "not a key", "keys create"),
    (with_settings(key=a_key("read")), "read key", "keys create --scope push"),
    (with_settings(key=a_key(expires=1_700_000_001)), "expired", "keys create"),
    (with_settings(key=a_key(expires=NOW // 1000 + 86_400)), "expires within a week", "keys create"),
    (with_settings(transcripts=(Path("/nowhere"),), no_defaults=True), "/nowhere was named but is not there", "--transcripts"),
    (with_settings(transcripts=(Path("/nowhere"),), transcripts_named=True), "/nowhere was named but is not there", "--transcripts"),
    (lambda looked: replace(looked, identity=Identity("me", "elsewhere", copied=True)), "copied from another computer", "keys create"),
    (lambda looked: replace(looked, identity=Misconfigured("identity.json is damaged")), "damaged", "identity.json"),
    (lambda looked: replace(looked, relay=NotPaired("the relay does not answer")), "does not answer", "curl"),
    (lambda looked: replace(looked, relay=Found(RELAY, "https://other.example", "1", 0.0)), "calls itself https://other.example", "pair https://other.example"),
    (lambda looked: replace(looked, relay=Found(RELAY, RELAY, "1", 4000.0)), "clock is +4000 s off", "set-ntp"),
    (lambda looked: replace(looked, key_taken=NotPaired("the relay does not take this key")), "does not take this key", "keys create"),
    (with_status(relay={"durable": False}), "memory only", "RELAY_STORE"),
    (with_status(relay={"stubs": [{"kind": "session", "id": "x", "code": "too-large"}]}), "1 record cannot be shown", "status --json"),
    (with_status(relay={"notices": ["duplicate-source"]}), "another agent pushes with this machine's key", "keys create"),
    (with_status(relay={"bugs": 2}), "disagreed", "report"),
    (with_status(relay={"state": "halted", "detail": "the key was revoked"}), "the key was revoked", "keys create"),
    (with_status(readers={"tracker": {"state": "unreadable", "detail": "locked"}, "claude": {"state": "ok"}}), "tracker cannot be read: locked", "what was known of it stays"),
    (with_status(readers={"claude": {"state": "absent"}}), "no tool was found", "--transcripts DIR"),
    (lambda looked: replace(looked, running=None, service=(False, "")), "does not run", "service install"),
    (lambda looked: replace(looked, running=None, service=(True, "active (running)")), "no agent holds this home", "service install"),
    (lambda looked: replace(looked, running=None, port_holder="other"), "held by another program", "--port 3002"),
    (lambda looked: replace(looked, running=Taken(3005, 7), port_holder="other-agent"), "an agent of another home", "--port 3002"),
    (lambda looked: replace(looked, environ={"NETLIFY_API_SECRET": "x"}), "old shared secret", "keys create"),
    (lambda looked: replace(looked, environ={"X": "development-secret"}), "default secret", "unset"),
    (with_around(cleanup_days=0), "deletes its transcripts after 0 days", "cleanupPeriodDays"),
    (with_around(settings_trouble="settings.json is not JSON"), "is not JSON", "json.tool"),
    (with_around(gone="/old/venv/bin/python"), "/old/venv/bin/python, which is not there any more", "service install"),
    (with_around(lingers=False), "ends when you log out", "loginctl enable-linger"),
    (with_around(watches=100), "watch only 100 folders", "sysctl"),
    (with_telemetry(CLAUDE_CODE_ENABLE_TELEMETRY="0"), "not switched on", "CLAUDE_CODE_ENABLE_TELEMETRY=1"),
    (with_telemetry(OTEL_EXPORTER_OTLP_PROTOCOL="grpc"), "gRPC", "http/protobuf"),
    (with_telemetry(OTEL_LOGS_EXPORTER="console"), "nothing is exported", "OTEL_LOGS_EXPORTER=otlp"),
    (with_telemetry(OTEL_EXPORTER_OTLP_HEADERS=""), "without a key", "OTEL_EXPORTER_OTLP_HEADERS"),
    (lambda looked: replace(looked, environ={"NETLIFY_FUNCTION_URL": "x"}, settings=replace(looked.settings, relay=None)), "NETLIFY_FUNCTION_URL", "pair URL KEY"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "what", "mend"), CASES, ids=[what for _, what, _ in CASES])
def test_it_is_found_and_the_way_to_mend_it_named(well: Looked, spoil: Callable[[Looked], Looked], what: str, mend: str) -> None:
    found = [finding for finding in bad(spoil(well)) if what in finding.what]
    assert found and mend in found[0].mend


@pytest.mark.parametrize("endpoint", [RELAY, "https://collector.example.org", "http://[bad", "http://localhost:port", ""])
def test_telemetry_that_is_right_or_goes_elsewhere_is_no_trouble(well: Looked, endpoint: str) -> None:
    told = TELEMETRY if endpoint == RELAY else {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    assert bad(with_around(telemetry=told)(well)) == []


def test_what_lies_around_is_seen(tmp_path: Path) -> None:
    (tmp_path / "claude").mkdir()
    (tmp_path / "claude/settings.json").write_text('{"cleanupPeriodDays": 1, "env": {"CLAUDE_CODE_ENABLE_TELEMETRY": "1"}}')
    unit = tmp_path / "unit"
    unit.write_text('[Service]\nExecStart="/gone/my $$venv/python" -m local_agent run\n')
    for folder in ("run/systemd/system", "var/lib/systemd/linger", "proc/sys/fs/inotify"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "proc/sys/fs/inotify/max_user_watches").write_text("8000\n")
    seen = around.look((tmp_path / "claude",), {"OTEL_LOGS_EXPORTER": "otlp"}, unit, "alice", tmp_path)
    assert seen == around.Around(1.0, "", "/gone/my $venv/python", False, 8000, {"CLAUDE_CODE_ENABLE_TELEMETRY": "1", "OTEL_LOGS_EXPORTER": "otlp"})
    (tmp_path / "claude/settings.json").write_text("{")
    assert "is not JSON" in around.look((tmp_path / "claude",), {}, tmp_path / "none", "alice", tmp_path).settings_trouble


def test_a_disk_that_is_nearly_full_is_found(well: Looked, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(well.settings.home)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=LEAST_FREE - 1))
    [finding] = bad(well)
    assert "nearly full" in finding.what and "make room" in finding.mend
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=LEAST_FREE))
    assert bad(well) == []


def test_a_home_that_others_can_read_is_found(well: Looked) -> None:
    well.settings.home.chmod(0o755)
    assert any("chmod 700" in finding.mend for finding in bad(well))


def test_a_key_file_that_others_can_read_is_found(well: Looked) -> None:
    (well.settings.home / "key").chmod(0o644)
    assert any("chmod 600" in finding.what for finding in bad(well))


def test_a_damaged_archive_is_found(well: Looked) -> None:
    content = bytearray(well.settings.archive.read_bytes())
    content[2000:6000] = b"\xff" * 4000
    well.settings.archive.write_bytes(content)
    assert any("damaged" in finding.what and "once" in finding.mend for finding in bad(well))


def test_every_finding_that_is_not_good_says_what_to_do(well: Looked) -> None:
    for spoil, _, _ in CASES:
        assert all(finding.mend for finding in bad(spoil(well)))


def test_it_is_seen_whether_an_agent_holds_the_home(tmp_path: Path) -> None:
    assert who_runs(tmp_path) is None
    with HomeLock(tmp_path) as lock:
        lock.say(4321)
        seen = who_runs(tmp_path)
        assert seen is not None and seen.port == 4321
        with pytest.raises(Taken, match="running on this home already"), HomeLock(tmp_path):
            raise AssertionError("two agents on one home")
    assert who_runs(tmp_path) is None


@pytest.fixture
def neighbour() -> object:
    """Something that answers on a port."""
    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(self.server.said).encode()  # type: ignore[attr-defined]
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("said", "who"), [({"home": "agent"}, "other-agent"), ({"home": "relay"}, "other"), ({}, "other"), ([], "other")])
def test_whoever_holds_the_port_is_recognised(neighbour: HTTPServer, said: object, who: str) -> None:
    neighbour.said = said  # type: ignore[attr-defined]
    port = neighbour.server_address[1]
    assert who_holds(port, None) == who
    if who == "other-agent":
        assert who_holds(port, Taken(port, 1)) == "agent"


def test_a_free_port_is_held_by_nobody() -> None:
    assert who_holds(1, None) == ""


def test_under_another_name_no_new_key_is_asked_for(well: Looked) -> None:
    looked = replace(well, relay=Found(RELAY, "https://other.example.org", "1.0.0", 0.2), key_taken=NotPaired("the relay has another public address"))
    assert [finding.what for finding in bad(looked)] == [f"the relay calls itself https://other.example.org, but was paired as {RELAY}"]


def test_what_is_bad_stands_out_where_there_are_colours(well: Looked) -> None:
    findings = bad(replace(well, environ={"X": "development-secret"}))
    assert "\x1b[31mBAD\x1b[0m" in in_words(findings, coloured) and "\x1b" not in in_words(findings)
    assert in_words([]) == "\nall is well"
