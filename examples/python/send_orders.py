"""
Send what is new in a database to an API, for days on end, while the passwords of both are rotated.

    python send_orders.py                # until it is told to end
    python send_orders.py --once         # what is there now

Both clients are their libraries' own objects (an Engine of SQLAlchemy, a Client of httpx2) and follow their
connections: a new session logs in with what the connection says then. Nothing here knows of a password.
Needs `pip install 'strongroom[sql,http]'` and the driver of the database.
"""

from __future__ import annotations

import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

from sqlalchemy import text

import strongroom

if TYPE_CHECKING:
    from httpx2 import Client
    from sqlalchemy import Engine

NEW = text("SELECT id, item FROM orders WHERE sent = 0 ORDER BY id LIMIT 100")
SENT = text("UPDATE orders SET sent = 1 WHERE id = :id")


def send(orders: Engine, billing: Client) -> int:
    """Send what is new, and tell how much that was."""
    with orders.begin() as session:
        found = session.execute(NEW).all()
        for order in found:
            billing.post("/orders", json={"id": order.id, "item": order.item}).raise_for_status()
            session.execute(SENT, {"id": order.id})
    return len(found)


def main() -> None:
    orders = strongroom.client("orders_db", options={"pool_size": 2})
    try:
        with closing(strongroom.client("billing_api")) as billing:
            while True:
                print(f"sent {send(orders, billing)}", flush=True)
                if "--once" in sys.argv:
                    return
                time.sleep(10)
    finally:
        orders.dispose()


if __name__ == "__main__":
    main()
