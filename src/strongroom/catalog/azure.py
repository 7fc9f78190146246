"""
Microsoft Azure, and Microsoft's services that sign in the same way.

The hooks spell the tenant in four ways (`tenantId`, `tenant_id`, `tenant`, `azure_tenant_id`), and each
reads only its own: the other spellings stand as lookalikes.
"""

from __future__ import annotations

from strongroom.catalog.field import (
    Field,
    choice,
    document,
    flag,
    host,
    login,
    password,
    path,
    schema,
    secret,
    secret_lines,
    text,
)
from strongroom.catalog.kind import ConnectionType, Group, airflow, exclusive, way

FAMILY = "azure"

_SPELLINGS_OF_TENANT = ("tenantId", "tenant_id", "tenant", "azure_tenant_id")
_SPELLINGS_OF_SUBSCRIPTION = ("subscriptionId", "subscription_id")
IDENTITY: tuple[Field, ...] = (
    text("managed_identity_client_id", "Managed Identity Client ID"),
    text("workload_identity_tenant_id", "Workload Identity Tenant ID"),
)
MACHINE = way(
    "What the machine has: a managed or workload identity",
    "managed_identity_client_id",
    "workload_identity_tenant_id",
)


def tenant(name: str, label: str) -> Field:
    """Describe the tenant's ID under the one key that the hook reads."""
    return text(name, label, lookalikes=tuple(one for one in _SPELLINGS_OF_TENANT if one != name))


def subscription(name: str, label: str = "Subscription ID") -> Field:
    """Describe the subscription's ID likewise."""
    return text(name, label, lookalikes=tuple(one for one in _SPELLINGS_OF_SUBSCRIPTION if one != name))


def principal(*more: str) -> Group:
    """Give the choice between a service principal and what the machine has."""
    return exclusive("Sign in", MACHINE, way("Service principal", "login", "password", *more))


_KEY_FILE: tuple[Field, ...] = (
    path("key_path", "File with the service principal"),
    document("key_json", "Service principal, here", is_secret=True),
)
_CERTIFICATE: tuple[Field, ...] = (
    secret_lines(
        "certificate",
        "Certificate",
        "Read by live clients, in place of a secret: PEM with its RSA key, or the path of such a file.",
    ),
    secret("certificate_password", "Password of the certificate's key"),
)
_CLOUD = choice(
    "cloud_environment",
    "Azure Cloud Environment",
    "AzurePublicCloud AzureUSGovernment AzureChinaCloud",
    default="AzurePublicCloud",
)

