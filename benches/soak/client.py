"""A client of PostgreSQL that speaks the protocol by hand, so that it can also leave in every way there is."""

import asyncio
import base64
import functools
import hashlib
import hmac
import os
import socket
import struct

PATIENCE = 60


class Refused(Exception):
    """The server did not let us in; the argument is the SQLSTATE."""


class Unexpected(Exception):
    """An answer that should not be; the argument says which."""


class Client:
    """One connection. Whatever it waits for, it waits no longer than PATIENCE seconds."""

    def __init__(self, port, reader, writer):
        self.port, self.reader, self.writer = port, reader, writer
        self.key = b""
        self.error = ""

    @classmethod
    async def connect(cls, port, user, password=None, database="demo", tls=None):
        client = await cls.open(port, tls)
        try:
            body = b"".join(part.encode() + b"\0" for part in ("user", user, "database", database)) + b"\0"
            client.send(struct.pack("!ii", len(body) + 8, 3 << 16) + body)
            await client._log_in(password)
        except BaseException:
            client.kill()
            raise
        return client

    @classmethod
    async def open(cls, port, tls=None):
        """Connects and says nothing yet but that it wants TLS."""
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await loop.sock_connect(sock, ("127.0.0.1", port))
            if tls:
                await loop.sock_sendall(sock, struct.pack("!ii", 8, 80877103))
                answer = await asyncio.wait_for(loop.sock_recv(sock, 1), PATIENCE)
                if answer != b"S":
                    raise Unexpected(f"{answer} to a request for TLS")
            options = {"ssl": tls, "server_hostname": "localhost"} if tls else {}
            return cls(port, *await asyncio.open_connection(sock=sock, **options))
        except BaseException:
            sock.close()
            raise

    def send(self, *messages):
        self.writer.write(b"".join(messages))

    async def message(self):
        head = await asyncio.wait_for(self.reader.readexactly(5), PATIENCE)
        length = struct.unpack("!i", head[1:])[0]
        return head[:1].decode(), await self.reader.readexactly(length - 4)

    async def answer(self):
        """The kinds of messages up to a ReadyForQuery, and its status; those left out that may come at any time."""
        kinds, self.error = "", ""
        while not kinds.endswith("Z"):
            kind, body = await self.message()
            if kind == "E":
                self.error = field(body, b"C")
            # Rows and data of COPY count once, however many there are.
            if kind not in "SNA" and not (kind in "Dd" and kinds.endswith(kind)):
                kinds += kind
        return kinds + body.decode()

    async def says(self, expected, *messages):
        """Sends messages; their answer must be one of `expected`, as `answer` writes them."""
        self.send(*messages)
        got = await self.answer()
        if got not in expected.split(" "):
            raise Unexpected(f"{got} {self.error} to {b' '.join(messages)[:60]}")

    async def cancel(self):
        other = await Client.open(self.port)
        other.send(struct.pack("!ii", 12 + len(self.key) - 4, 80877102), self.key)
        await asyncio.wait_for(other.reader.read(), PATIENCE)
        other.kill()

    async def terminate(self):
        self.send(message(b"X"))
        await asyncio.wait_for(self.reader.read(), PATIENCE)
        self.writer.close()

    def kill(self):
        """Ends as a process does that dies: the kernel says FIN, or RST where answers are left unread."""
        self.writer.transport.abort()

    def reset(self):
        """Ends with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def _log_in(self, password):
        scram = None
        while True:
            kind, body = await self.message()
            if kind == "E":
                raise Refused(field(body, b"C"))
            if kind == "K":
                self.key = body
            if kind == "Z":
                return
            if kind == "R":
                request = struct.unpack("!i", body[:4])[0]
                if request == 10:
                    scram = Scram(password)
                    first = scram.first()
                    self.send(message(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first))
                elif request == 11:
                    self.send(message(b"p", scram.final(body[4:])))


class Scram:
    """The client's side of SCRAM-SHA-256, without channel binding."""

    def __init__(self, password):
        self.password = password
        self.nonce = base64.b64encode(os.urandom(18)).decode()

    def first(self):
        self.bare = f"n=,r={self.nonce}"
        return f"n,,{self.bare}".encode()

    def final(self, challenge):
        challenge = challenge.decode()
        nonce, salt, iterations = (part.split("=", 1)[1] for part in challenge.split(","))
        salted = salted_password(self.password, salt, int(iterations))
        without_proof = f"c=biws,r={nonce}"
        key = hmac.digest(salted, b"Client Key", "sha256")
        signed = f"{self.bare},{challenge},{without_proof}".encode()
        signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
        proof = bytes(one ^ other for one, other in zip(key, signature))
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()


@functools.cache
def salted_password(password, salt, iterations):
    return hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), iterations)


def field(body, letter):
    return next((part[1:].decode() for part in body.split(b"\0") if part[:1] == letter), "")


def message(kind, body=b""):
    return kind + struct.pack("!i", len(body) + 4) + body


def query(sql):
    return message(b"Q", sql.encode() + b"\0")


def parse(name, sql):
    return message(b"P", f"{name}\0{sql}\0".encode() + b"\0\0")


def bind(name, *values):
    """Of text values, and asking for text."""
    words = b"".join(struct.pack("!i", len(value)) + value.encode() for value in map(str, values))
    return message(b"B", f"\0{name}\0".encode() + struct.pack("!hh", 0, len(values)) + words + b"\0\0")


EXECUTE = message(b"E", b"\0\0\0\0\0")
SYNC = message(b"S")
FLUSH = message(b"H")
