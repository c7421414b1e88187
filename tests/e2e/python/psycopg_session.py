"""psycopg 3 in depth: statements it prepares by itself, pipelines with errors, cursors of all kinds, COPY."""
import sys

import psycopg
from psycopg.rows import dict_row

URL = sys.argv[1]


def main():
    with psycopg.connect(URL, autocommit=True) as connection:
        connection.execute("CREATE TABLE p (n int PRIMARY KEY, word text)")
        connection.execute("INSERT INTO p SELECT n, 'w' || n FROM generate_series(1, 1000) AS n")
        prepared_after_five_runs(connection)
        prepared_across_an_alter_table(connection)
        prepared_in_a_transaction_across_an_alter_table(connection)
        deallocated(connection)
        evicted(connection)
        pipeline_of_writes(connection)
        pipeline_with_an_error(connection)
        pipeline_in_a_transaction(connection)
        server_side_cursor(connection)
        cursor_with_hold(connection)
        scrollable_cursor(connection)
        client_side_binding(connection)
        copy_text_and_binary(connection)
        copy_given_up(connection)
        large_rows(connection)
        two_phase()
        errors_tell_all(connection)
        cancelled(connection)
        isolation_and_read_only()
        connection.execute("DROP TABLE p")
    print("all well")


def prepared_after_five_runs(connection):
    assert connection.prepare_threshold == 5
    for n in range(1, 40):
        assert connection.execute("SELECT word FROM p WHERE n = %s", (n,)).fetchone() == (f"w{n}",)
    for n in range(1, 20):  # outside of a transaction, each run may meet another server
        assert connection.execute("SELECT n + %s FROM p WHERE n = %s FOR UPDATE", (n, n), prepare=True).fetchone() == (2 * n,)
    # The same over a transaction, where all run on one server.
    with connection.transaction():
        for n in range(1, 20):
            assert connection.execute("SELECT word FROM p WHERE n = %s", (n,)).fetchone() == (f"w{n}",)


def prepared_across_an_alter_table(connection):
    query = "SELECT * FROM altered WHERE n = %s"
    connection.execute("CREATE TABLE altered (n int)")
    connection.execute("INSERT INTO altered VALUES (1), (2)")
    for _ in range(12):
        assert connection.execute(query, (1,)).fetchone() == (1,)
    connection.execute("ALTER TABLE altered ADD COLUMN word text DEFAULT 'new'")
    # The driver deallocates all it has when it has changed something itself.
    for _ in range(12):
        assert connection.execute(query, (1,)).fetchone() == (1, "new")
    # And when another client changes it.
    with psycopg.connect(URL, autocommit=True) as other:
        other.execute("ALTER TABLE altered ADD COLUMN third int")
    # The driver asks for the columns with each execution; PostgreSQL holds the statement to those it had all the same.
    for _ in range(6):
        try:
            connection.execute(query, (1,))
            raise AssertionError("rows of another shape than before")
        except psycopg.errors.FeatureNotSupported as error:
            assert error.diag.source_function == "RevalidateCachedQuery"
    with psycopg.connect(URL, autocommit=True) as other:
        other.execute("ALTER TABLE altered ALTER COLUMN n TYPE text")
    for _ in range(12):
        assert connection.execute("SELECT * FROM altered WHERE word = %s", ("new",)).fetchone()[0] == "1"
    connection.execute("DROP TABLE altered")


def prepared_in_a_transaction_across_an_alter_table(connection):
    """PostgreSQL raises an error there, and so does the endpoint; the next transaction is fine."""
    query = "SELECT * FROM altered2 WHERE n = %s"
    connection.execute("CREATE TABLE altered2 (n int)")
    connection.execute("INSERT INTO altered2 VALUES (1)")
    for _ in range(8):
        with connection.transaction():
            connection.execute(query, (1,))
    with psycopg.connect(URL, autocommit=True) as other:
        other.execute("ALTER TABLE altered2 ADD COLUMN word text")
    try:
        with connection.transaction():
            connection.execute("SELECT 1")
            connection.execute(query, (1,))
    except psycopg.errors.FeatureNotSupported:
        pass
    with connection.transaction():
        assert connection.execute(query, (1,)).fetchone() == (1, None)
    connection.execute("DROP TABLE altered2")


