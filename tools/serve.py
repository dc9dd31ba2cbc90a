"""Serve a folder on loopback as GitHub Pages does: compressed, and to be kept by a browser for ten minutes.

python tools/serve.py _build/html 8000
"""

import functools
import gzip
import http.server
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEXT = {".html", ".css", ".js", ".json", ".svg", ".txt", ".md", ".ipynb"}


class Handler(http.server.SimpleHTTPRequestHandler):
    """Compresses texts for a browser that takes them so; without a line per request."""

    protocol_version = "HTTP/1.1"
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {".woff2": "font/woff2"}

    def do_GET(self) -> None:
        """A text compressed; anything else as it is."""
        path = Path(self.translate_path(self.path))
        if path.is_dir():
            path /= "index.html"
        if path.suffix not in TEXT or not path.is_file() or "gzip" not in self.headers.get("Accept-Encoding", ""):
            super().do_GET()
            return
        body = compressed(path, path.stat().st_mtime_ns)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)) + "; charset=utf-8")
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def end_headers(self) -> None:
        """As the host says."""
        self.send_header("Cache-Control", "max-age=600")
        super().end_headers()

    def log_message(self, *_) -> None:
        """Say nothing."""


@functools.cache
def compressed(path: Path, _written: int) -> bytes:
    """The file's bytes, compressed once."""
    return gzip.compress(path.read_bytes(), 6)


@contextmanager
def serving(folder: Path, port: int = 0) -> Iterator[str]:
    """The folder's address while it is served; any free port by default."""
    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


if __name__ == "__main__":
    with serving(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 0) as address:
        print(address, flush=True)
        threading.Event().wait()
