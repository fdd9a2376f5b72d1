"""The tables in PostgreSQL, and the way from each version of them to the next.

They live in a schema of their own: what a host publishes of "public" by itself (Supabase does) never shows them. Rows
belong to the tenant that the transaction has named, by row-level security under a role that cannot step around it,
so that a forgotten condition in a query shows nothing rather than everything.
"""
from __future__ import annotations

from ledger.errors import Unusable
from ledger.stores.postgres_pool import Connection, Pool

ROLE = "session_relay"
_LOCK = 0x53524C31

# Each step is applied once, in order, and never changed after it was released.
MIGRATIONS = [
    """
    CREATE TABLE session_relay.heads(
      tenant text COLLATE "C" NOT NULL, source text COLLATE "C" NOT NULL, lease text, seq bigint NOT NULL, digest text NOT NULL,
      committed boolean NOT NULL, pending_lease text, last_timestamp bigint NOT NULL, last_seen bigint NOT NULL, beat_s bigint NOT NULL,
      agent text NOT NULL, purged_seq bigint NOT NULL, PRIMARY KEY(tenant, source));
    CREATE TABLE session_relay.rows(
      tenant text COLLATE "C" NOT NULL, source text COLLATE "C" NOT NULL, kind text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL,
      body text NOT NULL, hash bytea NOT NULL, lease text COLLATE "C" NOT NULL, seq bigint NOT NULL, code text,
      PRIMARY KEY(tenant, source, kind, id));
    CREATE INDEX rows_by_seq ON session_relay.rows(tenant, source, lease, seq);
    CREATE TABLE session_relay.tombstones(
      tenant text COLLATE "C" NOT NULL, source text COLLATE "C" NOT NULL, kind text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL,
      lease text COLLATE "C" NOT NULL, seq bigint NOT NULL, at bigint NOT NULL, PRIMARY KEY(tenant, source, kind, id));
    CREATE INDEX tombstones_by_seq ON session_relay.tombstones(tenant, source, lease, seq);
    CREATE TABLE session_relay.shelf(
      drawer text COLLATE "C" NOT NULL, name text COLLATE "C" NOT NULL, value text NOT NULL, version bigint NOT NULL, expires bigint,
      PRIMARY KEY(drawer, name));

    ALTER TABLE session_relay.heads ENABLE ROW LEVEL SECURITY;
    ALTER TABLE session_relay.heads FORCE ROW LEVEL SECURITY;
    ALTER TABLE session_relay.rows ENABLE ROW LEVEL SECURITY;
    ALTER TABLE session_relay.rows FORCE ROW LEVEL SECURITY;
    ALTER TABLE session_relay.tombstones ENABLE ROW LEVEL SECURITY;
    ALTER TABLE session_relay.tombstones FORCE ROW LEVEL SECURITY;
    CREATE POLICY own ON session_relay.heads USING (tenant = current_setting('session_relay.tenant', true));
    CREATE POLICY own ON session_relay.rows USING (tenant = current_setting('session_relay.tenant', true));
    CREATE POLICY own ON session_relay.tombstones USING (tenant = current_setting('session_relay.tenant', true));
    -- Upkeep asks which tenants there are; no tenant can be called *.
    CREATE POLICY names ON session_relay.heads FOR SELECT USING (current_setting('session_relay.tenant', true) = '*');
    """,
]

# Who may not make roles goes without: then the owner itself is under the policies (FORCE), unless it is a superuser.
_MAKE_ROLE = """
DO $$ BEGIN
  CREATE ROLE session_relay NOLOGIN NOBYPASSRLS;
EXCEPTION WHEN duplicate_object OR unique_violation OR insufficient_privilege THEN NULL; END $$;
DO $$ BEGIN
  EXECUTE format('GRANT session_relay TO %I', current_user);
EXCEPTION WHEN undefined_object OR insufficient_privilege OR invalid_grant_operation OR unique_violation THEN NULL; END $$;
DO $$ BEGIN
  GRANT USAGE ON SCHEMA session_relay TO session_relay;
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA session_relay TO session_relay;
EXCEPTION WHEN undefined_object OR insufficient_privilege THEN NULL; END $$;
"""

_HAS_ROLE = "SELECT count(*) FROM pg_roles WHERE rolname = %s AND pg_has_role(current_user, oid, 'MEMBER')"


def prepare(pool: Pool) -> str | None:
    """Bring the tables to this version; the role to work under, or None. Raises Unusable for a newer version's tables."""
    with pool.transaction() as sql:
        # One at a time: several relays may start at once.
        sql.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        version = _version(sql)
        if version > len(MIGRATIONS):
            raise Unusable(f"the tables in {pool.place} are of a newer version ({version}, this one knows {len(MIGRATIONS)}): upgrade")
        if version < len(MIGRATIONS):
            for step in MIGRATIONS[version:]:
                sql.execute(step.encode())
            sql.execute("DELETE FROM session_relay.meta")
            sql.execute("INSERT INTO session_relay.meta VALUES(%s)", (len(MIGRATIONS),))
            sql.execute(_MAKE_ROLE.encode())
        has_role = sql.execute(_HAS_ROLE, (ROLE,)).fetchone()
        usable = bool(has_role and has_role[0]) and _may_read(sql)
    return ROLE if usable else None


def _version(sql: Connection) -> int:
    """Which step the tables are at. Whoever works with tables that somebody else made need not be let to make any."""
    known = sql.execute("SELECT to_regclass('session_relay.meta') IS NOT NULL").fetchone()
    if not known or not known[0]:
        sql.execute("CREATE SCHEMA IF NOT EXISTS session_relay")
        sql.execute("CREATE TABLE session_relay.meta(version bigint NOT NULL)")
    found = sql.execute("SELECT version FROM session_relay.meta").fetchone()
    return int(found[0]) if found else 0


def _may_read(sql: Connection) -> bool:
    found = sql.execute("SELECT has_table_privilege(%s, 'session_relay.rows', 'SELECT, INSERT, UPDATE, DELETE')", (ROLE,)).fetchone()
    return bool(found and found[0])
