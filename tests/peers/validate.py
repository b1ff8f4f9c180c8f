"""Holds pipeline files against the JSON schema: validate.py SCHEMA --valid FILE… --invalid FILE…"""

import json
import sys

import yaml
from jsonschema import Draft202012Validator

schema_file, *arguments = sys.argv[1:]
schema = json.load(open(schema_file, encoding="utf-8"))
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
expected, wrong = None, []
for argument in arguments:
    if argument in ("--valid", "--invalid"):
        expected = argument == "--valid"
        continue
    errors = list(validator.iter_errors(yaml.safe_load(open(argument, encoding="utf-8"))))
    if expected != (not errors):
        wrong.append(f"{argument}: {'; '.join(error.message[:200] for error in errors) or 'accepted'}")
sys.exit("\n".join(wrong))
