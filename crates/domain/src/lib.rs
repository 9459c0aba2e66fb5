//! What the product is about, as values and rules: events, webhooks, deliveries, ids, the
//! signature, the schedule. No I/O, no clock: whoever calls brings `now`.
//!
//! The rules come from `docs/specification.md` (the HTTP contract) and
//! `docs/architecture.md`.

mod catalogue;
mod delivery;
mod endpoint_origin;
mod event;
mod filter;
mod id;
mod json_scan;
mod limits;
mod matching;
mod notice;
mod own_headers;
mod partition;
mod placed_file;
mod private_file;
mod schedule;
mod secret;
pub mod setting;
mod signature;
mod signing_key;
mod steady_clock;
mod verification;
mod webhook;

pub use catalogue::{EventType, UnknownEventType};
pub use delivery::{
    AttemptFailure, AttemptReport, Cause, DeliveryStatus, DeliveryTask, FailureKind, InvalidTask,
};
pub use endpoint_origin::leads_elsewhere;
pub use event::{Event, EventKey, Origin, Rejection};
pub use filter::{Filter, Filters, InvalidFilter, MAX_FILTER_BYTES, Passing};
pub use id::{
    AuditId, DeliveryId, EventId, InvalidId, JobId, NoticeId, ProjectId, RequestId, UserId,
    WebhookId,
};
pub use limits::{MAX_ATTEMPTS, MAX_EVENT_BYTES, MAX_EVENT_DEPTH, MAX_STORED_RESPONSE};
pub use matching::{EventSet, InvalidPattern, Subscription, Subscriptions};
pub use notice::{Notice, NoticeKind, whole_seconds};
pub use own_headers::{
    GivenHeader, GivenHeaders, MASK, MAX_OWN_HEADER_BYTES, OwnHeaders, RefusedHeaders,
};
pub use partition::partition_of;
pub use placed_file::{Misplaced, PlacedFile};
pub use private_file::{
    OpenToOthers, create_private_file, database_open_to_others, ensure_private_file,
    ensure_private_folder, open_to_others,
};
pub use schedule::Schedule;
pub use secret::Secret;
pub use signature::{Signer, verify};
pub use signing_key::{InvalidPublicKey, PublicKey, SigningKey, SigningScheme};
pub use steady_clock::SteadyClock;
pub use verification::{Challenge, VERIFICATION};
pub use webhook::{InvalidSubscription, Obstacle, Webhook};

/// `proto/event.proto`, compiled.
#[allow(missing_docs, unreachable_pub)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/sentimatrix.studio.v1.rs"));
}
