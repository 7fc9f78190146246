"""Command lines of clients."""

import pytest

from form_cases import check, check_refused
from strongroom.errors import InvalidInputError
from strongroom.transfer.forms import read_any
from strongroom.transfer.forms.words import parse_command

PG = {"conn_type": "postgres"}
MY = {"conn_type": "mysql"}
CASES = [
    (
        "psql",
        "psql -h localhost -p 5433 -U postgres mydb",
        {**PG, "host": "localhost", "port": 5433, "login": "postgres", "schema": "mydb"},
    ),
    (
        "psql",
        "$ PGPASSWORD='a b' /usr/bin/psql --host=h \\\n  --username u -d 'dbname=d sslmode=require'",
        {**PG, "host": "h", "login": "u", "password": "a b", "schema": "d", "extra.sslmode": "require"},
    ),
    (
        "psql",
        "psql 'postgresql://u:p@h/d' -c 'select 1;'",
        {**PG, "host": "h", "login": "u", "password": "p", "schema": "d"},
    ),
    (
        "mysql",
        "mysql --host=h --user=u --password='p$w' --ssl-ca=/ca.pem d",
        {**MY, "host": "h", "login": "u", "password": "p$w", "schema": "d", "extra.ssl": {"ca": "/ca.pem"}},
    ),
    ("mysql", "mysql -hh -P3307 -uu -p d", {**MY, "host": "h", "port": 3307, "login": "u", "schema": "d"}),
    (
        "mysql",
        "MYSQL_PWD=p mariadb -u u -S /run/mysqld.sock",
        {**MY, "login": "u", "password": "p", "extra.unix_socket": "/run/mysqld.sock"},
    ),
    (
        "mongosh",
        'mongosh "mongodb+srv://c.example.net/db" --username u --password p',
        {
            "conn_type": "mongo",
            "host": "c.example.net",
            "schema": "db",
            "login": "u",
            "password": "p",
            "extra.srv": True,
        },
    ),
    (
        "mongosh",
        "mongosh --host h --port 28015 --tls -u u -p p --authenticationDatabase admin",
        {
            "conn_type": "mongo",
            "host": "h",
            "port": 28015,
            "login": "u",
            "password": "p",
            "extra.ssl": True,
            "extra.authSource": "admin",
        },
    ),
    (
        "redis-cli",
        "redis-cli -u redis://u:p@h:6379/0",
        {"conn_type": "redis", "host": "h", "port": 6379, "login": "u", "password": "p", "extra.db": 0},
    ),
    (
        "redis-cli",
        "REDISCLI_AUTH=p redis-cli -h h -n 3 ping",
        {"conn_type": "redis", "host": "h", "password": "p", "extra.db": 3},
    ),
    (
        "redis-cli",
        "redis-cli -u redis://u:p@h:6379 --tls -n 3",
        {
            "conn_type": "redis",
            "host": "h",
            "port": 6379,
            "login": "u",
            "password": "p",
            "extra.db": 3,
            "extra.ssl": True,
        },
    ),
    ("psql", "psql -Atc 'select 1' -hh -U u d", {**PG, "host": "h", "login": "u", "schema": "d"}),
    ("psql", "psql -qAth h d", {**PG, "host": "h", "schema": "d"}),
    ("psql", "pg_dump -Fc -v -c -t orders -h h d", {**PG, "host": "h", "schema": "d"}),
    ("psql", "pg_isready -t 3 -h h -p 5433", {**PG, "host": "h", "port": 5433}),
    ("mysql", "mysql -BNe 'select 1' -uu -pp d", {**MY, "login": "u", "password": "p", "schema": "d"}),
    (
        "mongosh",
        "mongosh h:27018/d -u u -p",
        {"conn_type": "mongo", "host": "h", "port": 27018, "schema": "d", "login": "u"},
    ),
    (
        "curl",
        "curl -sk -u u:p:q https://h:8443/x",
        {
            "conn_type": "http",
            "schema": "https",
            "host": "h",
            "port": 8443,
            "login": "u",
            "password": "p:q",
            "extra.verify": False,
        },
    ),
    (
        "curl",
        "curl -sSLo /dev/null -XPOST --data-binary @x -b 'a=b' --oauth2-bearer t h.example.com/v1",
        {
            "conn_type": "http",
            "schema": "http",
            "host": "h.example.com",
            "extra.Cookie": "a=b",
            "extra.Authorization": "Bearer t",
        },
    ),
    (
        "curl",
        "curl -H 'Authorization: Bearer t' http://h",
        {"conn_type": "http", "schema": "http", "host": "h", "extra.Authorization": "Bearer t"},
    ),
    (
        "aws-configure",
        "aws configure set region eu-west-1",
        {"conn_type": "aws", "extra.region_name": "eu-west-1"},
    ),
]


@pytest.mark.parametrize(("form", "text", "expected"), CASES, ids=[text for _, text, _ in CASES])
def test_a_command_says_the_connection(form, text, expected):
    check(text, form, expected)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("psql -h $HOST", "open quotation mark, a variable"),
        ("psql -h h; rm x", "second command"),
        ("psql -h `host`", "substitution"),
        ("psql -h 'h", "open quotation mark"),
        ("psql -h", "has no value"),
        ("psql -h a -h b", "stands twice"),
        ("psql -p http", "port is not"),
        ("mysql -u u --password 'hunter2' d", "attach the password"),
        ("redis-cli -u redis://h/1 -n 2", "another thing than the address"),
        ("curl --odd hunter2 h", "not clear which word"),
        ("curl https://a/x https://b", "not clear which word"),
        ("curl -X POST", "names no address"),
        ("aws s3 ls", "no `aws configure set"),
    ],
)
def test_what_is_no_plain_command_is_refused(text, match):
    check_refused(text, None, match)


def test_words_are_those_of_a_shell():
    command = parse_command("A=1 /x/tool 'a b'\"c\\\"d\"e\\ f '' --")
    assert (command.name, command.arguments, command.environ) == ("tool", ('a bc"de f', "", "--"), {"A": "1"})


def test_an_environment_alone_is_no_command():
    with pytest.raises(InvalidInputError, match="no command"):
        parse_command("A=1")


def test_a_password_that_would_be_asked_for_is_told():
    assert "would ask" in read_any("psql -h h -U u d").warnings[-1]
