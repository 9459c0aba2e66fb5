//! The event types: one list that validation, matching, documentation and the API's catalogue
//! follow (specification, "Available Events"). To add a type, add an entry here.

mod schema;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use schema::{
    Field, JOB, PERIOD, PROJECT, PROJECT_NAME, TARGET, TARGET_LABEL, always, count, object, text,
    texts, within,
};

/// No event type has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown event type {0:?}")]
pub struct UnknownEventType(pub String);

macro_rules! event_types {
    ($($variant:ident, $name:literal, $description:literal, $example:literal,
        [$($field:expr),* $(,)?];)*) => {
        /// What an event tells of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum EventType {
            $(#[doc = $description] $variant,)*
        }

        impl EventType {
            /// Every type, in the order of the specification.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name, such as `scrape.completed`; also the routing key.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One sentence for the catalogue.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $description,)* }
            }

            /// A sample of `data`, as JSON text.
            #[must_use]
            pub const fn example_data(self) -> &'static str {
                match self { $(Self::$variant => $example,)* }
            }

            /// The JSON Schema (2020-12) of `data`: what Studio's services publish. More may
            /// stand beside it, and nothing is refused for it.
            #[must_use]
            pub fn data_schema(self) -> serde_json::Value {
                match self {
                    $(Self::$variant => schema::schema($name, $description, const { &[$($field),*] }),)*
                }
            }
        }

        impl FromStr for EventType {
            type Err = UnknownEventType;

            fn from_str(name: &str) -> Result<Self, UnknownEventType> {
                match name {
                    $($name => Ok(Self::$variant),)*
                    _ => Err(UnknownEventType(name.chars().take(64).collect())),
                }
            }
        }
    };
}

const SUMMARY: &[Field] = &[
    within("avg_sentiment", -1.0, 1.0, "Mean sentiment"),
    count("positive_count", "Positive results"),
    count("neutral_count", "Neutral results"),
    count("negative_count", "Negative results"),
];

event_types! {
    ScrapeStarted, "scrape.started", "Scraping job started",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","job_id":"job_def456","targets":5}"#,
        [
            PROJECT, PROJECT_NAME, JOB,
            count("targets", "Targets that will be scraped"),
        ];
    ScrapeProgress, "scrape.progress", "Scraping progress update (25%, 50%, 75%)",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","job_id":"job_def456","progress":50,"targets_scraped":3,"targets":5}"#,
        [
            PROJECT, PROJECT_NAME, JOB,
            within("progress", 0.0, 100.0, "Percent done"),
            count("targets_scraped", "Targets done"),
            count("targets", "Targets in all"),
        ];
    ScrapeCompleted, "scrape.completed", "Scraping job completed",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","job_id":"job_def456","status":"completed","targets_scraped":5,"results_count":150,"new_results":25,"duration_seconds":45,"errors":[]}"#,
        [
            PROJECT, PROJECT_NAME, JOB,
            always("status", "completed"),
            count("targets_scraped", "Targets done"),
            count("results_count", "Results found"),
            count("new_results", "Results that were not known before"),
            count("duration_seconds", "How long it took"),
            texts("errors", "What went wrong with single targets"),
        ];
    ScrapeFailed, "scrape.failed", "Scraping job failed",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","job_id":"job_def456","status":"failed","targets_scraped":2,"duration_seconds":12,"errors":["target tgt_xyz789 answered 403"]}"#,
        [
            PROJECT, PROJECT_NAME, JOB,
            always("status", "failed"),
            count("targets_scraped", "Targets done before"),
            count("duration_seconds", "How long it took"),
            texts("errors", "What went wrong"),
        ];
    AnalysisStarted, "analysis.started", "Analysis job started",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","job_id":"analysis_ghi789","results_count":150}"#,
        [
            PROJECT, PROJECT_NAME, JOB,
            count("results_count", "Results that will be analysed"),
        ];
    AnalysisCompleted, "analysis.completed", "Analysis job completed",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","job_id":"analysis_ghi789","results_analyzed":150,"summary":{"avg_sentiment":0.72,"positive_count":105,"neutral_count":30,"negative_count":15}}"#,
        [
            PROJECT, PROJECT_NAME, JOB,
            count("results_analyzed", "Results analysed"),
            object("summary", "What was found", SUMMARY),
        ];
    AnalysisFailed, "analysis.failed", "Analysis job failed",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","job_id":"analysis_ghi789","error":"the model did not answer"}"#,
        [
            PROJECT, PROJECT_NAME, JOB,
            text("error", "What went wrong"),
        ];
    ProjectCreated, "project.created", "New project created",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker"}"#,
        [PROJECT, PROJECT_NAME];
    ProjectUpdated, "project.updated", "Project configuration updated",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","changed":["schedule"]}"#,
        [
            PROJECT, PROJECT_NAME,
            texts("changed", "Settings that were changed"),
        ];
    ProjectDeleted, "project.deleted", "Project deleted",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker"}"#,
        [PROJECT, PROJECT_NAME];
    AlertSentimentDrop, "alert.sentiment_drop", "Sentiment dropped below threshold",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","target_id":"tgt_xyz789","target_label":"Product A","previous_sentiment":0.75,"current_sentiment":0.55,"change":-0.20,"period":"24h"}"#,
        [
            PROJECT, PROJECT_NAME, TARGET, TARGET_LABEL,
            within("previous_sentiment", -1.0, 1.0, "Mean sentiment before"),
            within("current_sentiment", -1.0, 1.0, "Mean sentiment now"),
            within("change", -2.0, 2.0, "The difference"),
            PERIOD,
        ];
    AlertNegativeSpike, "alert.negative_spike", "Spike in negative sentiment",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","target_id":"tgt_xyz789","target_label":"Product A","negative_count":42,"usual_count":9,"period":"24h"}"#,
        [
            PROJECT, PROJECT_NAME, TARGET, TARGET_LABEL,
            count("negative_count", "Negative results in the period"),
            count("usual_count", "Negative results in such a period before"),
            PERIOD,
        ];
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for EventType {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}
