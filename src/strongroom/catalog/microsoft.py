"""Services of Microsoft that sign in as `azure` does: Data Factory, Synapse, Graph and others."""

from __future__ import annotations

from strongroom.catalog.azure import IDENTITY, MACHINE, principal, subscription, tenant
from strongroom.catalog.field import (
    FALSE_SERVER,
    choice,
    document,
    flag,
    host,
    login,
    password,
    path,
    port,
    schema,
    secret,
    secret_lines,
    text,
)
from strongroom.catalog.kind import ConnectionType, airflow, exclusive, way

FAMILY = "microsoft"

_CLIENT_ID = login("Client ID")
_CLIENT_SECRET = password("Client Secret")

TYPES = (
    ConnectionType(
        name="azure_data_factory",
        title="Azure Data Factory",
        family=FAMILY,
        docs=airflow("microsoft-azure", "adf"),
        standard=(_CLIENT_ID, password("Secret")),
        extras=(
            tenant("tenantId", "Tenant ID"),
            subscription("subscriptionId"),
            text("resource_group_name", "Resource Group Name", lookalikes=("resource_group",)),
            text("factory_name", "Factory Name"),
            *IDENTITY,
        ),
        groups=(principal("tenantId"),),
    ),
    ConnectionType(
        name="azure_data_explorer",
        title="Azure Data Explorer",
        family=FAMILY,
        docs=airflow("microsoft-azure", "adx"),
        standard=(
            host("Data Explorer Cluster URL", is_required=True),
            login("Username", placeholder="Varies with authentication method"),
            password(placeholder="Varies with authentication method"),
        ),
        extras=(
            choice(
                "auth_method",
                "Authentication Method",
                "AAD_APP AAD_APP_CERT AAD_CREDS AAD_DEVICE AZURE_TOKEN_CRED",
                is_required=True,
            ),
            tenant("tenant", "Tenant ID"),
            secret_lines("certificate", "Application PEM Certificate", "With its private key."),
            secret("thumbprint", "Application Certificate Thumbprint"),
            *IDENTITY,
        ),
        groups=(
            exclusive(
                "Sign in",
                MACHINE,
                way("Application or user", "login", "password", "tenant"),
                way("Certificate", "login", "tenant", "certificate", "thumbprint"),
            ),
        ),
    ),
    ConnectionType(
        name="azure_synapse",
        title="Azure Synapse",
        family=FAMILY,
        docs=airflow("microsoft-azure", "azure_synapse"),
        standard=(host("Synapse Workspace URL", is_required=True), _CLIENT_ID, password("Secret")),
        extras=(
            tenant("tenantId", "Tenant ID"),
            subscription("subscriptionId"),
            *IDENTITY,
        ),
        groups=(principal("tenantId"),),
    ),
    ConnectionType(
        name="azure_batch",
        title="Azure Batch Service",
        family=FAMILY,
        docs=airflow("microsoft-azure", "azure_batch"),
        standard=(login("Batch Account Name"), password("Batch Account Access Key")),
        extras=(text("account_url", "Batch Account URL", is_required=True), *IDENTITY),
        groups=(exclusive("Sign in", MACHINE, way("Account key", "login", "password")),),
    ),
    ConnectionType(
        name="azure_container_registry",
        title="Azure Container Registry",
        family=FAMILY,
        docs=airflow("microsoft-azure", "acr"),
        standard=(
            host("Registry Server", is_required=True, placeholder="docker image registry server"),
            login("Registry Username", placeholder="private registry username"),
            password("Registry Password"),
        ),
        extras=(
            subscription("subscription_id", "Subscription ID (optional)"),
            text("resource_group", "Resource group name (optional)", lookalikes=("resource_group_name",)),
            *IDENTITY,
        ),
        groups=(
            exclusive(
                "Sign in",
                way("Password", "login", "password"),
                way(
                    "What the machine has",
                    "subscription_id",
                    "resource_group",
                    "managed_identity_client_id",
                    "workload_identity_tenant_id",
                ),
            ),
        ),
    ),
    ConnectionType(
        name="msgraph",
        title="Microsoft Graph API",
        family=FAMILY,
        icon="microsoft-graph",
        docs=airflow("microsoft-azure", "msgraph"),
        standard=(
            host(),
            port(),
            schema(),
            login("Client ID", is_required=True),
            password("Client Secret", "Or the certificate's."),
        ),
        extras=(
            text("tenant_id", "Tenant ID", is_required=True, aliases=("tenantId",), lookalikes=("tenant",)),
            path("certificate_path", "Certificate path"),
            secret_lines("certificate_data", "Certificate data", "With its private key."),
            text("scopes", "Scopes", default="https://graph.microsoft.com/.default"),
            text("api_version", "API Version", default="v1.0"),
            text("base_url", "Base URL"),
            text("authority", "Authority", placeholder="login.microsoftonline.com"),
            text("allowed_hosts", "Allowed hosts"),
            text("drive_id", "Drive ID"),
            flag("disable_instance_discovery", "Disable instance discovery", default=False),
            document("proxies", "Proxies"),
            flag("verify", "Verify", default=True, danger=FALSE_SERVER, dangerous=("false",)),
            flag("trust_env", "Trust environment", default=False),
        ),
        groups=(
            exclusive(
                "Sign in",
                way("Client secret", "password"),
                way("Certificate, a file", "certificate_path", "password"),
                way("Certificate, here", "certificate_data", "password"),
            ),
        ),
    ),
    ConnectionType(
        name="powerbi",
        title="Power BI",
        family=FAMILY,
        docs=airflow("microsoft-azure", "powerbi"),
        standard=(_CLIENT_ID, _CLIENT_SECRET),
        extras=(tenant("tenant_id", "Tenant ID"),),
    ),
)
