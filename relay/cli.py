"""`python -m relay`: serve, make and revoke keys, one round of upkeep, and what an administrator does.

Exit codes: 0 done, 1 it did not work (one line on stderr says why and what to do), 2 wrong use, 78 a configuration that must not start.
"""
from __future__ import annotations

import argparse
import io
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ledger import __version__
from ledger.clock import now_ms
from ledger.errors import LedgerError, Misconfigured, Misuse
from ledger.words import many
from relay import settings as settings_of
from relay import vault
from relay.alerts.cli import add_alerts
from relay.aligned import aligned
from relay.people.cli import add_people
from relay.settings import TENANT, Settings

DONE, FAILED, WRONG_USE, MUST_NOT_START = 0, 1, 2, 78
_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. No traceback ever reaches a person."""
    try:
        options = _parser().parse_args(argv)
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except Misuse as error:
        return _told(error, WRONG_USE)
    except Misconfigured as error:
        return _told(error, MUST_NOT_START)
    except LedgerError as error:
        return _told(error, FAILED)
    except BrokenPipeError:
        # Whoever read our output had enough; Python would complain once more at the very end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        return DONE
    except Exception as error:
        return _told(f"this should not happen ({type(error).__name__}: {error}): please report it", FAILED)


def _told(error: object, code: int) -> int:
    print("relay: " + " ".join(str(error).split()), file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m relay", description="The public home of your sessions.")
    parser.add_argument("--version", action="version", version=f"session-relay {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--store", metavar="URL", help="memory:, sqlite:///path, dynamodb://table or postgresql://… (RELAY_STORE)")
    common.add_argument("--dev", action="store_true", help="on loopback only: make a secret and keep it in the data folder")
    common.add_argument("--log-format", choices=("text", "json"), default="text")

    serve = commands.add_parser("serve", parents=[common], help="take pushes, serve curl and pages")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=_port, default=8787)
    serve.set_defaults(run=_serve)

    keys = commands.add_parser("keys", help="create, list and revoke keys").add_subparsers(required=True, metavar="ACTION")
    create = keys.add_parser("create", parents=[common], help="print a new key, and only it")
    create.add_argument("--scope", required=True, choices=("push", "read", "admin"))
    create.add_argument("--tenant", default=TENANT, metavar="NAME", help=f"whose it is ({TENANT})")
    create.add_argument("--source", metavar="NAME", help="the machine that pushes with it")
    create.add_argument("--expires", type=_seconds, default=0, metavar="90d", help="for how long it is good; for ever without")
    create.add_argument("--name", default="", help="what `keys list` calls it")
    create.set_defaults(run=_create)
    listed = keys.add_parser("list", parents=[common], help="the keys this relay made")
    listed.add_argument("--json", action="store_true")
    listed.set_defaults(run=_list)
    revoke = keys.add_parser("revoke", parents=[common], help="end a key, within a minute")
    revoke.add_argument("id", metavar="ID")
    revoke.set_defaults(run=_revoke)

    upkeep = commands.add_parser("upkeep", parents=[common], help="one round of upkeep")
    upkeep.set_defaults(run=_upkeep)

    add_alerts(commands, common, _looking)

    add_people(commands, common, _Keys, now_ms, tenant=TENANT, seconds=_seconds)

    backup = commands.add_parser("backup", parents=[common], help="write everything that the store holds into a file")
    backup.add_argument("file", metavar="FILE", help="where to, or - for standard output")
    backup.set_defaults(run=_backup)
    restore = commands.add_parser("restore", parents=[common], help="bring a backup into a store that is empty, of any kind")
    restore.add_argument("file", metavar="FILE", help="a backup, or - for standard input")
    restore.set_defaults(run=_restore)
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 0 <= int(text) < 65536:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def _seconds(text: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,5})([mhdw])", text)
    if not found:
        raise argparse.ArgumentTypeError("a time is a number and m, h, d or w, such as 90d")
    return int(found[1]) * _UNITS[found[2]]


def _settings(options: argparse.Namespace, **more: Any) -> Settings:
    given = vault.opened(settings_of.read(store=options.store, dev=options.dev, log_format=options.log_format, **more))
    if options.run is not _serve and not settings_of.names_store(store=options.store):
        # Else a key that is revoked here goes on opening a relay whose store is another.
        print(f"relay: in {given.store}, since neither --store nor RELAY_STORE names another", file=sys.stderr)
    return given


def _looking(options: argparse.Namespace) -> Settings:
    """The settings of a command that creates nothing. Raises LedgerError where a store of one file has no file."""
    if options.dev:
        _must_exist(settings_of.store_of(options.store))  # first: else a secret would be made beside it
    given = _settings(options)
    _must_exist(given.store)
    return given


def _must_exist(store: str) -> None:
    path = Path(store.removeprefix("sqlite:///"))
    if store.startswith("sqlite:///") and not path.exists():
        raise LedgerError(f"there is no store at {path}: name the right one with --store or RELAY_STORE")


def _serve(options: argparse.Namespace) -> int:
    from relay import logs, server

    given = _settings(options, host=options.host, port=options.port)
    logs.configure(given.log_format)
    server.run(given)
    return DONE


class _Keys:
    """The key ring of the store that the command names."""

    def __init__(self, options: argparse.Namespace, *, may_make: bool = False) -> None:
        self.settings = _settings(options) if may_make else _looking(options)

    def __enter__(self) -> Any:
        from ledger.stores import open_store
        from relay.keys import KeyRing

        self.store = open_store(self.settings.store)
        return KeyRing(self.settings.secrets, self.store, self.settings.revoked, now_ms)

    def __exit__(self, *_: object) -> None:
        self.store.close()


def _create(options: argparse.Namespace) -> int:
    if options.source and options.scope != "push":
        raise Misuse(f"--source is for push keys: a {options.scope} key sees every machine of its tenant")
    source = (options.source or f"machine-{secrets.token_hex(3)}") if options.scope == "push" else ""
    with _Keys(options, may_make=True) as ring:
        expires = now_ms() // 1000 + options.expires if options.expires else 0
        print(ring.issue(options.scope, options.tenant, source, expires, name=options.name))
    return DONE


def _list(options: argparse.Namespace) -> int:
    with _Keys(options) as ring:
        found = ring.list()
    if options.json:
        print(json.dumps([asdict(one) for one in found], indent=2))
        return DONE
    if not found:
        print("no keys yet: python -m relay keys create --scope push --source NAME", file=sys.stderr)
    for row in aligned([_row(one) for one in found]):
        print(row)
    return DONE


def _row(one: Any) -> list[str]:
    def day(ms: int) -> str:
        return time.strftime("%Y-%m-%d %H:%M", time.gmtime(ms / 1000))

    role = one.role if one.role in ("viewer", "share") else one.scope
    used, end = f"used {day(one.last_use)}" if one.last_use else "never used", f"until {day(one.expires)}" if one.expires else "no end"
    return [one.state, role, f"{one.tenant}/{one.source}" if one.source else one.tenant, one.name, used, end, one.id]


def _revoke(options: argparse.Namespace) -> int:
    from ledger.keytext import BadKey, KeyText, claims_of

    id = options.id
    try:
        id = KeyText.parse(id).id if id.startswith("sr_") else id
        claims_of(id)
    except BadKey as reason:
        raise Misuse(f"{reason}; `python -m relay keys list` shows the ids") from None
    if _looking(options).store.startswith("memory:"):
        raise LedgerError(f"a memory store is another process's own: restart the relay with RELAY_REVOKED={id}")
    with _Keys(options) as ring:
        ring.revoke(id)
    print("revoked: within a minute it opens nothing", file=sys.stderr)
    return DONE


def _upkeep(options: argparse.Namespace) -> int:
    from ledger.stores import open_store
    from relay.upkeep import Upkeep

    given = _settings(options)
    store = open_store(given.store)
    try:
        done = Upkeep(store, keep_days=given.retention_days, totals_days=given.totals_days, clock=now_ms).round()
    finally:
        store.close()
    if done.trouble:
        raise LedgerError(f"upkeep was not finished ({done}): run it again")
    print(f"upkeep: {done}")
    return DONE


def _kept(given: Settings) -> str:
    """The store, if another process can find there what this one leaves. Raises LedgerError."""
    if given.store.startswith("memory:"):
        raise LedgerError("a memory store is another process's own and ends with it: name a store with --store or RELAY_STORE")
    return given.store


def _backup(options: argparse.Namespace) -> int:
    """Into a file beside the wanted one first, so that a failure leaves no half backup under its name."""
    from ledger.stores import open_store
    from relay.backup import backup

    store = open_store(_kept(_looking(options)))
    try:
        if options.file == "-":
            counts = backup(store, sys.stdout.buffer, now=now_ms())
        else:
            part = f"{options.file}.part"
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                counts = backup(store, out, now=now_ms())
                os.fsync(out.fileno())
            os.replace(part, options.file)
    except OSError as error:
        raise LedgerError(f"cannot write {options.file}: {error.strerror}") from None
    finally:
        store.close()
    print(f"backed up {many(counts.rows, 'record')} of {many(counts.sources, 'source')}", file=sys.stderr)
    return DONE


def _restore(options: argparse.Namespace) -> int:
    from ledger.stores import open_store
    from relay.backup import bring, checked

    try:
        with io.BytesIO(sys.stdin.buffer.read()) if options.file == "-" else open(options.file, "rb") as source:
            expected = checked(source)  # first: a file that is refused leaves no new store behind
            with closing(open_store(_kept(_settings(options)))) as store:
                counts = bring(store, source, expected, now=now_ms())
    except OSError as error:
        raise LedgerError(f"cannot read {options.file}: {error.strerror}") from None
    print(f"restored {many(counts.rows, 'record')} of {many(counts.sources, 'source')}; every digest fits", file=sys.stderr)
    return DONE
