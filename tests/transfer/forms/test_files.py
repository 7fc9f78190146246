"""Files and JSON of vendors: AWS, Google, Azure, Kubernetes, Kafka, OpenSSH, environments."""

import json

import pytest

from form_cases import check, check_many, check_refused, fields_of
from strongroom.transfer.forms import read_any

AWS = {"conn_type": "aws"}
KUBE = """
apiVersion: v1
kind: Config
current-context: dev
clusters:
- {name: dev, cluster: {server: "https://dev:6443", certificate-authority-data: Zm9v}}
- name: prod
  cluster: {server: "https://prod:6443", insecure-skip-tls-verify: true}
users:
- name: u
  user: {client-certificate-data: Zm9v, client-key-data: YmFy}
- name: sso
  user: {exec: {command: aws, apiVersion: client.authentication.k8s.io/v1beta1}}
contexts:
- name: dev
  context: {cluster: dev, user: u, namespace: etl}
- name: prod
  context: {cluster: prod, user: sso}
"""
SSH = """
# comment
Host bastion jump
    HostName %h.example.com
    Port=2222
    User "svc"
    IdentityFile ~/.ssh/id
    StrictHostKeyChecking no
Host db !jump
    ProxyJump bastion
    ConnectTimeout 5
Host *
    User fallback
    Compression yes
Match host x exec "test"
    User other
"""


def test_profiles_of_credentials_and_config_become_connections():
    text = (
        "[default]\naws_access_key_id=AKIA1\naws_secret_access_key=s/1\n\n[profile etl]\nregion = eu-west-1\n"
        "aws_access_key_id = AKIA2\naws_secret_access_key = s2\naws_session_token = t\ns3 =\n  max_queue_size = 9\n"  # noqa: E501 -- as its page has it
    )
    check_many(
        text,
        "aws",
        {
            "default": {**AWS, "login": "AKIA1", "password": "s/1"},
            "etl": {
                **AWS,
                "login": "AKIA2",
                "password": "s2",
                "extra.aws_session_token": "t",
                "extra.region_name": "eu-west-1",
            },
        },
    )


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ("output = json", "no profile holds"),
        ("aws_access_key_id = A", "without its secret"),
        ("junk", r"neither \[profile\]"),
    ],
)
def test_a_profile_without_keys_is_refused_with_the_reason(settings, match):
    check_refused(f"[profile x]\n{settings}", "aws", match)


ROLE = "arn:aws:iam::1:role/r"
WEB = "assume_role_with_web_identity"


@pytest.mark.parametrize(
    ("settings", "expected", "told"),
    [
        (
            f"role_arn = {ROLE}\nsource_profile = base\nexternal_id = e\nduration_seconds = 900\nregion = x",
            {
                "login": "AKIA",
                "password": "hunter2",
                "extra.role_arn": ROLE,
                "extra.region_name": "x",
                "extra.assume_role_kwargs": {"ExternalId": "e", "DurationSeconds": 900},
            },
            [],
        ),
        (
            f"role_arn = {ROLE}\nsource_profile = chained",
            {"extra.role_arn": ROLE, "extra.profile_name": "chained"},
            ["from another profile"],
        ),
        (
            f"role_arn = {ROLE}\nsource_profile = elsewhere\nmfa_serial = m",
            {"extra.role_arn": ROLE, "extra.profile_name": "elsewhere"},
            ["from another profile", "code of a device"],
        ),
        (
            f"role_arn = {ROLE}\ncredential_source = EcsContainer",
            {"extra.role_arn": ROLE},
            ["what the machine of the task has"],
        ),
        (
            f"role_arn = {ROLE}\nweb_identity_token_file = /t\nrole_session_name = s",
            {
                "extra.role_arn": ROLE,
                "extra.assume_role_method": WEB,
                f"extra.{WEB}_federation": "file",
                f"extra.{WEB}_token_file": "/t",
                "extra.assume_role_kwargs": {"RoleSessionName": "s"},
            },
            ["with a token"],
        ),
        (
            f"role_arn = {ROLE}\nsource_profile = x\naws_access_key_id = A\naws_secret_access_key = s",
            {"login": "A", "password": "s", "extra.role_arn": ROLE},
            [],
        ),
        (
            "sso_session = my-sso\nsso_account_id = 1\nsso_role_name = r\nregion = x",
            {"extra.profile_name": "x", "extra.region_name": "x"},
            ["signs in by SSO"],
        ),
        ("credential_process = /opt/x", {"extra.profile_name": "x"}, ["a program"]),
        ("region = x", {"extra.region_name": "x"}, ["no keys"]),
    ],
)
def test_a_profile_that_signs_in_by_other_means_becomes_a_connection(settings, expected, told):
    base = "[base]\naws_access_key_id = AKIA\naws_secret_access_key = hunter2\n"
    chain = f"[profile chained]\nrole_arn = {ROLE}\nsource_profile = base\n"
    session = "[sso-session my-sso]\nsso_start_url = https://x.awsapps.com/start\n"
    read = read_any(f"{base}{chain}{session}[profile x]\n{settings}")
    assert list(read.connections) == ["base", "chained", "x"]
    assert fields_of(read.connections["x"]) == AWS | expected
    assert len(read.warnings) == len(told)
    assert all(one in warning for one, warning in zip(told, read.warnings, strict=True))


