# SPDX-License-Identifier: Apache-2.0
"""psycopg 3.

Without a line about tokens, by what `keyfob uri reports HOST` prints:
  keyfob run --pgpass=reports:HOST:5432:sales:orders -- python3 postgresql-psycopg.py 'postgresql://orders@HOST/sales'
With the token as the password, asked for anew at each connection:
  python3 postgresql-psycopg.py 'postgresql://orders@HOST/sales' reports
"""
import subprocess
import sys

import psycopg

uri, *credential = sys.argv[1:]
password = {}
if credential:
    password["password"] = subprocess.run(["keyfob", "get", credential[0]], check=True, stdout=subprocess.PIPE, text=True).stdout
with psycopg.connect(uri, **password) as connection:
    print(connection.execute("select current_user").fetchone()[0])
