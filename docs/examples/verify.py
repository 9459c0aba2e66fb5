"""Verifies a delivery in Python, with nothing but the standard library.

usage: verify.py SECRET SIGNATURE < body    (exit code 0: genuine)
"""

import hashlib
import hmac
import sys


def verify_webhook(payload: bytes, signature: str, secret: str) -> bool:
    expected = hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()
    return hmac.compare_digest(f"sha256={expected}", signature)


if __name__ == "__main__":
    secret, signature = sys.argv[1:3]
    # The bytes as received: a body that was parsed and written again has another signature.
    sys.exit(0 if verify_webhook(sys.stdin.buffer.read(), signature, secret) else 1)
