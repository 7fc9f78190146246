"""
The methods of Vault that no OpenBao has, each checking what the real one would: ldap, radius, github,
aws, gcp and azure.

    with Methods() as vault:
        vault.passwords["ldap"] = {"ada": "right"}
        ... log in at vault.url(); vault.logins counts those let in, vault.why says of the last refusal

A login must hold exactly the fields its method knows. The signature of aws is made anew by AWS's own SDK.
"""

from __future__ import annotations

import base64
import json
import time
from urllib.parse import parse_qs, unquote, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from parts.proxy import Scripted, reply
from parts.workloads import Issuer

SERVER_ID = "vault.test"
ROLE = "airflow"
TOKEN = "s.let-in"
_SIGNED_SECONDS = 900
_STALE_SECONDS = 15 * 60


class RefusedError(Exception):
    """Why the method says no; the fake alone tells."""


def check(is_so, why):
    if not is_so:
        raise RefusedError(why)


class Methods(Scripted):
    """
    A Vault that lets in and answers `GET /v1/x` to its token.

    Attributes:
        passwords: by method, of each name.
        github: the token of GitHub that is known.
        keys: secret access keys by their id, of aws; `session_tokens` those that need one.
        google, azure: who signs for the two clouds.
    """

    def __init__(self):
        self.passwords = {"ldap": {}, "radius": {}}
        self.github = "ghp-known"
        self.keys = {}
        self.session_tokens = {}
        self.google = Issuer()
        self.azure = Issuer()
        self.resource = "https://management.azure.com/"
        self.logins = 0
        self.why = None
        self.told = {}  # the body of the last login
        super().__init__(self._say)

    def _say(self, request):
        head, _, body = request.partition(b"\r\n\r\n")
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        if (method, path) == ("GET", "/v1/x"):
            is_ours = f"x-vault-token: {TOKEN}".encode() in head.lower()
            return reply(200, {}, b'{"request_id":"x"}') if is_ours else _refusal()
        try:
            check(method == "POST" and path.startswith("/v1/auth/"), "no login")
            self.told = json.loads(body)
            kind, _, rest = path.removeprefix("/v1/auth/").partition("/")
            getattr(self, f"_{kind}")(rest, self.told)
        except RefusedError as why:
            self.why = str(why)
            return _refusal()
        self.logins += 1
        auth = {"client_token": TOKEN, "lease_duration": 3600, "renewable": True}
        return reply(200, {}, json.dumps({"request_id": "x", "auth": auth}).encode())

    # --- passwords ---

    def _ldap(self, rest, body, kind="ldap"):
        word, _, name = rest.partition("/")
        check(word == "login" and set(body) == {"password"}, "fields")
        check(self.passwords[kind].get(unquote(name)) == body["password"], "password")

    def _radius(self, rest, body):
        self._ldap(rest, body, "radius")

    def _github(self, rest, body):
        check((rest, set(body)) == ("login", {"token"}), "fields")
        check(body["token"] == self.github, "token")

    # --- aws: what path_login.go of Vault checks, and then STS ---

    def _aws(self, rest, body):
        words = {"iam_http_request_method", "iam_request_url", "iam_request_body", "iam_request_headers"}
        check(rest == "login" and words <= set(body) <= {*words, "role"}, "fields")
        check(body["iam_http_request_method"] == "POST", "method")
        url, form = (base64.b64decode(body[f"iam_request_{word}"]).decode() for word in ("url", "body"))
        given = json.loads(base64.b64decode(body["iam_request_headers"]))
        headers = {name.lower(): values[0] for name, values in given.items() if len(values) == 1}
        check(len(headers) == len(given), "a header twice")
        check(urlsplit(url).path == "/" and not urlsplit(url).query, "url")
        check(parse_qs(form) == {"Action": ["GetCallerIdentity"], "Version": ["2011-06-15"]}, "action")
        signed = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
        check(headers.get("x-vault-aws-iam-server-id") == SERVER_ID, "server id")
        check("x-vault-aws-iam-server-id" in signed, "server id is not signed")
        check({"host", "x-amz-date"} <= set(signed), "signed headers")
        amazons = {name for name in headers if name.startswith("x-amz-")}
        check(amazons <= {"x-amz-date", "x-amz-security-token"} & set(signed), "a header that is not allowed")
        self._check_signature(url, form, headers, signed)

    def _check_signature(self, url, form, headers, signed):
        credential = headers["authorization"].partition("Credential=")[2].partition(",")[0]
        key_id, day, region, service, end = credential.split("/")
        check((service, end) == ("sts", "aws4_request"), "scope")
        check(headers["host"] == urlsplit(url).netloc, "host")
        at = time.mktime(time.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ")) - time.timezone
        check(abs(time.time() - at) < _STALE_SECONDS and headers["x-amz-date"].startswith(day), "stale")
        check(key_id in self.keys, "no such key")
        token = self.session_tokens.get(key_id)
        check(headers.get("x-amz-security-token") == token, "session token")
        request = AWSRequest("POST", url, data=form, headers={name: headers[name] for name in signed})
        request.context["timestamp"] = headers["x-amz-date"]
        again = SigV4Auth(Credentials(key_id, self.keys[key_id], token), "sts", region)
        made = again.signature(again.string_to_sign(request, again.canonical_request(request)), request)
        check(headers["authorization"].endswith(f"Signature={made}"), "signature")

    # --- gcp ---

    def _gcp(self, rest, body):
        check(rest == "login" and set(body) == {"role", "jwt"} and body["role"] == ROLE, "fields")
        claims = self.google.claims(body["jwt"])
        check(claims is not None, "signature")
        check(claims["aud"] == f"vault/{ROLE}", "audience")
        if "google" in claims:  # of a machine
            check(claims["google"]["compute_engine"]["instance_id"] == "7", "instance")
        else:
            check(claims["sub"] == "etl@project.iam.gserviceaccount.com", "subject")
            check(claims["exp"] - time.time() <= _SIGNED_SECONDS, "lives too long")

    # --- azure ---

    def _azure(self, rest, body):
        machine = {"subscription_id", "resource_group_name", "vm_name", "vmss_name"}
        check(rest == "login" and {"role", "jwt"} <= set(body) <= {"role", "jwt", *machine}, "fields")
        check(body["role"] == ROLE, "role")
        claims = self.azure.claims(body["jwt"])
        check(claims is not None and claims["aud"] == self.resource, "audience")


def _refusal():
    return reply(400, {}, b'{"errors":["refused: canary-words-of-the-server"]}')


class Clouds(Scripted):
    """
    Who tells a workload of Google, Azure or AWS who it is, as strict as they are.

    Args:
        vault: whose signers sign here.

    Attributes:
        secret: of the application of Azure.
        scale_set: of the machine of Azure, or "".
        asked: "POST /path" of each question, in order.
    """

    def __init__(self, vault):
        self.vault = vault
        self.secret = "app-secret"
        self.scale_set = ""
        super().__init__(self._say)

    @property
    def asked(self):
        return [line.partition("?")[0] for line in self.lines]

    def _say(self, request):
        head, _, body = request.partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        method, target, _ = line.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
        parts = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        try:
            if method == "GET":
                is_google = parts.path.startswith("/computeMetadata/")
                ask = self._google_metadata if is_google else self._azure_metadata
                return ask(parts.path, query, headers)
            return self._posted(unquote(parts.path), body, headers)
        except RefusedError as why:
            return reply(403, {}, str(why).encode())

    def _posted(self, path, body, headers):
        if path.endswith(":signJwt"):
            return self._sign(path, json.loads(body), headers)
        form = {key: values[0] for key, values in parse_qs(body.decode()).items()}
        return self._sts(form, headers) if path == "/" else self._directory(path, form)

    def _google_metadata(self, path, query, headers):
        check(headers.get("metadata-flavor") == "Google", "flavor")
        what = path.removeprefix("/computeMetadata/v1/instance/service-accounts/default/")
        if what == "identity":
            check(query["format"] == "full", "format")
            machine = {"compute_engine": {"instance_id": "7"}}
            text = self.vault.google.sign(sub="1", aud=query["audience"], google=machine)
        elif what == "email":
            text = "etl@project.iam.gserviceaccount.com"
        elif what == "token":
            text = json.dumps({"access_token": "ya29.machine", "expires_in": 3599, "token_type": "Bearer"})
        else:
            return reply(404)
        return reply(200, {"Metadata-Flavor": "Google"}, text.encode())

    def _sign(self, path, body, headers):
        name = "etl@project.iam.gserviceaccount.com"
        check(path == f"/v1/projects/-/serviceAccounts/{name}:signJwt", "path")
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        is_key = self.vault.google.claims(bearer) if bearer.count(".") == 2 else None
        check(bearer == "ya29.machine" or is_key is not None, "bearer")
        check(set(body) == {"payload"}, "fields")
        claims = json.loads(body["payload"])
        signed = self.vault.google.sign(lasts=int(claims.pop("exp") - time.time()), **claims)
        return reply(200, {}, json.dumps({"keyId": "1", "signedJwt": signed}).encode())

    def _azure_metadata(self, path, query, headers):
        check(headers.get("metadata") == "true" and "x-forwarded-for" not in headers, "header")
        if path == "/metadata/identity/oauth2/token":
            check(query["api-version"] == "2018-02-01", "version")
            token = self.vault.azure.sign(aud=query["resource"], appid=query.get("client_id", "only"))
            return reply(200, {}, json.dumps({"access_token": token, "expires_in": "3599"}).encode())
        check((path, query["api-version"]) == ("/metadata/instance/compute", "2021-05-01"), "path")
        told = {"subscriptionId": "sub", "resourceGroupName": "group", "name": "vm-1"}
        return reply(200, {}, json.dumps({**told, "vmScaleSetName": self.scale_set}).encode())

    def _directory(self, path, form):
        check(path == "/tenant/oauth2/v2.0/token", "path")
        check(form["grant_type"] == "client_credentials" and form["client_id"] == "app", "application")
        check(form["client_secret"] == self.secret, "secret")
        token = self.vault.azure.sign(aud=form["scope"].removesuffix("/.default"))
        return reply(200, {}, json.dumps({"access_token": token, "expires_in": 3599}).encode())

    def _sts(self, form, headers):
        check(form["Action"] == "AssumeRole" and form["RoleArn"].endswith("role/reader"), "role")
        check("AKIABASE" in headers["authorization"], "base")
        ends = "2099-01-01T00:00:00Z"
        self.vault.keys["ASIAROLE"], self.vault.session_tokens["ASIAROLE"] = "role-secret", "role-token"
        return reply(
            200,
            {"Content-Type": "text/xml"},
            f"<AssumeRoleResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><AssumeRoleResult>"
            f"<Credentials><AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>role-secret</SecretAccessKey>"
            f"<SessionToken>role-token</SessionToken><Expiration>{ends}</Expiration></Credentials>"
            f"</AssumeRoleResult></AssumeRoleResponse>".encode(),
        )
