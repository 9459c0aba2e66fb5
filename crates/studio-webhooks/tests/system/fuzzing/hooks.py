"""What no schema can say, told to schemathesis: which URLs may be endpoints, and that two headers
must not differ by case alone. And one check of our own: without a token nothing but a refusal."""

import datetime
import json
import os
import re
import uuid

import jsonschema_rs
import schemathesis
from hypothesis import strategies as st

# An endpoint that answers at once; the rules for URLs have tests of their own.
schemathesis.openapi.format(
    "uri",
    st.from_regex(r"[a-z0-9-]{0,12}", fullmatch=True).map(lambda word: f"{os.environ['FUZZ_ENDPOINT']}?{word}"),
)


if os.environ.get("FUZZ_SHALLOW"):

    @schemathesis.hook
    def before_load_schema(context, raw_schema):
        """Filters within filters take schemathesis half a minute for each operation."""
        schemas = raw_schema["components"]["schemas"]
        del schemas["Filter"]["properties"], schemas["FilterOperators"]["properties"]["$not"]
        schemas["Filter"]["propertyNames"]["pattern"] = r"^[^.$][^.]*(\.[^.$][^.]*){0,15}$"


TIME = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[Tt ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?"
    r"([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)"
)


def is_time(value):
    """Whether it is one: what is wrong must stay, and be refused."""
    return isinstance(value, str) and TIME.fullmatch(value) and days_exist(value)


def days_exist(value):
    try:
        return bool(datetime.date.fromisoformat(value[:10]))
    except ValueError:
        return False


event_rules = None


@schemathesis.hook
def after_load_schema(context, schema):
    global event_rules
    whole = {"$ref": "#/components/schemas/NewEvent", "components": schema.raw_schema["components"]}
    event_rules = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


@schemathesis.hook
def before_call(context, case, kwargs):
    """Acting for others needs an admin's token, which neither user has: each such request would be
    the same 403. Wrong ids stay, and are refused as such."""
    user = (case.query or {}).get("user_id")
    if isinstance(user, str) and re.fullmatch(r"[!#-\[\]-~]{1,128}", user):
        del case.query["user_id"]
    # Ranges lie in the past, in order.
    for name, time in ("since", "2025-01-01T00:00:00Z"), ("until", "2025-02-01T00:00:00Z"):
        if case.method == "POST" and isinstance(case.body, dict) and is_time(case.body.get(name)):
            case.body[name] = time
    # A batch of which some are right is taken in part: the wrong ones must be refused by themselves.
    events = case.body.get("events") if isinstance(case.body, dict) else None
    if case.operation.path == "/v1/events" and isinstance(events, list):
        case.body["events"] = [event for event in events if not event_rules.is_valid(event)] or events
    # A key belongs to one request for a day.
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and re.fullmatch(r"[!-~]([ -~]{0,253}[!-~])?", key):
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
    # A cursor is right only if an answer held it.
    if isinstance((case.query or {}).get("cursor"), str):
        del case.query["cursor"]


def depth(value):
    if isinstance(value, dict):
        value = value.values()
    return 1 + max(map(depth, value), default=0) if not isinstance(value, (str, int, float, type(None))) else 0


@schemathesis.hook
def filter_body(context, body):
    """JSON Schema can say neither that names must differ by more than case, nor which are refused in
    any case, nor how large and how deep an object may be as a whole."""
    if not isinstance(body, dict):
        return True
    headers, wanted = body.get("headers"), body.get("filter")
    if isinstance(headers, dict):
        names = {name.lower() for name in headers}
        # The only reserved names short enough to be made by chance.
        if len(names) < len(headers) or names & {"te", "host"}:
            return False
    return len(json.dumps(wanted)) < 2_000 and depth(wanted) < 8


if os.environ.get("FUZZ_WITHOUT_TOKEN"):

    @schemathesis.check
    def refused_without_a_token(ctx, response, case):
        described = case.method.lower() == case.operation.method.lower()
        if case.operation.path.startswith("/v1/") and described and response.status_code != 401:
            raise AssertionError(f"expected 401 without a token, got {response.status_code}")
