//! Producer and consumers in idiomatic async Rust.
