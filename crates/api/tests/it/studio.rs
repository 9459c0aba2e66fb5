//! A running API and those who call it.

use domain::setting::SecretText;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use access::{AuthConfig, Verifier};
use api::{Api, ApiConfig};
use broker::{BrokerConfig, SharedBroker};
use delivery::{DeliveryConfig, Sender};
use domain::{Event, Origin, UserId};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use store::{DatabaseConfig, SecretsConfig, Store};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

const JWT_SECRET: &str = "a secret of tests, with more than 32 bytes";

/// One service with a store and a broker of its own.
pub(crate) struct Studio {
    pub(crate) address: SocketAddr,
    pub(crate) store: Store,
    pub(crate) broker: SharedBroker,
    api: Api,
    client: reqwest::Client,
    stop: CancellationToken,
    database: DatabaseConfig,
    _folder: tempfile::TempDir,
}

impl Drop for Studio {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Studio {
    /// Without rate limits.
    pub(crate) async fn start() -> Self {
        Self::start_with(ApiConfig { rate_limit: 0, ..ApiConfig::default() }).await
    }

    /// With the rules of production: nothing on this machine can be delivered to.
    pub(crate) async fn start_guarded() -> Self {
        let config = ApiConfig { rate_limit: 0, ..ApiConfig::default() };
        Self::open(config, with_secret(), DeliveryConfig::default(), None).await
    }

    pub(crate) async fn start_with(config: ApiConfig) -> Self {
        Self::start_for(config, with_secret()).await
    }

    /// With these settings of the API and of tokens.
    pub(crate) async fn start_for(config: ApiConfig, auth: AuthConfig) -> Self {
        Self::open(config, auth, loopback(), None).await
    }

    /// Without rate limits, on a fresh database of a PostgreSQL.
    pub(crate) async fn on_postgres() -> Self {
        let database = || bench::servers::Postgres::shared().fresh_database().unwrap();
        let url = tokio::task::spawn_blocking(database).await.unwrap();
        let config = ApiConfig { rate_limit: 0, ..ApiConfig::default() };
        Self::open(config, with_secret(), loopback(), Some(url)).await
    }

    async fn open(
        config: ApiConfig,
        auth: AuthConfig,
        delivery: DeliveryConfig,
        database: Option<String>,
    ) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let url = database.unwrap_or_else(|| format!("sqlite://{}", file("store.db")));
        let database =
            DatabaseConfig { url: url.into(), max_connections: 4, ..DatabaseConfig::default() };
        let keys = "k1:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=".to_owned();
        let store = Store::open(
            &database,
            &SecretsConfig { keys: vec![keys.into()], ..Default::default() },
        )
        .await
        .unwrap();
        store.migrate().await.unwrap();
        let queues = BrokerConfig {
            url: format!("embedded://{}", file("queues.db")).into(),
            ..Default::default()
        };
        let broker = broker::open(&queues).await.unwrap();
        let wrong_token_limit = if config.rate_limit == 0 { 0 } else { config.wrong_token_limit };
        let verifier = Verifier::new(&AuthConfig { wrong_token_limit, ..auth }).unwrap();
        verifier.sign_outs().set_known();
        let api = Api::new(
            config,
            store.clone(),
            broker.clone(),
            Sender::new(&delivery).unwrap(),
            verifier,
        );
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(api::serve(api.clone(), listener, stop.clone()));
        Self { address, store, broker, api, client: client(), stop, database, _folder: folder }
    }

    /// Asks the service to stop.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// What is served, to serve it otherwise.
    pub(crate) fn api(&self) -> Api {
        self.api.clone()
    }

    /// A caller with this user's token.
    pub(crate) fn user(&self, user: &str) -> Caller<'_> {
        self.with_roles(user, &["user"])
    }

    /// The caller of a Studio service that publishes.
    pub(crate) fn service(&self) -> Caller<'_> {
        self.with_roles("studio-scraper", &["service"])
    }

    pub(crate) fn with_roles(&self, user: &str, roles: &[&str]) -> Caller<'_> {
        self.with_header(&format!("Bearer {}", token(user, roles)))
    }

    pub(crate) fn with_header(&self, authorization: &str) -> Caller<'_> {
        Caller { studio: self, authorization: Some(authorization.to_owned()) }
    }

    pub(crate) fn stranger(&self) -> Caller<'_> {
        Caller { studio: self, authorization: None }
    }

    /// Runs statements outside of the store.
    pub(crate) async fn sql(&self, statements: &str) {
        use sea_orm::ConnectionTrait;
        let connection = sea_orm::Database::connect(self.database.url.expose()).await.unwrap();
        connection.execute_unprepared(statements).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Waits for the next message of the queue with deliveries or events.
    pub(crate) async fn next_of(&self, queue: broker::Queue) -> broker::Incoming {
        let mut consumer = self.broker.consume(queue, 1);
        tokio::time::timeout(Duration::from_secs(5), consumer.next())
            .await
            .expect("a message comes within 5 s")
            .expect("the broker is open")
    }
}

