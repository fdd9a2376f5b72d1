"""`python -m relay tenants|members|share|forget`: what an administrator does where the relay runs."""
from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import urlsplit

from ledger.errors import LedgerError, Misuse
from ledger.views.share import PARTS
from ledger.words import many
from relay.aligned import aligned
from relay.people import badge
from relay.people.badge import Badges
from relay.people.office import Office
from relay.people.tenants import ROLES, Tenants

WHO = "command"
Opened = Callable[..., AbstractContextManager[Any]]
"""Opens the key ring of the store that the options name, as the commands for keys do; it has the store too."""


Run = Callable[..., Callable[[argparse.Namespace], int]]
"""Makes a command of an act on the office; with *may_make* the store may be made by it."""


def add_people(commands: Any, common: argparse.ArgumentParser, opened: Opened, clock: Callable[[], int], *, tenant: str, seconds: Callable[[str], int]) -> None:
    """The commands. *seconds* reads 90d."""
    listing = argparse.ArgumentParser(add_help=False, parents=[common])
    listing.add_argument("--json", action="store_true", help="as JSON")
    whose = argparse.ArgumentParser(add_help=False, parents=[listing])
    whose.add_argument("--tenant", default=tenant, metavar="NAME", help=f"whose ({tenant})")

    def run(act: Callable[[Office, argparse.Namespace, Any], None], *, may_make: bool = False) -> Callable[[argparse.Namespace], int]:
        def command(options: argparse.Namespace) -> int:
            opening = opened(options, may_make=may_make)
            with opening as ring:
                store = opening.store  # type: ignore[attr-defined]
                if opening.settings.store.startswith("memory:"):  # type: ignore[attr-defined]
                    raise LedgerError("a memory store is another process's own: use the /v1/admin endpoints of the relay that runs")
                act(Office(store, ring, Tenants(store, clock), Badges(store, clock, lambda tenant: {}), clock), options, opening.settings)  # type: ignore[attr-defined]
            return 0

        return command

    _add_tenants(commands, common, listing, run)
    _add_members(commands, whose, run, seconds)
    _add_shares(commands, whose, run, seconds)
    _add_forget(commands, whose, run)


def _add_tenants(commands: Any, common: argparse.ArgumentParser, listing: argparse.ArgumentParser, run: Run) -> None:
    tenants = commands.add_parser("tenants", help="create, list, show, set and remove tenants").add_subparsers(required=True, metavar="ACTION")
    create = tenants.add_parser("create", parents=[common], help="make a tenant and print its first admin key, and only it")
    _settings(create)
    create.set_defaults(run=run(_create, may_make=True))
    tenants.add_parser("list", parents=[listing], help="every tenant").set_defaults(run=run(_list))
    show = tenants.add_parser("show", parents=[listing], help="one tenant with its settings, machines and members")
    show.add_argument("name", metavar="NAME")
    show.set_defaults(run=run(_show))
    change = tenants.add_parser("set", parents=[listing], help="change a tenant's settings")
    _settings(change)
    change.add_argument("--badge", type=_words(badge.SHOWS, "off"), metavar="PARTS", help=f"open its badge with {','.join(badge.SHOWS)}, or off")
    change.set_defaults(run=run(_set))
    remove = tenants.add_parser("remove", parents=[listing], help="forget a tenant and everything of it")
    remove.add_argument("name", metavar="NAME")
    remove.add_argument("--dry-run", action="store_true", help="only say what would go")
    remove.set_defaults(run=run(_forget), what="tenant", tenant="", undo=False)


def _add_members(commands: Any, whose: argparse.ArgumentParser, run: Run, seconds: Callable[[str], int]) -> None:
    members = commands.add_parser("members", help="add, list and remove the people of a tenant").add_subparsers(required=True, metavar="ACTION")
    add = members.add_parser("add", parents=[whose], help="print a new key of a member, or of one of their machines, and only it")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--role", required=True, choices=ROLES)
    add.add_argument("--machine", default="", metavar="NAME", help="the push key of a machine of theirs instead")
    add.add_argument("--expires", type=seconds, default=0, metavar="90d", help="for how long it is good; for ever without")
    add.set_defaults(run=run(_add, may_make=True))
    members.add_parser("list", parents=[whose], help="who there is").set_defaults(run=run(_members))
    leave = members.add_parser("remove", parents=[whose], help="end a member's keys, within a minute")
    leave.add_argument("name", metavar="NAME")
    leave.set_defaults(run=run(_leave))


