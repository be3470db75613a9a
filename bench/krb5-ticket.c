/* SPDX-License-Identifier: Apache-2.0 */
/*
 * krb5-ticket store|read CACHE: what Kerberos has in a token's place, a service ticket in a credential cache, as a program
 * of its own that starts, looks it up and ends. The ticket is made up: nobody looks into it on this side.
 * libs: krb5
 */
#include <krb5.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { TICKET = 1024, LIFE = 3600 };

static krb5_context context;

static int failed(const char *what, krb5_error_code error)
{
	fprintf(stderr, "krb5-ticket: %s: %s\n", what, krb5_get_error_message(context, error));
	return 1;
}

/* Whose, and for what. */
static krb5_error_code name(krb5_creds *ticket)
{
	krb5_error_code error = krb5_parse_name(context, "orders@BENCH.EXAMPLE", &ticket->client);

	return error ? error : krb5_parse_name(context, "postgres/db.example@BENCH.EXAMPLE", &ticket->server);
}

static krb5_error_code store(krb5_ccache cache)
{
	static char text[TICKET], key[32];
	krb5_timestamp now = (krb5_timestamp)time(NULL);
	krb5_creds ticket = {
		.keyblock = { .enctype = ENCTYPE_AES256_CTS_HMAC_SHA1_96, .length = sizeof(key), .contents = (krb5_octet *)key },
		.times = { .authtime = now, .starttime = now, .endtime = now + LIFE },
		.ticket = { .length = sizeof(text), .data = text },
	};
	krb5_error_code error = name(&ticket);

	if (!error)
		error = krb5_cc_initialize(context, cache, ticket.client);
	return error ? error : krb5_cc_store_cred(context, cache, &ticket);
}

static krb5_error_code read_ticket(krb5_ccache cache)
{
	krb5_creds wanted = { 0 }, found = { 0 };
	krb5_error_code error = name(&wanted);

	if (!error)
		error = krb5_cc_retrieve_cred(context, cache, 0, &wanted, &found);
	return error ? error : found.ticket.length == TICKET ? 0 : KRB5_CC_FORMAT;
}

int main(int argc, char *argv[])
{
	krb5_error_code error = krb5_init_context(&context);
	krb5_ccache cache;

	if (error || argc != 3)
		return fprintf(stderr, "usage: krb5-ticket store|read CACHE\n"), 2;
	error = krb5_cc_resolve(context, argv[2], &cache);
	if (error)
		return failed(argv[2], error);
	error = strcmp(argv[1], "store") == 0 ? store(cache) : read_ticket(cache);
	return error ? failed(argv[2], error) : 0;
}
