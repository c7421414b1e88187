// lib/pq under database/sql: Parse, Describe and Sync, then Bind, Execute and Sync, on one connection of a pool.

package main

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/lib/pq"
)

var (
	ctx    = context.Background()
	client = connect("demo")
)

func main() {
	client.SetMaxOpenConns(1)
	report("lib/pq "+packaged("golang-github-lib-pq-dev"), []check{
		{"login", login}, {"simple", simple}, {"parameters", parameters}, {"named", named},
		{"transaction", transaction}, {"rollback", rollback}, {"savepoint", savepoint},
		{"copy in", copyIn}, {"copy out", copyOut}, {"cursor", cursor}, {"cancel", cancel}, {"notify", notify},
		{"big row", bigRow}, {"own writes", ownWrites}, {"altered", altered},
	})
}

// The rest of where to connect is in libpq's environment variables.
func place(password string) string { return "password=" + password }

func connect(password string) *sql.DB {
	pool, err := sql.Open("postgres", place(password))
	if err != nil {
		panic(err)
	}
	return pool
}

func code(err error) string {
	if refused, is := err.(*pq.Error); is {
		return string(refused.Code)
	}
	return fmt.Sprint(err)
}

func count(table string) (n int, err error) {
	err = client.QueryRow("SELECT count(*) FROM " + table).Scan(&n)
	return
}

func counted(table string, wanted int) error {
	n, err := count(table)
	if err != nil {
		return err
	}
	return expect(n, wanted)
}

func login() (string, error) {
	var user string
	if err := client.QueryRow("SELECT current_user").Scan(&user); err != nil {
		return "", err
	}
	wrong := connect("wrong")
	defer wrong.Close()
	return code(wrong.Ping()), expect(user, "demo")
}

func simple() (string, error) {
	rows, err := client.Query("SELECT 1; SELECT 2")
	if err != nil {
		return "", err
	}
	defer rows.Close()
	seen := ""
	for again := true; again; again = rows.NextResultSet() {
		for rows.Next() {
			var n int
			if err := rows.Scan(&n); err != nil {
				return "", err
			}
			seen += fmt.Sprint(n)
		}
	}
	return "", expect(seen, "12")
}

func parameters() (string, error) {
	var n int
	var text string
	var nothing sql.NullString
	row := client.QueryRow("SELECT $1::int + 1, $2::text, $3::text", 41, words, nil)
	if err := row.Scan(&n, &text, &nothing); err != nil {
		return "", err
	}
	return "", expect(fmt.Sprint(n, text, nothing.Valid), fmt.Sprint(42, words, false))
}

func named() (string, error) {
	doubled, err := client.Prepare("SELECT $1::int * 2")
	if err != nil {
		return "", err
	}
	defer doubled.Close()
	for n := 0; n < 50; n++ {
		var twice int
		if err := doubled.QueryRow(n).Scan(&twice); err != nil {
			return "", err
		}
		if err := expect(twice, 2*n); err != nil {
			return "", err
		}
	}
	return "", nil
}

func transaction() (string, error) {
	if _, err := client.Exec("CREATE TABLE moved (n int PRIMARY KEY)"); err != nil {
		return "", err
	}
	block, err := client.Begin()
	if err != nil {
		return "", err
	}
	for n := 1; n <= 2; n++ {
		if _, err := block.Exec("INSERT INTO moved VALUES ($1)", n); err != nil {
			return "", err
		}
	}
	if err := block.Commit(); err != nil {
		return "", err
	}
	return "", counted("moved", 2)
}

func rollback() (string, error) {
	block, err := client.Begin()
	if err != nil {
		return "", err
	}
	if _, err := block.Exec("INSERT INTO moved VALUES (3)"); err != nil {
		return "", err
	}
	_, first := block.Exec("SELECT 1 / 0")
	_, second := block.Exec("SELECT $1::int", 1)
	if err := block.Rollback(); err != nil {
		return "", err
	}
	return code(first) + ", " + code(second), counted("moved", 2)
}

func savepoint() (string, error) {
	block, err := client.Begin()
	if err != nil {
		return "", err
	}
	codes := []string{}
	for _, statement := range []string{
		"INSERT INTO moved VALUES (4)", "SAVEPOINT before", "INSERT INTO moved VALUES (4)",
		"ROLLBACK TO SAVEPOINT before", "INSERT INTO moved VALUES (5)",
	} {
		if _, err := block.Exec(statement); err != nil {
			codes = append(codes, code(err))
		}
	}
	if err := block.Commit(); err != nil {
		return "", err
	}
	return strings.Join(codes, ", "), counted("moved", 4)
}

