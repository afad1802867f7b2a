"""Validates files against a JSON Schema: prints "NAME good" or "NAME bad WHY" for each.

    python3 json_schema.py SCHEMA FILE...

A file that ends in .lines has a document in JSON on each line; their verdicts come one a line, without names.

YAML is read as PyYAML reads it, which is not how the library does: the two are to agree all the same.
"""
import json
import sys

import jsonschema
import yaml

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
jsonschema.Draft7Validator.check_schema(schema)
validator = jsonschema.Draft7Validator(schema)

for path in sys.argv[2:]:
    if path.endswith(".lines"):
        with open(path, encoding="utf-8") as file:
            for line in file:
                print("good" if validator.is_valid(json.loads(line)) else "bad")
        continue
    with open(path, encoding="utf-8") as file:
        value = json.load(file) if path.endswith(".json") else yaml.safe_load(file)
    problem = next(iter(validator.iter_errors(value)), None)
    print(path, "bad " + problem.message.replace("\n", " ") if problem else "good")
