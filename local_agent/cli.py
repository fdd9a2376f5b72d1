"""python -m local_agent: the commands, what they print and what they exit with.

0 done · 1 it did not work (one line on stderr says why and what to do) · 2 wrong use · 78 a configuration that must not start.
Nothing here decides anything; every command is a few lines around a module of its own.
"""
from __future__ import annotations

import argparse
import errno
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ledger import __version__
from ledger.clock import now_ms
from ledger.errors import LedgerError, Misconfigured, Misuse
from ledger.words import many
from local_agent import settings as settings_of
from local_agent.log import one_line, set_up, where

if TYPE_CHECKING:
    from local_agent.commands.terminal import Ink
    from local_agent.settings import Settings

DONE, FAILED, MISUSED, MISCONFIGURED = 0, 1, 2, 78
SEAL_KEY_CHARS = 43
"""32 bytes in base64."""
Command = Callable[["Settings", argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["statusline"]:
        from local_agent.statusline import main as statusline

        return statusline(words[1:])
    try:
        return _run(words)
    except BrokenPipeError:
        # Whoever read our output had enough; Python would complain once more at the very end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return FAILED
    except Misuse as error:
        return _complain(error, MISUSED)
    except Misconfigured as error:
        return _complain(error, MISCONFIGURED)
    except (LedgerError, OSError) as error:
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        return _complain("the disk is full: make room, then the same again" if full else error, FAILED)
    except Exception as error:  # no traceback reaches a user
        return _complain(f"this is our fault, please report it: {where(error)}", FAILED)


def _complain(error: object, code: int) -> int:
    print(one_line(f"local_agent: {error}"), file=sys.stderr)
    return code


def _run(words: Sequence[str]) -> int:
    options = parser().parse_args(_with_key(words))
    settings = settings_of.load(given(options))
    set_up(settings.log_format, level=logging.INFO if options.command == "run" else logging.WARNING)
    command: Command = COMMANDS[options.command]
    return command(settings, options)


def _with_key(words: Sequence[str]) -> list[str]:
    """`--use KEY` as the one word `--use=KEY`: a seal key in 64 begins with a dash, and argparse takes it for an option."""
    joined: list[str] = []
    for word in words:
        if joined[-1:] == ["--use"] and len(word) == SEAL_KEY_CHARS and word.startswith("-"):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def given(options: argparse.Namespace) -> dict[str, object]:
    """The options that are settings."""
    return {name: value for name, value in vars(options).items() if name in settings_of.NAMES}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m local_agent", description="Reads this machine's coding-agent sessions, shows them on localhost and pushes them to a relay.")
    top.add_argument("--version", action="version", version=f"session-relay {__version__}")
    common = common_options()
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, what: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=what, description=what, parents=[common])

    add("run", "the service: read, serve localhost, push on change and on a timer")
    add("once", "read everything, push until the relay agrees, report, exit").add_argument("--json", action="store_true")
    add("status", "what is running, what was read, how much is used").add_argument("--json", action="store_true")
    add("doctor", "find what is wrong and name the command that mends it").add_argument("--json", action="store_true")
    check = add("verify", "compare our numbers with ccusage's, where it is installed")
    check.add_argument("--ccusage", metavar="PATH", help="the program, where it is not on the PATH")
    check.add_argument("--json", action="store_true")
    export = add("export", "write out what the archive holds")
    export.add_argument("--format", choices=["csv", "jsonl", "json"], default="csv")
    export.add_argument("--kind", default="session")
    export.add_argument("--output", type=Path, metavar="FILE", help="a file instead of stdout; its checksum is written beside it")
    export.add_argument("--since", default="", metavar="TIME", help="only what was active at or after this time")
    export.add_argument("--until", default="", metavar="TIME", help="only what began before this time")
    for name in ("project", "model", "machine", "session-type"):
        export.add_argument(f"--{name}", metavar="NAME", help="only sessions (or usage) of it")
    brought = add("import", "take over ccusage's JSON or a tracker's database, once; --list shows and --remove undoes it")
    brought.add_argument("file", metavar="FILE", nargs="?", help="the file, or - for JSON on stdin")
    brought.add_argument("--list", action="store_true", dest="show", help="what was imported, and what of it counts")
    brought.add_argument("--remove", action="store_true", help="forget what came with FILE (its name, its id, or all)")
    brought.add_argument("--json", action="store_true")
    pair = add("pair", "remember a relay and its key, and check both")
    pair.add_argument("url", metavar="URL")
    pair.add_argument("new_key", metavar="KEY", nargs="?", default="-", help="the key, or - to read it from stdin")
    service = add("service", "run at log-in: install, remove or status")
    service.add_argument("action", choices=["install", "remove", "status"])
    forget = add("forget", "forget one session for good, here and at the relay")
    forget.add_argument("id", metavar="SESSION")
    seal = add("seal", "the link with which a browser opens sealed names")
    seal.add_argument("--use", metavar="KEY", help="use the key of another machine: its link, or - to read it from stdin")
    add("statusline", "keep the official limits from the tool's status line (JSON on stdin)")
    return top


def common_options() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    group = common.add_argument_group("settings (each also in the environment and in settings.json of the home)")
    group.add_argument("--home", metavar="DIR", help="where the agent keeps what it knows (AGENT_HOME)")
    group.add_argument("--relay", metavar="URL", help="the relay (RELAY_URL)")
    group.add_argument("--key", metavar="KEY", help="its push key; better kept by `pair` or in RELAY_KEY, since others see options")
    group.add_argument("--tracker", dest="trackers", action="append", metavar="FILE", help="a tracker's database, may be repeated (TRACKER_DB)")
    group.add_argument("--tracker-tz", metavar="ZONE", help="what the tracker's local times mean (TRACKER_TZ)")
    group.add_argument("--transcripts", action="append", metavar="DIR", help="a Claude Code home, may be repeated (CLAUDE_CONFIG_DIR)")
    group.add_argument("--codex", metavar="DIR", help="Codex CLI's home (CODEX_HOME)")
    group.add_argument("--gemini", metavar="DIR", help="Gemini CLI's home (GEMINI_DIR)")
    group.add_argument("--opencode", metavar="DIR", help="opencode's home (OPENCODE_DIR)")
    group.add_argument("--no-defaults", action="store_true", default=None, help="read only what was named (AGENT_NO_DEFAULTS)")
    group.add_argument("--port", metavar="PORT", help="where localhost answers, 3001 (AGENT_PORT)")
    group.add_argument("--interval", metavar="SECONDS", help="how often to look even if nothing seems to change, 30 (SYNC_INTERVAL)")
    group.add_argument("--privacy", metavar="|".join(settings_of.PRIVACIES), help="what names of projects leave this machine as (AGENT_PRIVACY)")
    group.add_argument("--tz", metavar="ZONE", help="this machine's time zone, if it cannot be told (AGENT_TZ)")
    group.add_argument("--name", metavar="NAME", help="what this machine is called on the page (AGENT_NAME)")
    group.add_argument("--origins", action="append", metavar="ORIGIN", help="a page of elsewhere that may read from here (AGENT_ORIGINS)")
    group.add_argument("--sample", action="store_true", default=None, help="say on every page that this is sample data")
    group.add_argument("--log-format", metavar="text|json", help="(LOG_FORMAT)")
    return common


def run(settings: Settings, options: argparse.Namespace) -> int:
    from local_agent.agent import Agent
    from local_agent.identity import open_identity
    from local_agent.lock import HomeLock, Taken

    try:
        with HomeLock(settings.home) as lock:
            settings = _with_seal(settings, options)
            while Agent(settings, open_identity(settings.home), lock).run():
                settings = _with_seal(settings_of.load(given(options)), options)
    except Taken as taken:
        print(f"{taken}; nothing to do", file=sys.stderr)
    return DONE


def _with_seal(settings: Settings, options: argparse.Namespace) -> Settings:
    """Make the seal key before the agent looks out for changes of its settings."""
    if settings.privacy != "sealed":
        return settings
    from local_agent.push import seals

    seals.seal_key(settings.home)
    return settings_of.load(given(options))


def once(settings: Settings, options: argparse.Namespace) -> int:
    from local_agent.commands import once as single

    logging.getLogger("agent.delivery.state").setLevel(logging.CRITICAL)  # the report tells it
    report = single.run(settings)
    print(json.dumps(report, indent=2) if options.json else single.in_words(report))
    return DONE if report["in_sync"] else _complain(single.why_not(report), FAILED)


def status(settings: Settings, options: argparse.Namespace) -> int:
    from local_agent.commands import doctor, overview, terminal
    from local_agent.commands import status as shown

    known = doctor.known_identity(settings.home)
    if isinstance(known, LedgerError):
        raise known
    said = shown.gather(settings, known, now_ms())
    if options.json:
        print(json.dumps(said, indent=2))
        return DONE
    text = overview.paint(said, _ink(), shutil.get_terminal_size().columns, settings.tz)
    print(terminal.writable(text, sys.stdout.encoding))
    return DONE


def _ink() -> Ink:
    """Colours, where a person looks and does not mind them."""
    from local_agent.commands import terminal

    return terminal.coloured if sys.stdout.isatty() and settings_of.wants_colour() else terminal.plain


def doctor(settings: Settings, options: argparse.Namespace) -> int:
    from local_agent.commands import checkup

    findings = checkup.run(settings)
    print(json.dumps([{"level": f.level, "what": f.what, "mend": f.mend} for f in findings], indent=2) if options.json else checkup.in_words(findings, _ink()))
    return FAILED if any(finding.level == "bad" for finding in findings) else DONE


def verify(settings: Settings, options: argparse.Namespace) -> int:
    from local_agent import verify as compared

    return compared.main(settings, options.ccusage, as_json=options.json)


def export(settings: Settings, options: argparse.Namespace) -> int:
    from ledger.export import FILTERS
    from local_agent.commands import export as exported

    wanted = {name: value for name in FILTERS if (value := getattr(options, name))}
    write = partial(exported.write, settings, options.format, options.kind, since=options.since, until=options.until, wanted=wanted)
    if options.output is None:
        write(sys.stdout.buffer)
        sys.stdout.flush()
        return DONE
    sums = exported.write_file(options.output, write)
    print(f"wrote {options.output}; check it with  sha256sum -c {sums}")
    return DONE


def bring_in(settings: Settings, options: argparse.Namespace) -> int:
    from local_agent.imports import command

    if bool(options.file) == bool(options.show):
        raise Misuse("name one file to import (or to --remove), or say --list")
    if options.remove:
        count = command.undo(settings, options.file)
        print(json.dumps({"removed": count}) if options.json else f"removed {many(count, 'imported item')}; the relay forgets {'it' if count == 1 else 'them'} with the next push")
        return DONE
    said = command.listed(settings) if options.show else command.take(settings, options.file)
    if options.json:
        print(json.dumps(said, indent=2))
    else:
        print("\n".join(map(command.in_words, said)) or "nothing was imported" if isinstance(said, list) else command.in_words(said))
    return DONE


def pair(settings: Settings, options: argparse.Namespace) -> int:
    from local_agent.commands import checkup

    text = sys.stdin.readline() if options.new_key == "-" else options.new_key
    print(checkup.pair(settings, options.url, text))
    return DONE


def service(settings: Settings, options: argparse.Namespace) -> int:
    from local_agent import service
    from local_agent.commands import checkup

    manager = checkup.service_manager()
    if options.action == "status":
        running, text = manager.status()
        print(text, file=sys.stdout if running else sys.stderr)
        return DONE if running else FAILED
    if options.action == "remove":
        print(manager.remove())
        return DONE
    print(manager.install(service.this_program(settings.home, said_again(options))))
    if settings.key and settings_of.environment().get("RELAY_KEY") and not (settings.home / settings_of.KEY_FILE).exists():
        print(f"RELAY_KEY stands in this shell only: python -m local_agent pair {settings.relay or 'URL'} -   keeps it for the service", file=sys.stderr)
    return DONE


def said_again(options: argparse.Namespace) -> list[str]:
    """The options a service is to be started with: those that were given, or that this shell's environment says, but for the key, which has a file of its own."""
    words: list[str] = []
    told = settings_of.of_environment(no_defaults=bool(options.no_defaults))
    for name, given in vars(options).items():
        value = told.get(name) if given in (None, False) else given
        if name not in settings_of.NAMES or name in ("home", "key") or value in (None, False):
            continue
        flag = "--" + ("tracker" if name == "trackers" else name.replace("_", "-"))
        for item in value if isinstance(value, list) else [value]:
            words += [flag] if item is True else [flag, str(Path(item).expanduser().absolute()) if name in PATHS else str(item)]
    return words


PATHS = ("trackers", "transcripts", "codex", "gemini", "opencode")


def forget(settings: Settings, options: argparse.Namespace) -> int:
    from local_agent.commands import forget as forgotten

    print(forgotten.forget(settings, options.id))
    return DONE


def seal(settings: Settings, options: argparse.Namespace) -> int:
    from local_agent.push import seals

    if options.use:
        seals.use(settings.home, sys.stdin.readline() if options.use == "-" else options.use)
    print(seals.in_words(settings))
    return DONE


COMMANDS: dict[str, Command] = {
    "run": run, "once": once, "status": status, "doctor": doctor, "verify": verify, "export": export, "import": bring_in, "pair": pair, "service": service, "forget": forget, "seal": seal,
}  # fmt: skip
