"""Clients that come and go, from processes of their own."""

import asyncio
import multiprocessing
import random
import ssl
import time

import acts
from client import Client

# What is counted, over all processes.
COUNTED = ("connections", "strangers", "TLS", "SCRAM", "acts", "unexpected")
# Most clients of one process at a time: where the machine cannot keep up, they come less often.
MOST = 200
# One of so many is somebody who does not get in.
STRANGER = 0.05


class Churn:
    """`rate` clients a second on `port`, from `processes` processes, until stopped."""

    def __init__(self, port, rate, processes):
        self.counts = multiprocessing.Array("Q", len(COUNTED))
        self.complaints = multiprocessing.SimpleQueue()
        self.stopping = multiprocessing.Event()
        each = rate / processes
        words = (port, each, self.counts, self.complaints, self.stopping)
        self.processes = [multiprocessing.Process(target=run, args=words, daemon=True) for _ in range(processes)]
        for process in self.processes:
            process.start()

    def count(self):
        return dict(zip(COUNTED, self.counts))

    def stop(self):
        """Lets the last clients end; returns what was counted, and the first complaints."""
        self.stopping.set()
        for process in self.processes:
            process.join()
        complaints = []
        while not self.complaints.empty():
            complaints.append(self.complaints.get())
        return self.count(), complaints


def run(port, rate, counts, complaints, stopping):
    random.seed()
    asyncio.run(come_and_go(port, rate, Counter(counts, complaints), stopping))


class Counter:
    """Counts for one process, and keeps what must be told of."""

    def __init__(self, counts, complaints):
        self.counts, self.complaints, self.told = counts, complaints, 0

    def add(self, name):
        with self.counts.get_lock():
            self.counts[COUNTED.index(name)] += 1

    def complain(self, text):
        self.add("unexpected")
        # The pipe holds some thousands of bytes, and is read at the end.
        if self.told < 20:
            self.told += 1
            self.complaints.put(text[:150])


async def come_and_go(port, rate, counter, stopping):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    clients, due = set(), time.monotonic()
    while not stopping.is_set():
        now = time.monotonic()
        # Who did not come in time does not come in a crowd afterwards.
        due = max(due, now - 0.1)
        while due <= now and len(clients) < MOST:
            due += random.expovariate(rate)
            task = asyncio.create_task(one(port, tls, counter))
            clients.add(task)
            task.add_done_callback(clients.discard)
        await asyncio.sleep(0.005)
    if clients:
        await asyncio.wait(clients)


async def one(port, tls, counter):
    """One client from its coming to its leaving."""
    what = "connect"
    try:
        tls = tls if random.random() < 0.15 else None
        if random.random() < STRANGER:
            counter.add("strangers")
            what = acts.draw(acts.STRANGERS)
            return await what(port, tls)
        scram = random.random() < 0.5
        client = await Client.connect(port, *(("demo", "demo") if scram else ("trusted",)), tls=tls)
        counter.add("connections")
        if scram:
            counter.add("SCRAM")
        if tls:
            counter.add("TLS")
        try:
            for _ in range(random.choice((1, 1, 2, 3, 5, 10))):
                what = acts.draw(acts.ACTS)
                await what(client)
                counter.add("acts")
            what = acts.draw(acts.LEAVINGS)
            await what(client)
        except BaseException:
            client.kill()
            raise
    except Exception as error:
        name = getattr(what, "__name__", what)
        counter.complain(f"{name}: {type(error).__name__} {error}")