def test_keys_as_iam_and_sts_show_them():
    check(
        '{"AccessKey": {"AccessKeyId": "A", "SecretAccessKey": "s"}}',
        "aws-json",
        {**AWS, "login": "A", "password": "s"},
    )
    text = '{"Credentials": {"AccessKeyId": "A", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": "x"}}'  # noqa: E501 -- as its page has it
    check(text, "aws-json", {**AWS, "login": "A", "password": "s", "extra.aws_session_token": "t"})
    assert "live for hours" in read_any(text).warnings[0]


def test_the_secret_of_a_database_in_secrets_manager():
    text = '{"engine": "mysql", "host": "h", "username": "u", "password": "p", "dbname": "d", "port": "3306", "masterarn": "x"}'  # noqa: E501 -- as its page has it
    check(
        text,
        "rds",
        {"conn_type": "mysql", "host": "h", "login": "u", "password": "p", "schema": "d", "port": 3306},
    )
    check_refused('{"username": "u", "password": "p"}', None, "names no engine")


@pytest.mark.parametrize("kind", ["authorized_user", "external_account"])
def test_a_google_credential_that_is_no_key_goes_where_the_hook_reads_it(kind):
    text = json.dumps({"type": kind, "refresh_token": "t", "quota_project_id": "acme"})
    check(
        text,
        "google",
        {"conn_type": "google_cloud_platform", "extra.project": "acme", "extra.credential_config_file": text},
    )


def test_a_service_account_without_its_key_is_refused():
    check_refused(
        '{"type": "service_account", "client_email": "a@b"}', None, "no private_key and no token_uri"
    )


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        (
            "azure-storage",
            "DefaultEndpointsProtocol=https;AccountName=storagesample;AccountKey=a2V5==;EndpointSuffix=core.chinacloudapi.cn",
            {
                "conn_type": "wasb",
                "login": "storagesample",
                "password": "a2V5==",
                "host": "https://storagesample.blob.core.chinacloudapi.cn",
            },
        ),
        (
            "azure-storage",
            "BlobEndpoint=https://s.blob.core.windows.net/;SharedAccessSignature=sv=2015-07-08&sig=iCvQ%3D&sr=b",
            {
                "conn_type": "wasb",
                "host": "https://s.blob.core.windows.net",
                "extra.sas_token": "sv=2015-07-08&sig=iCvQ%3D&sr=b",
            },
        ),
        (
            "azure-storage",
            "UseDevelopmentStorage=true",
            {"conn_type": "wasb", "extra.connection_string": "UseDevelopmentStorage=true"},
        ),
        (
            "azure-bus",
            "Endpoint=sb://n.servicebus.windows.net/;SharedAccessKeyName=k;SharedAccessKey=a2V5=;EntityPath=hub",
            {
                "conn_type": "azure_service_bus",
                "schema": "Endpoint=sb://n.servicebus.windows.net/;SharedAccessKeyName=k;SharedAccessKey=a2V5=;EntityPath=hub",
            },
        ),
        (
            "azure-cosmos",
            "AccountEndpoint=https://a.documents.azure.com:443/;AccountKey=a2V5==;",
            {
                "conn_type": "azure_cosmos",
                "login": "https://a.documents.azure.com:443/",
                "password": "a2V5==",
            },
        ),
        (
            "azure-principal",
            '{"clientId": "c", "clientSecret": "s", "subscriptionId": "u", "tenantId": "t"}',
            {
                "conn_type": "azure",
                "login": "c",
                "password": "s",
                "extra.tenantId": "t",
                "extra.subscriptionId": "u",
            },
        ),
    ],
)
def test_what_azure_shows_says_the_connection(form, text, expected):
    check(text, form, expected)


