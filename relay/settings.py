"""What the relay was told: the only place that reads its environment.

Whatever must not start is refused here, in one line that says what to do instead.
"""
from __future__ import annotations

import ipaddress
import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ledger.aws import Account
from ledger.errors import Misconfigured
from ledger.keytext import KEY_ID

TENANT = "main"
"""Whose a key is when nobody says so, and who the earlier system's shared key belongs to."""
_SHORTEST_SECRET = 16
_GUESSED_FIRST = {"development-secret", "dev-secret-change-me", "your-secret-key-here", "change-me-please-now", "secret", "changeme", "password"}
_MAKE_ONE = "openssl rand -hex 32"
AGENT_PAGES = ("http://localhost:3001", "http://127.0.0.1:3001")
"""Every agent's own page: it turns to the relay, with its key, when the agent stops."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How this relay runs. *retention_days* None keeps for ever, and so does *totals_days* what is left of older sessions; *shared* are the earlier system's keys, none: that door is off.
    *live_url* is the live channel's own address, *gateway* where messages to its connections go; both only on API Gateway.
    *account* is who a function is to AWS."""

    store: str
    secrets: tuple[bytes, ...]
    url: str
    data: Path
    host: str = "127.0.0.1"
    port: int = 8787
    origins: tuple[str, ...] = ()
    retention_days: int | None = None
    totals_days: int | None = None
    revoked: frozenset[str] = frozenset()
    beat_s: int = 60
    shared: tuple[bytes, ...] = ()
    rate: float = 200.0
    proxies: str = ""
    on_lambda: bool = False
    log_format: str = "text"
    live_url: str = ""
    gateway: str = ""
    account: Account | None = None
    alerts_private: bool = False
    """May alerts go to addresses inside? Only where everybody with an admin key is trusted."""

    def __repr__(self) -> str:
        return f"Settings(url={self.url!r}, store={self.store.split(':')[0]!r})"


def read(
    environ: Mapping[str, str] | None = None,
    *,
    store: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8787,
    dev: bool = False,
    log_format: str = "text",
) -> Settings:
    """The settings, from the options of a command and from *environ*. Raises Misconfigured with one line of remedy."""
    given = _given(environ)
    on_lambda = "AWS_LAMBDA_FUNCTION_NAME" in given
    data = _data_folder(given)
    store = _store(given, store, data, on_lambda)
    data = _beside(store) or data
    return Settings(
        store=store,
        secrets=_secrets(given, data, dev and _is_loopback(host) and not on_lambda, dev),
        url=_url(given.get("RELAY_URL") or f"http://{f'[{host}]' if ':' in host else host}:{port}"),
        data=data,
        host=host,
        port=port,
        origins=tuple(_origin(text) for text in _list(given.get("RELAY_ORIGINS"))) or AGENT_PAGES,
        retention_days=days("RELAY_RETENTION", given.get("RELAY_RETENTION", "none")),
        totals_days=days("RELAY_TOTALS", given.get("RELAY_TOTALS", "none")),
        revoked=frozenset(_key_id(text) for text in _list(given.get("RELAY_REVOKED"))),
        beat_s=int(_number(given, "RELAY_BEAT", 60, 1, 3600)),
        shared=_shared(given),
        rate=_number(given, "RELAY_RATE", 200, 1, 1_000_000),
        proxies=",".join(_proxy(text) for text in _list(given.get("RELAY_PROXIES"))),
        on_lambda=on_lambda,
        log_format=log_format,
        live_url=given.get("RELAY_LIVE_URL", ""),
        gateway=given.get("RELAY_GATEWAY", ""),
        account=_account(given) if on_lambda else None,
        alerts_private=_yes(given, "RELAY_ALERTS_PRIVATE"),
    )


def store_of(store: str | None) -> str:
    """Which store is meant, without making anything. Raises Misconfigured."""
    given = _given(None)
    return _store(given, store, _data_folder(given), "AWS_LAMBDA_FUNCTION_NAME" in given)


def names_store(environ: Mapping[str, str] | None = None, *, store: str | None = None) -> bool:
    """Did anybody say which store is meant?"""
    return bool(store or _given(environ).get("RELAY_STORE"))


def _given(environ: Mapping[str, str] | None) -> dict[str, str]:
    return {name: value.strip() for name, value in (os.environ if environ is None else environ).items() if value.strip()}


def _account(given: Mapping[str, str]) -> Account:
    """What Lambda tells every function of itself."""
    return Account(given.get("AWS_REGION") or given.get("AWS_DEFAULT_REGION", ""), given.get("AWS_ACCESS_KEY_ID", ""),
                   given.get("AWS_SECRET_ACCESS_KEY", ""), given.get("AWS_SESSION_TOKEN", ""), given.get("AWS_ENDPOINT_URL", ""))


