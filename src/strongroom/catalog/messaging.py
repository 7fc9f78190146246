"""What carries messages: queues, mail, chat, pagers."""

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
    secret_lines,
    text,
)
from strongroom.catalog.kind import ConnectionType, airflow, exclusive, together, way

FAMILY = "messaging"

_SLACK_PROXY = secret("proxy", "Proxy", "It may hold a password.", placeholder="http://localhost:9000")

TYPES = (
    ConnectionType(
        name="kafka",
        title="Apache Kafka",
        family=FAMILY,
        icon="apache-kafka",
        docs=airflow("apache-kafka", "kafka"),
        extras=(
            text(
                "bootstrap.servers",
                "Servers to begin with",
                is_required=True,
                placeholder="broker-1:9092,broker-2:9092",
                lookalikes=("bootstrap_servers", "metadata.broker.list"),
            ),
            text("group.id", "Consumer group", lookalikes=("group_id",)),
            text("client.id", "Client ID"),
            choice(
                "security.protocol",
                "Protocol",
                "PLAINTEXT SSL SASL_PLAINTEXT SASL_SSL",
                default="PLAINTEXT",
                danger=IN_CLEAR,
                dangerous=("sasl_plaintext",),
            ),
            choice(
                "sasl.mechanism",
                "Sign in by",
                "PLAIN SCRAM-SHA-256 SCRAM-SHA-512 GSSAPI OAUTHBEARER",
                aliases=("sasl.mechanisms",),
            ),
            text("sasl.username", "Username"),
            secret("sasl.password", "Password"),
            text("sasl.kerberos.service.name", "Kerberos service"),
            text("sasl.kerberos.principal", "Kerberos principal"),
            path("sasl.kerberos.keytab", "Kerberos keytab"),
            text("sasl.oauthbearer.client.id", "OAuth client ID"),
            secret("sasl.oauthbearer.client.secret", "OAuth client secret"),
            text("sasl.oauthbearer.token.endpoint.url", "OAuth token endpoint"),
            path("ssl.ca.location", "CA certificate"),
            secret_lines("ssl.ca.pem", "CA certificate, here"),
            path("ssl.certificate.location", "Client certificate"),
            path("ssl.key.location", "Client key"),
            secret("ssl.key.password", "Password of the client key"),
            secret_lines("ssl.key.pem", "Client key, here"),
            flag(
                "enable.ssl.certificate.verification",
                "Check the certificate",
                default=True,
                danger=FALSE_SERVER,
                dangerous=("false",),
            ),
            choice(
                "auto.offset.reset",
                "Where no offset is known",
                "earliest latest error smallest beginning largest end",
            ),
            flag("enable.auto.commit", "Commit offsets by itself"),
        ),
        groups=(
            together("Username and password", "sasl.username", "sasl.password"),
            together("Client certificate", "ssl.certificate.location", "ssl.key.location"),
        ),
        others="configuration of librdkafka",
    ),
    # Airflow itself has no such type. Hooks that others wrote for RabbitMQ call it so and read the virtual
    # host in schema; the options are those of RabbitMQ's own URIs.
    ConnectionType(
        name="amqp",
        title="RabbitMQ (AMQP 0-9-1)",
        family=FAMILY,
        icon="rabbitmq",
        docs="https://www.rabbitmq.com/docs/uri-query-parameters",
        default_id="rabbitmq_default",
        standard=(
            host(is_required=True),
            port(5672, "With TLS 5671."),
            schema("Virtual host", placeholder="/"),
            login(),
            password(),
        ),
        extras=(
            flag("ssl", "TLS", "As amqps:// says.", aliases=("ssl_enabled",)),
            path("cacertfile", "CA certificate", aliases=("ca_certs",)),
            path("certfile", "Client certificate"),
            path("keyfile", "Client key"),
            secret("password", "Password of the client key"),
            choice(
                "verify",
                "Check the certificate",
                "verify_peer verify_none",
                danger=FALSE_SERVER,
                dangerous=("verify_none",),
            ),
            text("server_name_indication", "Name in the certificate"),
            choice("auth_mechanism", "Sign in by", "plain amqplain external"),
            integer("heartbeat", "Seconds between heartbeats"),
            integer("connection_timeout", "Milliseconds to connect"),
            integer("channel_max", "Channels at most"),
            integer("frame_max", "Bytes of a frame at most"),
        ),
        groups=(together("Client certificate", "certfile", "keyfile"),),
        others="what the hook that asks for it reads; Airflow itself has none",
    ),
    ConnectionType(
        name="smtp",
        title="SMTP",
        family=FAMILY,
        docs=airflow("smtp", "smtp"),
        standard=(host(is_required=True), port(465), login(), password()),
        extras=(
            text("from_email", "From email", placeholder="airflow@example.com"),
            integer("timeout", "Connection timeout", default=30),
            integer("retry_limit", "Number of Retries", default=5),
            flag("disable_ssl", "Disable SSL", "No TLS from the start (port 465).", default=False),
            flag("disable_tls", "Disable TLS", "No STARTTLS (port 587).", default=False),
            choice(
                "ssl_context",
                "How strictly it checks",
                "default none",
                default="default",
                danger=FALSE_SERVER,
                dangerous=("none",),
            ),
            path("subject_template", "Path to the subject template"),
            path("html_content_template", "Path to the html content template"),
            choice("auth_type", "Auth Type", "basic oauth2", default="basic"),
            secret("access_token", "Access Token"),
            text("client_id", "Client ID"),
            secret("client_secret", "Client Secret"),
            text("tenant_id", "Tenant ID", default="common"),
            text("scope", "Scope", default="https://outlook.office.com/.default"),
            document(
                "oauth2",
                "OAuth2 provider",
                "Of live clients (docs/live.md); Airflow's hook does not know it.",
                placeholder='{"token_url": "https://id.example.com/token"}',
                is_secret=True,
            ),
        ),
        groups=(
            exclusive(
                "Sign in",
                way("Password", "login", "password"),
                way("OAuth2 token", "login", "auth_type", "access_token"),
                way("OAuth2 provider", "login", "auth_type", "oauth2"),
                way(
                    "OAuth2 client", "login", "auth_type", "client_id", "client_secret", "tenant_id", "scope"
                ),
            ),
        ),
    ),
    ConnectionType(
        name="imap",
        title="IMAP",
        family=FAMILY,
        docs=airflow("imap", "imap"),
        standard=(host(is_required=True), port(993), login(), password()),
        extras=(
            flag("use_ssl", "TLS", default=True),
            choice(
                "ssl_context",
                "How strictly it checks",
                "default none",
                default="default",
                danger=FALSE_SERVER,
                dangerous=("none",),
            ),
        ),
    ),
    ConnectionType(
        name="slack",
        title="Slack API",
        family=FAMILY,
        docs=airflow("slack", "slack"),
        default_id="slack_api_default",
        standard=(
            password("Slack API Token", is_required=True, placeholder="REPLACE ME WITH A SLACK ACCESS TOKEN"),
        ),
        extras=(
            integer("timeout", "Timeout", "Seconds for an answer.", placeholder="30"),
            text("base_url", "Base URL", placeholder="https://www.slack.com/api/"),
            _SLACK_PROXY,
        ),
    ),
    ConnectionType(
        name="slackwebhook",
        title="Slack Incoming Webhook",
        family=FAMILY,
        icon="slack",
        docs=airflow("slack", "slack-incoming-webhook"),
        default_id="slack_default",
        standard=(
            host(
                "Slack Webhook Endpoint",
                "Whoever has the whole address can post.",
                is_secret=True,
                placeholder="hooks.slack.com/services",
            ),
            schema(about="https.", placeholder="https"),
            password(
                "Webhook Token", is_required=True, placeholder="T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"
            ),
        ),
        extras=(integer("timeout", "Timeout", "Seconds for an answer.", placeholder="30"), _SLACK_PROXY),
    ),
    ConnectionType(
        name="discord",
        title="Discord",
        family=FAMILY,
        docs=airflow("discord"),
        standard=(
            host(
                about="Whoever has the whole address can post.",
                is_secret=True,
                placeholder="https://discord.com/api/",
            ),
        ),
        extras=(
            secret(
                "webhook_endpoint",
                "Webhook Endpoint",
                is_required=True,
                placeholder="webhooks/{webhook.id}/{webhook.token}",
            ),
        ),
        others="request headers",
    ),
    ConnectionType(
        name="telegram",
        title="Telegram",
        family=FAMILY,
        docs=airflow("telegram"),
        standard=(
            host("Chat ID", "Where messages go by themselves."),
            password("Bot token", is_required=True, placeholder="123456:ABC…"),
        ),
    ),
    ConnectionType(
        name="pagerduty",
        title="PagerDuty",
        family=FAMILY,
        docs=airflow("pagerduty"),
        standard=(password("Pagerduty API token"),),
        extras=(secret("routing_key", "Routing Key", "Of the Events API."),),
    ),
    ConnectionType(
        name="pagerduty_events",
        title="PagerDuty Events",
        family=FAMILY,
        icon="pagerduty",
        docs=airflow("pagerduty"),
        standard=(password("Pagerduty Integration key", is_required=True),),
    ),
    ConnectionType(
        name="opsgenie",
        title="Opsgenie",
        family=FAMILY,
        docs=airflow("opsgenie", "connections"),
        standard=(
            host(about="Of the API.", default="https://api.opsgenie.com"),
            password("Opsgenie API Key", is_required=True),
        ),
    ),
)
