// What the programs for Go share: one line a check, its name, ok or fail or n/a, and what it saw.

package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

const (
	words    = `grüße 'x' \ "y"`
	sleeping = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' " +
		"AND query LIKE 'SELECT pg_sleep%'"
)

var (
	lines = func() string {
		var text strings.Builder
		for n := 1; n <= 1000; n++ {
			fmt.Fprintf(&text, "%d\tword %d\n", n, n)
		}
		return text.String()
	}()
	big = strings.Repeat("0123456789abcdef", 8*1024*1024/16)
)

type check struct {
	name string
	run  func() (string, error)
}

// The driver has no call for a check; says what is missing.
type notApplicable string

func (why notApplicable) Error() string { return string(why) }

func report(version string, checks []check) {
	fmt.Printf("version\tok\t%s, %s\n", version, strings.Replace(runtime.Version(), "go", "Go ", 1))
	for _, check := range checks {
		told := "ok"
		saw, err := check.run()
		if why, missing := err.(notApplicable); missing {
			told, saw = "n/a", string(why)
		} else if err != nil {
			told, saw = "fail", err.Error()
		}
		fmt.Printf("%s\t%s\t%s\n", check.name, told, strings.Join(strings.Fields(saw), " "))
	}
}

func expect(seen, wanted interface{}) error {
	if seen == wanted {
		return nil
	}
	return fmt.Errorf("%.200v in place of %.200v", seen, wanted)
}

// The version of a Debian package, which is all there is of an installed library's version.
func packaged(name string) string {
	status, err := os.ReadFile("/var/lib/dpkg/status")
	if err != nil {
		return "of an unknown version"
	}
	for _, entry := range strings.Split(string(status), "\n\n") {
		if strings.HasPrefix(entry, "Package: "+name+"\n") {
			for _, line := range strings.Split(entry, "\n") {
				if strings.HasPrefix(line, "Version: ") {
					return strings.Split(strings.TrimPrefix(line, "Version: "), "-")[0]
				}
			}
		}
	}
	return "of an unknown version"
}
