"""A stand-in for the Hugging Face Hub on the loopback interface, as the real one behaves.

    with HubServer({"org/model": Repo(config, shards={"model.safetensors": tensors})}) as hub:
        resolve("org/model", endpoint=hub.url)

Answers, headers and error codes as huggingface_hub 1.33 expects them. `python -m tests.hub_server` serves
two small models and prints the address.
"""

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import prod
from urllib.parse import parse_qs, unquote, urlsplit

BITS = {"F32": 32, "BF16": 16, "F16": 16, "I32": 32, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I64": 64}
Layout = Mapping[str, tuple[str, list[int]]]   # name -> (dtype, shape)


def header_of(tensors: Layout) -> dict[str, object]:
    """A safetensors header with data laid out end to end."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, shape) in tensors.items():
        size = prod(shape) * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    return header


def safetensors_file(header: object) -> bytes:
    """A file that ends where its data would begin."""
    body = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(body)) + body


def data_bytes(header: Mapping[str, object]) -> int:
    """Bytes after the header [B]."""
    return max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)


@dataclass
class Repo:
    """A repository: small files whole, weight files by header, the rest of their bytes pretended."""

    config: Mapping[str, object] | None = None
    shards: Mapping[str, Layout] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    sha: str = "0123456789abcdef0123456789abcdef01234567"
    gated: bool | str = False
    private: bool = False
    tokens: tuple[str, ...] = ()       # that may read it, when gated or private
    downloads: int = 0
    one_answer: bool = True            # serves every shard header in one answer
    list_extra: tuple[str, ...] = ()   # listed though not there

    def __post_init__(self) -> None:
        self._headers = {name: header_of(layout) for name, layout in self.shards.items()}
        small = {"config.json": json.dumps(self.config).encode()} if self.config is not None else {}
        if len(self.shards) > 1:
            index = {"metadata": {}, "weight_map": {t: f for f, layout in self.shards.items() for t in layout}}
            small["model.safetensors.index.json"] = json.dumps(index).encode()
        self._bodies = small | dict(self.files)
        for name, header in self._headers.items():
            self._bodies[name] = safetensors_file(header)

    def names(self) -> list[str]:
        return [*self._bodies, *self.list_extra]

    def body(self, name: str) -> bytes | None:
        return self._bodies.get(name)

    def size(self, name: str) -> int:
        """What the file would weigh with its data [B]."""
        pretended = data_bytes(self._headers[name]) if name in self._headers else 0
        return len(self._bodies[name]) + pretended

    def headers_answer(self) -> bytes:
        return json.dumps({"index": {"metadata": {}}, "headers": self._headers}, separators=(",", ":")).encode()


@dataclass
class Trouble:
    """How the server misbehaves."""

    status: int = 0                     # of every answer, when not 0
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int = 10**9                  # answers that misbehave; then all is well
    delay_s: float = 0.0                # before an answer begins
    drip_s: float = 0.0                 # between its bytes
    header_drip_s: float = 0.0          # between the bytes of its headers
    body: bytes | None = None           # instead of the true one
    ignores_ranges: bool = False        # 200 with the whole file
    redirect_to: str = ""               # 302 to another origin with the same paths
    on: str = ""                        # only where the path has this in it


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *asked: object) -> None:
        super().__init__(*asked)
        self._open: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        self._open.append(connection)
        return connection, address

    def server_close(self) -> None:
        """A server that is gone answers on no connection that was kept open either."""
        super().server_close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news."""


class HubServer:
    """The stand-in. `requests` lists (method, path with query, headers) in order of arrival."""

    def __init__(self, repos: Mapping[str, Repo] | None = None, trouble: Trouble | None = None) -> None:
        self.repos = dict(repos or {})
        self.trouble = trouble or Trouble()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536                  # headers and body in one packet: no delayed acknowledgement

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub = self.hub
        hub.requests.append((self.command, self.path, {key.lower(): value for key, value in self.headers.items()}))
        trouble = hub.trouble
        if trouble.times > 0 and trouble.on in self.path:
            trouble.times -= 1
            time.sleep(trouble.delay_s)
            if trouble.header_drip_s:
                self._drip(b"HTTP/1.1 200 OK\r\nX-Long: ".ljust(10_000, b"x"), trouble.header_drip_s)
                return
            if trouble.redirect_to:
                self._send(302, b"", {"Location": trouble.redirect_to + self.path})
                return
            if trouble.status:
                self._send(trouble.status, trouble.body or b"{}", trouble.headers)
                return
            if trouble.body is not None:
                self._send(200, trouble.body, trouble.headers)
                return
        self._answer()
        return

    def _answer(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        if path == "/api/models":
            self._search(parse_qs(url.query))
            return
        about = r"/safetensors-metadata/.+|/auth-check|/revision/.+|/tree/.+"
        if found := re.fullmatch(rf"/api/models/(.+?)({about})?", path):
            self._api(found[1], found[2] or "")
            return
        if found := re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path):
            self._file(found[1], found[3])
            return
        self._send(404, b"not found")
        return

    def _drip(self, said: bytes, pause_s: float) -> None:
        """A byte at a time, until the client has had enough."""
        try:
            for byte in said:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(pause_s)
        except OSError:
            self.close_connection = True

    def _refused(self, repo: Repo | None, *, file: bool) -> bool:
        """Answers for the repository when the token in the request may not see it."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token.startswith("bad"):
            self._send(401, b"{}", {"X-Error-Message": "Invalid credentials in Authorization header"})
        elif repo is None or (repo.private and token not in repo.tokens):
            self._send(404 if token else 401, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif file and repo.gated and token not in repo.tokens:
            self._send(403 if token else 401, b"{}", {"X-Error-Code": "GatedRepo"})
        else:
            return False
        return True

    def _search(self, query: dict[str, list[str]]) -> None:
        words = query.get("search", [""])[0].lower()
        found = sorted((name for name in self.hub.repos if words in name.lower()),
                       key=lambda name: -self.hub.repos[name].downloads)
        limit = int(query.get("limit", ["20"])[0])
        rows = [{"id": name, "downloads": self.hub.repos[name].downloads, "likes": 1, "library_name": "transformers",
                 "gated": self.hub.repos[name].gated, "safetensors": {"parameters": {"BF16": 7}, "total": 7}}
                for name in found[:limit]]
        self._send(200, json.dumps(rows).encode())

    def _api(self, name: str, rest: str) -> None:
        repo = self.hub.repos.get(name)
        if self._refused(repo, file=rest.startswith(("/safetensors", "/auth"))):
            return
        if rest.startswith("/safetensors-metadata"):
            if not repo.one_answer or len(repo.shards) < 2:
                self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
                return
            self._send(200, repo.headers_answer())
            return
        if rest.startswith("/tree"):
            tree = [{"type": "file", "path": file, "size": repo.size(file), "oid": repo.sha} for file in repo.names()]
            self._send(200, json.dumps(tree).encode())
            return
        info = {"id": name, "sha": repo.sha, "gated": repo.gated, "private": repo.private,
                "siblings": [{"rfilename": file} for file in repo.names()]}
        self._send(200, json.dumps(info).encode())

    def _file(self, name: str, file: str) -> None:
        repo = self.hub.repos.get(name)
        if self._refused(repo, file=True):
            return
        body = repo.body(file)
        if body is None:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repo.sha})
            return
        about = {"ETag": f'"{hash(file)}"', "X-Repo-Commit": repo.sha}
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if span is None or self.hub.trouble.ignores_ranges:
            self._send(200, body.ljust(repo.size(file), b"\0"), about)
            return
        begin, end, size = int(span[1]), int(span[2]), repo.size(file)
        if begin >= size:
            self._send(416, b"", {"Content-Range": f"bytes */{size}"})
            return
        end = min(end, size - 1)
        part = body[begin : end + 1].ljust(end + 1 - begin, b"\0")
        self._send(206, part, about | {"Content-Range": f"bytes {begin}-{end}/{size}"})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(body))} | dict(headers or {})).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.hub.trouble.drip_s and self.hub.trouble.times > 0:
            self._drip(body, self.hub.trouble.drip_s)
            return
        try:
            self.wfile.write(body)
            self.wfile.flush()
        except OSError:
            self.close_connection = True   # the client has had enough

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def llama(hidden: int = 64, layers: int = 2, **more: object) -> dict[str, object]:
    """A small config.json of the Llama family."""
    return {"model_type": "llama", "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": 4,
            "num_key_value_heads": 2, "intermediate_size": 4 * hidden, "vocab_size": 256,
            "max_position_embeddings": 2048, "torch_dtype": "bfloat16", "tie_word_embeddings": False} | more


def llama_tensors(config: Mapping[str, object], dtype: str = "BF16") -> dict[str, tuple[str, list[int]]]:
    """Its tensors, as transformers names them."""
    h, inner, v = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    kv = h // config["num_attention_heads"] * config["num_key_value_heads"]
    found = {"model.embed_tokens.weight": [v, h], "model.norm.weight": [h], "lm_head.weight": [v, h]}
    for i in range(config["num_hidden_layers"]):
        layer = {"input_layernorm": [h], "post_attention_layernorm": [h], "self_attn.q_proj": [h, h],
                 "self_attn.k_proj": [kv, h], "self_attn.v_proj": [kv, h], "self_attn.o_proj": [h, h],
                 "mlp.gate_proj": [inner, h], "mlp.up_proj": [inner, h], "mlp.down_proj": [h, inner]}
        found |= {f"model.layers.{i}.{name}.weight": shape for name, shape in layer.items()}
    return {name: (dtype, shape) for name, shape in found.items()}


def sharded(shards: int = 60, experts: int = 64, *, one_answer: bool = True) -> Repo:
    """60 shards of a 60-layer mixture: 193 tensors each, 11,580 in all."""
    layers = {f"model-{i + 1:05d}-of-{shards:05d}.safetensors": {
        f"model.layers.{i}.mlp.experts.{e}.{name}.weight": ("BF16", [64, 64])
        for e in range(experts) for name in ("gate_proj", "up_proj", "down_proj")} | {
        f"model.layers.{i}.input_layernorm.weight": ("BF16", [64])} for i in range(shards)}
    config = llama(layers=shards, model_type="mixtral", num_local_experts=experts, num_experts_per_tok=2,
                   intermediate_size=64)
    return Repo(config, layers, one_answer=one_answer)


def demo() -> HubServer:
    """Two models: a small open one and a gated one that the token hf_demo opens."""
    config = llama(2048, 16)
    tensors = {"model.safetensors": llama_tensors(config)}
    return HubServer({
        "sweetspot/demo-1b": Repo(config, tensors, downloads=10),
        "sweetspot/demo-gated": Repo(config, tensors, gated="manual", tokens=("hf_demo",), downloads=5),
    })


if __name__ == "__main__":
    with demo() as server:
        print(server.url, flush=True)
        threading.Event().wait()
