//! The gateway from outside: clients by the thousand, what they must see, and how fast.

pub mod chaos;
pub mod crowd;
pub mod history;
pub mod nchan;
pub mod socket;
pub mod speed;
