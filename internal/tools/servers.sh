#!/bin/sh
# Looks for what the tests need: gcc (for the race detector), Redis, Postgres and PgBouncer. On Debian and Ubuntu, as root or with sudo
# that asks no password, it installs what is missing, without starting the services that come with the packages. Elsewhere it
# says how and fails. It prints nothing when all is there.
#
# REDIS_URL and DATABASE_URL replace the servers that tests share. Tests of failures kill and pause servers of their own: they
# need the programs all the same.
set -eu

have() { command -v "$1" >/dev/null 2>&1; }

# Looks where internal/testserver does.
have_postgres() {
	have initdb && return
	for bin in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/libexec/postgresql* \
		/opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin; do
		[ -x "$bin/initdb" ] && return
	done
	return 1
}

have_pgbouncer() { have pgbouncer || [ -x /usr/sbin/pgbouncer ]; }

# Says what is missing, by what it is for.
missing() {
	have gcc || [ -n "${CC:-}" ] || printf 'compiler '
	have redis-server || have valkey-server || printf 'redis '
	have_postgres || printf 'postgres '
	have_pgbouncer || printf 'pgbouncer '
}

# Translates what is missing to the names of packages: $1 for the compiler, $2 for Redis, $3 for Postgres.
packages() {
	for what in $(missing); do
		case $what in
		compiler) printf '%s ' "$1" ;;
		redis) printf '%s ' "$2" ;;
		postgres) printf '%s ' "$3" ;;
		pgbouncer) printf 'pgbouncer ' ;; # everywhere
		esac
	done
}

# Prints the command that installs what is missing here.
install_command() {
	if have apt-get; then
		echo "sudo apt-get install -y $(packages 'gcc libc6-dev' redis-server postgresql)"
	elif have dnf; then
		echo "sudo dnf install -y $(packages gcc valkey postgresql-server)"
	elif have apk; then
		echo "sudo apk add $(packages 'gcc musl-dev' redis postgresql)"
	elif have brew; then
		echo "brew install $(packages gcc redis postgresql@17)"
	else
		echo "install $(missing)"
	fi
}

# Runs a command as root: nothing else of the script does.
as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

can_be_root() { [ "$(id -u)" = 0 ] || { have sudo && sudo -n true 2>/dev/null; }; }

policy=/usr/sbin/policy-rc.d
cluster=/etc/postgresql-common/createcluster.d/upbeat-tests.conf
placed=

# Removes what quiet_services has put in place, and nothing else.
restore_services() {
	for file in $placed; do as_root rm -f "$file"; done
	placed=
}

# Keeps packages from starting services while they are installed, unless somebody has decided on that already.
quiet_services() {
	trap restore_services EXIT
	trap 'exit 1' HUP INT TERM
	if ! [ -e "$policy" ]; then
		placed="$placed $policy"
		printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null && as_root chmod 755 "$policy" || return
	fi
	if ! [ -e "$cluster" ]; then
		placed="$placed $cluster"
		as_root mkdir -p "${cluster%/*}" && echo 'create_main_cluster = false' | as_root tee "$cluster" >/dev/null
	fi
}

install_packages() {
	# The names are several words.
	# shellcheck disable=SC2046
	quiet_services &&
		as_root apt-get update -q &&
		as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
			$(packages 'gcc libc6-dev' redis-server postgresql)
	restore_services
}

[ -n "$(missing)" ] || exit 0
if have apt-get && can_be_root; then
	install_packages >&2
fi
if [ -n "$(missing)" ]; then
	echo "The tests need more than is here: $(install_command)" >&2
	if [ -n "${REDIS_URL:-}${DATABASE_URL:-}" ]; then
		echo "REDIS_URL and DATABASE_URL serve the shared tests; those of failures start servers of their own." >&2
	fi
	exit 1
fi
