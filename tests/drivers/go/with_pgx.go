// pgx: prepares and describes each statement once and keeps it, with results in binary.

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
)

var (
	ctx    = context.Background()
	client *pgx.Conn
)

func main() {
	var err error
	if client, err = connect("demo"); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	report("pgx "+packaged("golang-github-jackc-pgx-v4-dev"), []check{
		{"login", login}, {"simple", simple}, {"parameters", parameters}, {"named", named},
		{"transaction", transaction}, {"rollback", rollback}, {"savepoint", savepoint},
		{"copy in", copyIn}, {"copy out", copyOut}, {"cursor", cursor}, {"cancel", cancel}, {"notify", notify},
		{"big row", bigRow}, {"own writes", ownWrites}, {"altered", altered},
	})
}

// The rest of where to connect is in libpq's environment variables.
func connect(password string) (*pgx.Conn, error) { return pgx.Connect(ctx, "password="+password) }

func code(err error) string {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refused.Code
	}
	return fmt.Sprint(err)
}

func execute(statements ...string) error {
	for _, statement := range statements {
		if _, err := client.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

func counted(table string, wanted int) error {
	var n int
	if err := client.QueryRow(ctx, "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		return err
	}
	return expect(n, wanted)
}

func login() (string, error) {
	var user string
	if err := client.QueryRow(ctx, "SELECT current_user::text").Scan(&user); err != nil {
		return "", err
	}
	_, refused := connect("wrong")
	return code(refused), expect(user, "demo")
}

func simple() (string, error) {
	results, err := client.PgConn().Exec(ctx, "SELECT 1; SELECT 'two'").ReadAll()
	if err != nil {
		return "", err
	}
	return "", expect(fmt.Sprintf("%s %s", results[0].Rows[0][0], results[1].Rows[0][0]), "1 two")
}

func parameters() (string, error) {
	var n int
	var text string
	var nothing *string
	row := client.QueryRow(ctx, "SELECT $1::int + 1, $2::text, $3::text", 41, words, nil)
	if err := row.Scan(&n, &text, &nothing); err != nil {
		return "", err
	}
	return "", expect(fmt.Sprint(n, text, nothing == nil), fmt.Sprint(42, words, true))
}

func named() (string, error) {
	if _, err := client.Prepare(ctx, "doubled", "SELECT $1::int * 2"); err != nil {
		return "", err
	}
	for n := 0; n < 50; n++ {
		var twice int
		if err := client.QueryRow(ctx, "doubled", n).Scan(&twice); err != nil {
			return "", err
		}
		if err := expect(twice, 2*n); err != nil {
			return "", err
		}
	}
	return "", client.Deallocate(ctx, "doubled")
}

func transaction() (string, error) {
	if err := execute("CREATE TABLE moved (n int PRIMARY KEY)"); err != nil {
		return "", err
	}
	err := client.BeginFunc(ctx, func(block pgx.Tx) error {
		batch := &pgx.Batch{}
		batch.Queue("INSERT INTO moved VALUES ($1)", 1)
		batch.Queue("INSERT INTO moved VALUES ($1)", 2)
		return block.SendBatch(ctx, batch).Close()
	})
	if err != nil {
		return "", err
	}
	return "", counted("moved", 2)
}

func rollback() (string, error) {
	block, err := client.Begin(ctx)
	if err != nil {
		return "", err
	}
	if err := execute("INSERT INTO moved VALUES (3)"); err != nil {
		return "", err
	}
	first, second := execute("SELECT 1 / 0"), execute("SELECT 1")
	if err := block.Rollback(ctx); err != nil {
		return "", err
	}
	return code(first) + ", " + code(second), counted("moved", 2)
}

func savepoint() (string, error) {
	var refused error
	err := client.BeginFunc(ctx, func(block pgx.Tx) error {
		if err := execute("INSERT INTO moved VALUES (4)"); err != nil {
			return err
		}
		refused = block.BeginFunc(ctx, func(pgx.Tx) error { return execute("INSERT INTO moved VALUES (4)") })
		return execute("INSERT INTO moved VALUES (5)")
	})
	if err != nil {
		return "", err
	}
	return code(refused), counted("moved", 4)
}

func copyIn() (string, error) {
	if err := execute("CREATE TABLE copied (n int, word text)"); err != nil {
		return "", err
	}
	rows := [][]interface{}{}
	for n := 1; n <= 1000; n++ {
		rows = append(rows, []interface{}{n, fmt.Sprintf("word %d", n)})
	}
	copied, err := client.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"n", "word"}, pgx.CopyFromRows(rows))
	if err != nil {
		return "", err
	}
	if err := expect(copied, int64(1000)); err != nil {
		return "", err
	}
	return "", counted("copied", 1000)
}

