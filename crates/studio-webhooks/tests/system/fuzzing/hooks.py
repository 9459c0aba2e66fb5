"""What no schema can say, told to schemathesis: which URLs may be endpoints, and that two headers
must not differ by case alone. And one check of our own: without a token nothing but a refusal."""

import json
import os
import re

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


@schemathesis.hook
def before_call(context, case, kwargs):
    """Acting for others needs an admin's token, which neither user has: each such request would be
    the same 403. Wrong ids stay, and are refused as such."""
    user = (case.query or {}).get("user_id")
    if isinstance(user, str) and re.fullmatch(r"[!#-\[\]-~]{1,128}", user):
        del case.query["user_id"]
    # A cursor is right only if an answer held it.
    if isinstance((case.query or {}).get("cursor"), str):
        del case.query["cursor"]


def depth(value):
    if isinstance(value, dict):
        value = value.values()
    return 1 + max(map(depth, value), default=0) if not isinstance(value, (str, int, float, type(None))) else 0


@schemathesis.hook
def filter_body(context, body):
    """JSON Schema can say neither that names must differ by more than case, nor how large and how
    deep an object may be as a whole."""
    if not isinstance(body, dict):
        return True
    headers, wanted = body.get("headers"), body.get("filter")
    if isinstance(headers, dict) and len({name.lower() for name in headers}) < len(headers):
        return False
    return len(json.dumps(wanted)) < 2_000 and depth(wanted) < 8


if os.environ.get("FUZZ_WITHOUT_TOKEN"):

    @schemathesis.check
    def refused_without_a_token(ctx, response, case):
        described = case.method.lower() in case.operation.schema[case.operation.path]
        if case.operation.path.startswith("/v1/") and described and response.status_code != 401:
            raise AssertionError(f"expected 401 without a token, got {response.status_code}")
