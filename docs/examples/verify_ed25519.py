"""Verifies a delivery that is signed with Ed25519 in Python, with the package `cryptography`.

usage: verify_ed25519.py PUBLIC_KEY WEBHOOK_ID WEBHOOK_TIMESTAMP WEBHOOK_SIGNATURE < body
(the webhook's `public_key` and the three headers; exit code 0: genuine)
"""

import base64
import sys
import time

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

TOLERANCE = 300  # seconds: what is older may be a copy of an old request


def verify_webhook(payload: bytes, public_key: str, id: str, timestamp: str, signatures: str) -> bool:
    if abs(time.time() - int(timestamp)) > TOLERANCE:
        return False
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key.removeprefix("whpk_")))
    signed = f"{id}.{timestamp}.".encode() + payload
    # Several while keys are rotated: one that fits is enough.
    for signature in signatures.split(" "):
        version, _, encoded = signature.partition(",")
        if version != "v1a":
            continue
        try:
            key.verify(base64.b64decode(encoded), signed)
            return True
        except InvalidSignature:
            pass
    return False


if __name__ == "__main__":
    # The bytes as received: a body that was parsed and written again has another signature.
    sys.exit(0 if verify_webhook(sys.stdin.buffer.read(), *sys.argv[1:5]) else 1)