TYPES = (
    ConnectionType(
        name="azure",
        title="Azure",
        family=FAMILY,
        icon="microsoft-azure",
        docs=airflow("microsoft-azure", "azure"),
        standard=(login("Azure Client ID"), password("Azure Secret")),
        extras=(
            tenant("tenantId", "Azure Tenant ID"),
            subscription("subscriptionId", "Azure Subscription ID"),
            *IDENTITY,
            _CLOUD,
            *_KEY_FILE,
            *_CERTIFICATE,
            flag("use_azure_identity_object", "Credentials of azure-identity", default=False),
        ),
        groups=(
            exclusive(
                "Sign in",
                MACHINE,
                way("Service principal", "login", "password", "tenantId"),
                way(
                    "Service principal, its certificate",
                    "login",
                    "tenantId",
                    "certificate",
                    "certificate_password",
                ),
                way("Service principal, a file", "key_path"),
                way("Service principal, a document", "key_json"),
            ),
        ),
    ),
    ConnectionType(
        name="wasb",
        title="Azure Blob Storage",
        family=FAMILY,
        icon="azure-blob-storage",
        docs=airflow("microsoft-azure", "wasb"),
        standard=(
            host("Account URL (Active Directory Auth)", placeholder="account url"),
            login("Blob Storage Login (optional)", "Name of the account.", placeholder="account name"),
            password("Blob Storage Key (optional)"),
        ),
        extras=(
            secret("connection_string", "Blob Storage Connection String (optional)"),
            secret("shared_access_key", "Blob Storage Shared Access Key (optional)"),
            secret("account_key", "Account key"),
            secret("sas_token", "SAS Token (optional)", "The token, or a URL with it."),
            tenant("tenant_id", "Tenant Id (Active Directory Auth)"),
            *IDENTITY,
            document("client_secret_auth_config", "Arguments of ClientSecretCredential"),
        ),
        groups=(
            exclusive(
                "Sign in",
                MACHINE,
                way("Service principal", "login", "password", "tenant_id"),
                way("Connection string", "connection_string"),
                way("SAS token", "sas_token"),
                way("Shared access key", "shared_access_key"),
                way("Account key, as the password", "login", "password"),
                way("Account key", "account_key"),
            ),
        ),
        others="arguments of BlobServiceClient",
    ),
    ConnectionType(
        name="adls",
        title="Azure Data Lake Storage V2",
        family=FAMILY,
        icon="azure-data-lake",
        docs=airflow("microsoft-azure", "adls_v2"),
        standard=(
            host("ADLS Gen2 Account Name", placeholder="storage account name"),
            login("Client ID (Active Directory)", placeholder="client id"),
            password("ADLS Gen2 Key / Client Secret (Active Directory)"),
        ),
        extras=(
            secret("connection_string", "ADLS Gen2 Connection String (optional)"),
            tenant("tenant_id", "Tenant ID (Active Directory)"),
            *IDENTITY,
            text("account_url", "Account URL", "Follows from the account's name."),
            document("proxies", "Proxies"),
        ),
        groups=(
            exclusive(
                "Sign in",
                MACHINE,
                way("Service principal", "login", "password", "tenant_id"),
                way("Account key", "password"),
                way("Connection string", "connection_string"),
            ),
        ),
        others="arguments of DataLakeServiceClient",
    ),
    ConnectionType(
        name="azure_data_lake",
        title="Azure Data Lake (Gen1)",
        family=FAMILY,
        docs=airflow("microsoft-azure", "adl"),
        standard=(login("Azure Client ID"), password("Azure Client Secret")),
        extras=(
            tenant("tenant", "Azure Tenant ID"),
            text("account_name", "Azure DataLake Store Name", is_required=True),
            *IDENTITY,
        ),
        groups=(principal("tenant"),),
    ),
    ConnectionType(
        name="azure_fileshare",
        title="Azure File Share",
        family=FAMILY,
        docs=airflow("microsoft-azure", "azure_fileshare"),
        standard=(
            login("Blob Storage Login (optional)", placeholder="account name or account url"),
            password("Blob Storage Key (optional)"),
        ),
        extras=(
            secret("sas_token", "SAS Token (optional)"),
            secret("connection_string", "Connection String (optional)"),
            *IDENTITY,
        ),
        groups=(
            exclusive(
                "Sign in",
                MACHINE,
                way("Account key", "password"),
                way("SAS token", "sas_token"),
                way("Connection string", "connection_string"),
            ),
        ),
    ),
    ConnectionType(
        name="azure_container_volume",
        title="Azure Container Volume",
        family=FAMILY,
        docs=airflow("microsoft-azure", "azure_container_volume"),
        standard=(login("Azure Client ID"), password("Azure Secret")),
        extras=(
            secret("connection_string", "Blob Storage Connection String (optional)"),
            subscription("subscription_id", "Subscription ID (optional)"),
            text("resource_group", "Resource group name (optional)", lookalikes=("resource_group_name",)),
            *IDENTITY,
        ),
        groups=(
            exclusive(
                "Sign in",
                way("Storage key", "login", "password"),
                way("Connection string", "connection_string"),
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
        name="azure_cosmos",
        title="Azure Cosmos DB",
        family=FAMILY,
        docs=airflow("microsoft-azure", "azure_cosmos"),
        standard=(
            login("Cosmos Endpoint URI", is_required=True, placeholder="https://acme.documents.azure.com"),
            password("Cosmos Master Key Token"),
        ),
        extras=(
            text("database_name", "Cosmos Database Name (optional)"),
            text("collection_name", "Cosmos Collection Name (optional)"),
            text("partition_key", "Partition key"),
            subscription("subscription_id", "Subscription ID (optional)"),
            text("resource_group_name", "Resource Group Name (optional)", lookalikes=("resource_group",)),
            *IDENTITY,
        ),
        groups=(
            exclusive(
                "Sign in",
                way("Master key", "password"),
                way(
                    "What the machine has",
                    "subscription_id",
                    "resource_group_name",
                    "managed_identity_client_id",
                    "workload_identity_tenant_id",
                ),
            ),
        ),
    ),
    ConnectionType(
        name="azure_service_bus",
        title="Azure Service Bus",
        family=FAMILY,
        docs=airflow("microsoft-azure", "asb"),
        standard=(
            schema(
                "Connection String",
                "It holds the key.",
                is_secret=True,
                placeholder="Endpoint=sb://….servicebus.windows.net/;SharedAccessKeyName=…;SharedAccessKey=…",
            ),
        ),
        extras=(
            text(
                "fully_qualified_namespace",
                "Fully Qualified Namespace",
                placeholder="acme.servicebus.windows.net",
            ),
            secret("credential", "Credential"),
            *IDENTITY,
        ),
        groups=(
            exclusive(
                "Sign in",
                way(
                    "What the machine has",
                    "fully_qualified_namespace",
                    "managed_identity_client_id",
                    "workload_identity_tenant_id",
                ),
                way("Connection string", "schema"),
                way("Credential", "fully_qualified_namespace", "credential"),
            ),
        ),
    ),
)
