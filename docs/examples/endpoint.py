"""An endpoint in Python, with nothing but the standard library: it checks the signature of every
request, proves itself when it is asked to, and prints the events that it hears of.

usage: WEBHOOK_SECRET=whsec_... endpoint.py [PORT]    (any free port when left out; it is printed)
"""

import hashlib
import hmac
import json
import os
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ["WEBHOOK_SECRET"].encode()


def sign(text: bytes) -> str:
    return hmac.new(SECRET, text, hashlib.sha256).hexdigest()


class Endpoint(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        # First of all: an endpoint that signs whatever it is asked would sign for anybody.
        signature = self.headers.get("X-Sentimatrix-Signature", "")
        if not hmac.compare_digest(f"sha256={sign(body)}", signature):
            return self.answer(401, b"wrong signature")
        message = json.loads(body)
        if message.get("type") == "endpoint.verification":
            challenge = message["challenge"]
            # Only what looks like a challenge is signed, never something that could be an event.
            if not re.fullmatch(r"chl_[0-9a-f]{64}", challenge):
                return self.answer(400, b"no challenge")
            return self.answer(200, json.dumps({"response": sign(challenge.encode())}).encode())
        print(message["event"], message["id"], flush=True)
        self.answer(200, b"OK")

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    server = ThreadingHTTPServer(("127.0.0.1", port), Endpoint)
    print(f"http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
