//! Files that cannot be used.

use std::fs;
use std::io::{Seek, SeekFrom, Write};

use broker::{BrokerConfig, BrokerError, Queue};
use sea_orm::sqlx::{self, Connection, SqliteConnection};

use crate::room::{Room, event, next};

async fn refusal(config: &BrokerConfig) -> String {
    match broker::open(config).await {
        Ok(_) => panic!("the file was opened"),
        Err(error @ BrokerError::File { .. }) => error.to_string(),
        Err(other) => panic!("another error: {other}"),
    }
}

fn path(room: &Room) -> String {
    room.config.url.expose().strip_prefix("embedded://").unwrap().to_owned()
}

#[tokio::test]
async fn a_second_process_is_refused_and_a_close_lets_it_in() {
    let room = Room::embedded();
    let broker = room.open().await;
    let message = refusal(&room.config).await;
    assert!(message.contains("another process has it open"), "{message}");
    assert!(message.contains("studio.db"), "{message}");
    broker.close().await;
    room.open().await.close().await;
    // Also when the first was dropped without a close.
    let first = room.open().await;
    drop(first);
    crate::room::wait_for("a file that is free", || async {
        broker::open(&room.config).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_file_of_something_else_is_refused_and_not_touched() {
    let room = Room::embedded();
    let path = path(&room);
    fs::create_dir_all(room.folder.path().join("queues")).unwrap();
    fs::write(&path, "these are no queues, but somebody's notes\n".repeat(200)).unwrap();
    let before = fs::read(&path).unwrap();
    let message = refusal(&room.config).await;
    assert!(message.contains("no SQLite file"), "{message}");
    assert!(fs::read(&path).unwrap() == before);

    fs::remove_file(&path).unwrap();
    let mut other = SqliteConnection::connect(&format!("sqlite://{path}?mode=rwc")).await.unwrap();
    sqlx::query("CREATE TABLE notes (text TEXT)").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    let message = refusal(&room.config).await;
    assert!(message.contains("something else"), "{message}");
}

#[tokio::test]
async fn a_file_of_another_version_is_refused() {
    let room = Room::embedded();
    room.open().await.close().await;
    let mut other = SqliteConnection::connect(&format!("sqlite://{}", path(&room))).await.unwrap();
    sqlx::query("PRAGMA user_version = 9").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    let message = refusal(&room.config).await;
    assert!(message.contains("version 9"), "{message}");
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_not_made_anew() {
    let room = Room::embedded();
    let broker = room.open().await;
    let messages = (0..2_000).map(|n| event(&format!("evt_{n}"))).collect();
    assert!(broker.publish_all(messages).await.iter().all(Result::is_ok));
    broker.close().await;
    let path = path(&room);
    let size = fs::metadata(&path).unwrap().len();
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(size / 2 / 4096 * 4096)).unwrap();
    file.write_all(&[0xa5; 4096]).unwrap();
    drop(file);
    let message = refusal(&room.config).await;
    assert!(message.contains("damaged"), "{message}");
    assert_eq!(fs::metadata(&path).unwrap().len(), size);
}

#[tokio::test]
async fn the_folder_is_made_and_a_relative_path_is_taken() {
    // Relative to where tests run, which is the crate's folder; the target folder is ignored.
    let folder = tempfile::tempdir_in(bench::servers::target_folder()).unwrap();
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    let here = std::env::current_dir().unwrap();
    let target = bench::servers::target_folder();
    let up = target.strip_prefix(here.parent().unwrap().parent().unwrap());
    let Ok(below) = up else {
        return; // The target folder lies elsewhere on this machine.
    };
    let url = format!("embedded://../../{}/{name}/a/b/q.db", below.display());
    let broker = broker::open(&crate::room::config(url)).await.unwrap();
    let (target, message) = event("evt_1");
    broker.publish(target, message).await.unwrap();
    next(&mut broker.consume(Queue::Dispatch, 1)).await.acker.ack();
    broker.close().await;
    assert!(folder.path().join("a/b/q.db").exists());
    let empty = crate::room::config("embedded://".into());
    let error = broker::open(&empty).await.err().unwrap().to_string();
    assert!(error.starts_with("broker.url: "), "{error}");
}

#[tokio::test]
async fn a_history_of_which_the_beginning_was_removed_says_where_it_begins() {
    let room = Room::embedded();
    let broker = room.open().await;
    for id in ["evt_1", "evt_2"] {
        let (target, message) = event(id);
        broker.publish(target, message).await.unwrap();
    }
    broker.close().await;
    let mut other = SqliteConnection::connect(&format!("sqlite://{}", path(&room))).await.unwrap();
    sqlx::query("DELETE FROM events WHERE id = 1").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    let broker = room.open().await;
    let begins = broker.history_begins().await.unwrap();
    let since = time::OffsetDateTime::now_utc() - begins;
    assert!(since.whole_seconds() < 60, "{begins}");
    broker.close().await;
}

#[tokio::test]
async fn what_processes_that_were_killed_left_counts_as_returned_so_often() {
    let room = Room::embedded();
    let broker = room.open().await;
    assert!(broker.publish_all(vec![event("evt_1")]).await.iter().all(Result::is_ok));
    drop(next(&mut broker.consume(Queue::Dispatch, 10)).await);
    broker.close().await;
    // As three processes leave it that were killed soon after their start.
    let mut other = SqliteConnection::connect(&format!("sqlite://{}", path(&room))).await.unwrap();
    let changed = sqlx::query("UPDATE ends SET unclean = 3 WHERE unclean = 0");
    assert_eq!(changed.execute(&mut other).await.unwrap().rows_affected(), 1);
    other.close().await.unwrap();

    for returns in [3, 0] {
        let broker = room.open().await;
        let mut consumer = broker.consume(Queue::Dispatch, 10);
        let left = next(&mut consumer).await;
        assert_eq!((left.redelivered, left.returns), (true, returns));
        if returns == 3 {
            broker.publish_all(vec![event("evt_2")]).await;
            let fresh = next(&mut consumer).await;
            assert_eq!((fresh.redelivered, fresh.returns), (false, 0));
        }
        broker.close().await;
    }
}
