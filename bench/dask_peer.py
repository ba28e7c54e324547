"""No-op tasks through Dask's scheduler on this machine: the peer of dispatch_1.

Prints one JSON line: tasks per second, CPU seconds of all processes per task,
and the median round trip of one task at a time. Two single-threaded worker
processes, as many tasks in flight as Dask takes.
"""
import json
import os
import statistics
import sys
import time

from distributed import Client, LocalCluster


def noop(i):
    return i


def cpu(pids):
    ticks = 0
    for p in pids:
        with open(f"/proc/{p}/stat") as f:
            s = f.read().rsplit(")", 1)[1].split()
            ticks += int(s[11]) + int(s[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def main():
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
                      silence_logs=50) as cluster, Client(cluster) as client:
        pids = [os.getpid()] + [w.process.pid for w in cluster.workers.values()]
        client.gather(client.map(noop, range(200), pure=False))
        c0, t0 = cpu(pids), time.perf_counter()
        client.gather(client.map(noop, range(n), pure=False))
        dt, dc = time.perf_counter() - t0, cpu(pids) - c0
        trips = []
        for i in range(100):
            a = time.perf_counter()
            client.submit(noop, i, pure=False).result()
            trips.append(time.perf_counter() - a)
    print(json.dumps({"tasks_per_s": n / dt, "cpu_s_per_task": dc / n, "round_trip_p50_s": statistics.median(trips)}))


if __name__ == "__main__":
    main()