def _list(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _data_folder(given: Mapping[str, str]) -> Path:
    base = given.get("XDG_DATA_HOME") or str(Path(given.get("HOME", "/tmp")) / ".local" / "share")
    return Path(base) / "session-relay"


def _beside(store: str) -> Path | None:
    """The folder of a SQLite file: what belongs to that relay lies beside it."""
    return Path(store.removeprefix("sqlite:///")).parent if store.startswith("sqlite:///") else None


def _store(given: Mapping[str, str], named: str | None, data: Path, on_lambda: bool) -> str:
    store = named or given.get("RELAY_STORE")
    if not store and ("SUPABASE_URL" in given or "SUPABASE_ANON_KEY" in given):
        raise Misconfigured(f"SUPABASE_URL {_not_a_database(given.get('SUPABASE_URL', ''))}")
    if store and _SUPABASE.match(store):
        raise Misconfigured(f"{store} {_not_a_database(store)}")
    if on_lambda and (not store or store.startswith(("memory:", "sqlite:"))):
        raise Misconfigured("on Lambda nothing that is kept in the function survives: set RELAY_STORE=dynamodb://TABLE")
    return store or f"sqlite:///{data / 'relay.db'}"


_SUPABASE = re.compile(r"https://([a-z0-9-]{1,63})\.supabase\.co\b")


def _not_a_database(address: str) -> str:
    """What to set instead of a Supabase project's web address; it tells the project's name, but neither region nor password."""
    project = found[1] if (found := _SUPABASE.match(address)) else "your-project"
    return (
        "is a web address, not a database: set RELAY_STORE to the project's connection string, "
        f"postgresql://postgres.{project}:PASSWORD@REGION.pooler.supabase.com:6543/postgres (Supabase shows yours under Connect, Transaction pooler)"
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _secrets(given: Mapping[str, str], data: Path, may_make_one: bool, dev: bool) -> tuple[bytes, ...]:
    named = _list(given.get("RELAY_SECRET"))
    for secret in named:
        if secret.lower() in _GUESSED_FIRST or len(secret) < _SHORTEST_SECRET:
            raise Misconfigured(f"RELAY_SECRET can be guessed: set it to the output of `{_MAKE_ONE}`")
    if named:
        return tuple(secret.encode() for secret in named)
    if may_make_one:
        return (_own_secret(data / "dev-secret"),)
    if dev:
        raise Misconfigured(f"--dev is for loopback only: serve on 127.0.0.1, or set RELAY_SECRET to the output of `{_MAKE_ONE}`")
    raise Misconfigured(f"RELAY_SECRET is not set: set it to the output of `{_MAKE_ONE}` (or add --dev to try things out on this machine)")


def _own_secret(path: Path) -> bytes:
    """The secret of a trial relay, made once, readable by nobody else."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            kept = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except FileExistsError:
            return _read_own(path)
        with os.fdopen(kept, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        return _read_own(path)
    except OSError as error:
        raise Misconfigured(f"the secret of --dev cannot be kept in {path}: {error.strerror}; set RELAY_SECRET, or name a --store in a folder of yours") from None


def _read_own(path: Path) -> bytes:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        about = os.fstat(file.fileno())
        text = file.read(256).strip()
    if about.st_uid != os.getuid() or stat.S_IMODE(about.st_mode) & 0o077:
        raise Misconfigured(f"others may read {path}: remove it and make new keys")
    if len(text) < _SHORTEST_SECRET:
        raise Misconfigured(f"{path} is damaged: remove it and make new keys")
    return text


def _shared(given: Mapping[str, str]) -> tuple[bytes, ...]:
    named = [given[name] for name in ("API_SECRET", "NETLIFY_API_SECRET") if name in given]
    for secret in named:
        if secret.lower() in _GUESSED_FIRST:
            raise Misconfigured("API_SECRET is a default that everybody knows: set it to a secret of your own, or unset it to close that door")
    return tuple(dict.fromkeys(secret.encode() for secret in named))


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise Misconfigured("RELAY_URL must be the relay's public address, such as https://relay.example.org")
    return text.rstrip("/")


def _origin(text: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+", text):
        raise Misconfigured("RELAY_ORIGINS is a list of pages that may read, each as https://host; a wildcard is not allowed")
    return text.lower()


def _proxy(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise Misconfigured("RELAY_PROXIES is a list of addresses or networks of your reverse proxies, such as 10.0.0.0/8; * would believe everybody") from None
    return text


def days(name: str, text: str) -> int | None:
    """How many days that is; None for ever. Raises Misconfigured."""
    if text == "none":
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,4})d?", text)
    if not found:
        raise Misconfigured(f"{name} is a number of days such as 400d, or none")
    return int(found[1])


def _key_id(text: str) -> str:
    id = text.split("_")[2] if text.startswith("sr_") and text.count("_") >= 3 else text
    if not KEY_ID.fullmatch(id):
        raise Misconfigured("RELAY_REVOKED is a list of key ids, as `python -m relay keys list` shows them")
    return id


def _yes(given: Mapping[str, str], name: str) -> bool:
    text = given.get(name, "no").lower()
    if text not in ("yes", "no"):
        raise Misconfigured(f"{name} is yes or no")
    return text == "yes"


def _number(given: Mapping[str, str], name: str, usual: float, least: float, most: float) -> float:
    try:
        value = float(given.get(name, usual))
    except ValueError:
        value = -1.0
    if not least <= value <= most:
        raise Misconfigured(f"{name} must be a number from {least:.0f} to {most:.0f}")
    return value
