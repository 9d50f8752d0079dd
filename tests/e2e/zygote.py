"""A process that has imported everything and forks: each fork is `python -m metabench …`, less seconds of imports.

It reads one JSON request a line and answers in kind: {"argv": …, "env": …, "output": …, "largest": bytes of a file
or none, "call": [file, function] or none} -> {"pid": …}, and {"wait": pid} -> {"status": the exit status, or minus the
signal that ended it}. With "call" the fork runs a function of a test file on the arguments instead.
"""

import json
import os
import resource
import runpy
import signal
import sys
import traceback

import torch._dynamo  # noqa: F401 - imported by the first optimiser that is made

import metabench.bench.cli.run  # noqa: F401
from metabench.bench.cli.main import main


def child(request: dict) -> None:
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(request["env"])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    if request["largest"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest"], request["largest"]))
    status = 1
    try:
        if request["call"]:
            file, function = request["call"]
            runpy.run_path(file)[function](*request["argv"])
            status = 0
        else:
            sys.argv = ["bench", *request["argv"]]
            status = main(request["argv"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if "wait" in request:
        status = os.waitpid(request["wait"], 0)[1]
        print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), flush=True)
        continue
    pid = os.fork()
    if pid == 0:
        child(request)
    print(json.dumps({"pid": pid}), flush=True)
