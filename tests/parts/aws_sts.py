"""
STS and the machine's metadata service as emulators are not: strict, counting, and with sessions that end.

    with Sts() as sts:
        sts.extra()                        # what a connection says to be led here
        sts.logins                         # what each login asked for, in order
        sts.revoke()                       # every session given so far has expired from now on
        sts.keys["AKIA…"] = "…"            # who may ask

    with Metadata() as machine:            # of an instance: IMDSv2 alone, and of a container
        machine.environ                    # what leads the SDK there

Every signature is checked, as AWS checks it; a session is known by its token alone.

Source: "Signature Version 4 signing process", the STS API reference, "Use IMDSv2" of EC2's user guide.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qs

from parts.aws import KEY, REGION, SECRET
from parts.proxy import Scripted, reply

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/reader"
FIRST = f"arn:aws:iam::{ACCOUNT}:role/first"


class Sts(Scripted):
    """
    Give sessions of roles to whom it knows, and tell who asks.

    Args:
        lasts: seconds of a session.
        tls: a server's context.
    """

    def __init__(self, *, lasts=3600, tls=None):
        self.lasts = lasts
        self.keys = {KEY: SECRET}
        self.sessions = {}  # token: (key id, secret, ARN)
        self.logins = []
        self.refusal = None  # (code, status) for the next logins
        self.web_tokens = {"web-token"}
        self.calls = 0
        self._numbers = itertools.count(1)
        self._scheme = "http" if tls is None else "https"
        super().__init__(self._judge, tls=tls)

    def extra(self, **more):
        url = self.url(self._scheme)
        return {
            "region_name": REGION,
            "endpoint_url": url,
            "service_config": {"sts": {"endpoint_url": url}},
            **more,
        }

    def revoke(self):
        self.sessions = dict.fromkeys(self.sessions)

    def _judge(self, request):
        head, _, body = request.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        if not lines[0].startswith("POST / ") or "x-www-form-urlencoded" not in headers.get(
            "content-type", ""
        ):
            return refused("MalformedInput", 418)
        asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        action = asked.pop("Action")
        if action == "AssumeRoleWithWebIdentity":
            if "authorization" in headers:
                return refused("InvalidAction", 418)
            return self._login(action, asked, "web", asked.get("WebIdentityToken") in self.web_tokens)
        who, code = self._who(headers, body)
        if code:
            return refused(code, 403)
        if action == "AssumeRole":
            return self._login(action, asked, who, is_known=True)
        self.calls += 1
        return said(action, f"<Arn>{who}</Arn><UserId>u</UserId><Account>{ACCOUNT}</Account>")

    def _login(self, action, asked, who, is_known):
        self.logins.append({**asked, "by": who})
        if self.refusal is not None:
            return refused(*self.refusal)
        if not is_known:
            return refused("InvalidIdentityToken", 400)
        number = next(self._numbers)
        key, secret, token = f"ASIA{number:016}", f"secret-{number}", f"t0ken-{number}"
        role = asked["RoleArn"].rpartition("/")[2]
        arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{asked['RoleSessionName']}"
        self.sessions[token] = (key, secret, arn)
        ends = datetime.now(timezone.utc) + timedelta(seconds=self.lasts)
        return said(
            action,
            f"<Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>"
            f"<SessionToken>{token}</SessionToken><Expiration>{ends:%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials>"
            f"<AssumedRoleUser><Arn>{arn}</Arn><AssumedRoleId>A:x</AssumedRoleId></AssumedRoleUser>",
        )

    def _who(self, headers, body):
        """Give who signed, or why that is nobody."""
        parts = dict(
            each.strip().split("=", 1)
            for each in headers.get("authorization", "").removeprefix("AWS4-HMAC-SHA256 ").split(",")
            if "=" in each
        )
        if "Credential" not in parts:
            return None, "MissingAuthenticationToken"
        key_id = parts["Credential"].partition("/")[0]
        token = headers.get("x-amz-security-token")
        if token is not None:
            if token in self.sessions and self.sessions[token] is None:
                return None, "ExpiredToken"
            known, secret, who = self.sessions.get(token, ("", "", ""))
        else:
            known, secret, who = key_id, self.keys.get(key_id, ""), f"arn:aws:iam::{ACCOUNT}:user/{key_id}"
        if not secret or known != key_id:
            return None, "InvalidClientTokenId"
        return (
            (who, "")
            if signature(parts, headers, body, secret) == parts["Signature"]
            else (None, "SignatureDoesNotMatch")
        )


def signature(parts, headers, body, secret):
    """Sign a question to `/` as AWS says it is signed."""
    _, day, region, service, end = parts["Credential"].split("/")
    names = parts["SignedHeaders"].split(";")
    canonical = "\n".join(
        (
            *("POST", "/", ""),
            *(f"{name}:{' '.join(headers[name].split())}" for name in names),
            *("", ";".join(names), hashlib.sha256(body).hexdigest()),
        )
    )
    scope = f"{day}/{region}/{service}/{end}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{headers['x-amz-date']}\n{scope}\n{digest}"
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, end):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, text.encode(), "sha256").hexdigest()


def said(action, result):
    body = (
        f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>{result}'
        f"</{action}Result></{action}Response>"
    )
    return reply(200, {"Content-Type": "text/xml"}, body.encode())


def refused(code, status):
    body = (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>of {KEY}</Message></Error></ErrorResponse>"
    )
    return reply(status, {"Content-Type": "text/xml"}, body.encode())


class Metadata(Scripted):
    """
    The metadata service of an instance with a role, and the one that containers are given theirs by.

    Args:
        sts: knows the sessions that are given here.
    """

    ROLE = f"arn:aws:sts::{ACCOUNT}:assumed-role/instance/i-1"

    def __init__(self, sts):
        self.given = 0
        self.token = "container-token"
        self._sts = sts
        super().__init__(self._judge)

    @property
    def environ(self):
        return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": self.url()}

    @property
    def container(self):
        return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.url()}/container"}

    def _judge(self, request):
        head = request.partition(b"\r\n\r\n")[0].decode()
        line, *rest = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
        if line.startswith("PUT /latest/api/token ") and "x-aws-ec2-metadata-token-ttl-seconds" in headers:
            return reply(200, {}, b"imds-token")
        if line.startswith("GET /container "):
            good = headers.get("authorization") == self.token
            return self._credentials() if good else reply(401, {}, b"{}")
        if headers.get("x-aws-ec2-metadata-token") != "imds-token":
            return reply(401)  # IMDSv1
        if line.startswith("GET /latest/meta-data/iam/security-credentials/ "):
            return reply(200, {}, b"instance")
        if line.startswith("GET /latest/meta-data/iam/security-credentials/instance "):
            return self._credentials()
        return reply(404)

    def _credentials(self):
        self.given += 1
        key, secret, token = (
            f"ASIAMACHINE{self.given:09}",
            f"machine-{self.given}",
            f"machine-t0ken-{self.given}",
        )
        self._sts.sessions[token] = (key, secret, self.ROLE)
        ends = datetime.now(timezone.utc) + timedelta(hours=6)
        found = {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "AccessKeyId": key,
            "SecretAccessKey": secret,
            "Token": token,
            "Expiration": f"{ends:%Y-%m-%dT%H:%M:%SZ}",
        }
        return reply(200, {"Content-Type": "application/json"}, json.dumps(found).encode())


def framed(error):
    """Give what a report shows that prints the values in the frames of *error*; not those of tests."""
    shown, trace = [], error.__traceback__
    while trace is not None:
        if "/tests/" not in trace.tb_frame.f_code.co_filename:
            shown += [repr(value) for value in trace.tb_frame.f_locals.values()]
        trace = trace.tb_next
    return "".join(shown)