def test_a_bus_is_told_wherever_its_endpoint_stands():
    text = "SharedAccessKeyName=k;SharedAccessKey=a2V5=;Endpoint=sb://n.servicebus.windows.net/"
    check(text, "azure-bus", {"conn_type": "azure_service_bus", "schema": text})


@pytest.mark.parametrize(
    "text",
    [
        '{"engine": "postgres", "host": "h", "username": "u", "password": 12345}',
        '{"engine": "postgres", "host": "h", "port": 5432.5}',
    ],
)
def test_a_secret_of_a_database_with_a_field_of_another_type_is_refused(text):
    check_refused(text, None, "no text|no whole number")


def test_a_comment_of_ssh_is_no_value():
    read = read_any('Include x\nHost a # the bastion\n  HostName h#1 # c\n  Port 22 # d\n  User "u # v"')
    assert {name: fields_of(one) for name, one in read.connections.items()} == {
        "a": {"conn_type": "ssh", "host": "h#1", "port": 22, "login": "u # v"}
    }
    assert "Include" in read.warnings[0]


@pytest.mark.parametrize("option", ['password="b\\"c"', 'password="a" password="b"', "password=a'b'"])
def test_a_jaas_config_with_a_mark_astray_is_refused(option):
    text = f"bootstrap.servers=h:1\nsasl.jaas.config=x.PlainLoginModule required username=u {option};"
    check_refused(text, None, "is no option|stands twice")


def test_a_section_or_nothing_is_no_property():
    check_refused("[default]\nbootstrap.servers=h:1", None, "no property")
    check_refused("# none", "kafka", "no property")


def test_a_bus_without_a_key_is_refused():
    check_refused("Endpoint=sb://n.servicebus.windows.net/;EntityPath=q", None, "neither SharedAccessKey")


def test_every_context_of_a_kubeconfig_becomes_a_connection_with_what_it_needs():
    read = read_any(KUBE)
    assert list(read.connections) == ["dev", "prod"]
    dev = fields_of(read.connections["dev"])
    assert (dev["extra.cluster_context"], dev["extra.namespace"]) == ("dev", "etl")
    config = json.loads(str(dev["extra.kube_config"]))
    assert [row["name"] for row in config["clusters"]] == ["dev"]
    assert config["users"][0]["user"]["client-key-data"] == "YmFy"
    assert any("by a program" in one for one in read.warnings)
    assert any("does not check" in one for one in read.warnings)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("kind: Config\ncontexts: []\nclusters: []", "no context"),
        ("kind: Config\nclusters: []\ncontexts: [{name: a, context: {cluster: b}}]", "not there"),
        ("kind: Config\nclusters: x\ncontexts: [{name: a}]", "no list"),
        ("kind: Config\nclusters: []\ncontexts: [{name: a}, {name: a}]", "a name twice"),
        (
            (
                "kind: Config\nclusters: [{name: a}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n"
                "users: [{name: a, user: {expiry: 2024-01-01T10:00:00Z}}]"
            ),
            "meant as text",
        ),
        ("kind: Config\nclusters: []\ncontexts: []\nx: !!python/object:os.system {}", "tag that is not"),
        (
            "kind: Config\nclusters: []\ncontexts: []\na: &a [" + "x," * 999 + "]\n"
            "b: &b [" + "*a," * 999 + "]\nc: [" + "*b," * 999 + "]",
            "once its aliases are written out",
        ),
    ],
)
def test_a_broken_kubeconfig_is_refused(text, match):
    check_refused(text, "kubeconfig", match)


