# SPDX-License-Identifier: Apache-2.0
"""object_server.py ROOT LOG [faults]: serves the files below ROOT as a web server and as an S3-compatible store does, on a
port of the loopback that it prints, until its standard input ends. ROOT/bucket/key is s3://bucket/key. Each request adds
a line to LOG: method, path, range, status. The standard library only.
"""

import argparse
import base64
import hashlib
import hmac
import http.server
import os
import pathlib
import random
import select
import socketserver
import sys
import threading
import time
import urllib.parse
import xml.sax.saxutils

CHUNK = 256 << 10


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=pathlib.Path)
    parser.add_argument("log", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0, help="seconds before each answer")
    parser.add_argument("--bandwidth", type=float, default=0, help="bytes per second of all connections together")
    parser.add_argument("--error", type=float, default=0, help="probability of --error-status instead of the answer")
    parser.add_argument("--error-status", type=int, default=500)
    parser.add_argument("--retry-after", help="header of such an answer")
    parser.add_argument("--stall", type=float, default=0, help="probability that half of a body comes, then nothing")
    parser.add_argument("--short", type=float, default=0, help="probability that the connection closes within a body")
    parser.add_argument("--corrupt-once", action="store_true", help="the first answer for each range has a wrong byte")
    parser.add_argument("--no-ranges", action="store_true", help="answers 200 and the whole file")
    parser.add_argument("--credentials", help="KEY:SECRET[:TOKEN] with which requests must be signed")
    parser.add_argument("--page", type=int, default=1000, help="keys on a page of a list")
    return parser.parse_args()


class Link:
    """A token bucket that all connections share."""

    def __init__(self, bandwidth):
        self.bandwidth = bandwidth
        self.lock = threading.Lock()
        self.free_at = 0.0

    def wait_for(self, size):
        if not self.bandwidth:
            return
        with self.lock:
            begin = max(self.free_at, time.monotonic() - 0.1)  # a burst of 0.1 s, as a busy host makes threads late
            self.free_at = begin + size / self.bandwidth
            pause = self.free_at - time.monotonic()
        if pause > 0:
            time.sleep(pause)


class Faults:
    def __init__(self, options):
        self.options = options
        self.random = random.Random(options.seed)
        self.lock = threading.Lock()
        self.corrupted = set()

    def happens(self, probability):
        with self.lock:
            return self.random.random() < probability

    def corrupts(self, path, span):
        with self.lock:
            new = self.options.corrupt_once and (path, span) not in self.corrupted
            self.corrupted.add((path, span))
            return new


