"""Token counts and ids inside SQL: DuckDB hands over Arrow arrays and takes Arrow arrays back."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pyarrow.compute

import harmony

encoding = harmony.load_harmony_encoding("HarmonyGptOss")


def n_tokens(texts: pa.ChunkedArray) -> pa.Array:
    """Number of ids of each text."""
    ids = encoding.encode_arrow(texts, disallowed_special=())
    return pa.compute.list_value_length(ids)


def connect() -> duckdb.DuckDBPyConnection:
    """A connection with the function n_tokens(text)."""
    connection = duckdb.connect()
    connection.create_function(
        "n_tokens", n_tokens, ["VARCHAR"], "BIGINT", type="arrow", null_handling="special"
    )
    return connection


def ids_of(connection: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    """The result of a query with a column `text`, and the column `ids` beside it."""
    result = connection.sql(query).to_arrow_table()
    ids = encoding.encode_arrow(result["text"], disallowed_special=())
    return result.append_column("ids", ids)


if __name__ == "__main__":
    connection = connect()
    connection.execute(
        "create table pages as select * from (values (1, 'Hello'), (2, null)) t(id, text)"
    )
    print(connection.execute("select id, n_tokens(text) from pages").fetchall())
    print(ids_of(connection, "select id, text from pages"))
