"""Files and the machines they are on: folders, FTP, SSH, shares, package indexes."""

from __future__ import annotations

from strongroom.catalog.field import (
    FALSE_SERVER,
    IN_CLEAR,
    Field,
    choice,
    document,
    flag,
    host,
    integer,
    login,
    number,
    password,
    path,
    port,
    schema,
    secret,
    secret_lines,
    text,
)
from strongroom.catalog.kind import ConnectionType, Group, airflow, exclusive, together, way

FAMILY = "files"

_SSH_PLACE: tuple[Field, ...] = (
    host(is_required=True),
    port(22),
    login("Username"),
    password(about="Or the passphrase of the file with the key."),
)
_NO_CHECK = flag(
    "no_host_key_check",
    "Take any host key",
    "Then a false server is not found out; better `host_key`.",
    default=False,
    aliases=("ignore_hostkey_verification",),
    danger=FALSE_SERVER,
    dangerous=("true",),
)
_SSH: tuple[Field, ...] = (
    path("key_file", "File with the private key"),
    secret_lines("private_key", "Private key, here"),
    secret("private_key_passphrase", "Passphrase of the key"),
    text("host_key", "Host key", "Base64, as in known_hosts.", placeholder="ssh-ed25519 AAAA…"),
    _NO_CHECK,
    flag(
        "allow_host_key_change",
        "Take a changed host key",
        default=False,
        danger=FALSE_SERVER,
        dangerous=("true",),
    ),
    flag("look_for_keys", "Look for keys in ~/.ssh", default=True),
    number("conn_timeout", "Seconds to connect", default=10, lookalikes=("timeout",)),
    number("cmd_timeout", "Seconds for a command", default=10),
    flag("compress", "Compress", default=True),
    document("disabled_algorithms", "Algorithms not to use", placeholder='{"pubkeys": ["rsa-sha2-256"]}'),
    document("ciphers", "Ciphers to use"),
    path("known_hosts", "Known hosts", "Read by asynchronous tasks."),
    secret("passphrase", "Passphrase of the key", "Read by asynchronous tasks.", is_deprecated=True),
)
_SSH_WAYS: tuple[Group, ...] = (
    exclusive(
        "Sign in",
        # The passphrase of a file is the password; asynchronous tasks read it where that of a key here is.
        way("Key, a file", "key_file", "password", "private_key_passphrase"),
        way("Key, here", "private_key", "private_key_passphrase"),
        way("Password", "password"),
    ),
    exclusive("Host key", way("This one", "host_key"), way("Any", "no_host_key_check")),
)

TYPES = (
    ConnectionType(
        name="fs",
        title="File (path)",
        family=FAMILY,
        icon="folder",
        docs=airflow("standard"),
        extras=(path("path", "Path", "The folder that other paths begin in.", placeholder="/data"),),
    ),
    ConnectionType(
        name="ftp",
        title="FTP",
        family=FAMILY,
        docs=airflow("ftp", "ftp"),
        standard=(host(is_required=True), port(21), login(), password()),
        extras=(
            flag("passive", "Passive mode", default=True),
            text("encoding", "Character set", placeholder="utf-8"),
        ),
    ),
    ConnectionType(
        name="sftp",
        title="SFTP",
        family=FAMILY,
        docs=airflow("sftp", "sftp"),
        standard=_SSH_PLACE,
        extras=(
            *_SSH,
            text("host_proxy_cmd", "Command to reach the host"),
        ),
        groups=_SSH_WAYS,
    ),
    ConnectionType(
        name="ssh",
        title="SSH",
        family=FAMILY,
        docs=airflow("ssh", "ssh"),
        standard=_SSH_PLACE,
        extras=_SSH,
        groups=_SSH_WAYS,
    ),
    ConnectionType(
        name="samba",
        title="Samba",
        family=FAMILY,
        docs=airflow("samba", "connections"),
        standard=(host(is_required=True), port(445), schema("Share"), login(), password()),
        extras=(
            choice("share_type", "Share Type", "posix windows", default="posix"),
            choice(
                "auth_protocol",
                "Auth Protocol",
                "negotiate ntlm kerberos",
                default="negotiate",
                aliases=("auth",),
            ),
        ),
    ),
    ConnectionType(
        name="webhdfs",
        title="Apache WebHDFS",
        family=FAMILY,
        icon="apache-hadoop",
        docs=airflow("apache-hdfs", "connections"),
        standard=(
            host("Name nodes", "Several with commas between.", is_required=True),
            port(9870),
            schema("Prefix of paths"),
            login(),
            password(),
        ),
        extras=(
            flag("use_ssl", "TLS", default=False),
            flag(
                "verify",
                "Check the certificate",
                "Or the path of a CA's.",
                default=False,
                danger=FALSE_SERVER,
                dangerous=("false",),
            ),
            path("cert", "Client certificate"),
            path("key", "Client key"),
            document("cookies", "Cookies", is_secret=True),
            document("headers", "Request headers"),
        ),
        groups=(together("Client certificate", "cert", "key"),),
    ),
    ConnectionType(
        name="winrm",
        title="WinRM",
        family=FAMILY,
        icon="microsoft-windows",
        docs=airflow("microsoft-winrm"),
        standard=(host(is_required=True), login(), password()),
        extras=(
            text("endpoint", "Endpoint", placeholder="https://host:5986/wsman"),
            integer("remote_port", "Port", default=5985),
            choice(
                "transport",
                "Sign in by",
                "basic certificate ntlm kerberos credssp plaintext ssl",
                default="plaintext",
            ),
            choice(
                "server_cert_validation",
                "Check of the certificate",
                "validate ignore",
                default="validate",
                danger=FALSE_SERVER,
                dangerous=("ignore",),
            ),
            path("ca_trust_path", "CA certificates"),
            path("cert_pem", "Client certificate"),
            path("cert_key_pem", "Client key"),
            text("service", "Kerberos service", default="HTTP"),
            path("keytab", "Kerberos keytab"),
            flag("kerberos_delegation", "Kerberos delegates", default=False),
            text("kerberos_hostname_override", "Kerberos host"),
            choice(
                "message_encryption",
                "Encryption of messages",
                "auto always never",
                default="auto",
                danger=IN_CLEAR,
                dangerous=("never",),
            ),
            integer("read_timeout_sec", "Seconds to read", default=30),
            integer("operation_timeout_sec", "Seconds for an operation", default=20),
            flag(
                "credssp_disable_tlsv1_2",
                "CredSSP without TLS 1.2",
                default=False,
                danger="older versions of TLS can be broken",
                dangerous=("true",),
            ),
            flag("send_cbt", "Bind to the TLS channel", default=True),
        ),
        groups=(together("Client certificate", "cert_pem", "cert_key_pem"),),
    ),
    ConnectionType(
        name="package_index",
        title="Package Index (Python)",
        family=FAMILY,
        icon="python",
        docs=airflow("standard"),
        standard=(
            host(
                "Package Index URL",
                is_required=True,
                placeholder="Example: https://my-package-mirror.net/pypi/repo-name/simple",
            ),
            login(placeholder="Username for package index"),
            password(placeholder="Password for package index (will be masked)"),
        ),
    ),
    # Airflow's own two without a hook: what their fields mean is up to the code that asks for them.
    *(
        ConnectionType(
            name=name,
            title=name.capitalize(),
            family=FAMILY,
            docs="https://airflow.apache.org/docs/apache-airflow/stable/howto/connection.html",
            standard=(host(), port(), schema(), login(), password()),
            others="whatever the code that asks for it makes of them",
        )
        for name in ("generic", "email")
    ),
)
