#!/usr/bin/env bash
# One PostgreSQL server of the compose file: node.sh NAME FIRST
#
# The first time FIRST becomes the primary and the others copy it. Later each goes on as it lies, except that a
# former primary follows the one that leads now: pg_rewind takes back what only it had.
set -euo pipefail
name=$1 first=$2
others=$(printf '%s\n' a b c | grep -vx "$name" | paste -sd,)
export PGPASSWORD=$REPLICATOR_PASSWORD PGCONNECT_TIMEOUT=3

main() {
  if [ ! -s "$PGDATA/PG_VERSION" ]; then
    if [ "$name" = "$first" ]; then create; else copy; fi
  elif [ ! -e "$PGDATA/standby.signal" ]; then
    follow_the_leader
  fi
  exec postgres -c "cluster_name=$name"
}

create() {
  initdb --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 >/dev/null
  cat >>"$PGDATA/postgresql.conf" <<CONF
listen_addresses = '*'
wal_level = replica
wal_log_hints = on
hot_standby = on
wal_keep_size = 256MB
max_wal_senders = 10
max_replication_slots = 10
wal_receiver_status_interval = 1s
wal_retrieve_retry_interval = 500ms
CONF
  cat >>"$PGDATA/pg_hba.conf" <<HBA
host all         all all scram-sha-256
host replication all all scram-sha-256
HBA
  # Single-user mode: no server is up before the roles are there.
  postgres --single -D "$PGDATA" postgres >/dev/null <<SQL
CREATE ROLE bellwether LOGIN SUPERUSER PASSWORD '$BELLWETHER_PASSWORD'
CREATE ROLE replicator LOGIN REPLICATION PASSWORD '$REPLICATOR_PASSWORD'
CREATE ROLE demo LOGIN PASSWORD 'demo'
CREATE DATABASE demo OWNER demo
GRANT EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean) TO replicator
GRANT EXECUTE ON FUNCTION pg_stat_file(text, boolean) TO replicator
GRANT EXECUTE ON FUNCTION pg_read_binary_file(text) TO replicator
GRANT EXECUTE ON FUNCTION pg_read_binary_file(text, bigint, bigint, boolean) TO replicator
SQL
}

copy() {
  until pg_isready -q -h "$first" -U replicator; do sleep 1; done
  rm -rf "${PGDATA:?}"/*
  chmod 0700 "$PGDATA"
  pg_basebackup -D "$PGDATA" -R -X stream -c fast -d "$(source_of "$first")"
}

# A former primary: if somebody else takes writes, become its standby. Otherwise it is the primary still.
follow_the_leader() {
  local leader
  leader=$(psql -XAtq -d "host=$others user=replicator dbname=postgres target_session_attrs=read-write" \
    -c 'SHOW cluster_name' 2>/dev/null) || return 0
  echo "node.sh: $leader leads; rewinding" >&2
  # Left by a container that was killed; the number in it is that of this script here.
  rm -f "$PGDATA/postmaster.pid"
  pg_rewind -D "$PGDATA" -R --source-server "$(source_of "$leader") dbname=postgres"
  # The settings came along; the leader's own slot is not ours. The one that Bellwether keeps for us there is.
  echo "primary_slot_name = 'bellwether_$name'" >>"$PGDATA/postgresql.auto.conf"
}

source_of() { echo "host=$1 user=replicator password=$REPLICATOR_PASSWORD application_name=$name"; }

main
