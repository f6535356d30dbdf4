"""A fleet asked with librouteros, a thread for every few connections, with the manners of `src/drive.rs`.

fleet.py BASE SPREAD USER PASSWORD PORT CONNECTIONS DEPTH: connects to SPREAD addresses from BASE on, by turns. DEPTH
is not used: librouteros has one command under way on a connection.
"""

import ipaddress
import resource
import sys
import threading
import time

from librouteros import connect

THREADS = 200
WORDS = ("/system/resource/print", "=.proplist=uptime,version,cpu")


def main():
    base, spread, user, password, port, connections, _ = sys.argv[1:]
    spread, port, connections = int(spread), int(port), int(connections)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    threading.stack_size(256 << 10)
    base = ipaddress.ip_address(base)
    shares = [[] for _ in range(min(THREADS, connections))]

    def open_share(share, numbers):
        for number in numbers:
            share.append(connect(str(base + number % spread), user, password, port=port, timeout=60))

    def each(act):
        failed = []

        def guarded(*words):
            try:
                act(*words)
            except Exception as error:  # the scoreboard wants to know, whatever it is
                failed.append(error)

        threads = [threading.Thread(target=guarded, args=(at,)) for at in range(len(shares))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]

    each(lambda at: open_share(shares[at], range(at, connections, len(shares))))
    print("READY 0", flush=True)
    for line in sys.stdin:
        until = time.monotonic() + int(line) / 1000
        counts = [0] * len(shares)

        def work(at):
            while time.monotonic() < until:
                for api in shares[at]:
                    rows = list(api.rawCmd(*WORDS))
                    assert rows and "version" in rows[0], rows
                    counts[at] += 1

        began, cpu = time.monotonic_ns(), time.process_time_ns()
        each(work)
        print(sum(counts), time.monotonic_ns() - began, time.process_time_ns() - cpu, flush=True)


main()
