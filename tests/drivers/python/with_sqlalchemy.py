"""SQLAlchemy over psycopg 3: its engine and pool, with a look at each connection before it is used."""
import sqlalchemy
from sqlalchemy import text

from checks import (
    BIG, DATABASE, HOST, PASSWORD, PORT, USER, WORDS, NotApplicable, expect, refusal, report,
)


def engine(password=PASSWORD):
    url = sqlalchemy.URL.create("postgresql+psycopg", USER, password, HOST, PORT, DATABASE)
    return sqlalchemy.create_engine(url, pool_pre_ping=True)


def code_of(error):
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def one(sql, **parameters):
    with autocommit.connect() as connection:
        return connection.execute(text(sql), parameters).scalar()


def run(sql, **parameters):
    with autocommit.connect() as connection:
        connection.execute(text(sql), parameters)


def login():
    expect(one("SELECT current_user"), "demo")
    try:
        engine("wrong").connect()
    except sqlalchemy.exc.OperationalError as error:
        expect("password authentication failed" in str(error), True)
        return "password authentication failed"
    raise AssertionError("a wrong password was taken")


def simple():
    with autocommit.connect() as connection:
        expect(connection.exec_driver_sql("SELECT 1").scalar(), 1)


def parameters():
    with autocommit.connect() as connection:
        row = connection.execute(
            text("SELECT CAST(:n AS int) + 1, CAST(:t AS text), CAST(:x AS text)"), {"n": 41, "t": WORDS, "x": None}
        )
        expect(tuple(row.one()), (42, WORDS, None))


def named():
    # The driver prepares from the sixth time on.
    with autocommit.connect() as connection:
        for n in range(50):
            expect(connection.execute(text("SELECT CAST(:n AS int) * 2"), {"n": n}).scalar(), 2 * n)


def transaction():
    moved.create(pool)
    with pool.begin() as connection:
        connection.execute(moved.insert(), [{"n": 1}, {"n": 2}])
    expect(one("SELECT count(*) FROM moved"), 2)


def rollback():
    with pool.connect() as connection:
        connection.execute(moved.insert(), {"n": 3})
        first = refusal(lambda: connection.execute(text("SELECT 1 / 0")), code_of)
        second = refusal(lambda: connection.execute(text("SELECT 1")), code_of)
        connection.rollback()
        expect(connection.execute(sqlalchemy.select(sqlalchemy.func.count()).select_from(moved)).scalar(), 2)
    return f"{first}, {second}"


def savepoint():
    def again(connection):
        with connection.begin_nested():
            connection.execute(moved.insert(), {"n": 4})

    with pool.begin() as connection:
        connection.execute(moved.insert(), {"n": 4})
        code = refusal(lambda: again(connection), code_of)
        connection.execute(moved.insert(), {"n": 5})
    expect(one("SELECT count(*) FROM moved"), 4)
    return code


def copy_in():
    raise NotApplicable("a matter of the driver below it")


def copy_out():
    raise NotApplicable("a matter of the driver below it")


def cursor():
    with pool.connect() as connection:
        rows = connection.execution_options(stream_results=True, yield_per=100).execute(
            text("SELECT n FROM generate_series(1, 1000) AS n")
        )
        expect(sum(row.n for row in rows), 500500)


def cancel():
    raise NotApplicable("a matter of the driver below it")


def notify():
    raise NotApplicable("a matter of the driver below it")


def big_row():
    expect(one("SELECT CAST(:t AS text)", t=BIG), BIG)


def own_writes():
    own = sqlalchemy.Table("own", metadata, sqlalchemy.Column("n", sqlalchemy.Integer))
    own.create(pool)
    count = sqlalchemy.select(sqlalchemy.func.count()).select_from(own)
    with autocommit.connect() as connection:
        for n in range(1, 101):
            connection.execute(own.insert(), {"n": n})
            expect(connection.execute(count).scalar(), n)


def altered():
    run("CREATE TABLE changing AS SELECT 1 AS n")
    seen = []
    with autocommit.connect() as connection:
        for _ in range(10):
            expect(len(connection.execute(text("SELECT * FROM changing")).keys()), 1)
        run("ALTER TABLE changing ADD COLUMN word text")
        for _ in range(3):
            try:
                seen.append(f"{len(connection.execute(text('SELECT * FROM changing')).keys())} columns")
            except sqlalchemy.exc.DBAPIError as error:
                seen.append(code_of(error))
    return ", ".join(seen)


pool = engine()
autocommit = pool.execution_options(isolation_level="AUTOCOMMIT")
metadata = sqlalchemy.MetaData()
moved = sqlalchemy.Table("moved", metadata, sqlalchemy.Column("n", sqlalchemy.Integer, primary_key=True))
report(
    f"SQLAlchemy {sqlalchemy.__version__}",
    [login, simple, parameters, named, transaction, rollback, savepoint, copy_in, copy_out, cursor, cancel, notify,
     big_row, own_writes, altered],
)
