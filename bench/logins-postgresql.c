/* SPDX-License-Identifier: Apache-2.0 */
/* Logins at PostgreSQL; see bench/logins.h. libs: libpq */
#include <postgresql/libpq-fe.h>

#include "bench/logins.h"

static bool log_in(void *ctx, unsigned long times)
{
	const struct login *login = ctx;
	char port[16];
	const char *const names[] = { "host", "port", "dbname", "user", "password", "sslmode", "gssencmode", NULL };
	const char *const values[] = { "127.0.0.1", port, "postgres", login->user, login->password, "disable", "disable", NULL };
	bool good = true;

	snprintf(port, sizeof(port), "%u", login->port);
	for (unsigned long i = 0; i < times && good; i++) {
		PGconn *connection = PQconnectdbParams(names, values, 0);

		good = PQstatus(connection) == CONNECTION_OK;
		if (!good)
			fprintf(stderr, "%s", PQerrorMessage(connection));
		PQfinish(connection);
	}
	return good;
}

int main(int argc, char *argv[])
{
	return logins_main(argc, argv, log_in);
}