def deallocated(connection):
    for n in range(8):
        connection.execute("SELECT %s::int + 2", (n,))
    connection.execute("DEALLOCATE ALL")
    for n in range(8):
        assert connection.execute("SELECT %s::int + 2", (n,)).fetchone() == (n + 2,)
    connection.execute("SELECT %s::int + 3", (1,), prepare=True)
    connection.execute("DISCARD ALL")
    for n in range(8):
        assert connection.execute("SELECT %s::int + 3", (n,), prepare=True).fetchone() == (n + 3,)


def evicted(connection):
    """The driver keeps 100 statements and closes the oldest."""
    for turn in range(2):
        for n in range(150):
            assert connection.execute(f"SELECT %s::int + {n}", (1,), prepare=True).fetchone() == (1 + n,)


def pipeline_of_writes(connection):
    with connection.pipeline() as pipeline, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO p VALUES (%s, %s)", [(n, "bulk") for n in range(5000, 5500)])
        pipeline.sync()
        counted = connection.execute("SELECT count(*) FROM p WHERE word = 'bulk'")
        pipeline.sync()
        assert counted.fetchone() == (500,)
    with connection.cursor() as cursor:
        cursor.executemany("DELETE FROM p WHERE n = %s RETURNING n", [(n,) for n in range(5000, 5500)], returning=True)
        gone = 0
        while True:
            gone += len(cursor.fetchall())
            if not cursor.nextset():
                break
    assert gone == 500


def pipeline_with_an_error(connection):
    """Everything up to the next Sync is skipped, and what comes after it is not."""
    with connection.pipeline() as pipeline:
        before = connection.execute("SELECT 1")
        pipeline.sync()
        try:
            connection.execute("SELECT 1 / %s", (0,))
            connection.execute("INSERT INTO p VALUES (9999, 'never')")
            pipeline.sync()
            raise AssertionError("a division by zero went unnoticed")
        except psycopg.errors.DivisionByZero:
            pass
        try:
            pipeline.sync()
        except psycopg.errors.PipelineAborted:
            pass
        after = connection.execute("SELECT 2")
        pipeline.sync()
        assert (before.fetchone(), after.fetchone()) == ((1,), (2,))
    assert connection.execute("SELECT count(*) FROM p WHERE n = 9999").fetchone() == (0,)


def pipeline_in_a_transaction(connection):
    with connection.pipeline(), connection.transaction():
        answers = [connection.execute("SELECT word FROM p WHERE n = %s", (n,)) for n in range(1, 60)]
        inner = connection.execute("SELECT now() = statement_timestamp(), txid_current() = txid_current()")
    assert [answer.fetchone()[0] for answer in answers] == [f"w{n}" for n in range(1, 60)]
    assert inner.fetchone()[1] is True


def server_side_cursor(connection):
    with connection.transaction(), connection.cursor("walk") as cursor:
        cursor.itersize = 77
        cursor.execute("SELECT n FROM p WHERE n > %s ORDER BY n", (10,))
        assert [row[0] for row in cursor] == list(range(11, 1001))


def cursor_with_hold(connection):
    """It outlives its transaction, over statements that would otherwise go to other servers."""
    with connection.cursor("held", withhold=True) as cursor:
        cursor.execute("SELECT n FROM p ORDER BY n")
        assert cursor.fetchmany(10) == [(n,) for n in range(1, 11)]
        connection.execute("INSERT INTO p VALUES (7000, 'meanwhile')")
        assert connection.execute("SELECT count(*) FROM p").fetchone()[0] == 1001
        assert cursor.fetchmany(10) == [(n,) for n in range(11, 21)]
        connection.execute("DELETE FROM p WHERE n = 7000")
        assert len(cursor.fetchall()) == 980


def scrollable_cursor(connection):
    with connection.transaction(), connection.cursor("scroll", scrollable=True) as cursor:
        cursor.execute("SELECT n FROM p ORDER BY n")
        cursor.scroll(500)
        assert cursor.fetchone() == (501,)
        cursor.scroll(-2)
        assert cursor.fetchone() == (500,)
        cursor.scroll(999, mode="absolute")
        assert cursor.fetchall() == [(1000,)]


