/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cc postgresql-libpq.c -I$(pg_config --includedir) -lpq $(pkg-config --cflags --libs keyfob)
 *
 * Without a line about tokens, by what `keyfob uri reports HOST` prints:
 *   keyfob run --pgpass=reports:HOST:5432:sales:orders -- ./orders 'postgresql://orders@HOST/sales'
 * With libkeyfob:
 *   ./orders 'postgresql://orders@HOST/sales' reports
 */
#include <keyfob.h>
#include <libpq-fe.h>
#include <stdio.h>

/* A token is a password for one login: ask for it anew at each connection. */
static PGconn *connect_with(const char *credential, const char *uri)
{
	struct keyfob *keyfob = NULL;
	struct keyfob_token *token = NULL;
	PGconn *connection = NULL;
	int error = keyfob_open(&keyfob);

	if (!error)
		error = keyfob_get(keyfob, credential, &token);
	if (error) {
		fprintf(stderr, "orders: %s: %s\n", credential, keyfob_strerror(error));
	} else {
		const char *const names[] = { "dbname", "password", NULL };
		const char *const values[] = { uri, keyfob_token_value(token), NULL };

		connection = PQconnectdbParams(names, values, 1);
	}
	keyfob_token_free(&token);
	keyfob_close(&keyfob);
	return connection;
}

int main(int argc, char **argv)
{
	const char *uri = argc > 1 ? argv[1] : "";
	PGconn *connection = argc > 2 ? connect_with(argv[2], uri) : PQconnectdb(uri);
	PGresult *result;
	int failed = 1;

	if (PQstatus(connection) == CONNECTION_OK) {
		result = PQexec(connection, "select current_user");
		failed = PQresultStatus(result) != PGRES_TUPLES_OK;
		if (!failed)
			puts(PQgetvalue(result, 0, 0));
		PQclear(result);
	}
	if (failed && connection)
		fprintf(stderr, "orders: %s", PQerrorMessage(connection));
	PQfinish(connection);
	return failed;
}
