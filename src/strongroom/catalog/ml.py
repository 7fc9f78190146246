"""Models and the stores of vectors beside them."""

from __future__ import annotations

from strongroom.catalog.field import (
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
    secret,
    text,
)
from strongroom.catalog.kind import ConnectionType, airflow, exclusive, way

FAMILY = "ml"

TYPES = (
    ConnectionType(
        name="openai",
        title="OpenAI",
        family=FAMILY,
        docs=airflow("openai", "connections"),
        standard=(
            host(about="Of the API, where it is not OpenAI's own.", placeholder="https://api.openai.com/v1"),
            password("API Key"),
        ),
        extras=(
            document("openai_client_kwargs", "Arguments of the client", is_secret=True),
            choice("auth_type", "Sign in by", "api_key workload_identity", default="api_key"),
            choice("workload_identity_provider", "Who gives the identity", "kubernetes azure gcp custom"),
            text("identity_provider_id", "Identity provider"),
            text("service_account_id", "Service account"),
            path("token_file_path", "File with the token"),
            text("audience", "Audience", "Of Google Cloud's token."),
            text("client_id", "Client ID", "Of Azure's managed identity."),
            text("object_id", "Object ID", "Likewise."),
            text("msi_res_id", "Resource ID of the identity", "Likewise."),
            text("resource", "Resource", "That Azure's token is for."),
            text("api_version", "API version", "Of Azure's identity endpoint."),
            text("token_provider", "Function that gives a token", placeholder="package.module.function"),
            text("token_type", "Type of the token", default="jwt"),
            number("refresh_buffer_seconds", "Seconds before it ends"),
        ),
        groups=(
            exclusive(
                "Sign in",
                way("API key", "password"),
                way(
                    "Workload identity",
                    "auth_type",
                    "workload_identity_provider",
                    "identity_provider_id",
                    "service_account_id",
                ),
            ),
        ),
    ),
    ConnectionType(
        name="cohere",
        title="Cohere",
        family=FAMILY,
        docs=airflow("cohere", "connections"),
        standard=(
            host(about="Of the API, where it is not Cohere's own."),
            password("API Key", is_required=True),
        ),
    ),
    ConnectionType(
        name="pinecone",
        title="Pinecone",
        family=FAMILY,
        docs=airflow("pinecone", "connections"),
        standard=(
            host("Pinecone Host"),
            login("Pinecone Environment"),
            password("Pinecone API key", is_required=True),
        ),
        extras=(
            text("region", "Pinecone Region"),
            flag("debug_curl", "PINECONE_DEBUG_CURL", "Prints requests, key and all.", default=False),
        ),
    ),
    ConnectionType(
        name="qdrant",
        title="Qdrant",
        family=FAMILY,
        docs=airflow("qdrant", "connections"),
        standard=(host(), port(6333), password("API Key")),
        extras=(
            text("url", "URL", "Instead of host and port.", placeholder="https://xyz.cloud.qdrant.io:6333"),
            integer("grpc_port", "GRPC Port", default=6334),
            flag("prefer_gprc", "Prefer GRPC", default=False, lookalikes=("prefer_grpc",)),
            flag("https", "HTTPS"),
            text("prefix", "Prefix"),
        ),
        groups=(exclusive("Where", way("Host", "host", "port"), way("URL", "url")),),
    ),
    ConnectionType(
        name="weaviate",
        title="Weaviate",
        family=FAMILY,
        docs=airflow("weaviate", "connections"),
        standard=(host(is_required=True), port(), login("OIDC Username"), password("OIDC Password")),
        extras=(
            flag("http_secure", "Use https", default=False),
            secret("token", "Weaviate API Key", aliases=("api_key",)),
            secret("access_token", "OIDC access token"),
            secret("refresh_token", "OIDC refresh token"),
            integer("expires_in", "Seconds the access token lives", default=60),
            secret("client_secret", "OIDC client secret"),
            text("scope", "OIDC scope", aliases=("oidc_scope",)),
            text("grpc_host", "gRPC host"),
            integer("grpc_port", "gRPC port"),
            flag("grpc_secure", "Use a secure channel for the underlying gRPC API", default=False),
            document("additional_headers", "More request headers", is_secret=True),
        ),
        groups=(
            exclusive(
                "Sign in",
                way("API key", "token"),
                way("OIDC token", "access_token", "refresh_token", "expires_in"),
                way("OIDC client", "client_secret", "scope"),
                way("OIDC user", "login", "password", "scope"),
            ),
        ),
    ),
)
