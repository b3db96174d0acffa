"""A judge's service on the loopback that answers, fails and misbehaves as it is told."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-test-0123456789abcdefghijklmnopqrstuvwxyz"


def reply(text: Any, finish: str | None = "stop", **message: Any) -> tuple[int, dict[str, str], bytes]:
    """A well-formed reply of the service."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
    return 200, {}, json.dumps({"model": "served-1", "choices": [choice]}).encode()


def failure(status: int, headers: dict[str, str] | None = None, **error: Any) -> tuple[int, dict[str, str], bytes]:
    return status, headers or {}, json.dumps({"error": error}).encode() if error else b"oh no"


class Service:
    """A chat endpoint on the loopback. ``answer(prompt, attempt)`` says what comes back; a callable value is run with
    the request handler itself."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.naps: list[float] = []  # pauses of the client, which are not slept
        self.answer: Callable[[str, int], Any] = lambda prompt, attempt: reply("left leaning")
        self.under_way = self.most_under_way = 0
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                prompt = body["messages"][0]["content"]
                with service._lock:
                    attempt = service._seen[prompt] = service._seen.get(prompt, 0) + 1
                    service.requests.append({"path": self.path, "headers": dict(self.headers), "body": body})
                    service.under_way += 1
                    service.most_under_way = max(service.most_under_way, service.under_way)
                try:
                    found = service.answer(prompt, attempt)
                    if callable(found):
                        found(self)
                        self.close_connection = True
                    else:
                        self.give(*found)
                finally:
                    with service._lock:
                        service.under_way -= 1

            def give(self, status: int, headers: dict[str, str], content: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
