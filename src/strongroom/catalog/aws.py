"""
Amazon Web Services.

One sign-in serves all of them: the hooks of Athena and their kind read what `aws` reads, and more.
"""

from __future__ import annotations

from strongroom.catalog.field import (
    FALSE_SERVER,
    Field,
    choice,
    document,
    flag,
    host,
    integer,
    login,
    password,
    path,
    schema,
    secret,
    text,
)
from strongroom.catalog.kind import ConnectionType, airflow, exclusive, way

FAMILY = "aws"

_KEYS: tuple[Field, ...] = (
    login("AWS Access Key ID", placeholder="YOUR_AWS_ACCESS_KEY_ID"),
    password("AWS Secret Access Key", placeholder="YOUR_AWS_SECRET_ACCESS_KEY"),
)
_SIGN_IN: tuple[Field, ...] = (
    text("region_name", "Region", placeholder="eu-central-1", lookalikes=("region",)),
    text("role_arn", "Role to take on", placeholder="arn:aws:iam::123456789098:role/role-name"),
    choice(
        "assume_role_method",
        "How it is taken on",
        "assume_role assume_role_with_saml assume_role_with_web_identity",
        default="assume_role",
    ),
    document("assume_role_kwargs", "Arguments of that", placeholder='{"RoleSessionName": "airflow"}'),
    document(
        "role_chain",
        "Roles to take on before it",
        "One after the other, for live clients; Airflow's own hook does not read it.",
        placeholder='["arn:aws:iam::123456789098:role/first"]',
    ),
    document(
        "assume_role_with_saml",
        "Identity provider of SAML",
        "For assume_role_with_saml.",
        placeholder='{"principal_arn": "…", "idp_url": "…", "idp_auth_method": "http_spegno_auth"}',
    ),
    choice(
        "assume_role_with_web_identity_federation",
        "Where the web identity comes from",
        "file google",
        "For assume_role_with_web_identity.",
    ),
    path("assume_role_with_web_identity_token_file", "File with the web identity"),
    text("assume_role_with_web_identity_federation_audience", "Audience of the web identity", "Of Google's."),
    text("profile_name", "Profile", "Of ~/.aws/config, where the task runs.", lookalikes=("profile",)),
    text("aws_access_key_id", "Access key ID", "Better the login."),
    secret("aws_secret_access_key", "Secret access key", "Better the password."),
    secret("aws_session_token", "Session token", "Of keys that live for hours; nobody renews them."),
    text("endpoint_url", "Endpoint", "Of another place than AWS, such as MinIO."),
    flag(
        "verify", "Check the certificate", "Or the path of a CA's.", danger=FALSE_SERVER, dangerous=("false",)
    ),
    document(
        "config_kwargs", "Arguments of botocore's Config", placeholder='{"retries": {"mode": "standard"}}'
    ),
    document("session_kwargs", "Arguments of boto3's Session", placeholder='{"profile_name": "default"}'),
    document("service_config", "Per service", placeholder='{"s3": {"bucket_name": "my-bucket"}}'),
)
_WAYS = exclusive(
    "Sign in",
    way("What the machine has: an instance's, a task's or a pod's role"),
    way("Profile", "profile_name"),
    way("Access key", "login", "password"),
    way("Access key of a session", "aws_access_key_id", "aws_secret_access_key", "aws_session_token"),
)

TYPES = (
    ConnectionType(
        name="aws",
        title="Amazon Web Services",
        family=FAMILY,
        docs=airflow("amazon", "aws"),
        standard=_KEYS,
        extras=_SIGN_IN,
        groups=(_WAYS,),
    ),
    ConnectionType(
        name="athena",
        title="Amazon Athena",
        family=FAMILY,
        icon="amazon-athena",
        docs=airflow("amazon", "athena"),
        standard=(*_KEYS, schema(about="The database.")),
        extras=(
            text("s3_staging_dir", "Folder for results", placeholder="s3://bucket_name/staging/"),
            text("work_group", "Workgroup", placeholder="primary"),
            text("catalog", "Catalog", default="AwsDataCatalog"),
            text("driver", "Driver", default="rest"),
            text("aws_domain", "Domain", default="amazonaws.com"),
            *_SIGN_IN,
        ),
        groups=(_WAYS,),
        others="arguments of PyAthena",
    ),
    ConnectionType(
        name="emr",
        title="Amazon Elastic MapReduce",
        family=FAMILY,
        icon="amazon-emr",
        docs=airflow("amazon", "emr"),
        extras=(
            text("Name", "Name of the cluster"),
            text("ReleaseLabel", "Release", placeholder="emr-7.5.0"),
            document("Applications", "Applications", placeholder='[{"Name": "Spark"}]'),
            document("Instances", "Instances"),
            document("Steps", "Steps"),
            text("JobFlowRole", "Role of the instances"),
            text("ServiceRole", "Role of the service"),
            text("LogUri", "Folder for logs"),
            integer("StepConcurrencyLevel", "Steps at once"),
        ),
        others="arguments of run_job_flow",
    ),
    ConnectionType(
        name="chime",
        title="Amazon Chime Webhook",
        family=FAMILY,
        icon="amazon-chime",
        docs=airflow("amazon", "chime"),
        standard=(
            host(
                "Chime Webhook Endpoint", "Without the token.", placeholder="hooks.chime.aws/incomingwebhook/"
            ),
            schema(about="https.", placeholder="https"),
            password("Chime Webhook token", placeholder="T00000000?token=XXXXXXXXXXXXXXXXXXXXXXXX"),
        ),
    ),
)
