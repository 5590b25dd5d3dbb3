"""The part of the Hugging Face Hub's HTTP interface that uploads and downloads need, on the loopback."""

import base64
import hashlib
import http.server
import json
import threading
from contextlib import contextmanager
from typing import ClassVar

TOKEN = "hf_stand_in"


class HubStandIn(http.server.ThreadingHTTPServer):
    """Repositories by id, each the files of its last commit, and a record of all requests."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = {}
        self.messages = []
        self.requests = []

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_port}"

    def environment(self, home):
        """What a process needs to take this for the Hub, and to keep nothing outside ``home``."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_XET": "1",
        }


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubStandIn
    commit: ClassVar[str] = "0123456789abcdef0123456789abcdef01234567"

    def log_message(self, format, *args):  # noqa: A002 – the name in the standard library
        self.server.requests.append(format % args)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401, {"error": "Invalid credentials"})
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            known = repo in self.server.repositories
            self.server.repositories.setdefault(repo, {})
            self.answer(409 if known else 200, {"url": f"{self.server.endpoint}/{repo}", "name": repo})
        elif self.path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            paths = [file["path"] for file in json.loads(body)["files"]]
            files = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]
            self.answer(200, {"files": files})
        elif "/commit/" in self.path:
            repo = self.path.removeprefix("/api/models/").split("/commit/")[0]
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "header":
                    self.server.messages.append(value["summary"])
                elif line["key"] == "file":
                    self.server.repositories[repo][value["path"]] = base64.b64decode(value["content"])
            url = f"{self.server.endpoint}/{repo}/commit/{self.commit}"
            self.answer(200, {"commitUrl": url, "commitOid": self.commit, "success": True})
        else:
            self.answer(404, {})

    def do_GET(self):
        self.send_file()

    def do_HEAD(self):
        self.send_file()

    def send_file(self):
        repo, _, rest = self.path.lstrip("/").partition("/resolve/")
        files = self.server.repositories.get(repo)
        content = (files or {}).get(rest.partition("/")[2])
        if content is None:
            missing = "RepoNotFound" if files is None else "EntryNotFound"
            self.answer(404, {}, {"X-Error-Code": missing, "X-Error-Message": missing, "X-Repo-Commit": self.commit})
            return
        etag = hashlib.sha256(content).hexdigest()
        self.answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": self.commit, "Accept-Ranges": "bytes"})

    def answer(self, status, content, headers=None):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def running_hub():
    server = HubStandIn()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
