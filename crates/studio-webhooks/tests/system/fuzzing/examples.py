"""Holds every example of an OpenAPI document (standard input) against its schema; prints those
that do not fit, and answers that have none."""

import json
import sys

import jsonschema_rs

document = json.load(sys.stdin)
wrong = []


def check(schema, example, place):
    whole = {"components": document["components"], **schema}
    for error in jsonschema_rs.Draft202012Validator(whole, validate_formats=True).iter_errors(example):
        wrong.append(f"{place}: {error.message}")


def check_content(content, place, needed=False):
    for media in content.values():
        examples = [example["value"] for example in media.get("examples", {}).values()]
        examples += [media["example"]] if "example" in media else []
        if needed and not examples:
            wrong.append(f"{place}: no example")
        for example in examples:
            check(media["schema"], example, place)


for path, item in document["paths"].items():
    for method, operation in item.items():
        place = f"{method.upper()} {path}"
        check_content(operation.get("requestBody", {}).get("content", {}), f"{place} body", needed=True)
        for status, answer in operation["responses"].items():
            if "$ref" not in answer:
                check_content(answer.get("content", {}), f"{place} {status}", needed=path.startswith("/v1/"))
for name, answer in document["components"]["responses"].items():
    check_content(answer["content"], name, needed=True)

sys.exit("\n".join(wrong) or None)
