"""A collector by Google's gRPC and OpenTelemetry's own messages, told on its standard input how to behave.

    python otlp_collector.py DECODER_FOLDER PORT [CERTIFICATE KEY [http]]

With `http`, it is OTLP over HTTP with TLS, by Python's own server.

Prints its port. `ok`, `unavailable`, `refuse`, `partial`, `slow` set the answers to come; `spans` and `metrics` print what came
as JSON in a line.
"""

import json
import ssl
import sys
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc

sys.path.append(sys.argv[1])
import decode_otlp  # noqa: E402
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc  # noqa: E402
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc  # noqa: E402

behaviour = "ok"
requests = {"spans": [], "metrics": []}


def answer(kind, request, context, success):
    if behaviour == "unavailable":
        context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
    if behaviour == "refuse":
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not that")
    if behaviour == "slow":
        time.sleep(1)
    fields = dict(context.invocation_metadata())
    assert fields["api-key"] == "planted", fields
    assert context.time_remaining() < 3600, "the limit came along"
    requests[kind].append(request)
    if behaviour == "partial" and kind == "spans":
        success.partial_success.CopyFrom(type(success.partial_success)(rejected_spans=1))
    return success


class Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request, context):
        return answer("spans", request, context, trace_service_pb2.ExportTraceServiceResponse())


class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def Export(self, request, context):
        return answer("metrics", request, context, metrics_service_pb2.ExportMetricsServiceResponse())


class Http(BaseHTTPRequestHandler):
    def do_POST(self):
        kind, message = {
            "/v1/traces": ("spans", trace_service_pb2.ExportTraceServiceRequest),
            "/v1/metrics": ("metrics", metrics_service_pb2.ExportMetricsServiceRequest),
        }[self.path]
        body = self.rfile.read(int(self.headers["content-length"]))
        assert self.headers["content-type"] == "application/x-protobuf" and self.headers["api-key"] == "planted"
        status = {"ok": 200, "unavailable": 503, "refuse": 400}[behaviour]
        if status == 200:
            requests[kind].append(message.FromString(body))
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def over_http(port, certificate, key):
    server = ThreadingHTTPServer(("localhost", int(port)), Http)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def over_grpc(port, tls):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
    if tls:
        certificate, key = (open(name, "rb").read() for name in tls)
        port = server.add_secure_port(f"localhost:{port}", grpc.ssl_server_credentials([(key, certificate)]))
    else:
        port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, port


def main():
    global behaviour
    port, tls = sys.argv[2], sys.argv[3:]
    if tls[2:] == ["http"]:
        port = over_http(port, *tls[:2])
    else:
        server, port = over_grpc(port, tls)
    print(port, flush=True)
    for line in sys.stdin:
        word = line.strip()
        if word in requests:
            read = getattr(decode_otlp, word)
            found = [one for request in requests[word] for one in read(request)]
            print(json.dumps(found), flush=True)
        else:
            behaviour = word
            print("said", flush=True)


main()
