use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Answer, Keep, Receiver, ReceiverOptions, Script, Workers};
use crate::http::HttpClient;

const SOON: Duration = Duration::from_secs(5);

async fn status(client: &HttpClient, path: &str) -> u16 {
    client.post(path, "{}").await.unwrap().status.as_u16()
}

fn client(receiver: &Receiver) -> HttpClient {
    HttpClient::new(receiver.url(""))
}

async fn raw(receiver: &Receiver, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(receiver.address()).await.unwrap();
    let request = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_script_is_followed_and_its_last_answer_repeated() {
    let receiver = Receiver::start().await.unwrap();
    receiver.answer("/a", [500, 503, 200]);
    let client = client(&receiver);
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(status(&client, "/a").await);
    }
    assert_eq!(seen, [500, 503, 200, 200]);
    assert_eq!(status(&client, "/unknown").await, 200);
    let answered: Vec<_> = receiver.requests_to("/a").iter().map(|r| r.answered).collect();
    assert_eq!(answered, [Some(500), Some(503), Some(200), Some(200)]);
}

#[tokio::test]
async fn each_delivery_can_have_the_script_from_its_beginning() {
    let receiver = Receiver::start().await.unwrap();
    receiver.answer("/a", Script::by_delivery([500, 200]));
    let send = |delivery: &'static str| {
        let address = receiver.address();
        async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!(
                "POST /a HTTP/1.1\r\nhost: x\r\nX-Sentimatrix-Delivery: {delivery}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer[9..12].to_owned()
        }
    };
    let seen = [send("log_1").await, send("log_2").await, send("log_1").await, send("log_2").await];
    assert_eq!(seen, ["500", "500", "200", "200"]);
}

#[tokio::test]
async fn requests_are_recorded_with_time_headers_body_and_hash() {
    let receiver = Receiver::start().await.unwrap();
    let before = Instant::now();
    let client = client(&receiver).with_token("t").unwrap();
    client.post("/hook?a=b", r#"{"n":1}"#).await.unwrap();
    let requests = receiver.wait_for_path("/hook", 1, SOON).await.unwrap();
    let request = &requests[0];
    assert_eq!(request.text(), r#"{"n":1}"#);
    assert_eq!(request.header("Authorization"), Some("Bearer t"));
    assert_eq!(request.body_hash, super::record::hash(br#"{"n":1}"#));
    assert!(request.at >= before && request.at <= Instant::now());
}

#[tokio::test]
async fn what_there_is_no_room_for_is_counted() {
    let options =
        ReceiverOptions { max_requests: 3, max_body_bytes: 2, ..ReceiverOptions::default() };
    let receiver = Receiver::start_with(options).await.unwrap();
    let client = client(&receiver);
    for _ in 0..5 {
        status(&client, "/").await;
    }
    let bodies: Vec<_> = receiver.requests().iter().map(|r| r.body.is_some()).collect();
    assert_eq!(bodies, [true, false, false]);
    assert_eq!((receiver.count(), receiver.not_kept()), (5, 2));
}

#[tokio::test]
async fn a_counting_receiver_keeps_nothing_and_shows_each_body() {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let observed = std::sync::Arc::clone(&seen);
    let options = ReceiverOptions {
        keep: Keep::Counts,
        observer: Some(std::sync::Arc::new(move |arrival: &super::Arrival<'_>| {
            observed.lock().unwrap().push(arrival.body.to_vec());
        })),
        ..ReceiverOptions::default()
    };
    let receiver = Receiver::start_with(options).await.unwrap();
    status(&client(&receiver), "/").await;
    assert_eq!(*seen.lock().unwrap(), [b"{}".to_vec()]);
    assert_eq!((receiver.count(), receiver.requests().len()), (1, 0));
}

#[tokio::test]
async fn waiting_in_vain_says_how_many_came() {
    let receiver = Receiver::start().await.unwrap();
    status(&client(&receiver), "/").await;
    let short = Duration::from_millis(50);
    let error = receiver.wait_for(2, short).await.unwrap_err();
    assert_eq!((error.arrived, error.wanted), (1, 2));
}

#[tokio::test]
async fn an_answer_can_come_later() {
    let receiver = Receiver::start().await.unwrap();
    let delay = Duration::from_millis(200);
    receiver.answer("/", Answer::Later(delay, Box::new(Answer::Status(201))));
    let started = Instant::now();
    assert_eq!(status(&client(&receiver), "/").await, 201);
    assert!(started.elapsed() >= delay);
}

#[tokio::test]
async fn who_has_few_workers_answers_the_others_later_or_not_at_all() {
    let receiver = Receiver::start().await.unwrap();
    let each = Duration::from_millis(200);
    let workers = Workers::new(2, each, each + each / 2);
    receiver.answer("/", Answer::ByWorkers(workers.clone()));
    let (client, started) = (client(&receiver), Instant::now());
    let six = (0..6).map(|_| status(&client, "/"));
    let mut statuses = futures::future::join_all(six).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 503, 503]);
    assert_eq!((workers.served(), workers.refused()), (4, 2));
    assert!(started.elapsed() >= each * 2);
}

#[tokio::test]
async fn every_address_of_loopback_is_a_host_of_its_own() {
    let options = ReceiverOptions { bind: [0, 0, 0, 0].into(), ..ReceiverOptions::default() };
    let receiver = Receiver::start_with(options).await.unwrap();
    for host in [[127, 0, 0, 1], [127, 3, 2, 1]] {
        let client = HttpClient::new(receiver.url_at(host.into(), ""));
        assert_eq!(status(&client, "/").await, 200);
    }
    assert_eq!(receiver.count(), 2);
}

#[tokio::test]
async fn improper_answers_are_what_they_say() {
    let receiver = Receiver::start().await.unwrap();
    let cases = [("/close", Answer::Close), ("/garbage", Answer::garbage())];
    for (path, answer) in cases {
        receiver.answer(path, answer);
        let mut bytes = Vec::new();
        raw(&receiver, path).await.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes.is_empty(), path == "/close", "{path}");
        assert!(!bytes.starts_with(b"HTTP"), "{path}");
    }
    receiver.answer("/reset", Answer::Reset);
    let broken = raw(&receiver, "/reset").await.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(broken.kind(), std::io::ErrorKind::ConnectionReset);
    receiver.answer("/huge", Answer::Huge(1_000_000));
    assert_eq!(client(&receiver).get("/huge").await.unwrap().body.len(), 1_000_000);
    assert_eq!(receiver.count(), 4);
}

#[tokio::test]
async fn silence_lasts_and_a_drip_is_a_byte_a_second() {
    let receiver = Receiver::start().await.unwrap();
    receiver.answer("/never", Answer::Never);
    receiver.answer("/drip", Answer::Drip);
    let mut silent = raw(&receiver, "/never").await;
    let mut dripping = raw(&receiver, "/drip").await;
    let window = Duration::from_millis(1_500);
    let mut bytes = [0; 100];
    let silence = tokio::time::timeout(window, silent.read(&mut bytes)).await;
    assert!(silence.is_err(), "an answer came");
    let read = dripping.read(&mut bytes).await.unwrap();
    assert_eq!(&bytes[..read], b"HT");
}
