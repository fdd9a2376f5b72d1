"""`python -m relay alerts …`: what is open, what is told and where, and a trial, for whoever has the store at hand."""
from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ledger.errors import LedgerError, Misuse, Problem
from ledger.times import parse
from relay.alerts.quiet import local
from relay.aligned import aligned
from relay.settings import TENANT, Settings

if TYPE_CHECKING:
    from relay.alerts.house import Alerts

SettingsOf = Callable[[argparse.Namespace], Settings]


def add_alerts(commands: Any, common: argparse.ArgumentParser, looking: SettingsOf) -> None:
    """*looking* gives the settings of a command that makes no store."""
    actions = commands.add_parser("alerts", help="what people are told, when and where").add_subparsers(required=True, metavar="ACTION")

    def action(name: str, run: Callable[[Alerts, argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = actions.add_parser(name, parents=[common], help=help)
        made.add_argument("--tenant", default=TENANT, metavar="NAME", help=f"whose ({TENANT})")
        made.set_defaults(run=lambda options: _run(options, looking, run))
        return made

    action("list", _list, "what is open, and what was told").add_argument("--json", action="store_true")
    action("set", _set, "change rules and hours; without words, show them").add_argument("words", nargs="*", metavar="NAME=VALUE", help="such as block.steps=80,95 day.usd=40 quiet=22:00-07:00 tz=Europe/Berlin")
    action("test", _test, "send a trial message").add_argument("name", metavar="CHANNEL")
    channels = action("channels", _channels, "list, add or remove ways to reach you")
    channels.add_argument("what", nargs="?", choices=("add", "remove"))
    channels.add_argument("name", nargs="?", metavar="NAME")
    channels.add_argument("url", nargs="?", metavar="URL", help="https://… for a signed webhook, else an apprise address; - reads it from standard input")
    channels.add_argument("--least", choices=("info", "warn", "bad"), default="info", help="carry nothing less")


def _run(options: argparse.Namespace, looking: SettingsOf, run: Callable[[Alerts, argparse.Namespace], int]) -> int:
    given = looking(options)
    if given.store.startswith("memory:"):
        raise LedgerError("a memory store is another process's own: ask the relay over HTTP, PUT /v1/alerts/settings")
    try:
        with _opened(given) as alerts:
            return run(alerts, options)
    except Problem as problem:
        raise Misuse(problem.detail) from None


@contextmanager
def _opened(given: Settings) -> Iterator[Alerts]:
    from ledger.clock import now_ms
    from ledger.prices import PriceBook
    from ledger.stores import open_store
    from ledger.views.tenants import Views
    from relay.alerts.house import Alerts
    from relay.keys import KeyRing

    store = open_store(given.store)
    try:
        ring, views = KeyRing(given.secrets, store, given.revoked, now_ms), Views(store, PriceBook.load(), now_ms, shelf=store)
        yield Alerts(store, secrets=given.secrets, url=given.url, view_of=views.view, keys_of=ring.list, clock=now_ms, private=given.alerts_private)
    finally:
        store.close()


def _list(alerts: Alerts, options: argparse.Namespace) -> int:
    found = alerts.watch.shown(options.tenant)
    if options.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    for one in found["open"]:
        print(f"open  {one['level']:4}  {_when(one['since'], found['tz'])}  {one['text']}")
    for one in found["past"][:20]:
        print(f"over  {one['level']:4}  {_when(one['since'], found['tz'])} to {_when(one['over'], found['tz'])}  {one['text']}")
    for machine in found["machines"]:
        print(_machine(machine))
    if not found["open"] and not found["past"]:
        print("nothing to tell", file=sys.stderr)
    return 0


def _machine(machine: dict[str, Any]) -> str:
    why = f" ({machine['why']})" if machine["why"] else ""
    return f"machine {machine['name']}: {machine['state']}{why}"


def _when(at: str, tz: str) -> str:
    """In the zone of the alerts' own words."""
    return f"{local(parse(at), tz):%Y-%m-%d %H:%M}"


def _set(alerts: Alerts, options: argparse.Namespace) -> int:
    asked: dict[str, Any] = {"rules": {}}
    for word in options.words:
        name, sign, text = word.partition("=")
        if not sign:
            raise Misuse(f"{word} is not NAME=VALUE, such as day.usd=40")
        _put(asked, name, text)
    wishes = alerts.book.change(options.tenant, asked)[0] if options.words else alerts.book.read(options.tenant)
    plain = wishes.public()
    for rule, members in plain["rules"].items():
        print(" ".join([f"{rule}.{name}={_text(value)}" for name, value in members.items()]))
    quiet = plain["quiet"]
    print(f"quiet={quiet['from']}-{quiet['to']} urgent={_text(quiet['urgent'])}" if quiet else "quiet=none", f"tz={plain['tz'] or 'none'}")
    return 0


_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"


def _put(asked: dict[str, Any], name: str, text: str) -> None:
    rule, _, member = name.partition(".")
    if member:
        asked["rules"].setdefault(rule, {})[member] = _value(member, text)
    elif name == "tz":
        asked["tz"] = None if text == "none" else text
    elif name == "quiet":
        found = re.fullmatch(rf"({_CLOCK})-({_CLOCK})", text)
        if not found and text != "none":
            raise Misuse("quiet is hours such as 22:00-07:00, or none")
        asked["quiet"] = {**(asked.get("quiet") or {}), "from": found[1], "to": found[2]} if found else None
    elif name == "urgent" and isinstance(asked.get("quiet"), dict):
        asked["quiet"]["urgent"] = _value(name, text)
    else:
        raise Misuse("urgent goes behind quiet=…" if name == "urgent" else f"there is no setting {name}: `python -m relay alerts set` shows them all")


def _value(name: str, text: str) -> Any:
    if name == "steps":
        parts = [part for part in text.split(",") if part]
        if not all(part.isascii() and part.isdecimal() for part in parts):
            raise Misuse("steps are whole numbers, such as 75,90,100")
        return [int(part) for part in parts]
    if text in ("yes", "no", "none"):
        return {"yes": True, "no": False, "none": None}[text]
    if not re.fullmatch(r"\d{1,12}(\.\d{1,4})?", text):
        raise Misuse(f"{name}={text}: a number above nothing, yes, no or none is meant")
    return float(text) if "." in text else int(text)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return {"True": "yes", "False": "no", "None": "none"}.get(str(value), str(value))


def _test(alerts: Alerts, options: argparse.Namespace) -> int:
    if options.name not in [channel.name for channel in alerts.book.read(options.tenant).channels if channel.on]:
        raise Misuse(f"there is no channel {options.name}, or it is off: `python -m relay alerts channels` lists them")
    if why := alerts.post.trial(options.tenant, options.name):
        raise LedgerError(f"{options.name} did not take it: {why}")
    print(f"{options.name} took it", file=sys.stderr)
    return 0


def _channels(alerts: Alerts, options: argparse.Namespace) -> int:
    if options.what == "add":
        return _add(alerts, options)
    if options.what == "remove":
        if not options.name or not alerts.book.drop_channel(options.tenant, options.name):
            raise Misuse(f"there is no channel {options.name or 'without a name'}: `python -m relay alerts channels` lists them")
        print(f"{options.name} is told nothing any more", file=sys.stderr)
        return 0
    found = alerts.book.read(options.tenant).channels
    for row in aligned([[channel.name, channel.kind, channel.shown, f"{'on' if channel.on else 'off'}, from {channel.least}"] for channel in found]):
        print(row)
    if not found:
        print("no channels yet: python -m relay alerts channels add NAME URL", file=sys.stderr)
    return 0


def _add(alerts: Alerts, options: argparse.Namespace) -> int:
    if not options.name or not options.url:
        raise Misuse("say a name and an address: python -m relay alerts channels add NAME URL (- reads the address from standard input)")
    url = sys.stdin.readline().strip() if options.url == "-" else options.url
    if not url:
        raise Misuse("no address came on standard input")
    _, made = alerts.book.set_channel(options.tenant, {"name": options.name, "url": url, "least": options.least})
    if options.name in made:
        print(made[options.name])
        print("this secret signs what is sent there; it is shown this once", file=sys.stderr)
    print(f"{options.name} is told from now on; try it: python -m relay alerts test {options.name}", file=sys.stderr)
    return 0
