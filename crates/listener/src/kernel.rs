//! What the kernel does for connections: it ends those whose peer is gone or takes nothing.

use std::net::TcpListener;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// How long a connection may be idle before the kernel asks whether its peer is still there.
const IDLE: Duration = Duration::from_secs(60);

/// How long the peer has to answer before it is asked again.
const AGAIN: Duration = Duration::from_secs(10);

/// Prepares `listener`: every connection that it accepts ends once what was sent has stayed
/// unread or unacknowledged for `stalled_after`, and once its peer is gone. A peer that only
/// keeps its window shut counts as one that does not answer.
///
/// # Errors
/// When the kernel refuses an option.
pub(crate) fn prepare(listener: &TcpListener, stalled_after: Duration) -> std::io::Result<()> {
    let socket = SockRef::from(listener);
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(stalled_after))?;
    #[cfg(not(target_os = "linux"))]
    let _ = stalled_after;
    let keepalive = TcpKeepalive::new().with_time(IDLE).with_interval(AGAIN);
    socket.set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpStream;
    use std::time::Instant;

    #[test]
    fn a_connection_whose_peer_reads_nothing_ends_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        prepare(&listener, Duration::from_secs(2)).unwrap();
        let silent = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        assert!(SockRef::from(&accepted).keepalive().unwrap());
        let began = Instant::now();
        while accepted.write_all(&[0; 65_536]).is_ok() {
            assert!(began.elapsed() < Duration::from_secs(20), "it is still written to");
        }
        assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
        drop(silent);
    }
}
