# Ruby's pg, over libpq, which takes where to connect from its environment variables.
require "pg"

WORDS = "grüße 'x' \\ \"y\""
LINES = (1..1000).map { |n| "#{n}\tword #{n}\n" }.join
BIG = "0123456789abcdef" * (8 * 1024 * 1024 / 16)
SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' " \
           "AND query LIKE 'SELECT pg_sleep%'"

def connect(**options) = PG.connect(**options)

def check(name)
  saw = yield
  puts "#{name}\tok\t#{saw.is_a?(String) ? saw : ''}"
rescue StandardError => error
  puts "#{name}\tfail\t#{error.class} #{error.message.split.join(' ')}"
end

def expect(seen, wanted)
  raise "#{seen.inspect[0, 200]} in place of #{wanted.inspect[0, 200]}" unless seen == wanted
end

def code(error) = error.result.error_field(PG::PG_DIAG_SQLSTATE)

# Runs what must fail, and returns its SQLSTATE.
def refusal
  yield
  raise "it was not refused"
rescue PG::Error => error
  code(error)
end

client = connect
one = ->(sql, parameters = []) { client.exec_params(sql, parameters).getvalue(0, 0) }
puts "version\tok\tpg #{PG::VERSION}, Ruby #{RUBY_VERSION}"

check("login") do
  expect(one.call("SELECT current_user"), "demo")
  begin
    connect(password: "wrong")
    raise "a wrong password was taken"
  rescue PG::ConnectionBad => error
    error.message[/password authentication failed/]
  end
end

check("simple") do
  client.send_query("SELECT 1; SELECT 'two'")
  seen = []
  while (result = client.get_result)
    seen << result.getvalue(0, 0)
  end
  expect(seen, %w[1 two])
end

check("parameters") do
  row = client.exec_params("SELECT $1::int + 1, $2::text, $3::text", [41, WORDS, nil]).values
  expect(row, [["42", WORDS, nil]])
end

check("named") do
  client.prepare("doubled", "SELECT $1::int * 2")
  50.times { |n| expect(client.exec_prepared("doubled", [n]).getvalue(0, 0), (2 * n).to_s) }
  client.exec("DEALLOCATE doubled")
  nil
end

check("transaction") do
  client.exec("CREATE TABLE moved (n int PRIMARY KEY)")
  client.transaction do |block|
    block.exec_params("INSERT INTO moved VALUES ($1)", [1])
    block.exec_params("INSERT INTO moved VALUES ($1)", [2])
  end
  expect(one.call("SELECT count(*) FROM moved"), "2")
end

check("rollback") do
  client.exec("BEGIN")
  client.exec("INSERT INTO moved VALUES (3)")
  codes = [refusal { client.exec("SELECT 1 / 0") }, refusal { client.exec_params("SELECT $1::int", [1]) }]
  client.exec("ROLLBACK")
  expect(one.call("SELECT count(*) FROM moved"), "2")
  codes.join(", ")
end

check("savepoint") do
  client.exec("BEGIN")
  client.exec("INSERT INTO moved VALUES (4)")
  client.exec("SAVEPOINT before")
  seen = refusal { client.exec_params("INSERT INTO moved VALUES ($1)", [4]) }
  client.exec("ROLLBACK TO SAVEPOINT before")
  client.exec("INSERT INTO moved VALUES (5)")
  client.exec("COMMIT")
  expect(one.call("SELECT count(*) FROM moved"), "4")
  seen
end

check("copy in") do
  client.exec("CREATE TABLE copied (n int, word text)")
  client.copy_data("COPY copied FROM STDIN") { LINES.each_line { |line| client.put_copy_data(line) } }
  expect(one.call("SELECT count(*) FROM copied"), "1000")
end

check("copy out") do
  out = +""
  client.copy_data("COPY copied TO STDOUT") do
    while (line = client.get_copy_data)
      out << line
    end
  end
  expect(out, LINES)
end

# In SQL: libpq has no portals with a limit.
check("cursor") do
  total = 0
  client.transaction do |block|
    block.exec("DECLARE walk CURSOR FOR SELECT n FROM generate_series(1, 1000) AS n")
    until (rows = block.exec("FETCH 100 FROM walk")).ntuples.zero?
      total += rows.column_values(0).sum(&:to_i)
    end
  end
  expect(total, 500_500)
end

check("cancel") do
  canceller = Thread.new do
    other = connect
    sleep 0.01 while other.exec(SLEEPING).getvalue(0, 0) == "0"
    other.close
    client.cancel
  end
  seen = refusal { client.exec("SELECT pg_sleep(60)") }
  canceller.join
  expect(one.call("SELECT 1"), "1")
  seen
end

check("notify") do
  client.exec("LISTEN bells")
  other = connect
  other.exec("NOTIFY bells, 'ding'")
  other.close
  heard = nil
  client.wait_for_notify(30) { |channel, _pid, payload| heard = [channel, payload] }
  expect(heard, %w[bells ding])
  client.exec("UNLISTEN bells")
end

check("big row") { expect(one.call("SELECT $1::text", [BIG]) == BIG, true) }

check("own writes") do
  client.exec("CREATE TABLE own (n int)")
  1.upto(100) do |n|
    client.exec_params("INSERT INTO own VALUES ($1)", [n])
    expect(one.call("SELECT count(*) FROM own"), n.to_s)
  end
  nil
end

check("altered") do
  client.exec("CREATE TABLE changing AS SELECT 1 AS n")
  client.prepare("changing", "SELECT * FROM changing")
  10.times { expect(client.exec_prepared("changing").nfields, 1) }
  other = connect
  other.exec("ALTER TABLE changing ADD COLUMN word text")
  other.close
  seen = Array.new(3) do
    "#{client.exec_prepared('changing').nfields} columns"
  rescue PG::Error => error
    code(error)
  end
  seen.join(", ")
end
