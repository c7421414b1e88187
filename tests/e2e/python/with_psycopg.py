"""psycopg 3 through the endpoint: what its users do, with its defaults."""
import sys

import psycopg

URL = sys.argv[1]


def main():
    with psycopg.connect(URL, autocommit=True) as connection:
        connection.execute("CREATE TABLE p (n int PRIMARY KEY, word text)")
        transactions(connection)
        prepared_by_itself(connection)
        pipeline(connection)
        copy_both_ways(connection)
        cursors(connection)
        notifications(connection)
    print("all well")


def transactions(connection):
    with connection.transaction():
        connection.execute("INSERT INTO p VALUES (%s, %s)", (1, "one"))
        try:
            with connection.transaction():
                connection.execute("INSERT INTO p VALUES (1, 'twice')")
        except psycopg.errors.UniqueViolation:
            pass
        assert connection.execute("SELECT count(*) FROM p").fetchone() == (1,)


def prepared_by_itself(connection):
    """The driver prepares a statement after its fifth run."""
    for n in range(2, 20):
        connection.execute("INSERT INTO p VALUES (%s, %s)", (n, str(n)))
    with connection.transaction():
        assert connection.execute("SELECT sum(n) FROM p").fetchone() == (sum(range(1, 20)),)


def pipeline(connection):
    with connection.pipeline():
        answers = [connection.execute("SELECT %s::int + 1", (n,)) for n in range(50)]
    assert [answer.fetchone()[0] for answer in answers] == list(range(1, 51))


def copy_both_ways(connection):
    with connection.cursor() as cursor:
        with cursor.copy("COPY p FROM STDIN") as copy:
            for n in range(100, 1100):
                copy.write_row((n, "x" * 100))
        with cursor.copy("COPY (SELECT * FROM p WHERE n >= 100 ORDER BY n FOR UPDATE) TO STDOUT") as copy:
            rows = list(copy.rows())
    assert len(rows) == 1000 and rows[0][0] == "100"


def cursors(connection):
    with connection.transaction(), connection.cursor(name="walk") as cursor:
        cursor.itersize = 100
        cursor.execute("SELECT n FROM p ORDER BY n")
        assert sum(1 for _ in cursor) == 1019


def notifications(connection):
    connection.execute("LISTEN bells")
    with psycopg.connect(URL, autocommit=True) as other:
        other.execute("NOTIFY bells, 'ding'")
    heard = next(connection.notifies(timeout=10))
    assert (heard.channel, heard.payload) == ("bells", "ding")
    connection.execute("UNLISTEN *")


main()