def _add_shares(commands: Any, whose: argparse.ArgumentParser, run: Run, seconds: Callable[[str], int]) -> None:
    share = commands.add_parser("share", help="links that show only what was chosen").add_subparsers(required=True, metavar="ACTION")
    made = share.add_parser("create", parents=[whose], help="print the address of a page, and only it")
    made.add_argument("--shows", required=True, type=_words(PARTS), metavar="PARTS", help=",".join(PARTS))
    made.add_argument("--expires", required=True, type=seconds, metavar="7d", help="for how long")
    made.add_argument("--project", metavar="NAME", help="only this project")
    made.add_argument("--machine", metavar="NAME", help="only this machine")
    made.add_argument("--label", default="", help="what `share list` calls it")
    made.set_defaults(run=run(_share, may_make=True))
    share.add_parser("list", parents=[whose], help="the links that there are").set_defaults(run=run(_shares))
    end = share.add_parser("revoke", parents=[whose], help="end a link, within a minute")
    end.add_argument("id", metavar="ID")
    end.set_defaults(run=run(_unshare))


def _add_forget(commands: Any, whose: argparse.ArgumentParser, run: Run) -> None:
    forget = commands.add_parser("forget", parents=[whose], help="forget a machine, a project or a tenant, everywhere")
    forget.add_argument("what", choices=("machine", "project", "tenant"))
    forget.add_argument("name", metavar="NAME")
    forget.add_argument("--dry-run", action="store_true", help="only say what would go")
    forget.add_argument("--undo", action="store_true", help="take a project in again; agents bring it back")
    forget.set_defaults(run=run(_forget))


def _settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--keep", type=_days, metavar="90d", help="how long sessions are kept; none: for ever, default: as the relay does")
    parser.add_argument("--keep-totals", type=_days, metavar="400d", help="how long the day totals of older ones are kept")
    parser.add_argument("--max-records", type=_whole, metavar="N", help="records of one machine, or default")
    parser.add_argument("--max-machines", type=_whole, metavar="N", help="machines, or default")
    parser.add_argument("--zone", metavar="ZONE", help="the time zone of those who name none, or default")


