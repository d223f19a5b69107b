#!/usr/bin/env python3
"""Serves the webhook protocol for a script: INVENTORY=/tmp/inventory TOKEN=token-1 ./wrapper.py ./cleanup.sh

The script finds IDEMPOTENCY_KEY, NODE_NAME and NODE_UID in its environment, and the request on stdin. It ends within 8 seconds. Exit code 0
is Done, 75 is InProgress, anything else is Failed. The last line of stderr is the message; lines NAME=VALUE of stdout are outputs.
"""
import hmac, json, os, subprocess, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DISCOVERY = {"versions": ["v1"], "abilities": ["cleanup"], "name": os.path.basename(sys.argv[1])}


def run(body):
    request = json.loads(body)
    facts = {"IDEMPOTENCY_KEY": request["idempotencyKey"], "NODE_NAME": request["node"]["name"], "NODE_UID": request["node"]["uid"]}
    done = subprocess.run(sys.argv[1:], input=body, capture_output=True, timeout=8, env=os.environ | facts)
    message = (done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    outputs = dict(line.split("=", 1) for line in done.stdout.decode(errors="replace").splitlines() if "=" in line)
    return {"state": {0: "Done", 75: "InProgress"}.get(done.returncode, "Failed"), "message": message, "outputs": outputs}


class Service(BaseHTTPRequestHandler):
    timeout = 30

    def do_GET(self):
        self.route({"/v1/": lambda _: DISCOVERY, "/v1/health": lambda _: {}}, b"")

    def do_POST(self):
        self.route({"/v1/cleanup": run}, self.rfile.read(min(int(self.headers.get("Content-Length", 0)), 1 << 20)))

    def route(self, paths, body):
        status, answer = 404, {"message": "there is no such path"}
        if not hmac.compare_digest(self.headers.get("Authorization", "").encode(), f"Bearer {os.environ['TOKEN'].strip()}".encode()):
            status, answer = 401, {"message": "the bearer token is missing or wrong"}
        elif self.path in paths:
            try:
                status, answer = 200, paths[self.path](body)
            except (ValueError, KeyError, TypeError):
                status, answer = 400, {"message": "the request is not valid"}
            except subprocess.TimeoutExpired:
                status, answer = 503, {"message": "the script did not end within 8 seconds"}
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())


if __name__ == "__main__":
    server = ThreadingHTTPServer((os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8443"))), Service)
    print("listening on port", server.server_port, flush=True)
    server.serve_forever()