func copyOut() (string, error) {
	var out bytes.Buffer
	if _, err := client.PgConn().CopyTo(ctx, &out, "COPY copied TO STDOUT"); err != nil {
		return "", err
	}
	return "", expect(out.String(), lines)
}

// In SQL: the driver has no portals with a limit.
func cursor() (string, error) {
	total := 0
	err := client.BeginFunc(ctx, func(block pgx.Tx) error {
		if err := execute("DECLARE walk CURSOR FOR SELECT n FROM generate_series(1, 1000) AS n"); err != nil {
			return err
		}
		for more := true; more; {
			rows, err := block.Query(ctx, "FETCH 100 FROM walk")
			if err != nil {
				return err
			}
			more = false
			for rows.Next() {
				var n int
				if err := rows.Scan(&n); err != nil {
					return err
				}
				more = true
				total += n
			}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return "", expect(total, 500500)
}

func cancel() (string, error) {
	failed := make(chan error)
	go func() {
		other, err := connect("demo")
		for n := 0; err == nil && n == 0; time.Sleep(10 * time.Millisecond) {
			err = other.QueryRow(ctx, sleeping).Scan(&n)
		}
		if err == nil {
			err = client.PgConn().CancelRequest(ctx)
		}
		failed <- err
	}()
	slept := execute("SELECT pg_sleep(60)")
	if err := <-failed; err != nil {
		return "", err
	}
	return code(slept), execute("SELECT 1")
}

func notify() (string, error) {
	if err := execute("LISTEN bells"); err != nil {
		return "", err
	}
	other, err := connect("demo")
	if err != nil {
		return "", err
	}
	defer other.Close(ctx)
	if _, err := other.Exec(ctx, "NOTIFY bells, 'ding'"); err != nil {
		return "", err
	}
	patience, end := context.WithTimeout(ctx, 30*time.Second)
	defer end()
	heard, err := client.WaitForNotification(patience)
	if err != nil {
		return "", err
	}
	if err := execute("UNLISTEN bells"); err != nil {
		return "", err
	}
	return "", expect(heard.Channel+" "+heard.Payload, "bells ding")
}

func bigRow() (string, error) {
	var back string
	if err := client.QueryRow(ctx, "SELECT $1::text", big).Scan(&back); err != nil {
		return "", err
	}
	return "", expect(back == big, true)
}

func ownWrites() (string, error) {
	if err := execute("CREATE TABLE own (n int)"); err != nil {
		return "", err
	}
	for n := 1; n <= 100; n++ {
		if _, err := client.Exec(ctx, "INSERT INTO own VALUES ($1)", n); err != nil {
			return "", err
		}
		if err := counted("own", n); err != nil {
			return "", err
		}
	}
	return "", nil
}

func altered() (string, error) {
	if err := execute("CREATE TABLE changing AS SELECT 1 AS n"); err != nil {
		return "", err
	}
	columns := func() string {
		rows, err := client.Query(ctx, "SELECT * FROM changing")
		if err != nil {
			return code(err)
		}
		names := len(rows.FieldDescriptions())
		rows.Close()
		if rows.Err() != nil {
			return code(rows.Err())
		}
		return fmt.Sprint(names, " columns")
	}
	for n := 0; n < 10; n++ {
		if err := expect(columns(), "1 columns"); err != nil {
			return "", err
		}
	}
	other, err := connect("demo")
	if err != nil {
		return "", err
	}
	defer other.Close(ctx)
	if _, err := other.Exec(ctx, "ALTER TABLE changing ADD COLUMN word text"); err != nil {
		return "", err
	}
	return strings.Join([]string{columns(), columns(), columns()}, ", "), nil
}
