#!/usr/bin/env python3
"""A cleanup step in about thirty lines: a Node is released after its backup is complete."""
import hmac, json, os, pathlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BACKUPS = pathlib.Path(os.environ["BACKUPS"])  # A folder stands for the backup system.


def cleanup(request):  # The agent asks again until the answer is Done. The same key is the same work.
    node, backup = request["node"]["name"], BACKUPS / request["idempotencyKey"].replace("/", "-")
    state = backup.read_text().strip() if backup.exists() else "running"
    if state == "failed":
        return {"state": "Failed", "permanent": True, "message": f"the backup of {node} failed"}
    if state == "running" and not request["params"].get("skip"):
        return {"state": "InProgress", "message": f"backing up {node}", "retryAfterSeconds": 1}
    return {"state": "Done", "outputs": {"backup": backup.name}}


class Service(BaseHTTPRequestHandler):
    paths = {
        "GET /v1/": lambda _: {"versions": ["v1"], "abilities": ["cleanup"], "name": "backup"},
        "GET /v1/health": lambda _: {},
        "POST /v1/cleanup": cleanup,
    }

    def do_POST(self):
        body, status, answer = self.rfile.read(int(self.headers.get("Content-Length", 0))), 401, {"message": "wrong token"}
        if hmac.compare_digest(self.headers.get("Authorization", "").encode(), f"Bearer {os.environ['TOKEN'].strip()}".encode()):
            try:
                status, answer = 200, self.paths[f"{self.command} {self.path}"](json.loads(body or "{}"))
            except (ValueError, KeyError, TypeError):
                status, answer = 400, {"message": "invalid request"}
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    do_GET = do_POST


server = ThreadingHTTPServer((os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8443"))), Service)
print("listening on port", server.server_port, flush=True)
server.serve_forever()
