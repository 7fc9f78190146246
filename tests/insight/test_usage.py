"""Which connections and variables the text of a DAG file asks for."""

import pytest

from strongroom.insight.scan import Scan
from strongroom.insight.usage import names_in, names_of


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('Variable.get("region")', "variable region"),
        ('airflow.models.Variable.get(key="region", default_var=None)', "variable region"),
        ('strongroom.variable("region")', "variable region"),
        ('BaseHook.get_connection("orders_db")', "connection orders_db"),
        ('Connection.get("orders_db")', "connection orders_db"),
        ('strongroom.connection("orders_db")', "connection orders_db"),
        ('S3Hook(aws_conn_id="aws")', "connection aws"),
        ('Op(conn_id="aws")', "connection aws"),
        ('Op(sql="{{ conn.orders_db.host }}")', "connection orders_db"),
        ("Op(sql=\"{{ conn.get('orders db') }}\")", "connection orders db"),
        ('Op(sql="{{ var.value.region }}")', "variable region"),
        ('Op(sql="{% if var.json.limits.a %}")', "variable limits"),
        ("Op(sql=\"{{ var.value.get('region', 1) }}\")", "variable region"),
        ("# {{ var.value.region }} in a file that is no Python: (", "variable region"),
        ("Variable.get(name)", None),
        ('Variable.get(f"{tenant}_region")', None),
        ("Op(sql=\"{{ conn.get('wh_' ~ params.tenant) }}\")", None),
        ('strongroom.variable("region", default="eu", team="shop")', "variable region"),
        ('strongroom.connection("wh_{tenant}", tenant=tenant)', None),
        ('settings.get("region")', None),
        ('Op(aws_conn_id="../x")', None),
        ('Variable.set("region", "x")', None),
    ],
)
def test_what_is_written_out_is_found_and_what_is_computed_is_not(text, found):
    assert names_in(text) == ({tuple(found.split(" ", 1))} if found else set())


def test_folders_are_looked_through_within_bounds(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.py").write_text('Variable.get("a")')
    (tmp_path / "b.txt").write_text('Variable.get("b")')
    (tmp_path / "c.py").write_bytes(b"\xff")
    (tmp_path / "link.py").symlink_to("deep/a.py")
    scan = Scan.begin()
    assert names_of([tmp_path, tmp_path / "nowhere"], scan) == {("variable", "a")}
    assert (scan.files, scan.skipped) == (1, 1)
