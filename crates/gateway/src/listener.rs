//! What the kernel does for connections whose peer is gone or stuck.

use std::net::TcpListener;
use std::time::Duration;

use socket2::SockRef;

/// How long what was sent may stay unread or unacknowledged. A connection that is closed as too
/// slow has this long to take its goodbye: its write buffer is full, so that nothing else would
/// ever end it.
const UNREAD: Duration = Duration::from_secs(30);

/// Prepares `listener` for long-lived connections; those that it accepts inherit the setting.
///
/// # Errors
/// When the kernel refuses the option.
pub fn prepare(listener: &TcpListener) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    SockRef::from(listener).set_tcp_user_timeout(Some(UNREAD))?;
    Ok(())
}
