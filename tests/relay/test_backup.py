"""A backup of one store restores into any other, and a damaged one restores nothing."""
from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import Misuse
from ledger.record import Ref, add, hash_of
from ledger.store import Head, Row
from ledger.stores.memory import MemoryStore
from ledger.stores.sqlite import SqliteStore
from relay.backup import backup, restore
from relay.cli import main
from tests.ledger.stores import STORES

LEASE = "ab" * 16


def row(n: int, code: str | None = None) -> Row:
    body = f'{{"id":"s{n}","title":"größer {n}"}}'
    return Row(Ref("session", f"s{n}"), "" if code else body, hash_of("session", f"s{n}", body), LEASE, 1 + n // 90, code)


def filled(store: Any, *, tenants: tuple[str, ...] = ("alice", "bob"), rows: int = 200) -> Any:
    made = [row(n, "malformed" if n == 7 else None) for n in range(rows)]
    for tenant in tenants:
        head = Head("laptop", LEASE, 3, add(0, put=(r.hash for r in made)), True, None, 5, 6, 60, '{"name":"mbp"}')
        store.apply(tenant, None, head)
        for start in range(0, rows, 90):
            store.apply(tenant, head, head, made[start : start + 90])
    store.put("keys", "k1", {"name": "laptop", "revoked": 9}, now=0)
    for tenant in tenants:
        store.put(f"webpush/{tenant}", "phone", {"endpoint": f"https://push.example/{tenant}"}, now=0)
    return store


def contents(store: Any) -> object:
    return [(tenant, head, sorted(store.rows(tenant, head.source), key=lambda r: r.ref)) for tenant in store.tenants() for head in store.heads(tenant)]


def packed(store: Any) -> io.BytesIO:
    out = io.BytesIO()
    backup(store, out, now=0)
    out.seek(0)
    return out


@pytest.mark.parametrize("before", STORES)
@pytest.mark.parametrize("after", STORES)
def test_everything_comes_back_in_any_other_store(before: str, after: str, tmp_path: Path) -> None:
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
    with STORES[before](tmp_path / "before") as old:
        file, kept = packed(filled(old)), contents(old)
    with STORES[after](tmp_path / "after") as new:
        counts = restore(new, file, now=0)
        assert contents(new) == kept
        assert (counts.sources, counts.rows, counts.documents) == (2, 400, 3)
        assert new.take("keys", "k1", now=0).value == {"name": "laptop", "revoked": 9}
        assert new.take("webpush/bob", "phone", now=0).value == {"endpoint": "https://push.example/bob"}, "a phone goes on being told"
        assert packed(new).read() == file.getvalue()


def test_the_same_store_gives_the_same_bytes() -> None:
    store = filled(MemoryStore())
    assert packed(store).read() == packed(store).read()


def test_a_store_whose_rows_do_not_add_up_is_not_backed_up() -> None:
    store = filled(MemoryStore(), tenants=("alice",))
    head = store.head("alice", "laptop")
    store.apply("alice", head, head, [Row(Ref("session", "stray"), "{}", 5, LEASE, 9)])
    with pytest.raises(Misuse, match="laptop"):
        backup(store, io.BytesIO(), now=0)


class Busy(MemoryStore):
    """A machine pushes each time that somebody reads its rows, *left* times."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def rows(self, tenant: str, source: str, *, kind: str | None = None) -> Iterator[Row]:
        head = self.head(tenant, source)
        if self.left and head is not None:
            self.left -= 1
            more = row(1000 + self.left)
            self.apply(tenant, head, replace(head, seq=head.seq + 1, digest=add(head.digest, put=[more.hash])), [more])
        return super().rows(tenant, source, kind=kind)


def test_a_machine_that_pushes_meanwhile_is_backed_up_as_it_was_at_one_moment() -> None:
    store, new = filled(Busy(3), tenants=("alice",)), MemoryStore()
    restore(new, packed(store), now=0)
    assert store.left < 3
    store.left = 0
    head = new.head("alice", "laptop")
    assert head is not None and head.digest == add(0, put=[one.hash for one in new.rows("alice", "laptop")])


def test_a_machine_that_pushes_without_end_is_no_endless_backup() -> None:
    with pytest.raises(Misuse, match="laptop pushes"):
        backup(filled(Busy(1000), tenants=("alice",)), io.BytesIO(), now=0)


class Forgetting(MemoryStore):
    """A machine is forgotten while its rows are read."""

    def rows(self, tenant: str, source: str, *, kind: str | None = None) -> Iterator[Row]:
        self.forget(tenant, source)
        return super().rows(tenant, source, kind=kind)


def test_a_machine_that_is_forgotten_meanwhile_is_left_out() -> None:
    assert backup(filled(Forgetting(), tenants=("alice",)), io.BytesIO(), now=0).sources == 0


def test_a_source_that_is_there_already_is_not_overwritten() -> None:
    store = filled(MemoryStore())
    with pytest.raises(Misuse, match="empty store"):
        restore(store, packed(store), now=0)


def test_any_damaged_backup_is_refused_before_anything_is_written() -> None:
    good = packed(filled(MemoryStore(), tenants=("alice",), rows=5)).read()
    lines = gzip.decompress(good).splitlines(keepends=True)
    broken = {
        "cut": good[:-9], "a byte": good[:40] + bytes([good[40] ^ 1]) + good[41:], "not gzip": b"{}\n" * 3, "empty": b"", "a line less": gzip.compress(b"".join(lines[:2] + lines[3:])),
        "no end": gzip.compress(b"".join(lines[:-1])), "another format": gzip.compress(b'{"format":"zip"}\n'), "a list": gzip.compress(b"[]\n"),
    }  # fmt: skip
    for name, data in broken.items():
        store = MemoryStore()
        with pytest.raises(Misuse):
            restore(store, io.BytesIO(data), now=0)
        assert store.tenants() == [], name


@pytest.mark.parametrize(("change", "said"), [
    (lambda row: row | {"b": row["b"].replace("2", "3")}, "session s2 does not fit its hash"),
    (lambda row: row | {"b": "{}", "h": f"{hash_of('session', 's2', '{}'):064x}"}, "source laptop do not add up"),
    (lambda row: row | {"lease": "cd" * 16}, "source laptop do not add up"),
])  # fmt: skip
def test_a_backup_that_was_altered_with_care_is_refused_too(change: Callable[[dict[str, Any]], dict[str, Any]], said: str) -> None:
    """Whoever alters it can make a new checksum; the digests were signed for by the agents."""
    lines = [json.loads(line) for line in gzip.decompress(packed(filled(MemoryStore(), tenants=("alice",), rows=5)).read()).splitlines()]
    altered = [line | {"row": change(line["row"])} if line.get("row", {}).get("id") == "s2" else line for line in lines]
    texts = [json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for line in altered[:-1]]
    end = altered[-1] | {"sha256": sha256(b"".join(texts)).hexdigest()}
    store = MemoryStore()
    with pytest.raises(Misuse, match=said):
        restore(store, io.BytesIO(gzip.compress(b"".join(texts) + json.dumps(end).encode() + b"\n")), now=0)
    assert store.tenants() == []


def test_a_store_that_does_not_keep_what_it_was_given_is_not_called_complete() -> None:
    class Forgetful(MemoryStore):
        def rows(self, *words: Any, **more: Any) -> Any:
            return list(super().rows(*words, **more))[1:]

    with pytest.raises(Misuse, match="does not add up to its digest in the new store"):
        restore(Forgetful(), packed(filled(MemoryStore())), now=0)


def test_the_commands_move_a_relay_to_another_file_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_SECRET", "correct horse battery staple")
    old, new, file = (tmp_path / name for name in ("old.db", "new.db", "relay.backup"))
    contents_before = contents(filled(SqliteStore(old)))
    assert main(["backup", "--store", f"sqlite:///{old}", str(file)]) == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert main(["restore", "--store", f"sqlite:///{new}", str(file)]) == 0
    assert contents(SqliteStore(new)) == contents_before


def test_the_commands_say_in_one_line_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RELAY_SECRET", "correct horse battery staple")
    store = ["--store", f"sqlite:///{tmp_path / 'relay.db'}"]
    (tmp_path / "junk").write_bytes(b"junk")
    assert main(["restore", *store, str(tmp_path / "junk")]) == 2
    assert not (tmp_path / "relay.db").exists()
    assert main(["restore", *store, str(tmp_path / "missing")]) == 1
    assert main(["backup", *store, str(tmp_path / "no" / "folder" / "x")]) == 1
    good = tmp_path / "good"
    good.write_bytes(packed(filled(MemoryStore())).getvalue())
    assert main(["restore", "--store", "memory:", str(good)]) == main(["backup", "--store", "memory:", str(good)]) == 1
    assert capsys.readouterr().err.count("\n") == 5
