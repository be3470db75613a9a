# SPDX-License-Identifier: Apache-2.0
"""PyMongo 4.11 or newer.

Without a line about tokens, by what `keyfob uri atlas HOST` prints:
  keyfob run --mongodb=atlas -- python3 mongodb-pymongo.py 'mongodb://HOST/?authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:k8s'
With a callback, where the program cannot be started by keyfob run:
  python3 mongodb-pymongo.py 'mongodb://HOST/?authMechanism=MONGODB-OIDC' atlas
"""
import json
import subprocess
import sys
import time

from pymongo import MongoClient
from pymongo.auth_oidc import OIDCCallback, OIDCCallbackContext, OIDCCallbackResult


class FromKeyfob(OIDCCallback):
    """Called when the driver needs a token, never once per operation."""

    def __init__(self, credential: str):
        self.credential = credential

    def fetch(self, context: OIDCCallbackContext) -> OIDCCallbackResult:
        got = subprocess.run(["keyfob", "get", "--json", self.credential], check=True, stdout=subprocess.PIPE,
                             timeout=context.timeout_seconds)
        answer = json.loads(got.stdout)
        return OIDCCallbackResult(access_token=answer["token"], expires_in_seconds=answer["expires_at"] - time.time())


uri, *credential = sys.argv[1:]
options = {"authMechanismProperties": {"OIDC_CALLBACK": FromKeyfob(credential[0])}} if credential else {}
with MongoClient(uri, **options) as client:
    print(len(list(client.shop.orders.find())), "orders")
