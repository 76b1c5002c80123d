"""Reads OTLP requests as OpenTelemetry's own Python package does, and prints them as JSON.

    python decode_otlp.py traces FILE...
    python decode_otlp.py metrics FILE...
"""

import json
import sys

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

KINDS = {"traces": ExportTraceServiceRequest, "metrics": ExportMetricsServiceRequest}


def plain(value):
    """An AnyValue."""
    which = value.WhichOneof("value")
    if which == "array_value":
        return [plain(one) for one in value.array_value.values]
    return getattr(value, which)


def attributes(of):
    return {one.key: plain(one.value) for one in of.attributes}


def spans(request):
    for of in request.resource_spans:
        for scope in of.scope_spans:
            for span in scope.spans:
                yield {
                    "resource": attributes(of.resource),
                    "scope": scope.scope.name,
                    "name": span.name,
                    "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "kind": span.kind,
                    "start": span.start_time_unix_nano,
                    "end": span.end_time_unix_nano,
                    "status": [span.status.code, span.status.message],
                    "attributes": attributes(span),
                    "events": [
                        {"name": e.name, "at": e.time_unix_nano, "attributes": attributes(e)} for e in span.events
                    ],
                }


def metrics(request):
    for of in request.resource_metrics:
        for scope in of.scope_metrics:
            for metric in scope.metrics:
                yield MessageToDict(metric)


def main():
    kind, *files = sys.argv[1:]
    found = []
    for name in files:
        request = KINDS[kind]()
        with open(name, "rb") as file:
            request.ParseFromString(file.read())
        # What this side does not know would come back as unknown fields, and be lost in a round trip.
        assert len(request.SerializeToString()) == len(open(name, "rb").read()), "fields with other numbers or types"
        found.extend(spans(request) if kind == "traces" else metrics(request))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
