// A strict OpenID provider for tests (parts/oidc.py): npm's oidc-provider, which is certified by OpenID.
//
//   node provider.mjs <folder of oidc-provider> <settings.json>
//
// The settings hold `port`, `accounts`, a file of claims by login that is read at each login, and `userinfo_only`.
// Any password will do, and any client may register itself (RFC 7591).

import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';

const [folder, file] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(join(folder, 'lib/index.js')));
const said = JSON.parse(readFileSync(file, 'utf8'));
const accounts = () => JSON.parse(readFileSync(said.accounts, 'utf8'));

const provider = new Provider(`http://127.0.0.1:${said.port}`, {
  async findAccount(_context, id) {
    const claims = accounts()[id];
    return claims && { accountId: id, claims: async () => ({ sub: `sub-of-${id}`, ...claims }) };
  },
  claims: {
    openid: ['sub', 'auth_time', 'sid'],
    profile: ['preferred_username', 'name', 'groups'],
    email: ['email'],
  },
  conformIdTokenClaims: said.userinfo_only,
  // Its own fetch refuses loopback, where tests are.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  pkce: { required: () => true },
  cookies: { keys: ['a key of a test'] },
  features: {
    backchannelLogout: { enabled: true },
    devInteractions: { enabled: true },
    registration: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    userinfo: { enabled: true },
  },
  ttl: { AccessToken: 600, IdToken: 600, Session: 3600, Interaction: 600, Grant: 3600, AuthorizationCode: 60 },
});
provider.on('server_error', (_context, error) => console.error(error));
provider.on('backchannel.error', (_context, error) => console.error(error));
provider.listen(said.port, '127.0.0.1');
