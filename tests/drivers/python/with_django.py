"""Django over psycopg 3: models, nested atomic blocks, and iterator(), which is a cursor WITH HOLD outside of them."""
import django
from django.conf import settings
from django.db import connections, models, transaction as blocks, utils

from checks import (
    BIG, DATABASE, HOST, PASSWORD, PORT, ROWS, USER, WORDS, NotApplicable, expect, refusal, report,
)


def place(password=PASSWORD):
    return {
        "ENGINE": "django.db.backends.postgresql", "HOST": HOST, "PORT": PORT, "NAME": DATABASE, "USER": USER,
        "PASSWORD": password, "CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"server_side_binding": True},
    }


settings.configure(DATABASES={"default": place(), "wrong": place("wrong"), "other": place()}, USE_TZ=True)
django.setup()
client = connections["default"]


class Moved(models.Model):
    n = models.IntegerField(primary_key=True)

    class Meta:
        app_label = "checks"


class Walked(models.Model):
    n = models.IntegerField(primary_key=True)
    word = models.TextField()

    class Meta:
        app_label = "checks"


def code_of(error):
    return getattr(error.__cause__, "sqlstate", None)


def rows(sql, *parameters):
    with client.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return cursor.fetchall() if cursor.description else None


def login():
    expect(rows("SELECT current_user"), [("demo",)])
    try:
        connections["wrong"].ensure_connection()
    except utils.OperationalError as error:
        expect("password authentication failed" in str(error), True)
        return "password authentication failed"
    raise AssertionError("a wrong password was taken")


def simple():
    expect(rows("SELECT 1"), [(1,)])


def parameters():
    expect(rows("SELECT %s::int + 1, %s::text, %s::text", 41, WORDS, None), [(42, WORDS, None)])


def named():
    raise NotApplicable("it tells its driver not to prepare")


def transaction():
    with client.schema_editor() as editor:
        editor.create_model(Moved)
    with blocks.atomic():
        Moved.objects.create(n=1)
        Moved.objects.bulk_create([Moved(n=2)])
    expect(Moved.objects.count(), 2)


def rollback():
    codes = []
    try:
        with blocks.atomic():
            Moved.objects.create(n=3)
            codes.append(refusal(lambda: rows("SELECT 1 / 0"), code_of))
            codes.append(refusal(lambda: rows("SELECT 1"), code_of))
            raise LookupError
    except LookupError:
        pass
    expect(Moved.objects.count(), 2)
    return ", ".join(codes)


def savepoint():
    def again():
        with blocks.atomic():
            Moved.objects.create(n=4)

    with blocks.atomic():
        Moved.objects.create(n=4)
        code = refusal(again, code_of)
        Moved.objects.create(n=5)
    expect(Moved.objects.count(), 4)
    return code


def copy_in():
    with client.schema_editor() as editor:
        editor.create_model(Walked)
    with client.cursor() as cursor, cursor.copy("COPY checks_walked FROM STDIN") as copy:
        for row in ROWS:
            copy.write_row(row)
    expect(Walked.objects.count(), len(ROWS))


def copy_out():
    with client.cursor() as cursor, cursor.copy("COPY checks_walked TO STDOUT") as copy:
        copy.set_types(["int4", "text"])
        expect(sorted(copy.rows()), ROWS)


def cursor():
    walked = Walked.objects.order_by("n")
    expect(sum(row.n for row in walked.iterator(chunk_size=100)), 500500)
    with blocks.atomic():
        expect(sum(row.n for row in walked.iterator(chunk_size=100)), 500500)


def cancel():
    raise NotApplicable("a matter of the driver below it")


def notify():
    raise NotApplicable("a matter of the driver below it")


def big_row():
    Walked.objects.create(n=1001, word=BIG)
    expect(Walked.objects.get(n=1001).word, BIG)


def own_writes():
    Moved.objects.all().delete()
    for n in range(1, 101):
        Moved.objects.create(n=n)
        expect(Moved.objects.count(), n)
        # At the end of each request: what is idle is looked at before it is used again.
        client.close_if_unusable_or_obsolete()


def altered():
    rows("CREATE TABLE changing AS SELECT 1 AS n")
    for _ in range(10):
        expect(rows("SELECT * FROM changing"), [(1,)])
    with connections["other"].cursor() as other:
        other.execute("ALTER TABLE changing ADD COLUMN word text")
    seen = []
    for _ in range(3):
        try:
            seen.append(f"{len(rows('SELECT * FROM changing')[0])} columns")
        except utils.Error as error:
            seen.append(code_of(error))
    return ", ".join(seen)


report(
    f"Django {django.__version__}",
    [login, simple, parameters, named, transaction, rollback, savepoint, copy_in, copy_out, cursor, cancel, notify,
     big_row, own_writes, altered],
)
