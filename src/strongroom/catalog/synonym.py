"""What else people call a connection type. Only for hints: nothing is taken for what it is not."""

from __future__ import annotations

from difflib import get_close_matches

__all__ = ["nearest"]

_MANY = 3
_SYNONYMS = {
    "adf": "azure_data_factory",
    "adls_gen2": "adls",
    "adx": "azure_data_explorer",
    "amazon": "aws",
    "amqps": "amqp",
    "azure_blob": "wasb",
    "azure_blob_storage": "wasb",
    "azure_key_vault": "azure",
    "bigquery": "gcpbigquery",
    "blob": "wasb",
    "cloudsql": "gcpcloudsqldb",
    "cockroachdb": "postgres",
    "cosmosdb": "azure_cosmos",
    "dbt": "dbt_cloud",
    "dynamodb": "aws",
    "elastic": "elasticsearch",
    "facebook": "facebook_social",
    "file": "fs",
    "gcp": "google_cloud_platform",
    "gcs": "google_cloud_platform",
    "google": "google_cloud_platform",
    "google_cloud": "google_cloud_platform",
    "graph": "msgraph",
    "greenplum": "postgres",
    "hashicorp_vault": "vault",
    "hdfs": "webhdfs",
    "hive": "hiveserver2",
    "https": "http",
    "k8s": "kubernetes",
    "kube": "kubernetes",
    "looker": "gcp_looker",
    "mail": "smtp",
    "mariadb": "mysql",
    "minio": "aws",
    "mongodb": "mongo",
    "openbao": "vault",
    "pg": "postgres",
    "postgresql": "postgres",
    "psql": "postgres",
    "rabbit": "amqp",
    "rabbitmq": "amqp",
    "pypi": "package_index",
    "rest": "http",
    "rmq": "amqp",
    "s3": "aws",
    "sagemaker": "aws",
    "servicebus": "azure_service_bus",
    "slack_api": "slack",
    "slack_webhook": "slackwebhook",
    "smb": "samba",
    "spanner": "gcpspanner",
    "sql_server": "mssql",
    "sqlserver": "mssql",
    "synapse": "azure_synapse",
    "timescaledb": "postgres",
    "valkey": "redis",
    "yandex": "yandexcloud",
}


def nearest(conn_type: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Give up to three of *names* that *conn_type* may have meant, the likeliest first."""
    word = conn_type.strip().lower().replace("-", "_").replace(" ", "_").partition("+")[0]
    if word in names:
        return (word,)
    found = [_SYNONYMS[word]] if word in _SYNONYMS else []
    spelled = get_close_matches(word, (*names, *_SYNONYMS), _MANY, 0.7)
    found += [_SYNONYMS.get(one, one) for one in spelled]
    # A whole word of a name, as in `cosmos` for azure_cosmos.
    found += [name for name in names if word in name.split("_")]
    return tuple(dict.fromkeys(found))[:_MANY]
