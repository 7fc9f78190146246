"""JDBC URLs, from the pages of the drivers."""

import pytest

from form_cases import check, check_back, check_refused
from strongroom.model.connection import Connection
from strongroom.model.secret import Secret
from strongroom.transfer.forms import read_any

PG = {"conn_type": "postgres"}
CASES = [
    (
        "jdbc:postgresql://localhost/test?user=fred&password=secret&ssl=true",
        {
            **PG,
            "host": "localhost",
            "schema": "test",
            "login": "fred",
            "password": "secret",
            "extra.sslmode": "verify-full",
        },
    ),
    ("jdbc:postgresql://[::1]:5740/accounting", {**PG, "host": "::1", "port": 5740, "schema": "accounting"}),
    (
        "jdbc:postgresql://host1:1,host2:2/db?targetServerType=primary",
        {
            **PG,
            "host": "host1,host2",
            "schema": "db",
            "extra.port": "1,2",
            "extra.target_session_attrs": "read-write",
        },
    ),
    ("jdbc:postgresql:database", {**PG, "schema": "database"}),
    (
        "jdbc:postgresql://h/db?currentSchema=sales&ApplicationName=etl",
        {
            **PG,
            "host": "h",
            "schema": "db",
            "extra.options": "-c search_path=sales",
            "extra.application_name": "etl",
        },
    ),
    (
        "jdbc:mysql://host1:33060/sakila?sslMode=VERIFY_CA",
        {
            "conn_type": "mysql",
            "host": "host1",
            "port": 33060,
            "schema": "sakila",
            "extra.ssl_mode": "VERIFY_CA",
        },
    ),
    (
        "jdbc:mysql://h/d?user=u&password=p%26q&useSSL=false",
        {
            "conn_type": "mysql",
            "host": "h",
            "schema": "d",
            "login": "u",
            "password": "p&q",
            "extra.ssl_mode": "DISABLED",
        },
    ),
    (
        "jdbc:mariadb://localhost:3306/DB?user=root&password=myPassword&sslMode=verify-full",
        {
            "conn_type": "mysql",
            "host": "localhost",
            "port": 3306,
            "schema": "DB",
            "login": "root",
            "password": "myPassword",
            "extra.ssl_mode": "VERIFY_IDENTITY",
        },
    ),
    (
        'jdbc:sqlserver://localhost:1433;databaseName=AdventureWorks;user=MyUserName;password={pass";{}}word};encrypt=true',
        {
            "conn_type": "mssql",
            "host": "localhost",
            "port": 1433,
            "schema": "AdventureWorks",
            "login": "MyUserName",
            "password": 'pass";{}word',
            "extra.encryption": "require",
        },
    ),
    (
        "jdbc:sqlserver://localhost\\instance1;loginTimeout=30;encrypt=false",
        {
            "conn_type": "mssql",
            "host": "localhost\\instance1",
            "extra.login_timeout": 30,
            "extra.encryption": "off",
        },
    ),
    ("jdbc:sqlserver://;serverName=3ffe:8311;instanceName=x", {"conn_type": "mssql", "host": "3ffe:8311\\x"}),
    (
        "jdbc:oracle:thin:@myhost:1521:orcl",
        {"conn_type": "oracle", "host": "myhost", "port": 1521, "extra.sid": "orcl"},
    ),
    (
        "jdbc:oracle:thin:scott/tiger@//myhost:1521/myservicename",
        {
            "conn_type": "oracle",
            "host": "myhost",
            "port": 1521,
            "login": "scott",
            "password": "tiger",
            "extra.service_name": "myservicename",
        },
    ),
    (
        "jdbc:oracle:thin:scott/p@ss@//h:1521/s",
        {
            "conn_type": "oracle",
            "host": "h",
            "port": 1521,
            "login": "scott",
            "password": "p@ss",
            "extra.service_name": "s",
        },
    ),
    ("jdbc:oracle:thin:@TNSALIAS", {"conn_type": "oracle", "extra.dsn": "TNSALIAS"}),
    (
        "jdbc:oracle:thin:@(DESCRIPTION=(ADDRESS=(PROTOCOL=TCPS)(HOST=h)(PORT=1522))(CONNECT_DATA=(SERVICE_NAME=s)))",
        {
            "conn_type": "oracle",
            "extra.dsn": "(DESCRIPTION=(ADDRESS=(PROTOCOL=TCPS)(HOST=h)(PORT=1522))(CONNECT_DATA=(SERVICE_NAME=s)))",  # noqa: E501 -- as its page has it
        },
    ),
    (
        "jdbc:snowflake://myorganization-myaccount.snowflakecomputing.com/?user=peter&warehouse=mywh&db=mydb&schema=public&role=myrole",
        {
            "conn_type": "snowflake",
            "login": "peter",
            "schema": "public",
            "extra.account": "myorganization-myaccount",
            "extra.warehouse": "mywh",
            "extra.database": "mydb",
            "extra.role": "myrole",
        },
    ),
    (
        "jdbc:redshift://examplecluster.abc123.us-west-2.redshift.amazonaws.com:5439/dev",
        {
            "conn_type": "redshift",
            "host": "examplecluster.abc123.us-west-2.redshift.amazonaws.com",
            "port": 5439,
            "schema": "dev",
        },
    ),
    (
        "jdbc:trino://example.net:8443/hive/sales?user=test&password=secret&SSL=true",
        {
            "conn_type": "trino",
            "host": "example.net",
            "port": 8443,
            "schema": "sales",
            "login": "test",
            "password": "secret",
            "extra.catalog": "hive",
            "extra.protocol": "https",
        },
    ),
    (
        "jdbc:presto://h:8080/hive",
        {"conn_type": "presto", "host": "h", "port": 8080, "extra.catalog": "hive"},
    ),
    (
        "jdbc:clickhouse://ch:8443/default?ssl=true",
        {"conn_type": "clickhouse", "host": "ch", "port": 8443, "schema": "default", "extra.secure": True},
    ),
    ("jdbc:ch://ch/default", {"conn_type": "clickhouse", "host": "ch", "schema": "default"}),
    (
        "jdbc:hive2://myhost:10000/default;principal=hive/_HOST@EXAMPLE.COM",
        {
            "conn_type": "hiveserver2",
            "host": "myhost",
            "port": 10000,
            "schema": "default",
            "extra.auth_mechanism": "KERBEROS",
            "extra.kerberos_service_name": "hive",
        },
    ),
    (
        "jdbc:hive2://h:10000/db;user=u;password=p?hive.exec=1#x=y",
        {
            "conn_type": "hiveserver2",
            "host": "h",
            "port": 10000,
            "schema": "db",
            "login": "u",
            "password": "p",
            "extra.auth_mechanism": "LDAP",
        },
    ),
    (
        "jdbc:databricks://dbc-a1b2345c-d6e7.cloud.databricks.com:443;httpPath=sql/protocolv1/o/1/1;AuthMech=3;UID=token;PWD=dapi12",
        {
            "conn_type": "databricks",
            "host": "dbc-a1b2345c-d6e7.cloud.databricks.com",
            "password": "dapi12",
            "extra.http_path": "sql/protocolv1/o/1/1",
        },
    ),
    (
        "jdbc:databricks://h:443/default;transportMode=http;ssl=1;httpPath=p;AuthMech=11;Auth_Flow=1;OAuth2ClientId=id;OAuth2Secret=s",
        {
            "conn_type": "databricks",
            "host": "h",
            "schema": "default",
            "login": "id",
            "password": "s",
            "extra.http_path": "p",
            "extra.service_principal_oauth": True,
        },
    ),
    (
        "jdbc:db2://sysmvs1.stl.ibm.com:5021/STLEC1:user=dbadm;password=dbadm;sslConnection=true;",
        {
            "conn_type": "jdbc",
            "host": "jdbc:db2://sysmvs1.stl.ibm.com:5021/STLEC1:sslConnection=true;",
            "login": "dbadm",
            "password": "dbadm",
            "extra.driver_class": "com.ibm.db2.jcc.DB2Driver",
        },
    ),
    ("jdbc:sqlite:/data/app.db", {"conn_type": "sqlite", "host": "/data/app.db"}),
    (
        "jdbc:postgresql://h/db?currentSchema=sales&options=-c%20statement_timeout=9000",
        {
            "conn_type": "postgres",
            "host": "h",
            "schema": "db",
            "extra.options": "-c statement_timeout=9000 -c search_path=sales",
        },
    ),
    ("jdbc:postgresql:/", {"conn_type": "postgres"}),
    (
        "jdbc:sqlserver://[::1]:1433;databaseName=d",
        {"conn_type": "mssql", "host": "::1", "port": 1433, "schema": "d"},
    ),
    (
        "jdbc:microsoft:sqlserver://h:1433;DatabaseName=d",
        {"conn_type": "mssql", "host": "h", "port": 1433, "schema": "d"},
    ),
    (
        "jdbc:jtds:sqlserver://h:1433/db;instance=i;user=u;password=hunter2",
        {
            "conn_type": "mssql",
            "host": "h\\i",
            "port": 1433,
            "schema": "db",
            "login": "u",
            "password": "hunter2",
        },
    ),
    (
        "jdbc:oracle:thin:scott/tiger@tcps://adb.oraclecloud.com:1522/x_high?wallet_location=/w",
        {
            "conn_type": "oracle",
            "login": "scott",
            "password": "tiger",
            "extra.dsn": "tcps://adb.oraclecloud.com:1522/x_high?wallet_location=/w",
        },
    ),
    (
        "jdbc:oracle:thin:@ldap://ldap.acme.com:7777/sales,cn=OracleContext,dc=com",
        {"conn_type": "oracle", "extra.dsn": "ldap://ldap.acme.com:7777/sales,cn=OracleContext,dc=com"},
    ),
    (
        "jdbc:redshift://h:5439/dev;UID=amazon;PWD=hunter2",
        {
            "conn_type": "redshift",
            "host": "h",
            "port": 5439,
            "schema": "dev",
            "login": "amazon",
            "password": "hunter2",
        },
    ),
    (
        "jdbc:redshift:iam://examplecluster:us-west-2/dev",
        {
            "conn_type": "redshift",
            "schema": "dev",
            "extra.iam": True,
            "extra.cluster_identifier": "examplecluster",
            "extra.region": "us-west-2",
        },
    ),
    (
        "jdbc:snowflake://a.snowflakecomputing.com/?user=p&private_key_file=/k.p8&private_key_file_pwd=x",
        {
            "conn_type": "snowflake",
            "login": "p",
            "password": "x",
            "extra.account": "a",
            "extra.private_key_file": "/k.p8",
        },
    ),
    (
        "jdbc:databricks://h:443;httpPath=p;AuthMech=11;Auth_Flow=0;Auth_AccessToken=tok",
        {"conn_type": "databricks", "host": "h", "password": "tok", "extra.http_path": "p"},
    ),
    (
        "jdbc:ch:https://h:8443/db",
        {"conn_type": "clickhouse", "host": "h", "port": 8443, "schema": "db", "extra.secure": True},
    ),
    ("jdbc:mysql+srv://h/db", {"conn_type": "jdbc", "host": "jdbc:mysql+srv://h/db"}),
    ("jdbc:derby://h:1527/db", {"conn_type": "jdbc", "host": "jdbc:derby://h:1527/db"}),
]


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[text for text, _ in CASES])
def test_a_url_of_a_drivers_page_says_the_connection(text, expected):
    check(text, "jdbc", expected)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("jdbc:", "no subprotocol"),
        ("jdbc:derby://h/db;user=u;password=hunter2", "holds a user, password or token"),
        ("jdbc:teradata://u:hunter2@h", "holds a user, password or token"),
        ("jdbc:teradata://h/DATABASE=d,USER=u,PASSWORD=hunter2", "holds a user, password or token"),
        ("jdbc:awsathena://AwsRegion=us-east-1;SecretAccessKey=hunter2", "holds a user, password or token"),
        ("jdbc:dremio:direct=h:31010;token=hunter2", "holds a user, password or token"),
        ("jdbc:avatica:remote:url=http://h;avatica_password=hunter2", "holds a user, password or token"),
        ("jdbc:db2://h:50000/d:user=u;password=p;sslKeyStorePassword=hunter2;", "in the host"),
        ("jdbc:mysql://address=(host=h)(user=u)(password=hunter2)/db", "is not read"),
        ("jdbc:sqlserver://u:hunter2@h;databaseName=d", "'@' stands in the host"),
        ("jdbc:jtds:sybase://h/d", "does not follow"),
        ("jdbc:oracle:thin:h:1521", "no '@'"),
        ("jdbc:oracle:thin:@h:1521", "neither host:port:SID"),
        ("jdbc:hive2://zk1:2181,zk2:2181/;serviceDiscoveryMode=zooKeeper", "ZooKeeper"),
        ("jdbc:sqlserver://h;password={open", "no end"),
        ("jdbc:sqlserver://h;user=a;user=b", "stands twice"),
        ("jdbc:postgresql://h:http/db", "port is not"),
    ],
)
def test_a_broken_url_is_refused(text, match):
    check_refused(text, "jdbc", match)


def test_parameters_without_a_counterpart_are_counted_and_not_named():
    (warning,) = read_any("jdbc:postgresql://h/db?reWriteBatchedInserts=true&hunter2=1").warnings
    assert warning.startswith("2 parameters")
    assert "hunter2" not in warning


@pytest.mark.parametrize("password", ["p@ss;{}}w", "a=b", " lead", "plain", "ü"])
def test_a_password_survives_the_braces_of_sql_server(password):
    check_back(
        Connection(conn_type="mssql", host="h", port=1433, login="u", password=Secret(password)), "jdbc"
    )
