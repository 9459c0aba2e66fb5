//! Open files of the process, counted before they run out: a connection that cannot be opened
//! fails a delivery, and one that the database, the broker or the API cannot open is worse. What
//! does not fit waits.
//!
//! They are counted every 200 ms, and within 10 ms when there seems to be no room. By as many as
//! requests are more under way since then, more may be open now; what else was opened meanwhile (a
//! connection that rests, or the database's) has the reserve.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use telemetry::Gauge;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Where the kernel lists the open files of the process.
const LIST: &str = "/proc/self/fd";

/// How often they are counted.
const EVERY: Duration = Duration::from_millis(200);

/// How soon they are counted again when there is no room.
const SOON: Duration = Duration::from_millis(10);

/// How often it is said that there is no room.
const WARNED_EVERY: Duration = Duration::from_secs(60);

/// By so many the size of the list may differ from its length: others open files meanwhile.
const BETWEEN: u64 = 16;

/// How many files are open, and how many more may be.
#[derive(Debug)]
pub(crate) struct Files {
    /// Files that requests may have open; `None` without a limit, or where they cannot be counted.
    most: Option<usize>,
    /// Whether the size of the list is its length, as on Linux from 6.2 on. To ask for it takes
    /// 10 µs. To read the list takes 15 to 40 ms for 20,000 files.
    is_sized: bool,
    /// As last counted.
    open: AtomicUsize,
    /// Requests under way now, and when the files were counted.
    under_way: AtomicUsize,
    counted: AtomicUsize,
    /// Somebody found no room.
    wanted: Notify,
    gauge: Gauge<u64>,
}

impl Files {
    /// Those of the process, within its limit as it is now.
    pub(crate) fn new() -> Self {
        let limit = getrlimit(Resource::Nofile).current;
        Self::within(limit.and_then(|limit| usize::try_from(limit).ok()))
    }

    fn within(limit: Option<usize>) -> Self {
        let listed = listed(LIST);
        if let Err(error) = &listed {
            tracing::debug!("open files are not counted, {LIST} cannot be read: {error}");
        }
        let most = limit.filter(|_| listed.is_ok()).map(|limit| limit - reserve(limit));
        let open = listed.unwrap_or_default();
        let meter = telemetry::meter();
        let gauge = |name: &'static str, text: &'static str| {
            meter.u64_gauge(name).with_description(text).build()
        };
        if let Some(limit) = limit {
            gauge("dispatcher_open_files_limit", "Files that the process may have open")
                .record(limit as u64, &[]);
        }
        Self {
            most,
            is_sized: size().is_ok_and(|size| size.abs_diff(open as u64) <= BETWEEN),
            open: AtomicUsize::new(open),
            under_way: AtomicUsize::new(0),
            counted: AtomicUsize::new(0),
            wanted: Notify::new(),
            gauge: gauge("dispatcher_open_files", "Files that the process has open"),
        }
    }

    /// Notes that a request is begun which may open a connection.
    pub(crate) fn begun(&self) {
        self.under_way.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes that a request has ended.
    pub(crate) fn ended(&self) {
        self.under_way.fetch_sub(1, Ordering::AcqRel);
    }

    /// How many more requests may be begun; `usize::MAX` where nothing limits them.
    pub(crate) fn room(&self) -> usize {
        let [open, under_way, counted] = [&self.open, &self.under_way, &self.counted]
            .map(|number| number.load(Ordering::Acquire));
        let used = open.saturating_add(under_way.saturating_sub(counted));
        self.most.map_or(usize::MAX, |most| most.saturating_sub(used))
    }

    /// Whether another request may be begun. If not, the files are counted again soon.
    pub(crate) fn has_room(&self) -> bool {
        let has_room = self.room() > 0;
        if !has_room {
            self.wanted.notify_one();
        }
        has_room
    }

    /// Counts until the stop.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        if self.most.is_none() {
            return;
        }
        let mut warned: Option<Instant> = None;
        loop {
            let began = Instant::now();
            self.count().await;
            // A long list must not be all that a thread is busy with.
            let soon = SOON.max(began.elapsed() * 4);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
                () = self.wanted.notified() => {
                    if warned.is_none_or(|at| at.elapsed() >= WARNED_EVERY) && self.room() == 0 {
                        warned = Some(Instant::now());
                        self.warn();
                    }
                    tokio::time::sleep(soon).await;
                }
            }
        }
    }

    fn warn(&self) {
        tracing::warn!(
            "deliveries wait: {} file descriptors are in use, and {} may be by deliveries; raise \
             the limit (ulimit -n, LimitNOFILE)",
            self.open.load(Ordering::Acquire),
            self.most.unwrap_or_default(),
        );
    }

    async fn count(&self) {
        // Read before the files are counted: what is begun meanwhile counts as begun since.
        let under_way = self.under_way.load(Ordering::Acquire);
        match self.count_all().await {
            Ok(open) => self.note(open, under_way),
            // The list cannot be opened either.
            Err(error) if has_run_out(&error) => {
                self.note(self.most.unwrap_or_default(), under_way)
            }
            Err(error) => tracing::debug!("open files were not counted: {error}"),
        }
    }

    async fn count_all(&self) -> io::Result<usize> {
        if self.is_sized {
            return Ok(usize::try_from(size()?).unwrap_or(usize::MAX));
        }
        let listing = tokio::task::spawn_blocking(|| listed(LIST));
        listing.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    fn note(&self, open: usize, under_way: usize) {
        self.open.store(open, Ordering::Release);
        self.counted.store(under_way, Ordering::Release);
        self.gauge.record(open as u64, &[]);
    }
}