def test_hosts_of_ssh_become_connections_with_the_first_value_that_matches():
    read = read_any(SSH)
    found = {name: fields_of(one) for name, one in read.connections.items()}
    assert found["bastion"] == {
        "conn_type": "ssh",
        "host": "bastion.example.com",
        "port": 2222,
        "login": "svc",
        "extra.key_file": "~/.ssh/id",
        "extra.no_host_key_check": True,
        "extra.compress": True,
    }
    assert found["db"] == {
        "conn_type": "ssh",
        "host": "db",
        "login": "fallback",
        "extra.conn_timeout": 5,
        "extra.compress": True,
    }
    assert list(found) == ["bastion", "jump", "db"]
    told = " ".join(read.warnings)
    assert "1 Match block passed over" in told
    assert "ProxyJump" in told
    assert "begins with ~" in told


def test_a_config_of_wildcards_alone_is_refused():
    check_refused("Host *.example.com\n  User u", None, "without wildcards")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            (
                "# c\nbootstrap.servers = a:9092,b:9092\nsecurity.protocol: SASL_SSL\nsasl.mechanism PLAIN\n"
                "sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\\n"
                '   username="al\\\\"ice" \\\n   password="p;=ss";'
            ),
            {
                "sasl.username": 'al"ice',
                "sasl.password": "p;=ss",
                "bootstrap.servers": "a:9092,b:9092",
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "PLAIN",
            },
        ),
        (
            "metadata.broker.list=a:9092\nsasl.mechanisms=SCRAM-SHA-512\nsasl.username=u\nsasl.password=p\\u0020",
            {
                "bootstrap.servers": "a:9092",
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": "u",
                "sasl.password": "p ",
            },
        ),
        (
            "bootstrap.servers=a:9092\nssl.truststore.location=/t.jks\nkey.serializer=x",
            {"bootstrap.servers": "a:9092"},
        ),
    ],
)
def test_kafkas_properties_become_those_of_librdkafka(text, expected):
    check(text, "kafka", {"conn_type": "kafka", **{f"extra.{key}": value for key, value in expected.items()}})


def test_what_only_java_knows_is_told():
    assert len(read_any("bootstrap.servers=a:1\nssl.truststore.location=/t.jks").warnings) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "PGHOST=h\nPGUSER=u\nPGPASSWORD=p\nPGSSLMODE=require",
            {"conn_type": "postgres", "host": "h", "login": "u", "password": "p", "extra.sslmode": "require"},
        ),
        (
            "export AWS_ACCESS_KEY_ID=AKIA\nexport AWS_SECRET_ACCESS_KEY=s\nexport AWS_DEFAULT_REGION=eu-west-1",  # noqa: E501 -- as its page has it
            {**AWS, "login": "AKIA", "password": "s", "extra.region_name": "eu-west-1"},
        ),
        (
            "MYSQL_ROOT_PASSWORD=r\nMYSQL_USER=u\nMYSQL_PASSWORD='p w'\nMYSQL_DATABASE=d",
            {"conn_type": "mysql", "login": "u", "password": "p w", "schema": "d"},
        ),
        (
            "DATABASE_URL=postgres://u:p%40@h:5432/d",
            {
                "conn_type": "postgres",
                "host": "h",
                "port": 5432,
                "login": "u",
                "password": "p@",
                "schema": "d",
            },
        ),
        (
            "AZURE_CLIENT_ID=c\nAZURE_CLIENT_SECRET=s\nAZURE_TENANT_ID=t",
            {"conn_type": "azure", "login": "c", "password": "s", "extra.tenantId": "t"},
        ),
    ],
)
def test_variables_of_a_program_say_one_connection(text, expected):
    check(text, "env", expected)


PAIR = {
    "x": {"conn_type": "postgres", "host": "h", "login": "u", "password": "p w", "schema": "d"},
    "y": {"conn_type": "http", "host": "h", "schema": ""},
}


