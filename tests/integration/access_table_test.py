#!/usr/bin/env python3
"""Who may do what: every route of the server asked by every kind of caller, in one table.

A row is a route, a column a caller; what is written is the status of the answer. Each cell asks about a fresh target: a
job that waits in the queue, or a user, so that no cell sees what another one did.
"""

import itertools
import os
import pathlib
import re
import unittest

import harness

SAME, ANOTHER = 65533, 65532  # peers of the socket; the first owns a job of its own

CONFIG = """
[server]
registration = true
[templates.training]
command = ["sleep", "1000"]
gpus = 4
[templates.inference]
command = ["sleep", "1000", "{model_path}"]
"""

CALLERS = "no key, wrong key, revoked key, templates-only, other user, owner, admin, root's socket, " \
          "own uid's socket, other uid's socket".split(", ")

#                                   none  wrong revoked templ. other owner admin  root  same another
TABLE = """
POST /v1/jobs                        401   401   401    403    201   201   201    201   201   201
GET /v1/jobs                         401   401   401    200    200   200   200    200   200   200
GET /v1/jobs/{job}                   401   401   401    200    200   200   200    200   200   200
DELETE /v1/jobs/{job}                401   401   401    403    403   200   200    200   200   403
GET /v1/jobs/{job}/report            401   401   401    403    403   404   404    404   404   403
GET /v1/jobs/{job}/logs              401   401   401    403    403   200   200    200   200   403
GET /v1/jobs/{job}/why               401   401   401    403    403   200   200    200   200   403
GET /v1/jobs/{job}/owner             401   401   401    403    403   200   200    200   200   403
POST /v1/jobs/{job}/owner            401   401   401    403    403   200   200    200   200   403
GET /v1/events                       401   401   401    200    200   200   200    200   200   200
GET /v1/devices                      401   401   401    200    200   200   200    200   200   200
POST /v1/devices/0/release           401   401   401    403    403   403   409    409   403   403
GET /v1/users                        401   401   401    403    403   403   200    200   403   403
POST /v1/users                       401   401   401    403    403   403   201    201   403   403
POST /v1/users/import                401   401   401    403    403   403   201    201   403   403
POST /v1/users/{user}/rotate         401   401   401    403    403   403   200    200   403   403
DELETE /v1/users/{user}              401   401   401    403    403   403   200    200   403   403
POST /v1/drain                       401   401   401    403    403   403   200    200   403   403
POST /v1/resume                      401   401   401    403    403   403   200    200   403   403
GET /healthz                         200   200   200    200    200   200   200    200   200   200
GET /readyz                          200   200   200    200    200   200   200    200   200   200
GET /metrics                         200   200   200    200    200   200   200    200   200   200
GET /openapi.json                    200   200   200    200    200   200   200    200   200   200
GET /                                200   200   200    200    200   200   200    200   200   200
POST /register?username={new}        200   200   200    200    200   200   200    200   200   200
POST /submit_job                     401   401   401    200    200   200   200    200   200   200
POST /submit_inference_job           401   401   401    200    200   200   200    200   200   200
GET /job_status/{job}                401   401   401    403    403   200   200    200   200   403
GET /list_jobs                       401   401   401    200    200   200   200    200   200   200
DELETE /cancel_job/{job}             401   401   401    403    403   200   200    200   200   403
POST /complete_job/{job}             401   401   401    403    403   200   200    200   200   403
GET /admin/users                     401   401   401    403    403   403   200    200   403   403
"""

BODIES = {
    "POST /v1/jobs": {"command": ["true"], "gpus": 4, "workdir": "/"},
    "POST /v1/jobs/{job}/owner": {"suspended": True},
    "POST /v1/users": {"name": "{new}"},
    "POST /v1/users/import": {"name": "{new}", "api_key": "{new}-0123456789abcdef"},
    "POST /submit_job": {"config": {}},
    "POST /submit_inference_job": {"model_path": "m"},
}


def rows():
    for line in TABLE.strip().splitlines():
        words = line.split()
        yield f"{words[0]} {words[1]}", [int(word) for word in words[2:]]


@unittest.skipUnless(os.getuid() == 0, "only root can be another user on the socket")
class AccessTable(harness.Case):
    def setUp(self):
        self.d = self.daemon(config=CONFIG)
        self.numbers = itertools.count()
        # Everything else stays in the queue behind it.
        self.d.wait_state(self.d.submit(["sleep", "1000"], gpus=4)["id"], "running")
        self.keys = {name: self.d.add_user(name.replace(" ", "-"), **fields) for name, fields in (
            ("revoked key", {}), ("templates-only", {"templates_only": True}), ("other user", {}), ("owner", {}),
            ("admin", {"admin": True}))}
        self.keys["wrong key"] = "otk_" + "0" * 32
        self.d.http("DELETE", "/v1/users/revoked-key")

    def peer(self, uid):
        """A connection of another uid: the socket's peer is who connects."""
        one = self.d.connect()
        os.seteuid(uid)
        try:
            one.connect()
        finally:
            os.seteuid(0)
        return one

    def ask(self, caller, method, path, body=None):
        """The status, as soon as it is there: the rest of an event stream never comes to its end."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if caller in self.keys:
            headers["Authorization"] = f"Bearer {self.keys[caller]}"
        uid = {"own uid's socket": SAME, "other uid's socket": ANOTHER}.get(caller)
        over = "socket" if caller.endswith("socket") else "tcp"
        one = self.d.connect(over) if uid is None else self.peer(uid)
        try:
            one.request(method, path, body, headers)
            return one.getresponse().status
        finally:
            one.close()

    def job(self, caller):
        """A waiting job of the key `owner`, or, for the socket's peers, of the first of them."""
        spec = {"command": ["true"], "gpus": 4, "workdir": "/", "owner": {"lease_s": 600}}
        if not caller.endswith("uid's socket"):
            return self.d.http("POST", "/v1/jobs", spec, key=self.keys["owner"]).json["id"]
        return self.d.http("POST", "/v1/jobs", spec, connection=self.peer(SAME)).json["id"]

    def filled(self, text, caller):
        if "{job}" in text:
            text = text.replace("{job}", self.job(caller))
        new = f"new{next(self.numbers)}"
        if "{user}" in text:
            self.d.add_user(new)
        return text.replace("{user}", new).replace("{new}", new)

    def test_every_route_by_every_caller(self):
        for route, expected in rows():
            method, pattern = route.split()
            body = harness.json.dumps(BODIES[route]) if route in BODIES else None
            for caller, status in zip(CALLERS, expected, strict=True):
                with self.subTest(route=route, caller=caller):
                    asked = self.filled(f"{pattern}\n{body or ''}", caller).split("\n")
                    self.assertEqual(self.ask(caller, method, asked[0], asked[1] or None), status)
            self.d.http("POST", "/v1/resume")

    def test_the_table_has_every_route(self):
        source = pathlib.Path(harness.ROOT / "modules/server/src/routes.cc").read_text()
        routes = re.findall(r'\{"(GET|POST|DELETE|PUT|PATCH)",\s*"([^"]+)"', source)
        self.assertGreater(len(routes), 20)
        shape = lambda method, path: f"{method} {re.sub('{[a-z]+}|(?<=/)0(?=/)', '{}', path.split('?')[0])}"
        self.assertEqual({shape(*route) for route in routes}, {shape(*route.split()) for route, _ in rows()})


if __name__ == "__main__":
    harness.main()
