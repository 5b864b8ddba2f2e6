"""How a Python contender takes its job, times its calls and answers; ours/job.ts is the same for this project."""

import json
import sys
import time

job = json.loads(sys.argv[1])


def timed(call):
    """Seconds of each call, after one that is not counted."""
    if job["check"]:
        return []
    call()
    taken = []
    end = time.perf_counter() + job["seconds"]
    while len(taken) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return taken


def timed_short(call):
    """As `timed`, where one call is too short for the clock: the mean of so many that they take 10 ms."""
    if job["check"]:
        return []
    call()
    start = time.perf_counter()
    call()
    calls = max(1, round(0.01 / (time.perf_counter() - start)))

    def several():
        for _ in range(calls):
            call()

    return [sample / calls for sample in timed(several)]


def answer(seconds, outputs, *packages):
    """Prints the answer. @param packages  whose versions belong into it"""
    from importlib.metadata import version

    versions = {"python": sys.version.split()[0], **{name: version(name) for name in packages}}
    seconds = seconds if isinstance(seconds, dict) else {"": seconds}
    print(json.dumps({"seconds": seconds, "outputs": outputs, "versions": versions}))
