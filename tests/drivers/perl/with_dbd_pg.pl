# DBD::Pg, over libpq: prepares by itself at the second execution, with names of its own.
use strict;
use warnings;
use utf8;

use DBI;
use DBD::Pg qw(:async);

binmode STDOUT, ':encoding(UTF-8)';
$| = 1;

my $words = "grüße 'x' \\ \"y\"";
my @lines = map { "$_\tword $_\n" } 1 .. 1000;
my $sleeping = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' "
  . "AND query LIKE 'SELECT pg_sleep%'";

# The rest of where to connect is in libpq's environment variables.
sub place {
    my ($password) = @_;
    return DBI->connect('dbi:Pg:', undef, $password, { RaiseError => 1, PrintError => 0, AutoCommit => 1 });
}

sub check {
    my ($name, $run) = @_;
    my $saw = eval { $run->() // '' };
    my $told = defined $saw ? 'ok' : 'fail';
    $saw = "$@" unless defined $saw;
    $saw = join ' ', split ' ', $saw;
    print "$name\t$told\t$saw\n";
}

sub expect {
    my ($seen, $wanted) = @_;
    die substr($seen // 'nothing', 0, 200) . " in place of " . substr($wanted, 0, 200) unless ($seen // '') eq $wanted;
    return;
}

# Runs what must fail, and returns its SQLSTATE.
sub refusal {
    my ($handle, $call) = @_;
    die 'it was not refused' if eval { $call->(); 1 };
    return $handle->state;
}

my $client = place('demo');
sub one { return scalar $client->selectrow_array($_[0], undef, @_[1 .. $#_]) }
printf "version\tok\tDBD::Pg %s, Perl %vd\n", $DBD::Pg::VERSION, $^V;

check 'login', sub {
    expect(one('SELECT current_user'), 'demo');
    eval { place('wrong') };
    return $@ =~ /(password authentication failed)/ ? $1 : die 'a wrong password was taken';
};

check 'simple', sub {
    $client->do("CREATE TABLE simple (n int); INSERT INTO simple VALUES (1), (2)");
    expect(one('SELECT count(*) FROM simple'), 2);
};

check 'parameters', sub {
    my @row = $client->selectrow_array('SELECT ?::int + 1, ?::text, ?::text IS NULL', undef, 41, $words, undef);
    expect(join('|', @row), "42|$words|1");
};

check 'named', sub {
    my $doubled = $client->prepare('SELECT ?::int * 2');
    for my $n (0 .. 49) {
        $doubled->execute($n);
        expect($doubled->fetchall_arrayref->[0][0], 2 * $n);
    }
    return;
};

check 'transaction', sub {
    $client->do('CREATE TABLE moved (n int PRIMARY KEY)');
    $client->begin_work;
    my $insert = $client->prepare('INSERT INTO moved VALUES (?)');
    $insert->execute($_) for 1, 2;
    $client->commit;
    expect(one('SELECT count(*) FROM moved'), 2);
};

check 'rollback', sub {
    $client->begin_work;
    $client->do('INSERT INTO moved VALUES (3)');
    my @codes = map { my $sql = $_; refusal($client, sub { $client->do($sql) }) } 'SELECT 1 / 0', 'SELECT 1';
    $client->rollback;
    expect(one('SELECT count(*) FROM moved'), 2);
    return join ', ', @codes;
};

check 'savepoint', sub {
    $client->begin_work;
    $client->do('INSERT INTO moved VALUES (4)');
    $client->pg_savepoint('before');
    my $code = refusal($client, sub { $client->do('INSERT INTO moved VALUES (?)', undef, 4) });
    $client->pg_rollback_to('before');
    $client->do('INSERT INTO moved VALUES (5)');
    $client->commit;
    expect(one('SELECT count(*) FROM moved'), 4);
    return $code;
};

check 'copy in', sub {
    $client->do('CREATE TABLE copied (n int, word text)');
    $client->do('COPY copied FROM STDIN');
    $client->pg_putcopydata($_) for @lines;
    $client->pg_putcopyend;
    expect(one('SELECT count(*) FROM copied'), 1000);
};

check 'copy out', sub {
    $client->do('COPY copied TO STDOUT');
    my ($line, $out) = ('', '');
    $out .= $line while $client->pg_getcopydata($line) >= 0;
    expect($out, join('', @lines));
};

# In SQL: libpq has no portals with a limit.
check 'cursor', sub {
    my $total = 0;
    $client->begin_work;
    $client->do('DECLARE walk CURSOR FOR SELECT n FROM generate_series(1, 1000) AS n');
    while (my @rows = @{ $client->selectcol_arrayref('FETCH 100 FROM walk') }) {
        $total += $_ for @rows;
    }
    $client->commit;
    expect($total, 500500);
};

check 'cancel', sub {
    my $statement = $client->prepare('SELECT pg_sleep(60)', { pg_async => PG_ASYNC });
    $statement->execute;
    my $other = place('demo');
    select undef, undef, undef, 0.01 until $other->selectrow_array($sleeping);
    $other->disconnect;
    # It takes the answer away itself.
    expect($client->pg_cancel, 1);
    expect(one('SELECT 1'), 1);
};

check 'notify', sub {
    $client->do('LISTEN bells');
    my $other = place('demo');
    $other->do("NOTIFY bells, 'ding'");
    $other->disconnect;
    my $heard;
    for (1 .. 3000) {
        last if $heard = $client->pg_notifies;
        select undef, undef, undef, 0.01;
    }
    expect(join(' ', @{$heard}[0, 2]), 'bells ding');
    $client->do('UNLISTEN bells');
    return;
};

check 'big row', sub {
    my $big = '0123456789abcdef' x (8 * 1024 * 1024 / 16);
    expect(one('SELECT ?::text', $big) eq $big, 1);
};

check 'own writes', sub {
    $client->do('CREATE TABLE own (n int)');
    my $insert = $client->prepare('INSERT INTO own VALUES (?)');
    for my $n (1 .. 100) {
        $insert->execute($n);
        expect(one('SELECT count(*) FROM own'), $n);
    }
    return;
};

check 'altered', sub {
    $client->do('CREATE TABLE changing AS SELECT 1 AS n');
    my $statement = $client->prepare('SELECT * FROM changing WHERE n = ?');
    for (1 .. 10) {
        $statement->execute(1);
        expect(scalar @{ $statement->fetchall_arrayref->[0] }, 1);
    }
    my $other = place('demo');
    $other->do('ALTER TABLE changing ADD COLUMN word text');
    $other->disconnect;
    my @seen;
    for (1 .. 3) {
        my $rows = eval { $statement->execute(1); $statement->fetchall_arrayref };
        push @seen, $rows ? scalar(@{ $rows->[0] }) . ' columns' : $statement->state;
    }
    return join ', ', @seen;
};

$client->disconnect;
