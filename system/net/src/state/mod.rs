//! What a connection decides without touching a socket or a clock: stepped by hand in the tests.

pub(crate) mod backoff;
pub(crate) mod calls;
