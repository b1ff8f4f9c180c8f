"""Holds pipeline files against the JSON schema: validate.py SCHEMA --valid FILE… --invalid FILE…"""

import json
import sys

from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

schema_file, *arguments = sys.argv[1:]
schema = json.load(open(schema_file, encoding="utf-8"))
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
# YAML 1.2, as refit and the editors read it: there `1e-3` is a number.
yaml = YAML(typ="safe", pure=True)
expected, wrong = None, []
for argument in arguments:
    if argument in ("--valid", "--invalid"):
        expected = argument == "--valid"
        continue
    with open(argument, encoding="utf-8") as file:
        errors = list(validator.iter_errors(yaml.load(file)))
    if expected != (not errors):
        wrong.append(f"{argument}: {'; '.join(error.message[:200] for error in errors) or 'accepted'}")
sys.exit("\n".join(wrong) or 0)
