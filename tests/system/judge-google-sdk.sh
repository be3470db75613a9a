#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Google's own client library (npm google-auth-library) against the emulator's Google: what our module is judged by must itself be right.
modules=${KEYFOB_TEST_NODE_MODULES:-$(cd "$(dirname "$0")/../npm" 2>/dev/null && pwd)/node_modules}
command -v node >/dev/null || { echo "1..0 # SKIP node is missing"; exit 0; }
[ -d "$modules/google-auth-library" ] || { echo "1..0 # SKIP npm package google-auth-library is missing"; exit 0; }
. "$(dirname "$0")/lib.sh"

start_emulator
project=keyfob-emulator.iam.gserviceaccount.com
openssl genpkey -algorithm RSA -out "$DIR/etc/key.pem" 2>/dev/null
openssl pkey -in "$DIR/etc/key.pem" -pubout -out "$DIR/etc/key.pub"
curl -sS -f -o /dev/null "$CLOUD/emulator/google-accounts" -d "email=orders@$project" -d key_id=key-1 \
	--data-urlencode "key@$DIR/etc/key.pub" || echo "Bail out! no account"
curl -sS -f -H 'Metadata: true' "$CLOUD/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api://pool" >"$DIR/etc/subject.json"
jq -j .access_token "$DIR/etc/subject.json" >"$DIR/etc/subject"

cat >"$DIR/out/ask.js" <<'EOS'
const fs = require('fs');
const { Gaxios } = require(process.env.MODULES + '/gaxios');
const google = require(process.env.MODULES + '/google-auth-library');
const { CLOUD, PROJECT, DIR: dir } = process.env, audience = 'https://orders.example.com/a';
// Google's own names lead to the emulator, all others but the emulator's nowhere.
const ask = Gaxios.prototype._defaultAdapter;
Gaxios.prototype._defaultAdapter = function (config) {
	const url = new URL(config.url);
	if (['oauth2', 'sts', 'iamcredentials'].some((name) => url.origin === `https://${name}.googleapis.com`))
		config.url = new URL(CLOUD + url.pathname + url.search);
	else if (url.origin !== CLOUD)
		throw new Error(`asked ${url.origin}`);
	return ask.call(this, config);
};
const pools = '//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x';
const workforce = '//iam.googleapis.com/locations/global/workforcePools/w/providers/x';
const key = { client_email: `orders@${PROJECT}`, private_key_id: 'key-1', private_key: fs.readFileSync(`${dir}/etc/key.pem`, 'utf8') };
const scopes = ['https://www.googleapis.com/auth/cloud-platform'];
const signer = (more) => new google.JWT({ email: key.client_email, key: key.private_key, keyId: key.private_key_id, scopes, ...more });
const acting = (target) => new google.Impersonated({ sourceClient: new google.Compute(), targetPrincipal: `${target}@${PROJECT}`,
	lifetime: 1200, delegates: [], targetScopes: scopes });
const impersonation = { service_account_impersonation_url:
	`https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/orders@${PROJECT}:generateAccessToken`,
	service_account_impersonation: { token_lifetime_seconds: 2800 } };
const foreign = (credential_source, more) => google.ExternalAccountClient.fromJSON({ type: 'external_account', audience: pools,
	subject_token_type: 'urn:ietf:params:oauth:token-type:jwt', token_url: 'https://sts.googleapis.com/v1/token', scopes,
	credential_source, ...more });
const file = { file: `${dir}/etc/subject` };
const url = { url: `${CLOUD}/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api://pool`, headers: { Metadata: 'true' },
	format: { type: 'json', subject_token_field_name: 'access_token' } };
const token = async (client) => (await client.getAccessToken()).token;
const ways = {
	'metadata-id': () => new google.Compute().fetchIdToken(audience),
	'metadata-access': () => token(new google.Compute()),
	'key-id': () => signer({ scopes: undefined }).fetchIdToken(audience),
	'key-access': () => token(signer()),
	'key-delegated': () => token(signer({ subject: 'somebody@example.com' })),
	'key-outsider': () => token(signer({ subject: 'somebody@elsewhere.example' })),
	'impersonated-id': () => acting('orders').fetchIdToken(audience, { includeEmail: true }),
	'impersonated-access': () => token(acting('orders')),
	'impersonated-denied': () => token(acting('denied')),
	'external-file': () => token(foreign(file)),
	'external-url': () => token(foreign(url)),
	'external-as-account': () => token(foreign(file, impersonation)),
	'external-workforce': () => token(foreign(file, { audience: workforce, workforce_pool_user_project: 'p1' })),
	'external-client': () => token(foreign(file, { audience: workforce, workforce_pool_user_project: 'p1',
		client_id: 'keyfob-workforce', client_secret: 'keyfob-workforce-secret' })),
	'external-no-pool': () => token(foreign(file, { audience: pools.replace('/p/', '/unknown/') })),
};
ways[process.argv[2]]().then((t) => console.log(t), (e) => { console.error(String(e.message || e)); process.exit(1); });
EOS
export MODULES=$modules CLOUD PROJECT=$project DIR GCE_METADATA_HOST=127.0.0.1:$PORT NO_PROXY=127.0.0.1
for way in metadata-id key-id impersonated-id; do
	exits "$way: google-auth-library gets a token" 0 node "$DIR/out/ask.js" $way
	claims=$(cut -d. -f2 <<<"$OUT" | tr '_-' '/+' | sed 's/$/===/' | base64 -d 2>/dev/null)
	is "$way: for the audience" "$(jq -r .aud <<<"$claims")" https://orders.example.com/a
	like "$way: it names the account" "$(jq -r .email <<<"$claims")" "^(orders|default)@$project$"
done
for way in metadata-access key-access key-delegated impersonated-access external-file external-url external-as-account \
	external-workforce external-client; do
	exits "$way: google-auth-library gets a token" 0 node "$DIR/out/ask.js" $way
	like "$way: an access token" "$OUT" '^ya29\.'
done
exits "a key without delegation is refused" 1 node "$DIR/out/ask.js" key-outsider
like "the library reads the error of the token endpoint" "$ERR" 'unauthorized_client'
exits "an account that may not be acted as is refused" 1 node "$DIR/out/ask.js" impersonated-denied
like "the library reads the error of IAM Credentials" "$ERR" 'PERMISSION_DENIED|denied on resource'
exits "a pool that is not there is refused" 1 node "$DIR/out/ask.js" external-no-pool
like "the library reads the error of the Security Token Service" "$ERR" 'invalid_target'
fault 'path=google_iam&expires=fraction'
exits "expireTime with a fraction" 0 node "$DIR/out/ask.js" impersonated-access
no_faults
fault 'path=google_token&expires=%223599%22'
exits "expires_in as a string" 0 node "$DIR/out/ask.js" key-access
finish