def signature(secret, method, path, query, headers, signed, scope, date):
    """As the documentation of AWS Signature Version 4 describes it, not as any client does it."""
    pairs = sorted(tuple((pair + "=").split("=")[:2]) for pair in query.split("&")) if query else []
    canonical = "\n".join([
        method, path, "&".join(f"{name}={value}" for name, value in pairs),
        "".join(f"{name}:{' '.join(headers.get(name, '').split())}\n" for name in signed.split(";")),
        signed, headers["x-amz-content-sha256"]])
    text = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    options = faults = link = log = None

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        with self.log_lock:
            self.log.write(f"{self.command} {self.path} {self.headers.get('Range', '-')} {status}\n")
            self.log.flush()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if body is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body and self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status, code, message):
        self.answer(status, f'<?xml version="1.0"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode())

    def do_GET(self):
        options = self.options
        time.sleep(options.latency)
        if self.faults.happens(options.error):
            extra = [("Retry-After", options.retry_after)] if options.retry_after else []
            return self.answer(options.error_status, b"injected\nsecond line", extra)
        if options.credentials and not self.is_signed():
            return self.refuse(403, "SignatureDoesNotMatch", "the signature &amp; the request differ")
        path, _, query = self.path.partition("?")
        fields = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        target = options.root / urllib.parse.unquote(path).lstrip("/")
        if fields.get("list-type") == "2":
            return self.list(target, fields) if target.is_dir() else self.refuse(404, "NoSuchBucket", "no")
        if not target.is_file():
            return self.refuse(404, "NoSuchKey", "no")
        return self.send_object(target)

    do_HEAD = do_GET

    def is_signed(self):
        key, secret, token = (self.options.credentials + "::").split(":")[:3]
        fields = dict(part.strip().split("=", 1) for part in
                      self.headers.get("Authorization", "").removeprefix("AWS4-HMAC-SHA256 ").split(",") if "=" in part)
        user, _, scope = fields.get("Credential", "").partition("/")
        signed = fields.get("SignedHeaders", "")
        needed = {"host", "x-amz-date", "x-amz-content-sha256"} | ({"x-amz-security-token"} if token else set())
        if user != key or not needed <= set(signed.split(";")) or scope.split("/")[1:] != ["eu-test-1", "s3", "aws4_request"]:
            return False
        if self.headers.get("x-amz-security-token", "") != token:
            return False
        path, _, query = self.path.partition("?")
        return signature(secret, self.command, path, query, self.headers, signed, scope,
                         self.headers["x-amz-date"]) == fields["Signature"]

    def list(self, bucket, fields):
        prefix = fields.get("prefix", "")
        after = base64.b64decode(fields.get("continuation-token", "")).decode()
        keys = sorted(path.relative_to(bucket).as_posix() for path in bucket.rglob("*") if path.is_file())
        keys = [key for key in keys if key.startswith(prefix) and "/" not in key[len(prefix):] and key > after]
        page, rest = keys[:self.options.page], keys[self.options.page:]
        text = '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        text += f"<IsTruncated>{'true' if rest else 'false'}</IsTruncated>"
        if rest:
            text += f"<NextContinuationToken>{base64.b64encode(page[-1].encode()).decode()}</NextContinuationToken>"
        for key in page:
            status = (bucket / key).stat()
            text += (f"<Contents><Key>{xml.sax.saxutils.escape(key)}</Key><ETag>{xml.sax.saxutils.escape(etag(status))}</ETag>"
                     f"<Size>{status.st_size}</Size></Contents>")
        self.answer(200, (text + "</ListBucketResult>").encode(), [("Content-Type", "application/xml")])

    def send_object(self, target):
        with open(target, "rb") as file:
            status = os.fstat(file.fileno())
            headers = [("ETag", etag(status)), ("Accept-Ranges", "bytes")]
            first, last, code = 0, status.st_size - 1, 200
            span = self.headers.get("Range", "")
            if span and not self.options.no_ranges:
                first, last = (int(number) for number in span.removeprefix("bytes=").split("-"))
                last = min(last, status.st_size - 1)
                if first > last:
                    return self.refuse(416, "InvalidRange", "no")
                headers.append(("Content-Range", f"bytes {first}-{last}/{status.st_size}"))
                code = 206
            size = last - first + 1
            self.answer(code, None, [*headers, ("Content-Length", str(size))])
            if self.command == "GET":
                self.send_body(file, first, size, self.faults.corrupts(self.path, span))

    def send_body(self, file, first, size, corrupt):
        stall, short = self.faults.happens(self.options.stall), self.faults.happens(self.options.short)
        end = first + (size // 2 if stall or short else size)
        if corrupt:
            byte = os.pread(file.fileno(), 1, first)
            self.wfile.write(bytes([byte[0] ^ 1]))
            first += 1
        self.wfile.flush()
        while first < end:
            count = min(CHUNK, end - first)
            self.link.wait_for(count)
            first += os.sendfile(self.connection.fileno(), file.fileno(), first, count)
        if stall:
            select.select([self.connection], [], [], 60)  # until the client has had enough
        self.close_connection = self.close_connection or stall or short


def etag(status):
    return '"' + hashlib.md5(f"{status.st_mtime_ns} {status.st_size}".encode()).hexdigest() + '"'


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self):
        socketserver.TCPServer.server_bind(self)  # without asking a name server for a name of the loopback
        self.server_name, self.server_port = self.server_address

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):  # a client may go when it likes
            super().handle_error(request, client_address)


def main():
    options = arguments()
    Handler.options = options
    Handler.faults = Faults(options)
    Handler.link = Link(options.bandwidth)
    Handler.log_lock = threading.Lock()
    with open(options.log, "a", encoding="utf-8") as Handler.log, Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        sys.stdin.read()
        os._exit(0)  # with connections open


if __name__ == "__main__":
    main()
