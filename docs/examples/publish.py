"""Publishes events to Studio Webhooks from Python: pip install pika.

usage: publish.py AMQP_URL FILE    (FILE holds one event a line; - is standard input)
"""

import json
import sys

import pika


def main(url: str, path: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    # From now on basic_publish returns once the broker has the event on disk,
    # and raises when it has no queue for it.
    channel.confirm_delivery()
    lines = sys.stdin if path == "-" else open(path, encoding="utf-8")
    for line in lines:
        event = json.loads(line)
        channel.basic_publish(
            exchange="studio.events",
            routing_key=event["event"],
            # The line itself, not json.dumps(event): `data` arrives byte for byte.
            body=line.rstrip("\n").encode(),
            properties=pika.BasicProperties(
                content_type="application/json",
                delivery_mode=pika.DeliveryMode.Persistent,
            ),
            mandatory=True,
        )
        print(event["id"])
    connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
