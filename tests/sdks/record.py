"""Records what the SDKs send, as the tests in Rust replay it: python record.py NODE_DIRECTORY RECORDINGS [NAME...].

Each request becomes a file RECORDINGS/NAME-NNN.http of its first line, the headers that say something of the body or the
key, a blank line and the body as it came.
"""

import http.server
import json
import pathlib
import sys
import threading

from check import send
from expectations import STORIES

KEPT = ("authorization", "content-type", "content-encoding", "ce-")


class Recorder(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def record(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        kept = "".join(f"{name}: {value}\n" for name, value in self.headers.items() if name.lower().startswith(KEPT))
        self.server.requests.append(f"{self.command} {self.path}\n{kept}\n".encode() + body)
        answer = json.dumps(self.answer(body)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = record

    def answer(self, body):
        """What makes each SDK content."""
        if self.path.startswith("/i/v1"):
            return {"results": {}}
        if "httpapi" in self.path or self.path == "/batch":
            return {"code": 200, "events_ingested": 1, "payload_size_bytes": 1, "server_upload_time": 1}
        if b"verbose=1" in body:
            return {"status": 1, "error": None}
        if self.path.split("?")[0].strip("/") in ("track", "engage", "groups", "import"):
            return 1
        return {"success": True, "status": "Ok"}

    def log_message(self, *_):
        pass


def main(node, recordings, *names):
    for name in names or STORIES:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
        server.requests = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        send(name, f"http://127.0.0.1:{server.server_port}", node)
        server.shutdown()
        for number, request in enumerate(server.requests, 1):
            pathlib.Path(recordings, f"{name}-{number:03}.http").write_bytes(request)
        print(f"{name}: {len(server.requests)} requests")


if __name__ == "__main__":
    main(*sys.argv[1:])
