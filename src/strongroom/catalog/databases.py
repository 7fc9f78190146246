"""SQL databases, and the two standards (ODBC, JDBC) that reach any of them."""

from __future__ import annotations

from strongroom.catalog.field import (
    FALSE_SERVER,
    IN_CLEAR,
    choice,
    document,
    flag,
    host,
    integer,
    login,
    password,
    path,
    port,
    schema,
    secret,
    text,
)
from strongroom.catalog.kind import ConnectionType, airflow, exclusive, together, way

FAMILY = "databases"

_PLACEHOLDER = text(
    "placeholder", "Placeholder", "The mark of a parameter in SQL, where the driver's is another."
)
# What every hook of common-sql reads (DbApiHook). Not offered where the hook hands the whole extra on to
# its driver, as those of PostgreSQL, SQL Server, Redshift and Impala do: the driver refuses these keys.
SQL = (
    _PLACEHOLDER,
    text("insert_statement_format", "Format of INSERT"),
    text("replace_statement_format", "Format of REPLACE"),
    text("escape_word_format", "Format of an escaped name"),
    flag("escape_column_names", "Escape column names", default=False),
)

_GOOGLE_SIGN_IN = text(
    "gcp_conn_id", "Google connection", "With `iam`: a token of Cloud SQL signs in. For live clients alone."
)
_AWS_SIGN_IN = (
    flag("iam", "Sign in with AWS IAM", "A token of 15 minutes instead of the password.", default=False),
    text("aws_conn_id", "AWS connection", "Whose role asks for the token.", default="aws_default"),
)

