"""Databases that are not of SQL: documents, keys, graphs, time series, search."""

from __future__ import annotations

from strongroom.catalog.field import (
    FALSE_SERVER,
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

FAMILY = "stores"

_INFLUX_TOKEN = secret("token", "Token")

TYPES = (
    ConnectionType(
        name="mongo",
        title="MongoDB",
        family=FAMILY,
        icon="mongodb",
        docs=airflow("mongo", "mongo"),
        standard=(
            host(is_required=True, about="Several with commas between."),
            port(27017, placeholder="Note: port should not be set for SRV connections"),
            schema("Default DB"),
            login("Username"),
            password(),
        ),
        extras=(
            flag("srv", "Srv", "Finds the servers by DNS (mongodb+srv://); then without a port."),
            flag("ssl", "Ssl", "TLS.", aliases=("tls",)),
            flag(
                "allow_insecure",
                "Allow Insecure",
                "Takes any certificate.",
                danger=FALSE_SERVER,
                dangerous=("true",),
            ),
            path("tlsCAFile", "CA certificate"),
            path("tlsCertificateKeyFile", "Client certificate and key"),
            secret("tlsCertificateKeyFilePassword", "Password of the client key"),
            text("replicaSet", "Replica set"),
            text("authSource", "Database of the login", placeholder="admin"),
            choice(
                "authMechanism",
                "Sign in by",
                "SCRAM-SHA-256 SCRAM-SHA-1 MONGODB-X509 MONGODB-AWS MONGODB-OIDC GSSAPI PLAIN",
            ),
            choice(
                "readPreference",
                "Read from",
                "primary primaryPreferred secondary secondaryPreferred nearest",
            ),
            flag("retryWrites", "Write again once"),
            integer("connectTimeoutMS", "Milliseconds to connect"),
            integer("serverSelectionTimeoutMS", "Milliseconds to find a server"),
            integer("maxPoolSize", "Connections at most"),
        ),
        others="options of MongoClient",
    ),
    ConnectionType(
        name="redis",
        title="Redis",
        family=FAMILY,
        docs=airflow("redis", "connections"),
        standard=(
            host(is_required=True),
            port(6379),
            login(about="A user of Redis' access list; mostly none."),
            password(),
        ),
        extras=(
            integer("db", "DB", "Number of the database.", default=0),
            flag("cluster", "Is cluster", default=False),
            text(
                "startup_nodes",
                "Startup nodes",
                "More nodes of a cluster to begin with.",
                placeholder="redis-1:6379,redis-2:6379",
            ),
            flag("ssl", "Enable SSL", default=False, lookalikes=("tls", "use_ssl")),
            choice(
                "ssl_cert_reqs",
                "SSL verify mode",
                "required optional none",
                default="required",
                danger=FALSE_SERVER,
                dangerous=("none", "optional"),
            ),
            path("ssl_ca_certs", "CA certificate path"),
            path("ssl_certfile", "Certificate path"),
            path("ssl_keyfile", "Private key path"),
            flag("ssl_check_hostname", "Enable hostname check", default=False),
        ),
        groups=(together("Client certificate", "ssl_certfile", "ssl_keyfile"),),
    ),
    ConnectionType(
        name="cassandra",
        title="Apache Cassandra",
        family=FAMILY,
        docs=airflow("apache-cassandra", "cassandra"),
        standard=(
            host("Contact points", "Several with commas between.", is_required=True),
            port(9042),
            schema("Keyspace"),
            login(),
            password(),
        ),
        extras=(
            choice(
                "load_balancing_policy",
                "Load balancing",
                "RoundRobinPolicy DCAwareRoundRobinPolicy WhiteListRoundRobinPolicy TokenAwarePolicy",
            ),
            document(
                "load_balancing_policy_args", "Arguments of the policy", placeholder='{"local_dc": "dc1"}'
            ),
            document("ssl_options", "TLS", placeholder='{"ca_certs": "/path/ca.pem"}'),
            text("cql_version", "CQL version"),
            integer("protocol_version", "Version of the protocol"),
        ),
    ),
    ConnectionType(
        name="neo4j",
        title="Neo4j",
        family=FAMILY,
        docs=airflow("neo4j", "neo4j"),
        standard=(
            host(is_required=True),
            port(7687),
            schema("Database"),
            login(),
            password(),
        ),
        extras=(
            flag("neo4j_scheme", "Route to a cluster", "neo4j:// rather than bolt://.", default=False),
            flag("encrypted", "TLS", default=False),
            flag("certs_trusted_ca", "Certificate of a known CA", "The ending +s.", default=False),
            flag("certs_self_signed", "Any certificate", "The ending +ssc.", default=False),
        ),
        groups=(
            exclusive(
                "Certificate of the server",
                way("Signed by a known CA", "certs_trusted_ca"),
                way("Any", "certs_self_signed"),
            ),
        ),
    ),
    ConnectionType(
        name="arangodb",
        title="ArangoDB",
        family=FAMILY,
        docs=airflow("arangodb", "arangodb"),
        standard=(
            host(
                "ArangoDB Host URL or comma separated list of URLs (coordinators in a cluster)",
                is_required=True,
            ),
            schema("ArangoDB Database", placeholder="_system"),
            login("ArangoDB Username", placeholder="root"),
            password("ArangoDB Password"),
        ),
    ),
    ConnectionType(
        name="influxdb",
        title="InfluxDB",
        family=FAMILY,
        docs=airflow("influxdb", "influxdb"),
        standard=(host(is_required=True), port(8086), schema("Schema", "http or https.", default="https")),
        extras=(_INFLUX_TOKEN.replace(is_required=True), text("org", "Organization Name")),
        others="arguments of InfluxDBClient",
    ),
    ConnectionType(
        name="influxdb3",
        title="InfluxDB 3",
        family=FAMILY,
        icon="influxdb",
        docs=airflow("influxdb", "influxdb3"),
        standard=(
            host(is_required=True),
            port(8181),
            schema("Schema", "http or https.", default="https"),
            password(about="Read as the token where extra has none."),
        ),
        extras=(
            _INFLUX_TOKEN,
            text("database", "Database", is_required=True, aliases=("db",)),
            text("org", "Organization Name (optional)"),
        ),
        groups=(exclusive("Token", way("In extra", "token"), way("As the password", "password")),),
        others="arguments of InfluxDBClient3",
    ),
    ConnectionType(
        name="elasticsearch",
        title="Elasticsearch",
        family=FAMILY,
        docs=airflow("elasticsearch", "elasticsearch"),
        standard=(
            host(is_required=True),
            port(9200),
            schema("Scheme", "http or https.", default="http"),
            login(),
            password(),
        ),
        extras=(
            flag("verify_certs", "Check the certificate", danger=FALSE_SERVER, dangerous=("false",)),
            path("ca_certs", "CA certificate"),
            flag("http_compress", "Compress"),
            integer("timeout", "Seconds for an answer"),
            integer("fetch_size", "Rows at a time", default=1000),
            flag("field_multi_value_leniency", "First of several values", default=False),
        ),
        others="arguments of the Elasticsearch client",
    ),
    ConnectionType(
        name="opensearch",
        title="OpenSearch",
        family=FAMILY,
        docs=airflow("opensearch", "opensearch"),
        standard=(host(is_required=True), port(9200), login(), password()),
        extras=(
            flag("use_ssl", "TLS", default=False),
            flag(
                "verify_certs",
                "Check the certificate",
                default=False,
                danger=FALSE_SERVER,
                dangerous=("false",),
            ),
            choice("scheme", "Scheme", "http https"),
            integer("timeout", "Seconds for an answer"),
            flag("http_compress", "Compress"),
            text("url_prefix", "Prefix of paths"),
            text("opaque_id", "Opaque ID", "Marks what we ask, in the logs of the server."),
            document("headers", "Request headers", is_secret=True),
        ),
    ),
)
