#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# keyfob uri: what it prints is what the drivers themselves take for good.
modules=${KEYFOB_TEST_NODE_MODULES:-$(cd "$(dirname "$0")/../npm" 2>/dev/null && pwd)/node_modules}
NODE=$(dirname "$0")/../npm/node
. "$(dirname "$0")/lib.sh"

new_user
STRANGER=$USER_NAME
start_emulator
configure <<END
[credential atlas]
resource = api://orders/x y
provider = azure endpoint=$CLOUD client_id=5f3ad1c2
[credential scope]
resource = api://orders/.default
provider = azure source=imds endpoint=$CLOUD
[credential comma]
resource = api://a,b
provider = azure endpoint=$CLOUD
[credential function]
resource = api://orders
provider = azure source=appservice endpoint=$CLOUD
[credential reports]
resource = https://reports.example
provider = gcp endpoint=$CLOUD
[credential key]
resource = https://reports.example
provider = file path=$DIR/etc/token ttl=1h
END
start_broker
uri() { # FIELD ARGUMENT...
	local field=$1
	shift
	keyfob uri --json "$@" | jq -r ".$field"
}

# --- MongoDB ----------------------------------------------------------------------------

K8S=authMechanism=MONGODB-OIDC\&authMechanismProperties=ENVIRONMENT:k8s
is "a token file" "$(uri mongodb atlas db.example)" "mongodb://db.example/?$K8S&tls=true"
is "with a port" "$(uri mongodb atlas db.example:27018)" "mongodb://db.example:27018/?$K8S&tls=true"
is "on this host no TLS is demanded" "$(uri mongodb atlas localhost)$(uri mongodb atlas '[::1]:27017')$(uri mongodb atlas 127.0.0.1)" \
	"mongodb://localhost/?${K8S}mongodb://[::1]:27017/?${K8S}mongodb://127.0.0.1/?$K8S"
is "a name that only looks like this host" "$(uri mongodb atlas localhost.example)" "mongodb://localhost.example/?$K8S&tls=true"
is "several hosts" "$(uri mongodb atlas a.example:1,b.example:2)" "mongodb://a.example:1,b.example:2/?$K8S&tls=true"
is "a cluster of Atlas" "$(uri mongodb atlas shop.abcde.mongodb.net)" "mongodb+srv://shop.abcde.mongodb.net/?$K8S"
is "one that only looks like it" "$(uri mongodb atlas shop.mongodb.net.example)" "mongodb://shop.mongodb.net.example/?$K8S&tls=true"
OIDC=authMechanism=MONGODB-OIDC\&authMechanismProperties=ENVIRONMENT
is "by the metadata service: Azure, with a client id" "$(uri mongodb_metadata atlas 127.0.0.1)" \
	"mongodb://5f3ad1c2@127.0.0.1/?$OIDC:azure,TOKEN_RESOURCE:api%3A%2F%2Forders%2Fx%20y"
is "Azure, a scope's resource" "$(uri mongodb_metadata scope 127.0.0.1)" "mongodb://127.0.0.1/?$OIDC:azure,TOKEN_RESOURCE:api%3A%2F%2Forders"
is "Google" "$(uri mongodb_metadata reports 127.0.0.1)" "mongodb://127.0.0.1/?$OIDC:gcp,TOKEN_RESOURCE:https%3A%2F%2Freports.example"
for name in comma function key; do
	is "no metadata service: $name" "$(uri mongodb_metadata $name 127.0.0.1)" null
done
# The drivers parse, complete and check it before anything is connected.
for driver in mongodb mongodb6; do
	if [ -d "$modules/$driver" ]; then
		cat >"$DIR/parse.js" <<-'EOS'
			const { MongoClient } = require(process.argv[2]);
			const { credentials: c, tls } = new MongoClient(process.argv[3]).options;
			console.log(c.mechanism, c.source, c.username || '-', c.mechanismProperties.ENVIRONMENT, c.mechanismProperties.TOKEN_RESOURCE || '-', !!tls);
		EOS
		parsed() {
			is "$driver parses it: $1 $2" "$(NODE_PATH=$modules "$NODE" "$DIR/parse.js" $driver "$(uri "$1" "$2" "$3")" 2>&1)" "MONGODB-OIDC \$external $4"
		}
		parsed mongodb atlas db.example "- k8s - true"
		parsed mongodb atlas 127.0.0.1:1 "- k8s - false"
		parsed mongodb_metadata atlas db.example "5f3ad1c2 azure api://orders/x y true"
		parsed mongodb_metadata scope db.example "- azure api://orders true"
		parsed mongodb_metadata reports db.example "- gcp https://reports.example true"
	else
		skip "$driver parses it" "npm package $driver is missing"
	fi