def client_side_binding(connection):
    with psycopg.ClientCursor(connection, row_factory=dict_row) as cursor:
        cursor.execute("SELECT %s AS text, %s AS number; SELECT 2 AS second", ("it's", 4))
        assert cursor.fetchone() == {"text": "it's", "number": 4}
        assert cursor.nextset() and cursor.fetchone() == {"second": 2}


def copy_text_and_binary(connection):
    with connection.cursor() as cursor:
        connection.execute("CREATE TABLE copied (n int, word text, bits bytea)")
        with cursor.copy("COPY copied FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "text", "bytea"])
            for n in range(3000):
                copy.write_row((n, "w" * (n % 50), bytes([n % 256]) * 20))
        assert cursor.rowcount == 3000
        with cursor.copy("COPY (SELECT * FROM copied ORDER BY n) TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["int4", "text", "bytea"])
            rows = list(copy.rows())
        assert rows[2999] == (2999, "w" * 49, bytes([2999 % 256]) * 20) and len(rows) == 3000
        with cursor.copy("COPY copied TO STDOUT") as copy:
            blocks = sum(len(block) for block in copy)
        assert blocks > 3000 * 40
        connection.execute("DROP TABLE copied")


def copy_given_up(connection):
    """By the client with an error of its own, by the server because of the data, and by reading only a part."""
    for _ in range(3):
        try:
            with connection.cursor() as cursor, cursor.copy("COPY p FROM STDIN") as copy:
                copy.write_row((8000, "x"))
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        try:
            with connection.cursor() as cursor, cursor.copy("COPY p FROM STDIN") as copy:
                for n in range(8000, 20000):
                    copy.write_row(("not a number" if n == 8100 else n, "y" * 100))
            raise AssertionError("bad data went unnoticed")
        except psycopg.errors.InvalidTextRepresentation:
            pass
        try:
            with connection.cursor() as cursor:
                with cursor.copy("COPY (SELECT generate_series(1, 1000000)) TO STDOUT") as copy:
                    assert next(copy.rows()) == ("1",)
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        assert connection.execute("SELECT count(*) FROM p WHERE n >= 8000").fetchone() == (0,)


def large_rows(connection):
    text = "0123456789" * 500_000
    assert connection.execute("SELECT %s::text", (text,)).fetchone()[0] == text
    assert connection.execute("SELECT %b::bytea", (text.encode(),), binary=True).fetchone()[0] == text.encode()


def two_phase():
    with psycopg.connect(URL) as connection, psycopg.connect(URL) as other:
        connection.tpc_begin(connection.xid(1, "bellwether", "test"))
        connection.execute("INSERT INTO p VALUES (6000, 'prepared')")
        connection.tpc_prepare()
        connection.tpc_commit()
        assert other.execute("SELECT word FROM p WHERE n = 6000").fetchone() == ("prepared",)
        other.execute("DELETE FROM p WHERE n = 6000")


def errors_tell_all(connection):
    try:
        connection.execute("INSERT INTO p VALUES (1, 'twice')")
        raise AssertionError("a duplicate went in")
    except psycopg.errors.UniqueViolation as error:
        told = error.diag
        assert (told.table_name, told.constraint_name, told.schema_name) == ("p", "p_pkey", "public")
        assert told.message_detail == "Key (n)=(1) already exists."


def cancelled(connection):
    import threading

    for _ in range(3):
        timer = threading.Timer(0.1, connection.cancel_safe)
        timer.start()
        try:
            connection.execute("SELECT pg_sleep(60)")
            raise AssertionError("it was not cancelled")
        except psycopg.errors.QueryCanceled:
            pass
        timer.join()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def isolation_and_read_only():
    with psycopg.connect(URL) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        assert connection.execute("SHOW transaction_isolation").fetchone() == ("repeatable read",)
        try:
            connection.execute("INSERT INTO p VALUES (6001, 'x')")
            raise AssertionError("a read-only transaction wrote")
        except psycopg.errors.ReadOnlySqlTransaction:
            connection.rollback()
        connection.read_only = False
        connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        assert connection.execute("SELECT count(*) FROM p").fetchone() == (1000,)


main()
