"""Columns of text arrive in Postgres as they were."""

import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_billing.usage.arrays import columns

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
values = st.one_of(st.none(), texts, st.sampled_from(['"', "\\", '","', "NULL", "{}", ""]))


@pytest.fixture(scope="module")
def cursor(server_url):
    with psycopg2.connect(server_url) as connection, connection.cursor() as cursor:
        yield cursor
    connection.close()


@given(st.lists(st.tuples(values, st.integers()), min_size=1))
def test_a_column_is_what_was_sent(cursor, rows):
    """Quotes, backslashes, empty texts, the word NULL and none at all."""
    sent = columns(rows)
    cursor.execute("SELECT %(c0)s::text[], %(c1)s::text[]", sent)
    assert cursor.fetchone() == (
        [text for text, _ in rows],
        [str(number) for _, number in rows],
    )