/// Files that are left to the database, the broker and the API.
fn reserve(limit: usize) -> usize {
    // Where hardly any may be open, requests have half of them.
    (limit / 10).max(64).min(limit / 2)
}

/// The length of the list, without the file that reads it. The kernel is asked for names only.
fn listed(path: &str) -> io::Result<usize> {
    Ok(fs::read_dir(path)?.count().saturating_sub(1))
}

/// The size of the list, which is its length or nothing of meaning.
fn size() -> io::Result<u64> {
    fs::metadata(LIST).map(|list| list.len())
}

fn has_run_out(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other tests of the process open and close files meanwhile: few, if these take turns.
    const OTHERS: usize = 100;

    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    fn open_files(many: usize) -> Vec<fs::File> {
        (0..many).map(|_| fs::File::open("/dev/null").unwrap()).collect()
    }

    fn is_about(found: usize, expected: usize) {
        assert!(found.abs_diff(expected) < OTHERS, "{found} instead of about {expected}");
    }

    #[tokio::test]
    async fn open_files_take_room_and_closed_ones_give_it_back() {
        let _turn = TURN.lock().await;
        for is_sized in [true, false] {
            let files = Files { is_sized, ..Files::within(Some(10_000)) };
            let before = files.room();
            let held = open_files(400);
            files.count().await;
            is_about(files.room(), before - 400);
            drop(held);
            files.count().await;
            is_about(files.room(), before);
        }
    }

    #[tokio::test]
    async fn what_is_begun_takes_room_until_it_has_ended_or_is_counted() {
        let _turn = TURN.lock().await;
        let files = Files::within(Some(10_000));
        let before = files.room();
        (0..1_000).for_each(|_| files.begun());
        is_about(files.room(), before - 1_000);
        (0..500).for_each(|_| files.ended());
        is_about(files.room(), before - 500);
        files.count().await;
        is_about(files.room(), before);
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_has_the_files_counted_again_at_once() {
        let files = Arc::new(Files::within(Some(10_000)));
        let stop = CancellationToken::new();
        let watching = tokio::spawn(files.clone().watch(stop.clone()));
        tokio::time::sleep(SOON).await; // the first count
        (0..10_000).for_each(|_| files.begun());
        let began = Instant::now();
        while !files.has_room() {
            tokio::time::sleep(SOON).await;
        }
        assert!(began.elapsed() < EVERY, "{:?}", began.elapsed());
        stop.cancel();
        watching.await.unwrap();
    }

    #[tokio::test]
    async fn without_a_limit_there_is_always_room_and_nothing_to_count() {
        let files = Arc::new(Files::within(None));
        (0..10_000).for_each(|_| files.begun());
        assert_eq!((files.room(), files.has_room()), (usize::MAX, true));
        files.watch(CancellationToken::new()).await;
    }

    #[test]
    fn others_keep_a_tenth_and_64_at_least_and_requests_half_at_least() {
        let limits = [0, 100, 256, 1_024, 65_536];
        assert_eq!(limits.map(reserve), [0, 50, 64, 102, 6_553]);
        assert!(Files::new().has_room());
    }

    #[test]
    fn a_list_that_is_missing_is_told_from_one_that_no_file_is_left_for() {
        let missing = listed("/proc/self/no-such-list").unwrap_err();
        assert!(!has_run_out(&missing));
        assert!(has_run_out(&io::Error::from(Errno::MFILE)));
    }
}
