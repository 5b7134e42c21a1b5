"""Write-behind: the orders of the streams `orders:*` are written to a SQLite file, each once.

    redis-cli RG.PYEXECUTE "$(cat write_behind.py)"
    redis-cli XADD 'orders:{europe}' '*' item tea amount 3

A batch stays in its stream until its transaction is over. Where a worker dies between the two the batch comes
again; the last entry of each stream is therefore part of the transaction, and only what is behind it is
written.
"""

import sqlite3

from redisgears import GB, log

DATABASE = "orders.sqlite"  # where the server runs: give it an absolute path
TABLES = """
CREATE TABLE IF NOT EXISTS orders (stream TEXT, id TEXT, item TEXT, amount INTEGER);
CREATE TABLE IF NOT EXISTS written (stream TEXT PRIMARY KEY, milliseconds INTEGER, number INTEGER);
"""


def write(batch):
    """Write the entries of one stream, in the order of their ids."""
    with sqlite3.connect(DATABASE) as database:  # commits, or rolls back where anything fails
        database.execute("BEGIN IMMEDIATE")
        stream = batch[0]["key"]
        last = database.execute(
            "SELECT milliseconds, number FROM written WHERE stream = ?", (stream,)
        ).fetchone() or (0, 0)
        new = [record for record in batch if position(record) > last]
        database.executemany(
            "INSERT INTO orders VALUES (?, ?, ?, ?)",
            [(stream, record["id"], record["value"]["item"], record["value"]["amount"]) for record in new],
        )
        if new:
            database.execute("REPLACE INTO written VALUES (?, ?, ?)", (stream, *position(new[-1])))


def position(record):
    """An entry's id as numbers, which compare as ids do."""
    milliseconds, number = record["id"].split("-")
    return int(milliseconds), int(number)


def prepare():
    """Once, where the registration arrives."""
    with sqlite3.connect(DATABASE) as database:
        database.executescript("PRAGMA journal_mode = WAL;" + TABLES)
    log(f"orders are written to {DATABASE}")


(
    GB("StreamReader", desc="orders to SQLite")
    .aggregate([], lambda batch, record: [*batch, record], lambda batch, more: batch + more)
    .foreach(write)
    .register(
        "orders:*",
        batch=100,
        duration=100,
        mode="async_local",
        onFailedPolicy="retry",
        onFailedRetryInterval=1,
        onRegistered=prepare,
    )
)
