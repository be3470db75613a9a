/* SPDX-License-Identifier: Apache-2.0 */
/* What a value of the federation's keys may be. Each returns NULL, or in words what the value must be. */
#ifndef KEYFOB_FEDERATION_VALUES_H
#define KEYFOB_FEDERATION_VALUES_H

const char *federation_check_text(const char *value); /* for people, or an audience */
const char *federation_check_identity(const char *value);
const char *federation_check_name(const char *value); /* of a section or a service */
const char *federation_check_file(const char *value);
const char *federation_check_type(const char *value); /* of a token, without blanks */
const char *federation_check_url(const char *value); /* of a key set */
const char *federation_check_discovery(const char *value);
const char *federation_check_issuer(const char *value);
const char *federation_check_proxy(const char *value);
const char *federation_check_pin(const char *value); /* as CURLOPT_PINNEDPUBLICKEY(3) takes them */

#endif