@pytest.mark.parametrize(
    "text",
    [
        "export AIRFLOW_CONN_X='{x}'\nexport AIRFLOW_CONN_Y={y}",
        "set AIRFLOW_CONN_X={x}\r\nset AIRFLOW_CONN_Y={y}",
        '$env:AIRFLOW_CONN_X = "{x}"\n$env:AIRFLOW_CONN_Y="{y}"',
        "ENV AIRFLOW_CONN_X={x}\nENV AIRFLOW_CONN_Y={y}",
        "-e AIRFLOW_CONN_X={x}\n-e AIRFLOW_CONN_Y={y}",
        "  - AIRFLOW_CONN_X={x}\n  - AIRFLOW_CONN_Y={y}",
        "  AIRFLOW_CONN_X: '{x}'\n  AIRFLOW_CONN_Y: {y}",
    ],
)
def test_variables_are_read_as_each_tool_sets_them(text):
    text = text.replace("{x}", "postgres://u:p%20w@h/d").replace("{y}", "http://h")
    check_many(text, "airflow-env", PAIR)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "DB_CONNECTION=pgsql\nDB_HOST=h\nDB_DATABASE=d\nDB_USERNAME=u\nDB_PASSWORD=p",
            {"conn_type": "postgres", "host": "h", "schema": "d", "login": "u", "password": "p"},
        ),
        ("DB_HOST=h\nDB_PORT=3306", {"conn_type": "mysql", "host": "h", "port": 3306}),
        ("DB_ENGINE=django.db.backends.oracle\nDB_HOST=h", {"conn_type": "oracle", "host": "h"}),
        ("AWS_PROFILE=etl\nAWS_REGION=r", {**AWS, "extra.profile_name": "etl", "extra.region_name": "r"}),
        (
            "GOOGLE_APPLICATION_CREDENTIALS=/k.json",
            {"conn_type": "google_cloud_platform", "extra.key_path": "/k.json"},
        ),
        (
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=postgresql+psycopg2://h/d",
            {"conn_type": "postgres", "host": "h", "schema": "d"},
        ),
    ],
)
def test_variables_of_frameworks_say_one_connection(text, expected):
    check(text, "env", expected)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("DB_HOST=hunter2", "which database"),
        ("A_URL=http://h\nA_URI=http://g", "the same name"),
        ("export A_URL=http://h\nset B_URL=http://g", "no NAME=value"),
    ],
)
def test_variables_that_say_too_little_or_too_much_are_refused(text, match):
    check_refused(text, None, match)


def test_what_the_value_of_a_variable_has_no_place_for_is_told():
    assert "path" in read_any("HOOK_URL=https://h.example.com/hunter2").warnings[0]


def test_variables_of_several_programs_are_several_connections():
    check_many(
        "REDIS_URL=redis://c:6379/1\nPOSTGRES_USER=u\nPOSTGRES_PASSWORD=p\nTZ=UTC",
        "env",
        {
            "postgres": {"conn_type": "postgres", "login": "u", "password": "p"},
            "redis": {"conn_type": "redis", "host": "c", "port": 6379, "extra.db": 1},
        },
    )


def test_a_variable_may_hold_any_form_of_one_line():
    check(
        "export STORAGE_CONNECTION_STRING=DefaultEndpointsProtocol=https;AccountName=a;AccountKey=a2V5==",
        "env",
        {"conn_type": "wasb", "login": "a", "password": "a2V5=="},
    )
    check("X_DSN=host=h password=a;b", "env", {"conn_type": "postgres", "host": "h", "password": "a;b"})


def test_a_bus_with_a_signature_is_no_storage():
    assert read_any("Endpoint=sb://n.servicebus.windows.net/;SharedAccessSignature=s").form == "azure-bus"


def test_a_variable_never_holds_an_environment_again():
    check_refused("A_URL=B_URL=C_URL=x", None, "no form fits")


def test_airflows_environment_and_file_are_read_by_name():
    check_many(
        'export AIRFLOW_CONN_A=http://h\nAIRFLOW_CONN_B=\'{"conn_type": "ftp"}\'\nX=1',
        "airflow-env",
        {"a": {"conn_type": "http", "host": "h", "schema": ""}, "b": {"conn_type": "ftp"}},
    )
    check_many(
        '{"a": {"conn_type": "http", "host": "h"}, "b": "ftp://g"}',
        "airflow-json",
        {
            "a": {"conn_type": "http", "host": "h"},
            "b": {"conn_type": "ftp", "host": "g", "schema": ""},
        },
    )
