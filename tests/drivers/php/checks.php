<?php
// What the programs for PHP share: one line a check, its name, ok or fail or n/a, and what it saw.

const WORDS = "grüße 'x' \\ \"y\"";
const SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' "
    . "AND query LIKE 'SELECT pg_sleep%'";

// The driver has no call for a check; says what is missing.
class NotApplicable extends Exception
{
}

function big(): string
{
    return str_repeat('0123456789abcdef', 8 * 1024 * 1024 / 16);
}

function rows(): array
{
    return array_map(fn ($n) => "$n\tword $n\n", range(1, 1000));
}

function check(string $name, callable $run): void
{
    try {
        [$told, $saw] = ['ok', (string) $run()];
    } catch (NotApplicable $why) {
        [$told, $saw] = ['n/a', $why->getMessage()];
    } catch (Throwable $error) {
        [$told, $saw] = ['fail', get_class($error) . ' ' . $error->getMessage()];
    }
    echo "$name\t$told\t", trim(preg_replace('/\s+/', ' ', $saw)), "\n";
}

function expect($seen, $wanted): void
{
    if ($seen !== $wanted) {
        $short = fn ($value) => substr(var_export($value, true), 0, 200);
        throw new RuntimeException($short($seen) . ' in place of ' . $short($wanted));
    }
}
