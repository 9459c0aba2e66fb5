//! Answers of reads that are kept for as long as nothing was written: whoever asks again what did
//! not change is answered from memory. Only where the store is one process's own (SQLite).

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, Responder};
use domain::UserId;
use moka::sync::Cache;
use serde::Serialize;
use store::Store;
use telemetry::{Counter, KeyValue};

use crate::envelope::{Success, json_answer};
use crate::error::ApiError;
use crate::requests::RequestName;

/// How long an answer is kept at most: it tells of the last seven days, and a command of the
/// operator's may write past this process.
const LONGEST: Duration = Duration::from_secs(1);

/// What comes before the id of the request in every answer, after all of its data.
const BEFORE_ID: &[u8] = b"\"request_id\":\"";

static READS: LazyLock<Counter<u64>> = LazyLock::new(|| {
    telemetry::meter()
        .u64_counter("api_kept_reads")
        .with_description("Reads of webhooks, by whether their answer was kept in memory")
        .build()
});

/// The kept answers, by user and target.
pub(crate) struct KeptAnswers(Cache<(UserId, String), Arc<Kept>>);

/// A body in two parts, between which the id of the request belongs.
struct Kept {
    writes: u64,
    before_id: Box<[u8]>,
    after_id: Box<[u8]>,
}

impl KeptAnswers {
    /// Room for answers of `most` bytes in all; 0 keeps none.
    pub(crate) fn new(most: u64) -> Self {
        let size = |key: &(UserId, String), kept: &Arc<Kept>| {
            let bytes = key.1.len() + kept.before_id.len() + kept.after_id.len();
            u32::try_from(bytes + 256).unwrap_or(u32::MAX)
        };
        let answers = Cache::builder().max_capacity(most).weigher(size).time_to_live(LONGEST);
        Self(answers.build())
    }

    /// Answers `request`, which reads what is `user`'s and changes nothing: as before, or with
    /// what `read` finds.
    ///
    /// # Errors
    /// Those of `read`; they are not kept.
    pub(crate) async fn answer<T: Serialize, F>(
        &self,
        store: &Store,
        (request, user): (&HttpRequest, &UserId),
        read: impl FnOnce() -> F,
    ) -> Result<HttpResponse, ApiError>
    where
        F: Future<Output = Result<Success<T>, ApiError>>,
    {
        let Some(writes) = store.writes() else {
            return Ok(Box::pin(read()).await?.respond_to(request));
        };
        let target = request.uri().path_and_query().map_or("", |target| target.as_str());
        let key = (user.clone(), target.to_owned());
        let kept = self.0.get(&key).filter(|kept| kept.writes == writes);
        READS.add(1, &[KeyValue::new("kept", kept.is_some())]);
        let kept = match kept {
            Some(kept) => kept,
            None => {
                // On the heap: a query's state is large, and most answers need none.
                let found = Box::pin(read()).await?;
                let kept = Arc::new(Kept::of(&found, writes).map_err(ApiError::internal)?);
                self.0.insert(key, kept.clone());
                kept
            }
        };
        let extensions = request.extensions();
        let name = extensions.get::<RequestName>().map_or("", |name| name.0.as_str());
        let body = [&kept.before_id, name.as_bytes(), &kept.after_id].concat();
        Ok(json_answer(StatusCode::OK, body))
    }
}

impl Kept {
    fn of<T: Serialize>(answer: &Success<T>, writes: u64) -> serde_json::Result<Self> {
        let mut body = answer.body("")?;
        // The last one: what follows it are numbers and a cursor.
        let found = body.windows(BEFORE_ID.len()).rposition(|bytes| bytes == BEFORE_ID);
        let after_id = body.split_off(found.map_or(body.len(), |at| at + BEFORE_ID.len()));
        Ok(Self { writes, before_id: body.into(), after_id: after_id.into() })
    }
}
