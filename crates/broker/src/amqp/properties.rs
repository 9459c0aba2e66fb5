//! Our messages as AMQP's properties, and back.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};

use crate::{Acker, ContentType, Incoming, Outgoing};

/// AMQP's word for "persistent".
const PERSISTENT: u8 = 2;

/// The properties of `message`.
pub(super) fn outgoing(message: &Outgoing) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in &message.headers {
        headers.insert(name.as_str().into(), AMQPValue::LongString(value.as_str().into()));
    }
    let properties = BasicProperties::default()
        .with_content_type(message.content_type.as_str().into())
        .with_delivery_mode(PERSISTENT)
        .with_headers(headers);
    match &message.message_id {
        Some(id) => properties.with_message_id(id.as_str().into()),
        None => properties,
    }
}

/// The message that was taken; `acker` settles it.
pub(super) fn incoming(delivery: Delivery, acker: Acker) -> Incoming {
    let properties = delivery.properties;
    let fields = properties.headers().as_ref();
    let returns = fields.and_then(|fields| fields.inner().get("x-delivery-count")).map_or(0, count);
    let content_type = properties.content_type().as_ref();
    Incoming {
        content_type: ContentType::parse(content_type.map_or("", |text| text.as_str())),
        message_id: properties.message_id().as_ref().map(|id| id.as_str().to_owned()),
        timestamp: properties.timestamp().and_then(|seconds| i64::try_from(seconds).ok()),
        // Sent straight to a queue, the key is the queue's name and says nothing of the event.
        routing_key: (!delivery.exchange.as_str().is_empty())
            .then(|| delivery.routing_key.as_str().to_owned()),
        headers: fields.map(texts).unwrap_or_default(),
        redelivered: delivery.redelivered || returns > 0,
        returns,
        body: Bytes::from(delivery.data),
        acker,
        known: None,
    }
}

/// The text header `name`.
pub(super) fn text_header(properties: &BasicProperties, name: &str) -> Option<String> {
    properties.headers().as_ref()?.inner().get(name).and_then(text_of)
}

/// The offset of a message of a stream.
pub(super) fn stream_offset(properties: &BasicProperties) -> Option<i64> {
    match properties.headers().as_ref()?.inner().get("x-stream-offset")? {
        AMQPValue::LongLongInt(offset) => Some(*offset),
        _ => None,
    }
}

fn texts(fields: &FieldTable) -> Vec<(String, String)> {
    let known = fields.inner().iter();
    known.filter_map(|(name, value)| Some((name.to_string(), text_of(value)?))).collect()
}

fn text_of(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

fn count(value: &AMQPValue) -> u32 {
    let number = match value {
        AMQPValue::LongLongInt(n) => *n,
        AMQPValue::LongInt(n) => i64::from(*n),
        AMQPValue::LongUInt(n) => i64::from(*n),
        AMQPValue::ShortInt(n) => i64::from(*n),
        AMQPValue::ShortUInt(n) => i64::from(*n),
        AMQPValue::ShortShortUInt(n) => i64::from(*n),
        AMQPValue::ShortShortInt(n) => i64::from(*n),
        _ => 0,
    };
    u32::try_from(number).unwrap_or(0)
}
