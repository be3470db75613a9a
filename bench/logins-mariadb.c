/* SPDX-License-Identifier: Apache-2.0 */
/* Logins at MariaDB; see bench/logins.h. libs: libmariadb */
#include <mariadb/mysql.h>

#include "bench/logins.h"

static bool log_in(void *ctx, unsigned long times)
{
	const struct login *login = ctx;
	bool good = true;

	for (unsigned long i = 0; i < times && good; i++) {
		MYSQL *connection = mysql_init(NULL);

		good = connection && mysql_real_connect(connection, "127.0.0.1", login->user, login->password, NULL, login->port, NULL, 0);
		if (connection && !good)
			fprintf(stderr, "%s\n", mysql_error(connection));
		mysql_close(connection);
	}
	return good;
}

int main(int argc, char *argv[])
{
	return logins_main(argc, argv, log_in);
}
