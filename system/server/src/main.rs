//! One program: reprise namesrv, broker and dev.

fn main() {}
