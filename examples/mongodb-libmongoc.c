/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cc mongodb-libmongoc.c $(pkg-config --cflags --libs mongoc2 keyfob): MongoDB's driver for C, 2.3.1 or newer.
 *
 * Without a line about tokens, by what `keyfob uri atlas HOST` prints:
 *   keyfob run --mongodb=atlas -- ./orders 'mongodb://HOST/?authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:k8s'
 * With a callback by libkeyfob:
 *   ./orders 'mongodb://HOST/?authMechanism=MONGODB-OIDC' atlas
 */
#include <keyfob.h>
#include <mongoc/mongoc.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct source {
	struct keyfob *keyfob;
	const char *credential;
	struct keyfob_token *last; /* what the driver got before, and when */
	time_t given;
};

static bool is_last(const struct source *s, const struct keyfob_token *token)
{
	return s->last && strcmp(keyfob_token_value(token), keyfob_token_value(s->last)) == 0;
}

/* The driver keeps a token until a server refuses it, so one that it got some time ago would be refused again. */
static mongoc_oidc_credential_t *MONGOC_CALL from_keyfob(mongoc_oidc_callback_params_t *params)
{
	struct source *s = mongoc_oidc_callback_params_get_user_data(params);
	struct keyfob_token *token = NULL;
	int error = keyfob_get(s->keyfob, s->credential, &token);

	if (!error && is_last(s, token) && time(NULL) - s->given > 5) {
		keyfob_reject(s->keyfob, s->credential, keyfob_token_value(token));
		keyfob_token_free(&token);
		error = keyfob_get(s->keyfob, s->credential, &token);
	}
	if (error) {
		fprintf(stderr, "orders: %s: %s\n", s->credential, keyfob_strerror(error));
		return NULL;
	}
	if (!is_last(s, token))
		s->given = time(NULL);
	keyfob_token_free(&s->last);
	s->last = token;
	return mongoc_oidc_credential_new(keyfob_token_value(token));
}

static int count_orders(mongoc_client_t *client)
{
	mongoc_collection_t *orders = mongoc_client_get_collection(client, "shop", "orders");
	bson_t all = BSON_INITIALIZER;
	mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(orders, &all, NULL, NULL);
	const bson_t *order;
	bson_error_t error;
	int count = 0;

	while (mongoc_cursor_next(cursor, &order))
		count++;
	if (mongoc_cursor_error(cursor, &error)) {
		fprintf(stderr, "orders: %s\n", error.message);
		count = -1;
	}
	mongoc_cursor_destroy(cursor);
	bson_destroy(&all);
	mongoc_collection_destroy(orders);
	return count;
}

int main(int argc, char **argv)
{
	struct source source = { .credential = argc > 2 ? argv[2] : NULL };
	mongoc_oidc_callback_t *callback = NULL;
	mongoc_client_t *client;
	int count = -1;

	mongoc_init();
	client = argc > 1 ? mongoc_client_new(argv[1]) : NULL;
	if (client && source.credential && keyfob_open(&source.keyfob) == 0) {
		callback = mongoc_oidc_callback_new_with_user_data(from_keyfob, &source);
		mongoc_client_set_oidc_callback(client, callback);
	}
	if (client)
		count = count_orders(client);
	if (count >= 0)
		printf("%d orders\n", count);
	mongoc_client_destroy(client);
	mongoc_oidc_callback_destroy(callback);
	keyfob_token_free(&source.last);
	keyfob_close(&source.keyfob);
	mongoc_cleanup();
	return count < 0;
}
