"""What runs and builds things: clusters, containers, vaults, repositories, clouds of their own."""

from __future__ import annotations

from strongroom.catalog.field import (
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
from strongroom.catalog.kind import ConnectionType, airflow, exclusive, way

FAMILY = "platform"

TYPES = (
    ConnectionType(
        name="kubernetes",
        title="Kubernetes",
        family=FAMILY,
        docs=airflow("cncf-kubernetes", "kubernetes"),
        extras=(
            flag("in_cluster", "In cluster configuration", "The service account of the pod."),
            path("kube_config_path", "Kube config path"),
            secret_lines("kube_config", "Kube config (JSON format)"),
            text("namespace", "Namespace"),
            text("cluster_context", "Cluster context"),
            flag("disable_verify_ssl", "Disable SSL", "Takes any certificate."),
            flag("disable_tcp_keepalive", "Disable TCP keepalive"),
            text("xcom_sidecar_container_image", "XCom sidecar image"),
            document("xcom_sidecar_container_resources", "XCom sidecar resources (JSON format)"),
            document(
                "xcom_sidecar_container_security_context", "XCom sidecar security context (JSON format)"
            ),
        ),
        groups=(
            exclusive(
                "Configuration",
                way("The pod's own", "in_cluster"),
                way("A file", "kube_config_path", "cluster_context"),
                way("Here", "kube_config", "cluster_context"),
            ),
        ),
    ),
    ConnectionType(
        name="docker",
        title="Docker registry",
        family=FAMILY,
        docs=airflow("docker", "docker"),
        standard=(
            host("Registry URL", is_required=True),
            port(),
            login("Username", is_required=True),
            password(),
        ),
        extras=(flag("reauth", "Reauthenticate", default=True), text("email", "Email")),
    ),
    ConnectionType(
        name="vault",
        title="HashiCorp Vault",
        family=FAMILY,
        icon="hashicorp-vault",
        docs=airflow("hashicorp", "vault"),
        standard=(
            host(is_required=True),
            port(8200),
            schema("Mount point", default="secret"),
            login("Login", "User, role ID or access key ID, by the way of signing in."),
            password("Password", "Or the token, or the secret ID."),
        ),
        extras=(
            choice(
                "auth_type",
                "Auth type",
                "token approle kubernetes jwt aws_iam azure gcp github ldap userpass radius",
                default="token",
            ),
            text("auth_mount_point", "Auth mount point"),
            choice("kv_engine_version", "KV engine version", "1 2", default=2),
            text("role_id", "Role ID", "Better the login.", is_deprecated=True),
            text("kubernetes_role", "Kubernetes role"),
            path(
                "kubernetes_jwt_path",
                "Kubernetes jwt path",
                default="/var/run/secrets/kubernetes.io/serviceaccount/token",
            ),
            text("jwt_role", "JWT role"),
            secret("jwt_token", "JWT token"),
            path("jwt_token_path", "JWT token path"),
            path("token_path", "Token path"),
            path("gcp_key_path", "GCP key path"),
            document("gcp_keyfile_dict", "GCP key", is_secret=True),
            text("gcp_scopes", "GCP scopes"),
            text("azure_tenant_id", "Azure tenant ID", lookalikes=("tenantId", "tenant_id", "tenant")),
            text("azure_resource", "Azure resource"),
            text("region", "Region of AWS"),
            text("radius_host", "Radius host"),
            integer("radius_port", "Radius port"),
            flag("use_tls", "Use TLS", default=True),
            document("client_kwargs", "Arguments of hvac's Client", placeholder='{"namespace": "team-a"}'),
        ),
        groups=(
            exclusive(
                "Sign in",
                way("Token", "password"),
                way("Token, a file", "token_path"),
                way("Kubernetes", "auth_type", "kubernetes_role", "kubernetes_jwt_path"),
                way("AppRole", "auth_type", "login", "password"),
                way("JWT", "auth_type", "jwt_role", "jwt_token"),
                way("JWT, a file", "auth_type", "jwt_role", "jwt_token_path"),
                way("AWS", "auth_type", "login", "password", "region"),
                way("Azure", "auth_type", "login", "password", "azure_tenant_id", "azure_resource"),
                way("Google Cloud", "auth_type", "gcp_key_path", "gcp_scopes"),
                way("GitHub", "auth_type", "password"),
                way("LDAP or a user of Vault", "auth_type", "login", "password"),
                way("RADIUS", "auth_type", "radius_host", "radius_port", "password"),
            ),
        ),
    ),
    ConnectionType(
        name="git",
        title="Git",
        family=FAMILY,
        docs=airflow("git", "git"),
        standard=(
            host("Repository URL", is_required=True, placeholder="git@github.com:acme/dags.git"),
            port(),
            login("Username or Access Token name"),
            password("Access Token (optional)"),
        ),
        extras=(
            path("key_file", "File with the private key"),
            secret_lines("private_key", "Private key, here"),
            secret("private_key_passphrase", "Passphrase of the key"),
            choice(
                "strict_host_key_checking", "Check of the host key", "yes no accept-new", default="accept-new"
            ),
            path("known_hosts_file", "Known hosts"),
            path("ssh_config_file", "Configuration of ssh"),
            text("host_proxy_cmd", "Command to reach the host"),
            integer("ssh_port", "Port of SSH"),
            text("github_app_id", "GitHub app ID"),
            text("github_installation_id", "GitHub installation ID"),
        ),
        groups=(
            exclusive(
                "Sign in",
                way("Access token", "login", "password"),
                way("Key, a file", "key_file", "private_key_passphrase"),
                way("Key, here", "private_key", "private_key_passphrase"),
                way("GitHub app", "github_app_id", "github_installation_id", "private_key"),
            ),
        ),
    ),
    ConnectionType(
        name="github",
        title="GitHub",
        family=FAMILY,
        docs=airflow("github", "github"),
        standard=(
            host(
                "GitHub Enterprise URL (Optional)",
                placeholder="https://{hostname}/api/v3 (for GitHub Enterprise)",
            ),
            password("GitHub Access Token"),
        ),
        extras=(
            text("app_id", "GitHub app ID"),
            text("installation_id", "GitHub installation ID"),
            path("key_path", "File with the app's private key"),
            secret_lines("private_key", "App's private key, here"),
            document("token_permissions", "Rights of the app's token"),
        ),
        groups=(
            exclusive(
                "Sign in",
                way("Access token", "password"),
                way("App, key in a file", "app_id", "installation_id", "key_path"),
                way("App, key here", "app_id", "installation_id", "private_key"),
            ),
        ),
    ),
    ConnectionType(
        name="jenkins",
        title="Jenkins",
        family=FAMILY,
        docs=airflow("jenkins", "connections"),
        standard=(
            host(about="Without http:// or https://.", is_required=True),
            port(),
            schema("Prefix of paths"),
            login(),
            password(),
        ),
        extras=(flag("use_https", "Use Https", default=False),),
    ),
    ConnectionType(
        name="yandexcloud",
        title="Yandex Cloud",
        family=FAMILY,
        icon="yandex-cloud",
        docs=airflow("yandex", "yandexcloud"),
        extras=(
            secret_lines("service_account_json", "Service account auth JSON"),
            path("service_account_json_path", "Service account auth JSON file path"),
            secret("oauth", "OAuth Token"),
            text("folder_id", "Default folder ID"),
            text("public_ssh_key", "Public SSH key"),
            text("endpoint", "API endpoint"),
        ),
        groups=(
            exclusive(
                "Credentials",
                way("What the machine has: its service account"),
                way("Service account, a file", "service_account_json_path"),
                way("Service account, here", "service_account_json"),
                way("OAuth token", "oauth"),
            ),
        ),
    ),
)