TYPES = (
    ConnectionType(
        name="postgres",
        title="PostgreSQL",
        family=FAMILY,
        icon="postgresql",
        docs=airflow("postgres", "postgres"),
        standard=(
            host(is_required=True),
            port(5432),
            schema("Database"),
            login(),
            password(),
        ),
        extras=(
            choice(
                "sslmode",
                "TLS",
                "disable allow prefer require verify-ca verify-full",
                "Only verify-full finds out a false server.",
                default="prefer",
                danger=IN_CLEAR,
                dangerous=("disable", "allow"),
            ),
            path("sslrootcert", "CA certificate"),
            path("sslcert", "Client certificate"),
            path("sslkey", "Client key"),
            integer("connect_timeout", "Seconds to connect"),
            text("application_name", "Name of the application"),
            text("options", "Options of the session", placeholder="-c statement_timeout=3000ms"),
            text("target_session_attrs", "Kind of server", placeholder="read-write"),
            text("client_encoding", "Character set"),
            integer("keepalives_idle", "Seconds before a keep-alive"),
            *_AWS_SIGN_IN,
            flag("redshift", "Amazon Redshift", "With `iam`: a cluster of Redshift.", default=False),
            flag("redshift-serverless", "Redshift Serverless", default=False),
            text("cluster-identifier", "Redshift cluster"),
            text("workgroup-name", "Redshift workgroup"),
            text(
                "azure_conn_id", "Azure connection", "With `iam`: a token of Entra ID signs in, not of AWS."
            ),
            _GOOGLE_SIGN_IN,
            choice(
                "cursor", "Cursor", "dictcursor realdictcursor namedtuplecursor", "What a row is in Python."
            ),
            document("sqlalchemy_query", "Query of the SQLAlchemy URL"),
            text("sqlalchemy_scheme", "Scheme of the SQLAlchemy URL"),
        ),
        groups=(
            exclusive(
                "Sign in",
                way("Password", "login", "password"),
                way("AWS IAM", "login", "iam", "aws_conn_id"),
                way("Entra ID", "login", "iam", "azure_conn_id"),
                way("Google", "login", "iam", "gcp_conn_id"),
            ),
            exclusive(
                "Redshift",
                way("Cluster", "redshift", "cluster-identifier"),
                way("Serverless", "redshift-serverless", "workgroup-name"),
            ),
            together("Client certificate", "sslcert", "sslkey"),
        ),
        others="parameters of libpq",
    ),
    ConnectionType(
        name="mysql",
        title="MySQL",
        family=FAMILY,
        docs=airflow("mysql", "mysql"),
        standard=(
            host(default="localhost"),
            port(3306),
            schema("Database"),
            login(),
            password(),
        ),
        extras=(
            choice(
                "ssl_mode",
                "TLS",
                "DISABLED PREFERRED REQUIRED VERIFY_CA VERIFY_IDENTITY",
                "Only VERIFY_IDENTITY finds out a false server.",
                danger=IN_CLEAR,
                dangerous=("disabled",),
                lookalikes=("sslmode",),
            ),
            document("ssl", "TLS files", placeholder='{"ca": "/path/ca.pem", "cert": "…", "key": "…"}'),
            text("charset", "Character set", placeholder="utf8mb4"),
            choice("cursor", "Cursor", "sscursor dictcursor ssdictcursor", "What a row is in Python."),
            path("unix_socket", "Unix socket"),
            flag(
                "local_infile",
                "LOAD DATA LOCAL",
                "For the SQLAlchemy URL; the hook itself takes it as an argument.",
                danger="a server may fetch files of the machine the task runs on",
                dangerous=("true",),
            ),
            choice(
                "client",
                "Driver",
                "mysqlclient mysql-connector-python pymysql",
                default="mysqlclient",
            ),
            *_AWS_SIGN_IN,
            _GOOGLE_SIGN_IN,
            *SQL,
        ),
        groups=(
            exclusive(
                "Sign in",
                way("Password", "login", "password"),
                way("AWS IAM", "login", "iam", "aws_conn_id"),
                way("Google", "login", "iam", "gcp_conn_id"),
            ),
        ),
        others="query of the SQLAlchemy URL",
    ),
    ConnectionType(
        name="mssql",
        title="Microsoft SQL Server",
        family=FAMILY,
        icon="microsoft-sql-server",
        docs=airflow("microsoft-mssql", "mssql"),
        standard=(
            host(is_required=True),
            port(1433),
            schema("Database"),
            login(),
            password(),
        ),
        extras=(
            text(
                "sqlalchemy_scheme",
                "Scheme of the SQLAlchemy URL",
                placeholder="mssql+pyodbc",
            ),
            integer("timeout", "Seconds for a statement"),
            integer("login_timeout", "Seconds to sign in"),
            text("appname", "Name of the application"),
            text("charset", "Character set"),
            choice(
                "encryption",
                "TLS",
                "off request require",
                lookalikes=("encrypt",),
                danger=IN_CLEAR,
                dangerous=("off",),
            ),
            text("tds_version", "TDS version"),
        ),
        others="arguments of pymssql",
    ),
    ConnectionType(
        name="oracle",
        title="Oracle",
        family=FAMILY,
        docs=airflow("oracle", "oracle"),
        standard=(
            host(),
            port(1521),
            schema("Schema", "The schema of the session, or the service where no other is said."),
            login(),
            password(),
        ),
        extras=(
            text("service_name", "Service name"),
            text("sid", "SID"),
            text("dsn", "Data source name", "Host, port and service in one; instead of the host."),
            choice(
                "mode",
                "Role",
                "sysdba sysasm sysoper sysbkp sysdgd syskmt sysrac",
                "What the session signs in as.",
            ),
            choice("purity", "Session of the pool", "new self default"),
            text("module", "Name of the module"),
            flag("events", "Events"),
            flag("thick_mode", "Thick mode", "Uses Oracle's client libraries."),
            path("thick_mode_lib_dir", "Folder of the client libraries"),
            path("thick_mode_config_dir", "Folder of tnsnames.ora"),
            flag("fetch_decimals", "Numbers as decimals"),
            flag("fetch_lobs", "LOBs as locators"),
            integer("expire_time", "Minutes between keep-alives"),
            path("wallet_location", "Folder of the wallet"),
            secret("wallet_password", "Password of the wallet"),
            flag(
                "ssl_server_dn_match",
                "Compare the certificate's name",
                "Where TLS is used.",
                danger=FALSE_SERVER,
                dangerous=("false",),
            ),
            text("ssl_server_cert_dn", "Name in the certificate", placeholder="CN=db.example.com,O=Acme"),
            text("cclass", "Connection class", "Of the pool on the server (DRCP)."),
            text("pool_name", "Pool on the server"),
            *SQL,
        ),
        groups=(
            exclusive(
                "Database", way("Service", "service_name"), way("SID", "sid"), way("Data source", "dsn")
            ),
        ),
    ),
    ConnectionType(
        name="sqlite",
        title="SQLite",
        family=FAMILY,
        docs=airflow("sqlite", "sqlite"),
        standard=(host("File", "Its path; nothing is a database in memory.", placeholder="/data/app.db"),),
        extras=(
            choice("mode", "Mode", "ro rw rwc memory"),
            choice("cache", "Cache", "shared private"),
            flag("immutable", "Nobody writes to it"),
        ),
        others="parameters of SQLite's URI",
    ),
    ConnectionType(
        name="odbc",
        title="ODBC",
        family=FAMILY,
        docs=airflow("odbc", "odbc"),
        standard=(host(), port(), schema("Database"), login(), password()),
        extras=(
            text(
                "driver",
                "Driver",
                "Airflow reads it only with [providers.odbc] allow_driver_in_extra.",
                placeholder="ODBC Driver 18 for SQL Server",
            ),
            text("dsn", "Data source name", "As in odbc.ini."),
            document("connect_kwargs", "Arguments of pyodbc.connect", placeholder='{"attrs_before": {}}'),
            text("sqlalchemy_scheme", "Scheme of the SQLAlchemy URL", placeholder="mssql+pyodbc"),
            choice(
                "Encrypt",
                "TLS",
                "yes no strict mandatory optional",
                danger=IN_CLEAR,
                dangerous=("no", "optional"),
            ),
            choice(
                "TrustServerCertificate",
                "Trust any certificate",
                "yes no",
                danger=FALSE_SERVER,
                dangerous=("yes",),
            ),
            choice("ApplicationIntent", "Intent", "ReadOnly ReadWrite"),
            _PLACEHOLDER,
        ),
        others="parts of the ODBC connection string",
    ),
    ConnectionType(
        name="jdbc",
        title="JDBC Connection",
        family=FAMILY,
        docs=airflow("jdbc", "jdbc"),
        standard=(
            host(
                "Connection URL",
                "The whole URL; without a password in it.",
                is_required=True,
                placeholder="jdbc:postgresql://db.example.com:5432/orders",
            ),
            login(),
            password(),
        ),
        extras=(
            path(
                "driver_path",
                "Driver (.jar)",
                "Airflow reads it only with [providers.jdbc] allow_driver_path_in_extra.",
            ),
            text(
                "driver_class",
                "Driver class",
                "Airflow reads it only with [providers.jdbc] allow_driver_class_in_extra.",
                placeholder="org.postgresql.Driver",
            ),
            text("sqlalchemy_scheme", "Scheme of the SQLAlchemy URL"),
            text("sqlalchemy_driver", "Driver of the SQLAlchemy URL"),
            document("sqlalchemy_query", "Query of the SQLAlchemy URL"),
            *SQL,
        ),
    ),
)

__all__ = ["FAMILY", "SQL", "TYPES"]
