"""llama.cpp's server with one model on the loopback, for a limited time.

    python llama_server.py MODEL.gguf PORT THREADS LIFETIME_SECONDS
"""

import signal
import sys
import time

import xllamacpp


def main() -> None:
    model, port, threads, lifetime = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    # The kernel ends the process at that time, whatever the native code is doing.
    signal.alarm(lifetime)
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {"smollm2"}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = 8192
    params.n_parallel = 4
    params.cpuparams.n_threads = threads
    params.n_gpu_layers = 0
    params.use_jinja = True
    params.endpoint_metrics = True
    server = xllamacpp.Server(params)
    print("listening on", server.listening_address, flush=True)
    while True:
        time.sleep(3600)


main()