done

# --- PostgreSQL, MariaDB ---------------------------------------------------------------------

is "PostgreSQL" "$(uri postgresql atlas db.example --user=orders --database=shop)" "postgresql://orders@db.example/shop?sslmode=verify-full"
is "and its entry" "$(uri pgpass atlas db.example --user=orders --database=shop)" "atlas:db.example:5432:shop:orders"
is "on this host, as oneself" "$(uri postgresql atlas 127.0.0.1:5433)" "postgresql://root@127.0.0.1:5433/root"
is "and its entry" "$(uri pgpass atlas 127.0.0.1:5433)" "atlas:127.0.0.1:5433:root:root"
is "an IPv6 address" "$(uri postgresql atlas '[2001:db8::1]:5433')" "postgresql://root@[2001:db8::1]:5433/root?sslmode=verify-full"
printf 'the:token' >"$DIR/etc/token"
if [ -e /usr/include/postgresql/libpq-fe.h ] && cat >"$DIR/parse.c" <<'EOS' && cc -I/usr/include/postgresql -o "$DIR/parse" "$DIR/parse.c" -lpq; then
#include <libpq-fe.h>
#include <stdio.h>
int main(int argc, char **argv)
{
	PGconn *c = PQconnectdb(argc > 1 ? argv[1] : "");
	printf("%s %s %s %s %s\n", PQhost(c), PQport(c), PQdb(c), PQuser(c), PQpass(c));
	return 0;
}
EOS
	for host in 127.0.0.1:1 '[::1]:1' 127.0.0.1:1,127.0.0.1:2; do
		is "libpq parses it, and finds the token: $host" \
			"$(keyfob run "--pgpass=$(uri pgpass key "$host" --database=shop)" -- "$DIR/parse" "$(uri postgresql key "$host" --database=shop)" | cut -d' ' -f 3-)" \
			"shop root the:token"
	done
else
	skip "libpq parses it, and finds the token" "libpq-dev is not installed"
fi
is "MariaDB, several hosts: none" "$(uri mariadb atlas a.example,b.example)" null
like "MariaDB, over a network" "$(uri mariadb atlas db.example)" '-h db.example -P 3306 -u root --ssl-verify-server-cert root$'
if command -v mariadb >/dev/null; then
	line=$(uri mariadb key 127.0.0.1:3307)
	like "mariadb finds the token" "$(bash -c "${line/--protocol/--print-defaults --protocol}" | tail -n 1)" '--password=the:token'
else
	skip "mariadb finds the token" "mariadb is not installed"
fi

# --- for people, and faults ---------------------------------------------------------------------

exits "for people" 0 keyfob uri scope db.example --user=orders --database=shop
is "what to write, and how to run it" "$OUT" "MongoDB
  mongodb://db.example/?$K8S&tls=true
  keyfob run --mongodb=scope -- PROGRAM
MongoDB, with a driver that asks the metadata service itself
  mongodb://db.example/?$OIDC:azure,TOKEN_RESOURCE:api%3A%2F%2Forders&tls=true
PostgreSQL
  postgresql://orders@db.example/shop?sslmode=verify-full
  keyfob run --pgpass=scope:db.example:5432:shop:orders -- PROGRAM
MariaDB, MySQL (in bash)
  mariadb --defaults-extra-file=<(printf '[client]\\npassword=\"%s\"\\n' \"\$(keyfob get scope)\") --protocol=tcp -h db.example -P 3306 -u orders --ssl-verify-server-cert shop"
for host in '' 'a b' 'a;b' 'a/b' 'u@a' 'a?x' "a'b" 'a:0' 'a:65536' 'a:1:2' '[::1' '[::1]x' '[a-b]' 'a%41' 'a,b;c'; do
	exits "no host: $host" 2 keyfob uri atlas "$host"
done
exits "no user" 2 keyfob uri atlas db.example '--user=a:b'
exits "no database" 2 keyfob uri atlas db.example '--database=a$b'
exits "no credential's name" 2 keyfob uri a/b db.example
exits "no such credential" 3 keyfob uri other db.example
exits "one that the caller may not have" 4 as "$STRANGER" keyfob uri atlas db.example
stop_broker
exits "no broker" 6 keyfob uri atlas db.example
finish
