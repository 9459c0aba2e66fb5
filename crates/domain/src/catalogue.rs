//! The event types: one list that validation, matching, documentation and the API's catalogue
//! follow (specification, "Available Events"). To add a type, add an entry here.

use std::fmt;
use std::str::FromStr;

/// No event type has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown event type {0:?}")]
pub struct UnknownEventType(pub String);

macro_rules! event_types {
    ($($variant:ident, $name:literal, $description:literal, $example:literal;)*) => {
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

event_types! {
    ScrapeStarted, "scrape.started", "Scraping job started",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","job_id":"job_def456","targets":5}"#;
    ScrapeProgress, "scrape.progress", "Scraping progress update (25%, 50%, 75%)",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","job_id":"job_def456","progress":50,"targets_scraped":3,"targets":5}"#;
    ScrapeCompleted, "scrape.completed", "Scraping job completed",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","job_id":"job_def456","status":"completed","targets_scraped":5,"results_count":150,"new_results":25,"duration_seconds":45,"errors":[]}"#;
    ScrapeFailed, "scrape.failed", "Scraping job failed",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","job_id":"job_def456","status":"failed","targets_scraped":2,"duration_seconds":12,"errors":["target tgt_xyz789 answered 403"]}"#;
    AnalysisStarted, "analysis.started", "Analysis job started",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","job_id":"analysis_ghi789","results_count":150}"#;
    AnalysisCompleted, "analysis.completed", "Analysis job completed",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","job_id":"analysis_ghi789","results_analyzed":150,"summary":{"avg_sentiment":0.72,"positive_count":105,"neutral_count":30,"negative_count":15}}"#;
    AnalysisFailed, "analysis.failed", "Analysis job failed",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","job_id":"analysis_ghi789","error":"the model did not answer"}"#;
    ProjectCreated, "project.created", "New project created",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker"}"#;
    ProjectUpdated, "project.updated", "Project configuration updated",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","changed":["schedule"]}"#;
    ProjectDeleted, "project.deleted", "Project deleted",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker"}"#;
    AlertSentimentDrop, "alert.sentiment_drop", "Sentiment dropped below threshold",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","target_id":"tgt_xyz789","target_label":"Product A","previous_sentiment":0.75,"current_sentiment":0.55,"change":-0.20,"period":"24h"}"#;
    AlertNegativeSpike, "alert.negative_spike", "Spike in negative sentiment",
        r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","target_id":"tgt_xyz789","target_label":"Product A","negative_count":42,"usual_count":9,"period":"24h"}"#;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_twelve_types_and_each_is_found_by_its_name() {
        assert_eq!(EventType::ALL.len(), 12);
        for kind in EventType::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
        }
        assert!("scrape.exploded".parse::<EventType>().is_err());
    }

    #[test]
    fn every_example_is_an_object_of_a_project() {
        for kind in EventType::ALL {
            let data: serde_json::Value = serde_json::from_str(kind.example_data()).unwrap();
            assert_eq!(data["project_id"], "proj_abc123", "{kind}");
        }
    }
}
