package integration

import (
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

// needPostgres finds the directory of PostgreSQL's programs and a user to run them, which root must not do. Debian keeps most of them out of PATH.
func needPostgres(t *testing.T) (bin string, u *user.User) {
	t.Helper()
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	version := func(dir string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		return n
	}
	slices.SortFunc(dirs, func(a, b string) int { return version(b) - version(a) })
	if path, err := exec.LookPath("initdb"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
			continue // a client without its server
		}
		for _, name := range []string{"postgres", "nobody"} {
			if u, err := user.Lookup(name); err == nil {
				return dir, u
			}
		}
		skip(t, "there is no user postgres or nobody")
	}
	skip(t, "PostgreSQL is not installed")
	return "", nil
}

// postgresScript makes a cluster in the directory $1 and works with it. Its stdin is the test, which answers each "look" with a line. What is set makes
// PostgreSQL take parallel plans for small tables, and dynamic_shared_memory_type gives each such query segments of its own in /dev/shm.
const postgresScript = `
set -eu
cd "$1"
exec 3<&0 </dev/null
trap 'cat *.log >&2' EXIT
look() { echo "look $1 PostgreSQL.*"; read -r _ <&3; }
sql() { psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }

initdb -N -A trust -U postgres -E UTF8 --locale=C -D data > initdb.log
cat >> data/postgresql.conf <<EOF
listen_addresses = ''
unix_socket_directories = '$1'
dynamic_shared_memory_type = posix
min_dynamic_shared_memory = 0
fsync = off
autovacuum = off
max_parallel_workers_per_gather = 2
max_parallel_maintenance_workers = 2
parallel_setup_cost = 0
parallel_tuple_cost = 0
min_parallel_table_scan_size = 0
min_parallel_index_scan_size = 0
enable_mergejoin = off
enable_nestloop = off
EOF
pg_ctl -s -w -t 60 -D data -l server.log start
look 1

echo "-- parallel hash join"
sql <<'EOF'
create table a as select i as id, i % 1000 as n, 'row ' || i as text from generate_series(1, 200000) i;
create table b as select i * 2 as id, i as m from generate_series(1, 200000) i;
analyze a, b;
EOF
echo "select count(*), sum(n), sum(m), max(text) from a join b using (id);" > join.sql
sql -f join.sql
echo "explain (analyze, costs off, timing off, summary off)" | cat - join.sql | sql > plan.log
grep -o -E 'Parallel Hash Join|Workers Launched: .*' plan.log

echo "-- parallel build of an index"
sql <<'EOF'
create index on a (n, id);
set enable_seqscan = off;
select n, count(*), min(id), max(id) from a where n in (7, 77) group by n order by n;
EOF

echo "-- a query that runs"
# Nobody reads on what it says, so it cannot end.
before=$(ls /dev/shm | grep -c '^PostgreSQL\.')
sql -c 'copy (select a.text, b.m from a join b using (id)) to stdout' | {
	read -r _
	look $((before + 1))
	echo "rows: $(($(wc -l) + 1))"
}

echo "-- pgbench"
pgbench -i -q > pgbench-i.log 2>&1
pgbench -n -c 4 -T 5 -b tpcb-like@20 -f join.sql@1 > pgbench.log 2>&1 &
look 1
kill -0 $! && echo "it runs"
wait $! && echo "it ended well"
transactions=$(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' pgbench.log)
failed=$(sed -n 's/^number of failed transactions: \([0-9]*\).*/\1/p' pgbench.log)
echo "failed: ${failed:-0}, none done: $((transactions == 0)), $(grep -c -i -E 'abort|error' pgbench.log || :) complaints"
sql <<'EOF'
select (select sum(abalance) from pgbench_accounts) = d, (select sum(bbalance) from pgbench_branches) = d,
       (select sum(tbalance) from pgbench_tellers) = d, n > 0
from (select sum(delta) as d, count(*) as n from pgbench_history) as history;
EOF

echo "-- stop"
pg_ctl -s -w -t 60 -D data stop -m fast
echo "stopped"
grep -E 'ERROR|PANIC|WARNING|could not|terminated by' server.log || :
`

// A cluster of PostgreSQL, with what its parallel queries share in the directory. That nothing is left there after it is stopped is seen as for all
// programs.
func TestShmPostgreSQL(t *testing.T) {
	bin, u := needPostgres(t)
	need(t, "setpriv")
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		t.Fatal(err)
	}
	inShmWorlds(t, func(t *testing.T, dir string) {
		base := publicDir(t)
		script := filepath.Join(base, "script")
		if err := errors.Join(os.Chown(base, uid, -1), os.WriteFile(script, []byte(postgresScript), 0o644)); err != nil {
			t.Fatal(err)
		}
		shmProgram{
			run: []string{
				"setpriv", "--reuid", u.Uid, "--regid", u.Gid, "--clear-groups", "env", "-i", "PATH=" + bin + ":" + os.Getenv("PATH"), "LC_ALL=C",
				"PGHOST=" + base, "PGUSER=postgres", "PGDATABASE=postgres", "sh", script, base,
			},
			// The server leaves the process group, but not the namespace, with which it ends at the latest.
			unshare: []string{"--pid", "--fork", "--kill-child"},
			limit:   3 * time.Minute,
			want: `outside: PostgreSQL.*
-- parallel hash join
100000|49900000|5000050000|row 99998
Workers Launched: 2
Parallel Hash Join
-- parallel build of an index
7|200|7|199007
77|200|77|199077
-- a query that runs
outside: PostgreSQL.*
rows: 100000
-- pgbench
outside: PostgreSQL.*
it runs
it ended well
failed: 0, none done: 0, 0 complaints
t|t|t|t
-- stop
stopped
`,
		}.check(t, dir)
	})
}