func copyIn() (string, error) {
	if _, err := client.Exec("CREATE TABLE copied (n int, word text)"); err != nil {
		return "", err
	}
	block, err := client.Begin()
	if err != nil {
		return "", err
	}
	rows, err := block.Prepare(pq.CopyIn("copied", "n", "word"))
	if err != nil {
		return "", err
	}
	for n := 1; n <= 1000; n++ {
		if _, err := rows.Exec(n, fmt.Sprintf("word %d", n)); err != nil {
			return "", err
		}
	}
	if _, err := rows.Exec(); err != nil {
		return "", err
	}
	if err := rows.Close(); err != nil {
		return "", err
	}
	if err := block.Commit(); err != nil {
		return "", err
	}
	return "", counted("copied", 1000)
}

func copyOut() (string, error) { return "", notApplicable("no call for it") }

// In SQL: the driver has no portals with a limit.
func cursor() (string, error) {
	block, err := client.Begin()
	if err != nil {
		return "", err
	}
	defer block.Rollback()
	if _, err := block.Exec("DECLARE walk CURSOR FOR SELECT n FROM generate_series(1, 1000) AS n"); err != nil {
		return "", err
	}
	total := 0
	for more := true; more; {
		rows, err := block.Query("FETCH 100 FROM walk")
		if err != nil {
			return "", err
		}
		more = false
		for rows.Next() {
			var n int
			if err := rows.Scan(&n); err != nil {
				return "", err
			}
			more = true
			total += n
		}
	}
	return "", expect(total, 500500)
}

// The driver cancels when the context ends.
func cancel() (string, error) {
	until, end := context.WithCancel(ctx)
	failed := make(chan error)
	go func() {
		other := connect("demo")
		defer other.Close()
		for n := 0; n == 0; time.Sleep(10 * time.Millisecond) {
			if err := other.QueryRow(sleeping).Scan(&n); err != nil {
				failed <- err
				return
			}
		}
		end()
		failed <- nil
	}()
	_, slept := client.ExecContext(until, "SELECT pg_sleep(60)")
	if err := <-failed; err != nil {
		return "", err
	}
	var n int
	if err := client.QueryRow("SELECT 1").Scan(&n); err != nil {
		return "", err
	}
	return code(slept), nil
}

func notify() (string, error) {
	listener := pq.NewListener(place("demo"), time.Second, time.Second, nil)
	defer listener.Close()
	if err := listener.Listen("bells"); err != nil {
		return "", err
	}
	if _, err := client.Exec("NOTIFY bells, 'ding'"); err != nil {
		return "", err
	}
	select {
	case heard := <-listener.Notify:
		return "", expect(heard.Channel+" "+heard.Extra, "bells ding")
	case <-time.After(30 * time.Second):
		return "", fmt.Errorf("nothing was heard")
	}
}

func bigRow() (string, error) {
	var back string
	if err := client.QueryRow("SELECT $1::text", big).Scan(&back); err != nil {
		return "", err
	}
	return "", expect(back == big, true)
}

func ownWrites() (string, error) {
	if _, err := client.Exec("CREATE TABLE own (n int)"); err != nil {
		return "", err
	}
	for n := 1; n <= 100; n++ {
		if _, err := client.Exec("INSERT INTO own VALUES ($1)", n); err != nil {
			return "", err
		}
		if err := counted("own", n); err != nil {
			return "", err
		}
	}
	return "", nil
}

func altered() (string, error) {
	if _, err := client.Exec("CREATE TABLE changing AS SELECT 1 AS n"); err != nil {
		return "", err
	}
	statement, err := client.Prepare("SELECT * FROM changing")
	if err != nil {
		return "", err
	}
	columns := func() string {
		rows, err := statement.Query()
		if err != nil {
			return code(err)
		}
		defer rows.Close()
		names, err := rows.Columns()
		for rows.Next() {
		}
		if rows.Err() != nil {
			return code(rows.Err())
		}
		return fmt.Sprint(len(names), " columns")
	}
	for n := 0; n < 10; n++ {
		if err := expect(columns(), "1 columns"); err != nil {
			return "", err
		}
	}
	other := connect("demo")
	defer other.Close()
	if _, err := other.Exec("ALTER TABLE changing ADD COLUMN word text"); err != nil {
		return "", err
	}
	seen := []string{columns(), columns(), columns()}
	return strings.Join(seen, ", "), nil
}
