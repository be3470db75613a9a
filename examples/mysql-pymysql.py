# SPDX-License-Identifier: Apache-2.0
"""PyMySQL, at a MariaDB or MySQL server that takes the password in clear (PAM), so over TLS unless the server is this host:
  keyfob run --file=db -- python3 mysql-pymysql.py HOST PORT LOGIN [CA-FILE]
"""
import os
import sys

import pymysql

host, port, login, *ca = sys.argv[1:]
# The file is current whenever it is opened: open it anew at each connection.
with open(os.environ["KEYFOB_TOKEN_FILE"]) as token:
    connection = pymysql.connect(host=host, port=int(port), user=login, password=token.read(), ssl_ca=ca[0] if ca else None)
with connection, connection.cursor() as cursor:
    cursor.execute("select current_user()")
    print(cursor.fetchone()[0])
