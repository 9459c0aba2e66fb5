//! Examples: the specification's own where it has them (`docs/specification.md`), with the
//! fields that go beyond it.

use serde_json::{Value, json};
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Content, RefOr};

use crate::openapi::answers::REQUEST;

/// Adds the examples of an operation's body and answer.
pub(crate) fn add(operation: &mut Operation) {
    let name = operation.operation_id.clone().unwrap_or_default();
    if let Some(RefOr::T(body)) = &mut operation.request_body
        && let Some(RefOr::T(content)) = body.content.get_mut("application/json")
    {
        show(content, requests(&name));
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && status.starts_with('2')
            && let Some(RefOr::T(content)) = response.content.get_mut("application/json")
        {
            show(content, answers(&name));
        }
    }
}

fn show(content: &mut Content, mut examples: Vec<(&'static str, Value)>) {
    if examples.len() == 1 {
        content.example = examples.pop().map(|(_, value)| value);
        return;
    }
    for (summary, value) in examples {
        let mut example = utoipa::openapi::example::Example::default();
        example.summary = summary.to_owned();
        example.value = Some(value);
        content.examples.insert(summary.replace(' ', "_"), RefOr::T(example));
    }
}

fn requests(operation: &str) -> Vec<(&'static str, Value)> {
    let one = |value: Value| vec![("example", value)];
    match operation {
        "createWebhook" => one(json!({
            "name": "Slack Notifications",
            "url": "https://hooks.slack.com/services/xxx",
            "events": ["scrape.completed", "analysis.completed"],
            "project_ids": ["proj_abc123"],
            "headers": { "X-Custom-Header": "value" },
            "secret": "my_webhook_secret",
        })),
        "updateWebhook" => one(json!({
            "name": "Updated Name", "events": ["scrape.completed"], "active": false,
        })),
        "patchWebhook" => one(json!({
            "url": "https://hooks.example.com/studio",
            "headers": { "X-Tenant": { "value": "acme", "sensitive": true } },
            "signing": "ed25519",
        })),
        "signOut" => one(json!({ "jti": "token_abc123" })),
        "testWebhook" => one(json!({ "event": "scrape.completed" })),
        "rotateSecret" => one(json!({ "grace_seconds": 86_400 })),
        "redeliverRange" => one(json!({
            "since": "2026-02-01T00:00:00Z", "until": "2026-02-02T00:00:00Z", "status": "failed",
        })),
        "replayRange" => {
            one(json!({ "since": "2026-02-01T00:00:00Z", "until": "2026-02-02T00:00:00Z" }))
        }
        "publishEvent" => {
            vec![("one event", event()), ("several events", json!({ "events": [event()] }))]
        }
        _ => Vec::new(),
    }
}

fn event() -> Value {
    json!({
        "id": "evt_abc123",
        "event": "scrape.completed",
        "timestamp": "2026-02-02T12:00:00Z",
        "user_id": "usr_abc123",
        "data": data(),
    })
}

fn data() -> Value {
    json!({
        "project_id": "proj_abc123",
        "project_name": "Amazon Tracker",
        "job_id": "job_def456",
        "results_count": 150,
        "duration_seconds": 45,
    })
}

fn answers(operation: &str) -> Vec<(&'static str, Value)> {
    let meta = json!({ "request_id": REQUEST });
    let one =
        |data: Value| vec![("example", json!({ "success": true, "data": data, "meta": meta }))];
    let list = |data: Value| {
        let total = data.as_array().map_or(0, Vec::len);
        let pagination = json!({
            "page": 1, "limit": 20, "total": total, "total_pages": 1,
            "has_next": false, "has_prev": false, "total_capped": false, "next_cursor": null,
        });
        let meta = json!({ "request_id": REQUEST, "pagination": pagination });
        vec![("example", json!({ "success": true, "data": data, "meta": meta }))]
    };
    match operation {
        "listWebhooks" => list(json!([webhook()])),
        "getWebhook" => one(with(webhook(), &json!({ "backlog": backlog() }), &[])),
        "createWebhook" => one(created("wh_new456", "whsec_generated_secret")),
        "rotateSecret" => one(created("wh_abc123", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")),
        "patchWebhook" => one(moved()),
        "updateWebhook" => one(with(
            webhook(),
            &json!({
                "name": "Updated Name",
                "events": ["scrape.completed"],
                "active": false,
                "updated_at": "2026-02-02T12:00:00Z",
            }),
            &["last_triggered_at", "success_rate"],
        )),
        "testWebhook" => tests(&meta),
        "verifyWebhook" => verifications(&meta),
        "listLogs" => list(json!([log(), failed_log()])),
        "getLog" => one(with(
            log(),
            &json!({
                "request": {
                    "method": "POST",
                    "url": "https://hooks.slack.com/services/xxx",
                    "headers": {
                        "Content-Type": "application/json",
                        "X-Sentimatrix-Event": "scrape.completed",
                        "X-Sentimatrix-Delivery": "log_abc123",
                        "X-Custom-Header": "value",
                    },
                    "complete": true,
                    "body": json!({
                        "id": "evt_abc123",
                        "event": "scrape.completed",
                        "timestamp": "2026-02-02T12:00:00Z",
                        "data": data(),
                    }).to_string(),
                },
                "attempts": [{
                    "number": 1,
                    "started_at": "2026-02-01T15:30:00.12Z",
                    "response_time_ms": 145,
                    "status_code": 200,
                    "error_kind": null,
                    "error": null,
                    "response_body": "OK",
                    "address": "93.184.216.34:443",
                }],
            }),
            &[],
        )),
        "redeliverRange" => one(job("redelivery", "pending")),
        "replayRange" => one(job("replay", "pending")),
        "listAudit" => list(json!([{
            "id": "aud_0198c6a1b2c37d4e8f90a1b2c3d4e5f6",
            "at": "2026-02-02T12:00:00.25Z",
            "actor": "usr_abc123",
            "via": "api",
            "user_id": "usr_abc123",
            "action": "webhook.update",
            "object": { "kind": "webhook", "id": "wh_abc123" },
            "fields": ["url", "headers"],
            "outcome": "done",
            "token_id": "token_abc123",
            "address": "203.0.113.7",
            "request_id": "req_0198c6a1b2c37d4e8f90a1b2c3d4e5f6",
        }])),
        "listJobs" => list(json!([job("redelivery", "running")])),
        "getJob" => one(job("redelivery", "running")),
        "cancelJob" => one(with(
            job("redelivery", "cancelled"),
            &json!({ "reason": "cancelled by its user", "finished_at": "2026-02-02T12:00:05Z" }),
            &[],
        )),
        "signOut" => one(json!({ "user_id": "usr_abc123", "jti": "token_abc123" })),
        "redeliverLog" => one(json!({ "id": "log_ghi789", "status": "pending" })),
        "listEventTypes" => one(json!([{
            "event": "scrape.completed",
            "description": "Scraping job completed",
            "example": data(),
            "schema": domain::EventType::ScrapeCompleted.data_schema(),
        }])),
        "publishEvent" => published(&meta),
        "getEvent" => one(json!({
            "id": "evt_abc123",
            "event": "scrape.completed",
            "created_at": "2026-02-02T12:00:00Z",
            "payload": {
                "id": "evt_abc123",
                "event": "scrape.completed",
                "timestamp": "2026-02-02T12:00:00Z",
                "data": data(),
            },
            "deliveries": [with(log(), &json!({ "webhook_id": "wh_abc123" }), &[])],
        })),
        _ => Vec::new(),
    }
}

/// `base` with these fields, and without those.
fn with(mut base: Value, fields: &Value, without: &[&str]) -> Value {
    if let (Some(base), Some(fields)) = (base.as_object_mut(), fields.as_object()) {
        base.extend(fields.clone());
        without.iter().for_each(|name| drop(base.remove(*name)));
    }
    base
}

fn webhook() -> Value {
    json!({
        "id": "wh_abc123",
        "name": "Slack Notifications",
        "url": "https://hooks.slack.com/services/xxx",
        "events": ["scrape.completed", "analysis.completed"],
        "active": true,
        "secret": "whsec_...xyz",
        "created_at": "2026-01-15T10:00:00Z",
        "last_triggered_at": "2026-02-01T15:30:00Z",
        "success_rate": 0.98,
        "updated_at": "2026-01-15T10:00:00Z",
        "project_ids": [],
        "filter": null,
        "rate_limit": null,
        "ordered": false,
        "headers": {},
        "description": null,
        "metadata": {},
        "disabled_reason": null,
        "disabled_at": null,
    })
}

/// Changed by the example of a request.
fn moved() -> Value {
    let fields = json!({
        "url": "https://hooks.example.com/studio",
        "updated_at": "2026-02-02T12:00:00Z",
        "removed_headers": ["Authorization"],
        "headers": { "X-Tenant": "***" },
        "signing": "ed25519",
        "public_key": "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    });
    with(webhook(), &fields, &["last_triggered_at", "success_rate"])
}

fn created(id: &str, secret: &str) -> Value {
    let fields = json!({
        "id": id,
        "secret": secret,
        "created_at": "2026-02-02T12:00:00Z",
        "updated_at": "2026-02-02T12:00:00Z",
        "project_ids": ["proj_abc123"],
        "headers": { "X-Custom-Header": "value" },
    });
    with(webhook(), &fields, &["last_triggered_at", "success_rate"])
}

fn backlog() -> Value {
    json!({
        "waiting": 1204,
        "waiting_capped": false,
        "since": "2026-02-02T11:58:30Z",
        "endpoint_silent_since": null,
    })
}

fn log() -> Value {
    json!({
        "id": "log_abc123",
        "event": "scrape.completed",
        "status": "success",
        "status_code": 200,
        "response_time_ms": 145,
        "triggered_at": "2026-02-01T15:30:00Z",
        "retry_count": 0,
        "payload_size_bytes": 1250,
        "event_id": "evt_abc123",
        "cause": "event",
        "test": false,
        "next_attempt_at": null,
        "waiting": false,
    })
}

fn job(kind: &str, status: &str) -> Value {
    let done = if status == "pending" { 0 } else { 120 };
    let mut job = json!({
        "id": "job_abc123",
        "webhook_id": "wh_abc123",
        "kind": kind,
        "status": status,
        "since": "2026-02-01T00:00:00Z",
        "until": "2026-02-02T00:00:00Z",
        "progress": {
            "total": 4 * done, "total_capped": false, "done": done, "skipped": 0, "failed": 0,
        },
        "created_at": "2026-02-02T12:00:00Z",
        "updated_at": "2026-02-02T12:00:00Z",
        "finished_at": null,
    });
    if kind == "redelivery" {
        job["deliveries"] = json!("failed");
    }
    job
}

fn failed_log() -> Value {
    let fields = json!({
        "id": "log_def456",
        "status": "failed",
        "status_code": 500,
        "error": "Internal Server Error",
        "triggered_at": "2026-02-01T14:00:00Z",
        "retry_count": 3,
        "event_id": "evt_def456",
    });
    with(log(), &fields, &[])
}

fn tests(meta: &Value) -> Vec<(&'static str, Value)> {
    let of = |data: Value| json!({ "success": true, "data": data, "meta": meta });
    vec![
        (
            "delivered",
            of(json!({
                "delivered": true,
                "status_code": 200,
                "response_time_ms": 150,
                "response_body": "OK",
                "log_id": "log_abc123",
            })),
        ),
        (
            "not delivered",
            of(json!({
                "delivered": false,
                "error": "Connection timeout",
                "status_code": null,
                "response_time_ms": 30_000,
                "response_body": "",
                "log_id": "log_abc123",
            })),
        ),
    ]
}

fn verifications(meta: &Value) -> Vec<(&'static str, Value)> {
    let of = |data: Value| json!({ "success": true, "data": data, "meta": meta });
    vec![
        (
            "verified",
            of(json!({
                "verification": "verified",
                "verified_at": "2026-02-02T12:00:00Z",
                "status_code": 200,
            })),
        ),
        (
            "still pending",
            of(json!({
                "verification": "pending",
                "verified_at": null,
                "error": "Connection timeout",
            })),
        ),
    ]
}

fn published(meta: &Value) -> Vec<(&'static str, Value)> {
    let of = |data: Value| json!({ "success": true, "data": data, "meta": meta });
    vec![
        ("one event", of(json!({ "id": "evt_abc123", "event": "scrape.completed" }))),
        (
            "several events",
            of(json!({
                "accepted": 1,
                "rejected": 0,
                "results": [{ "status": "accepted", "id": "evt_abc123" }],
            })),
        ),
    ]
}
