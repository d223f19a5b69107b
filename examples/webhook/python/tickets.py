#!/usr/bin/env python3
"""A cleanup step in Python: a Node is released after its change ticket was approved."""
import hashlib, hmac, json, os, pathlib, ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TICKETS = pathlib.Path(os.environ["TICKETS"])  # A folder stands for the ticket system.


def ticket(request):  # The same key is the same ticket, however often the agent asks.
    name, key = request["node"]["name"], request["idempotencyKey"]
    return TICKETS / f"CHG-{hashlib.sha256(key.encode()).hexdigest()[:8]}", name


def cleanup(request):
    file, node = ticket(request)
    if not file.exists():
        file.write_text("open")
    elif request["params"].get("autoApprove"):  # For tests.
        file.write_text("approved")
    status, _, reason = file.read_text().strip().partition(": ")
    if status == "approved":
        return {"state": "Done", "outputs": {"ticket": file.name}}
    if status == "rejected":
        return {"state": "Failed", "permanent": True, "message": f"ticket {file.name} was rejected: {reason}"}
    return {"state": "InProgress", "message": f"ticket {file.name} waits for approval to remove {node}", "retryAfterSeconds": 1}


def preview(request):
    file, node = ticket(request)
    return {"effects": [{"action": "Open", "object": {"kind": "Ticket", "name": file.name}, "reason": f"remove {node}"}]}


def verify(request):
    file, _ = ticket(request)
    return {"undone": "" if file.exists() and file.read_text().startswith("approved") else f"ticket {file.name} is not approved"}


DISCOVERY = {"versions": ["v1"], "abilities": ["cleanup", "preview", "verify"], "name": "tickets"}
GET = {"/v1/": lambda _: DISCOVERY, "/v1/health": lambda _: {}}
POST = {"/v1/cleanup": cleanup, "/v1/preview": preview, "/v1/verify": verify}


class Service(BaseHTTPRequestHandler):
    timeout = 30

    def do_GET(self):
        self.route(GET, "{}")

    def do_POST(self):
        self.route(POST, self.rfile.read(min(int(self.headers.get("Content-Length", 0)), 1 << 20)))

    def route(self, paths, body):
        if not hmac.compare_digest(self.headers.get("Authorization", "").encode(), f"Bearer {os.environ['TOKEN'].strip()}".encode()):
            return self.reply(401, {"message": "the bearer token is missing or wrong"})
        if self.path not in paths:
            return self.reply(404, {"message": "there is no such path"})
        try:
            self.reply(200, paths[self.path](json.loads(body)))
        except (ValueError, KeyError, TypeError):
            self.reply(400, {"message": "the request is not valid"})

    def reply(self, status, answer):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())


if __name__ == "__main__":
    server = ThreadingHTTPServer((os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8443"))), Service)
    if "CERT" in os.environ:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(os.environ["CERT"], os.environ["KEY"])
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print("listening on port", server.server_port, flush=True)
    server.serve_forever()
