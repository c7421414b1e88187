<?php
// PHP's pgsql, over libpq, which takes where to connect from its environment variables.

require __DIR__ . '/checks.php';

// Failures are returned, and warned of besides.
error_reporting(E_ALL & ~E_WARNING);

function connect(string $options = '')
{
    return pg_connect($options, PGSQL_CONNECT_FORCE_NEW);
}

// Runs it; an error of the server is thrown as its SQLSTATE.
function run(string $sql, ?array $parameters = null, $connection = null)
{
    $connection ??= $GLOBALS['client'];
    $sent = $parameters === null ? pg_send_query($connection, $sql) : pg_send_query_params($connection, $sql, $parameters);
    return last($connection, $sent);
}

function execute(string $name, array $parameters)
{
    return last($GLOBALS['client'], pg_send_execute($GLOBALS['client'], $name, $parameters));
}

function last($connection, $sent)
{
    expect((bool) $sent, true);
    $last = null;
    while ($result = pg_get_result($connection)) {
        $last = $result;
    }
    $code = pg_result_error_field($last, PGSQL_DIAG_SQLSTATE);
    if ($code) {
        throw new DomainException($code);
    }
    return $last;
}

function one(string $sql, ?array $parameters = null, $connection = null)
{
    return pg_fetch_result(run($sql, $parameters, $connection), 0, 0);
}

function refusal(callable $call): string
{
    try {
        $call();
    } catch (DomainException $refused) {
        return $refused->getMessage();
    }
    throw new RuntimeException('it was not refused');
}

$client = connect();
echo "version\tok\tpgsql ", phpversion('pgsql'), ', PHP ', PHP_VERSION, "\n";

check('login', function () {
    expect(one('SELECT current_user'), 'demo');
    expect(connect('password=wrong'), false);
    preg_match('/password authentication failed/', error_get_last()['message'], $said);
    return $said[0];
});

check('simple', function () {
    expect(one("SELECT 1; SELECT 'two'"), 'two');
});

check('parameters', function () {
    $row = pg_fetch_row(run('SELECT $1::int + 1, $2::text, $3::text', [41, WORDS, null]));
    expect($row, ['42', WORDS, null]);
});

check('named', function () {
    pg_prepare($GLOBALS['client'], 'doubled', 'SELECT $1::int * 2');
    for ($n = 0; $n < 50; $n++) {
        expect(pg_fetch_result(execute('doubled', [$n]), 0, 0), (string) (2 * $n));
    }
    run('DEALLOCATE doubled');
});

check('transaction', function () {
    run('CREATE TABLE moved (n int PRIMARY KEY)');
    run('BEGIN');
    run('INSERT INTO moved VALUES ($1)', [1]);
    run('INSERT INTO moved VALUES ($1)', [2]);
    run('COMMIT');
    expect(one('SELECT count(*) FROM moved'), '2');
});

check('rollback', function () {
    run('BEGIN');
    run('INSERT INTO moved VALUES (3)');
    $codes = [refusal(fn () => run('SELECT 1 / 0')), refusal(fn () => run('SELECT $1::int', [1]))];
    run('ROLLBACK');
    expect(one('SELECT count(*) FROM moved'), '2');
    return implode(', ', $codes);
});

check('savepoint', function () {
    run('BEGIN');
    run('INSERT INTO moved VALUES (4)');
    run('SAVEPOINT before');
    $code = refusal(fn () => run('INSERT INTO moved VALUES ($1)', [4]));
    run('ROLLBACK TO SAVEPOINT before');
    run('INSERT INTO moved VALUES (5)');
    run('COMMIT');
    expect(one('SELECT count(*) FROM moved'), '4');
    return $code;
});

check('copy in', function () {
    run('CREATE TABLE copied (n int, word text)');
    expect(pg_copy_from($GLOBALS['client'], 'copied', rows()), true);
    expect(one('SELECT count(*) FROM copied'), '1000');
});

check('copy out', function () {
    expect(pg_copy_to($GLOBALS['client'], 'copied'), rows());
});

// In SQL: libpq has no portals with a limit.
check('cursor', function () {
    run('BEGIN');
    run('DECLARE walk CURSOR FOR SELECT n FROM generate_series(1, 1000) AS n');
    for ($total = 0; $row = pg_fetch_all_columns(run('FETCH 100 FROM walk'), 0);) {
        $total += array_sum($row);
    }
    run('COMMIT');
    expect($total, 500500);
});

check('cancel', function () {
    pg_send_query($GLOBALS['client'], 'SELECT pg_sleep(60)');
    for ($other = connect(); one(SLEEPING, null, $other) === '0';) {
        usleep(10000);
    }
    pg_close($other);
    // It takes the answer away itself.
    expect(pg_cancel_query($GLOBALS['client']), true);
    expect(one('SELECT 1'), '1');
});

check('notify', function () {
    run('LISTEN bells');
    $other = connect();
    run("NOTIFY bells, 'ding'", null, $other);
    pg_close($other);
    for ($tries = 0; !($heard = pg_get_notify($GLOBALS['client'])) && $tries < 3000; $tries++) {
        usleep(10000);
    }
    expect([$heard['message'], $heard['payload']], ['bells', 'ding']);
    run('UNLISTEN bells');
});

check('big row', function () {
    expect(one('SELECT $1::text', [big()]) === big(), true);
});

check('own writes', function () {
    run('CREATE TABLE own (n int)');
    for ($n = 1; $n <= 100; $n++) {
        run('INSERT INTO own VALUES ($1)', [$n]);
        expect(one('SELECT count(*) FROM own'), (string) $n);
    }
});

check('altered', function () {
    run('CREATE TABLE changing AS SELECT 1 AS n');
    pg_prepare($GLOBALS['client'], 'changing', 'SELECT * FROM changing');
    for ($n = 0; $n < 10; $n++) {
        expect(pg_num_fields(execute('changing', [])), 1);
    }
    $other = connect();
    run('ALTER TABLE changing ADD COLUMN word text', null, $other);
    pg_close($other);
    for ($seen = []; count($seen) < 3;) {
        try {
            $seen[] = pg_num_fields(execute('changing', [])) . ' columns';
        } catch (DomainException $refused) {
            $seen[] = $refused->getMessage();
        }
    }
    return implode(', ', $seen);
});
