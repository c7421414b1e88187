<?php
// PHP's PDO: prepares each statement at its first execution and deallocates it in SQL when it goes out of scope.

require __DIR__ . '/checks.php';

function connect(string $password = 'demo', array $options = []): PDO
{
    $place = 'pgsql:host=' . getenv('PGHOST') . ';port=' . getenv('PGPORT') . ';dbname=' . getenv('PGDATABASE')
        . ';sslmode=verify-full;sslrootcert=' . getenv('PGSSLROOTCERT');
    return new PDO($place, getenv('PGUSER'), $password, $options + [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
}

function one(string $sql, array $parameters = [])
{
    $statement = $GLOBALS['client']->prepare($sql);
    $statement->execute($parameters);
    return $statement->fetchColumn();
}

function refusal(callable $call): string
{
    try {
        $call();
    } catch (PDOException $refused) {
        return $refused->getCode();
    }
    throw new RuntimeException('it was not refused');
}

$client = connect();
echo "version\tok\tPDO pgsql ", phpversion('pdo_pgsql'), ', PHP ', PHP_VERSION, "\n";

check('login', function () {
    expect(one('SELECT current_user'), 'demo');
    try {
        connect('wrong');
    } catch (PDOException $refused) {
        preg_match('/password authentication failed/', $refused->getMessage(), $said);
        return $said[0];
    }
    throw new RuntimeException('a wrong password was taken');
});

check('simple', function () use ($client) {
    expect($client->exec('CREATE TABLE simple (n int); INSERT INTO simple VALUES (1), (2)'), 2);
});

check('parameters', function () use ($client) {
    $statement = $client->prepare('SELECT :n::int + 1, :t::text, :x::text');
    $statement->execute(['n' => 41, 't' => WORDS, 'x' => null]);
    expect($statement->fetch(PDO::FETCH_NUM), [42, WORDS, null]);
    // The same with the parameters put into the text by the driver.
    $emulated = $client->prepare('SELECT :n::int + 1, :t::text', [PDO::ATTR_EMULATE_PREPARES => true]);
    $emulated->execute(['n' => 41, 't' => WORDS]);
    expect($emulated->fetch(PDO::FETCH_NUM), [42, WORDS]);
});

check('named', function () use ($client) {
    $doubled = $client->prepare('SELECT ?::int * 2');
    for ($n = 0; $n < 50; $n++) {
        $doubled->execute([$n]);
        expect($doubled->fetchColumn(), 2 * $n);
        // One more is prepared, run and deallocated between.
        expect(one('SELECT ?::int', [$n]), $n);
    }
});

check('transaction', function () use ($client) {
    $client->exec('CREATE TABLE moved (n int PRIMARY KEY)');
    $client->beginTransaction();
    $insert = $client->prepare('INSERT INTO moved VALUES (?)');
    $insert->execute([1]);
    $insert->execute([2]);
    $client->commit();
    expect(one('SELECT count(*) FROM moved'), 2);
});

check('rollback', function () use ($client) {
    $client->beginTransaction();
    $client->exec('INSERT INTO moved VALUES (3)');
    $codes = [refusal(fn () => one('SELECT 1 / 0')), refusal(fn () => $client->query('SELECT 1'))];
    $client->rollBack();
    expect(one('SELECT count(*) FROM moved'), 2);
    return implode(', ', $codes);
});

check('savepoint', function () use ($client) {
    $client->beginTransaction();
    $client->exec('INSERT INTO moved VALUES (4)');
    $client->exec('SAVEPOINT before');
    $code = refusal(fn () => one('INSERT INTO moved VALUES (?)', [4]));
    $client->exec('ROLLBACK TO SAVEPOINT before');
    $client->exec('INSERT INTO moved VALUES (5)');
    $client->commit();
    expect(one('SELECT count(*) FROM moved'), 4);
    return $code;
});

check('copy in', function () use ($client) {
    $client->exec('CREATE TABLE copied (n int, word text)');
    expect($client->pgsqlCopyFromArray('copied', rows()), true);
    expect(one('SELECT count(*) FROM copied'), 1000);
});

check('copy out', function () use ($client) {
    expect($client->pgsqlCopyToArray('copied'), rows());
});

// A scrollable one, which the driver declares in SQL and fetches from row by row.
check('cursor', function () use ($client) {
    $client->beginTransaction();
    $scroll = [PDO::ATTR_CURSOR => PDO::CURSOR_SCROLL];
    $walk = $client->prepare('SELECT n FROM generate_series(1, 1000) AS n', $scroll);
    $walk->execute();
    for ($total = 0; ($n = $walk->fetchColumn()) !== false;) {
        $total += $n;
    }
    $walk = null;
    $client->commit();
    expect($total, 500500);
});

check('cancel', function () {
    throw new NotApplicable('no call for it');
});

check('notify', function () use ($client) {
    $client->exec('LISTEN bells');
    connect()->exec("NOTIFY bells, 'ding'");
    $heard = $client->pgsqlGetNotify(PDO::FETCH_ASSOC, 30000);
    expect([$heard['message'], $heard['payload']], ['bells', 'ding']);
    $client->exec('UNLISTEN bells');
});

check('big row', function () {
    expect(one('SELECT ?::text', [big()]) === big(), true);
});

check('own writes', function () use ($client) {
    $client->exec('CREATE TABLE own (n int)');
    $insert = $client->prepare('INSERT INTO own VALUES (?)');
    for ($n = 1; $n <= 100; $n++) {
        $insert->execute([$n]);
        expect(one('SELECT count(*) FROM own'), $n);
    }
});

check('altered', function () use ($client) {
    $client->exec('CREATE TABLE changing AS SELECT 1 AS n');
    $statement = $client->prepare('SELECT * FROM changing');
    for ($n = 0; $n < 10; $n++) {
        $statement->execute();
        expect($statement->columnCount(), 1);
    }
    connect()->exec('ALTER TABLE changing ADD COLUMN word text');
    for ($seen = []; count($seen) < 3;) {
        try {
            $statement->execute();
            $seen[] = $statement->columnCount() . ' columns';
        } catch (PDOException $refused) {
            $seen[] = $refused->getCode();
        }
    }
    return implode(', ', $seen);
});