DEFAULT = "default"
_OPTIONS = {"keep": "keep_days", "keep_totals": "keep_totals_days", "max_records": "max_records", "max_machines": "max_machines", "zone": "zone"}


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that were named; None gives one back to the relay."""
    return {name: None if value == DEFAULT else value for option, name in _OPTIONS.items() if (value := getattr(options, option)) is not None}


def _days(text: str) -> int | str:
    if text == DEFAULT:
        return text
    digits = text.removesuffix("d")
    if text != "none" and not (digits.isascii() and digits.isdigit() and 0 < int(digits) <= 36_500):
        raise argparse.ArgumentTypeError("a time is a number of days such as 400d, or none, or default")
    return 0 if text == "none" else int(digits)


def _whole(text: str) -> int | str:
    if text != DEFAULT and not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError("a whole number, or default")
    return text if text == DEFAULT else int(text)


def _words(known: tuple[str, ...], off: str = "") -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        found = [] if text == off else [word.strip() for word in text.split(",")]
        if odd := [word for word in found if word not in known]:
            raise argparse.ArgumentTypeError(f"{odd[0]!r} is none of {', '.join(known)}{f', or {off}' if off else ''}")
        return found

    return read


def _said(options: argparse.Namespace, value: Any, lines: list[str], nothing: str = "") -> None:
    if options.json:
        print(json.dumps(value, indent=2, ensure_ascii=False))
    elif lines:
        print("\n".join(lines))
    else:
        print(nothing, file=sys.stderr)


# -- tenants


def _create(office: Office, options: argparse.Namespace, settings: Any) -> None:
    print(office.create(WHO, options.name, **_given(options)))


def _list(office: Office, options: argparse.Namespace, settings: Any) -> None:
    found = [office.describe(name) for name in office.names()]
    rows = [[str(one["tenant"]), *(_count(_listed(one[f"{what}s"]), what) for what in ("machine", "member")), many(int(str(one["keys"])), "key"), _kept(one)] for one in found]
    _said(options, found, aligned(rows), "no tenants yet: python -m relay tenants create NAME")


def _show(office: Office, options: argparse.Namespace, settings: Any) -> None:
    one = office.describe(options.name)
    badge_url = f"{settings.url}/badge/{one['badge']}.svg" if one["badge"] else None
    lines = [
        f"tenant    {one['tenant']}", f"keeps     {_kept(one)}", f"quotas    {one['max_machines'] or 'as many'} machines, {one['max_records'] or 'the usual'} records each",
        f"zone      {one['zone'] or 'of its machines'}", f"badge     {badge_url or 'off'}", f"machines  {', '.join(map(str, _listed(one['machines']))) or 'none'}",
        *(f"member    {line}" for line in aligned([_member(member) for member in _listed(one["members"])])), f"shares    {one['shares']}",
        f"forgotten {many(int(str(one['forgotten_projects'])), 'project')}",
    ]  # fmt: skip
    _said(options, {**one, "badge_url": badge_url}, lines)


def _set(office: Office, options: argparse.Namespace, settings: Any) -> None:
    given = _given(options) | ({"badge": options.badge} if options.badge is not None else {})
    if not given:
        raise Misuse("name a setting to change, such as --keep 90d")
    office.describe(options.name)
    office.change(WHO, options.name, given)
    _show(office, options, settings)


def _kept(one: Any) -> str:
    def said(days: Any) -> str:
        return "as the relay does" if days is None else many(days, "day") if days else "for ever"

    return f"sessions {said(one['keep_days'])}, day totals {said(one['keep_totals_days'])}"


def _listed(value: Any) -> list[Any]:
    return list(value)


def _count(value: Any, what: str) -> str:
    return many(len(value), what)


# -- members


def _add(office: Office, options: argparse.Namespace, settings: Any) -> None:
    member, key = office.add_member(WHO, options.tenant, options.name, options.role, expires_s=options.expires, machine=options.machine)
    print(json.dumps({**member.public(), "key": key}, indent=2) if options.json else key)


def _members(office: Office, options: argparse.Namespace, settings: Any) -> None:
    found = [member.public() for member in office.members(options.tenant)]
    _said(options, found, aligned([_member(one) for one in found]), "no members yet: python -m relay members add NAME --role member")


def _member(one: Any) -> list[str]:
    return [one["role"], one["name"], _count(one["keys"], "key"), *([f"machines: {', '.join(one['machines'])}"] if one["machines"] else [])]


def _leave(office: Office, options: argparse.Namespace, settings: Any) -> None:
    gone = office.remove_member(WHO, options.tenant, options.name)
    print(json.dumps({"removed": gone.public()}, indent=2) if options.json else f"removed {gone.name}: within a minute {_count(gone.keys, 'key')} of theirs open nothing")


# -- shares


def _share(office: Office, options: argparse.Namespace, settings: Any) -> None:
    key = office.share(WHO, options.tenant, options.shows, project=options.project, machine=options.machine, expires_s=options.expires, label=options.label)
    print(json.dumps({"key": key, "url": f"{settings.url}/#key={key}"}, indent=2) if options.json else f"{settings.url}/#key={key}")
    if urlsplit(settings.url).hostname in ("127.0.0.1", "localhost", "::1"):
        print("relay: this address works on this computer only; RELAY_URL says what others reach the relay by", file=sys.stderr)


def _shares(office: Office, options: argparse.Namespace, settings: Any) -> None:
    found = office.shares(options.tenant)
    rows = [
        [
            one.state, one.id, f"until {time.strftime('%Y-%m-%d %H:%M', time.gmtime(one.expires / 1000))}" if one.expires else "until revoked", ",".join(one.shows),
            *([f"project {one.project}"] if one.project else []), *([f"machine {one.machine}"] if one.machine else []), *([one.label] if one.label else []),
        ]
        for one in found
    ]  # fmt: skip
    _said(options, [one.public() for one in found], aligned(rows), "nothing is shared: python -m relay share create --shows totals,blocks --expires 7d")


def _unshare(office: Office, options: argparse.Namespace, settings: Any) -> None:
    office.unshare(WHO, options.tenant, options.id)
    _said(options, {"revoked": options.id if len(options.id) <= 24 else True}, ["revoked: within a minute it shows nothing"])


def _forget(office: Office, options: argparse.Namespace, settings: Any) -> None:
    if options.undo:
        if options.what != "project" or options.dry_run:
            raise Misuse("--undo is for projects: a machine gets a new key, and a tenant is gone")
        machines = office.recall(WHO, options.tenant, options.name)
        _said(options, {"recalled": options.name, "machines": machines}, [f"{options.name} is taken in again: {_count(machines, 'machine') if machines else 'whoever has it'} will bring it back within a minute or two"])
        return
    report = office.forget(WHO, options.what, options.name, options.tenant, dry_run=options.dry_run)
    _said(options, report.public(), [str(report)])
