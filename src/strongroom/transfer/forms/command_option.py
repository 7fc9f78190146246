"""
Options of the clients whose commands are read: the field each says; "" for a value that says none.

Those that take a value must all be here, as a value would else be taken for a word of its own.

Sources: as `command.py`.
"""

from __future__ import annotations

__all__ = ["CURL", "MONGOSH", "MYSQL", "PG_FLAGS", "PG_OPTIONS", "PG_VARIABLES", "REDIS"]

_PSQL = {
    "-h": "host", "--host": "host", "-p": "port", "--port": "port", "-U": "user", "--username": "user",
    "-d": "dbname", "--dbname": "dbname", "-c": "", "--command": "", "-f": "", "--file": "", "-v": "",
    "--set": "", "--variable": "", "-o": "", "--output": "", "-L": "", "-P": "", "-F": "", "-R": "", "-T": "",
    "--log-file": "", "--pset": "", "--field-separator": "", "--record-separator": "", "--table-attr": "",
}  # fmt: skip
_PLACE = {key: _PSQL[key] for key in list(_PSQL)[:8]}
# The same letters say other things to these two.
_PG_DUMP = _PLACE | {
    "-E": "", "--encoding": "", "-f": "", "--file": "", "-F": "", "--format": "", "-j": "", "--jobs": "",
    "-n": "", "--schema": "", "-N": "", "--exclude-schema": "", "-S": "", "--superuser": "", "-t": "",
    "--table": "", "-T": "", "--exclude-table": "", "-Z": "", "--compress": "", "--role": "", "--section": "",
    "--exclude-table-data": "", "--lock-wait-timeout": "", "--snapshot": "", "-e": "", "--extension": "",
    "--filter": "",
}  # fmt: skip
PG_FLAGS = dict.fromkeys(
    [
        "-A",
        "-q",
        "-t",
        "-w",
        "-W",
        "-x",
        "-X",
        "-a",
        "-b",
        "-v",
        "-c",
        "--no-password",
        "--password",
        "--quiet",
        "--no-psqlrc",
        "--no-align",
        "--tuples-only",
        "--csv",
        "--clean",
        "--verbose",
        "--no-owner",
        "--no-privileges",
        "--schema-only",
        "--data-only",
    ],
    "",
)
PG_OPTIONS = {
    "psql": _PSQL,
    "pg_dump": _PG_DUMP,
    "pg_isready": _PLACE | {"-t": "", "--timeout": ""},
}
PG_VARIABLES = {
    "PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password", "PGDATABASE": "dbname",
    "PGSSLMODE": "sslmode", "PGSSLROOTCERT": "sslrootcert", "PGSSLCERT": "sslcert", "PGSSLKEY": "sslkey",
    "PGOPTIONS": "options", "PGAPPNAME": "application_name", "PGCONNECT_TIMEOUT": "connect_timeout",
    "PGHOSTADDR": "hostaddr", "PGTARGETSESSIONATTRS": "target_session_attrs",
}  # fmt: skip
MYSQL = {
    "-h": "host", "--host": "host", "-P": "port", "--port": "port", "-u": "login", "--user": "login",
    "-p": "password", "--password": "password", "-D": "schema", "--database": "schema", "-S": "unix_socket",
    "--socket": "unix_socket", "--ssl-mode": "ssl_mode", "--ssl-ca": "ca", "--ssl-cert": "cert",
    "--ssl-key": "key", "--default-character-set": "charset", "-e": "", "--execute": "", "--protocol": "",
    "--defaults-file": "", "--defaults-extra-file": "", "--defaults-group-suffix": "", "--login-path": "",
    "--connect-timeout": "connect_timeout", "--tls-version": "", "--ssl-cipher": "cipher",
}  # fmt: skip
MONGOSH = {
    "--host": "host", "--port": "port", "-u": "login", "--username": "login", "-p": "password",
    "--password": "password", "--authenticationDatabase": "authSource",
    "--authenticationMechanism": "authMechanism", "--tlsCAFile": "tlsCAFile",
    "--tlsCertificateKeyFile": "tlsCertificateKeyFile", "--eval": "", "-f": "", "--file": "",
    "--tlsCertificateKeyFilePassword": "tlsCertificateKeyFilePassword", "--apiVersion": "",
    "--gssapiServiceName": "", "--tlsCRLFile": "",
}  # fmt: skip
REDIS = {
    "-h": "host", "-p": "port", "-a": "password", "--pass": "password", "--user": "login", "-n": "db",
    "-u": "url", "-s": "unix_socket_path", "--cacert": "ssl_ca_certs", "--cert": "ssl_certfile",
    "--key": "ssl_keyfile", "-r": "", "-i": "", "--sni": "", "-t": "socket_timeout", "-d": "", "-D": "",
    "--cacertdir": "", "--eval": "", "--pattern": "",
}  # fmt: skip
CURL = {
    "-u": "user", "--user": "user", "--url": "url", "--cacert": "verify", "-E": "cert", "--cert": "cert",
    "-x": "", "--proxy": "", "-X": "", "--request": "", "-d": "", "--data": "", "--data-raw": "", "-o": "",
    "--output": "", "-m": "timeout", "--max-time": "timeout", "-A": "agent", "--user-agent": "agent",
    "--connect-timeout": "", "--retry": "", "-w": "", "--write-out": "", "-F": "", "--form": "",
    "--form-string": "", "--data-ascii": "", "--data-binary": "", "--data-urlencode": "", "--json": "",
    "-b": "cookie", "--cookie": "cookie", "-c": "", "--cookie-jar": "", "-T": "", "--upload-file": "",
    "-e": "", "--referer": "", "--oauth2-bearer": "bearer", "-K": "", "--config": "", "--key": "key",
    "--pass": "", "--capath": "", "--cert-type": "", "--key-type": "", "--ciphers": "", "--resolve": "",
    "--connect-to": "", "--interface": "", "-U": "", "--proxy-user": "", "--noproxy": "", "--aws-sigv4": "",
    "-C": "", "--continue-at": "", "-r": "", "--range": "", "-z": "", "--time-cond": "", "-D": "",
    "--dump-header": "", "--limit-rate": "", "--max-redirs": "", "--retry-delay": "", "--retry-max-time": "",
    "--max-filesize": "", "-P": "", "--ftp-port": "", "-Q": "", "--quote": "", "-y": "", "-Y": "", "-t": "",
    "--stderr": "", "--trace": "", "--trace-ascii": "", "--unix-socket": "", "--url-query": "",
}  # fmt: skip
