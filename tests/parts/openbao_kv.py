"""
What an OpenBao lends: a database engine over this process's PostgreSQL, whose roles come and go with leases.

    lending = Lending(bao)
    path = lending.role(default_ttl="1h", max_ttl="24h")      # "database1/creds/role1"
    lending.logins()                                          # the roles that stand in PostgreSQL
    lending.can_log_in(login, password)                       # by password, as an application would
    lending.renewals(path)                                    # when each lease was renewed last, or None
"""

from __future__ import annotations

import itertools
from pathlib import Path

import psycopg

from parts.databases import postgresql

_numbers = itertools.count(1)
_GROUP = "lent"
_CREATE = (
    "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' "
    f"IN ROLE {_GROUP};"
)


class Lending:
    """A database engine on a mount of its own; roles that it makes log in by their passwords alone."""

    def __init__(self, bao):
        self.bao = bao
        self.database = postgresql()
        self.mount = f"database{next(_numbers)}"
        self._guard()
        bao.api("POST", f"sys/mounts/{self.mount}", {"type": "database"})
        bao.api(
            "POST",
            f"{self.mount}/config/pg",
            {
                "plugin_name": "postgresql-database-plugin",
                "allowed_roles": "*",
                "connection_url": f"postgresql://{{{{username}}}}@/postgres?host={self.database.socket}",
                "username": "postgres",
            },
        )

    def _guard(self):
        rules = Path(self.database.socket) / "pg_hba.conf"
        if _GROUP not in rules.read_text():
            rules.write_text(f"local all +{_GROUP} scram-sha-256\n{rules.read_text()}")
            self.database.run(f"CREATE ROLE {_GROUP}", "SELECT pg_reload_conf()")

    def role(self, **options):
        """Make a role and give the path that lends what it allows."""
        name = f"role{next(_numbers)}"
        body = {"db_name": "pg", "creation_statements": [_CREATE], **options}
        self.bao.api("POST", f"{self.mount}/roles/{name}", body)
        return f"{self.mount}/creds/{name}"

    def static(self, login):
        """Make *login* an account whose password the server changes, and give the path that tells it."""
        self.database.run(f"CREATE ROLE {login} WITH LOGIN IN ROLE {_GROUP}")
        body = {
            "db_name": "pg",
            "username": login,
            "rotation_period": "1h",
            "rotation_statements": ["ALTER ROLE \"{{name}}\" WITH PASSWORD '{{password}}';"],
        }
        self.bao.api("POST", f"{self.mount}/static-roles/{login}", body)
        return f"{self.mount}/static-creds/{login}"

    def logins(self):
        """Give the names of the roles that the engine made and did not drop."""
        with self.database.admin() as opened:
            rows = opened.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-%'").fetchall()
        return {name for (name,) in rows}

    def renewals(self, path):
        """Give of each lease that lives when the server renewed it last, or None where it never did."""
        status, found = self.bao.ask("LIST", f"sys/leases/lookup/{path}")
        ids = found["data"]["keys"] if status == 200 else []
        asked = {one: self.bao.ask("POST", "sys/leases/lookup", {"lease_id": f"{path}/{one}"}) for one in ids}
        return {one: told["data"]["last_renewal"] for one, (status, told) in asked.items() if status == 200}

    def can_log_in(self, login, password):
        try:
            with psycopg.connect(
                host=self.database.socket, user=login, password=password, dbname="postgres"
            ) as opened:
                return opened.execute("SELECT current_user").fetchone() == (login,)
        except psycopg.OperationalError:
            return False
