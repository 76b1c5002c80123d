"""Reads dashboards with Grafana's own types and writes them again: what those do not know, or know otherwise, is gone or changed.

    python read_dashboard.py FILE...

Prints each place where that is so, and fails then.
"""

import json
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard


def lost(given, kept, path="$"):
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            if key in kept:
                yield from lost(value, kept[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for index, pair in enumerate(zip(given, kept)):
            yield from lost(*pair, f"{path}[{index}]")
    elif given != kept:
        yield path


def main():
    found = []
    for name in sys.argv[1:]:
        with open(name, encoding="utf-8") as file:
            given = json.load(file)
        found.extend(lost(given, json.loads(JSONEncoder().encode(Dashboard.from_json(given)))))
    print("\n".join(found))
    sys.exit(1 if found else 0)


main()
