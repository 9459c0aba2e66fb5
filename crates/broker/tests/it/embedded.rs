//! What only the embedded broker promises: the file.

mod faults;
mod file;
mod once;