fn loopback() -> DeliveryConfig {
    DeliveryConfig { allow_networks: vec!["127.0.0.0/8".into()], ..Default::default() }
}

fn with_secret() -> AuthConfig {
    AuthConfig { jwt_secret: secret(), ..AuthConfig::default() }
}

fn secret() -> SecretText {
    JWT_SECRET.into()
}

#[expect(clippy::disallowed_methods, reason = "it calls the API under test")]
fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy();
    builder.timeout(Duration::from_secs(20)).build().unwrap()
}

/// A token that lives for an hour.
pub(crate) fn token(user: &str, roles: &[&str]) -> String {
    token_of(user, roles, 0, 3_600)
}

/// A token issued and ending so many seconds from now.
pub(crate) fn token_of(user: &str, roles: &[&str], issued: i64, ends: i64) -> String {
    let at = |seconds| OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
    access::issue(&secret(), &user_id(user), roles, at(issued), at(ends))
}

pub(crate) fn user_id(name: &str) -> UserId {
    name.parse().unwrap()
}

/// An event of `user`.
pub(crate) fn event(user: &str, id: &str) -> Event {
    let text = format!(
        r#"{{"id":"{id}","event":"scrape.completed","timestamp":"2026-02-02T12:00:00Z","user_id":"{user}","data":{{"project_id":"proj_1","n":-0.20}}}}"#
    );
    Event::from_json(text.as_bytes(), &Origin::default()).unwrap()
}

/// Somebody who calls the API.
#[derive(Clone)]
pub(crate) struct Caller<'a> {
    studio: &'a Studio,
    authorization: Option<String>,
}

impl Caller<'_> {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body.to_string())).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, Some(body.to_string())).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    /// With a JSON body, if any.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<String>) -> Answer {
        self.send_with(method, path, body, &[]).await
    }

    pub(crate) async fn send_with(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let url = format!("http://{}{path}", self.studio.address);
        let mut request = self.studio.client.request(method, url);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let typed = headers.iter().any(|(name, _)| *name == "content-type");
        if let Some(body) = body {
            request = request.body(body);
            if !typed {
                request = request.header("content-type", "application/json");
            }
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        Answer {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            text: answer.text().await.unwrap(),
        }
    }

    /// Makes a webhook for all events; gives back its id.
    pub(crate) async fn webhook(&self, url: &str) -> String {
        let body = json!({ "name": "Slack Notifications", "url": url, "events": ["*"] });
        let made = self.post("/v1/webhooks", body).await.expect(201);
        made.data()["id"].as_str().unwrap().to_owned()
    }
}

/// What the API answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {:?}", self.text))
    }

    #[track_caller]
    pub(crate) fn data(&self) -> Value {
        let mut all = self.json();
        assert_eq!(all["success"], true, "{}", self.text);
        all["data"].take()
    }

    /// The code of an error in the envelope.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        let all = self.json();
        assert_eq!(all["success"], false, "{}", self.text);
        assert_eq!(all["meta"]["request_id"], self.header("x-request-id"), "{}", self.text);
        assert!(!all["error"]["message"].as_str().unwrap().is_empty());
        all["error"]["code"].as_str().unwrap().to_owned()
    }

    /// The fields that `details` names.
    #[track_caller]
    pub(crate) fn fields(&self) -> Vec<String> {
        assert_eq!(self.code(), "VALIDATION_ERROR", "{}", self.text);
        let all = self.json();
        let details = all["error"]["details"].as_array().unwrap().clone();
        details.iter().map(|d| d["field"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// That the object `data` (or the first of a list) begins with these keys, in this order.
    #[track_caller]
    pub(crate) fn assert_begins_with(&self, keys: &[&str]) {
        let data = self.text.find(r#""data":"#).expect("data");
        let mut at = data;
        for key in keys {
            let found = self.text[at..].find(&format!("\"{key}\":"));
            at += found.unwrap_or_else(|| panic!("{key} in its place: {}", self.text)) + 1;
        }
    }
}
